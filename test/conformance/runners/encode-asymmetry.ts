import * as assert from 'uvu/assert';
import type { FrameCodec } from '../../../lib/wire/codec.js';
import { FrameColumns } from '../../../lib/wire/columns.js';
import { MigrationFailureReason } from '../../../lib/wire/failure.js';
import { genesisLink } from '../../../lib/wire/link.js';
import type { MigrationMessage } from '../../../lib/wire/message.js';
import { refusal } from '../check.js';
import { refusesFrame } from '../frames.js';
import { isMigrationCodec, type Runner } from '../runner.js';
import { fieldsOf, listOf, NotUnderstood, number, text } from '../vector-json.js';

interface Case {
  /** What the reference encodes and ours refuses to; absent where the case is about decoding. */
  readonly message?: MigrationMessage;
  /** The frame as the reference writes it; absent where it refuses to. */
  readonly frame?: () => Uint8Array;
}

function chunk(chunkIndex: number, totalChunks: number, length: number): Case {
  const snapshotBytes = new Uint8Array(length);
  return {
    message: { kind: 'SnapshotReady', daemonOrigin: 1n, seqThrough: 2n, chunkIndex, totalChunks, snapshotBytes },
    frame: () => {
      const frame = new Uint8Array(29 + length);
      const view = new DataView(frame.buffer);
      frame[0] = 1;
      view.setUint32(17, chunkIndex, true);
      view.setUint32(21, totalChunks, true);
      view.setUint32(25, length, true);
      return frame;
    },
  };
}

function largeEvent(length: number): Case {
  const payload = new Uint8Array(length);
  return {
    message: { kind: 'BufferedEvents', daemonOrigin: 1n, events: [{ link: genesisLink(1n), payload, receivedAt: 0n }] },
    frame: () => {
      const frame = new Uint8Array(13 + 44 + length);
      const view = new DataView(frame.buffer);
      frame[0] = 7;
      view.setUint32(9, 1, true);
      view.setUint32(45, length, true);
      return frame;
    },
  };
}

function failure(reason: MigrationFailureReason): Case {
  return { message: { kind: 'MigrationFailed', daemonOrigin: 1n, reason } };
}

/** Events of no bytes: 44 zero bytes each. */
function emptyEvents(count: number, body: number): Case {
  return {
    frame: () => {
      const frame = new Uint8Array(13 + body * 44);
      const view = new DataView(frame.buffer);
      frame[0] = 7;
      view.setBigUint64(1, 1n, true);
      view.setUint32(9, count, true);
      return frame;
    },
  };
}

const LONG_TEXT = 'x'.repeat(65_536);

const CASES: Readonly<Record<string, () => Case>> = {
  'SnapshotReady total_chunks=0': () => chunk(0, 0, 1),
  'SnapshotReady total_chunks=MAX+1': () => chunk(0, 700_001, 1),
  'SnapshotReady chunk_index=total': () => chunk(1, 1, 1),
  'SnapshotReady 7001 byte chunk': () => chunk(0, 1, 7_001),
  'BufferedEvents with a 7001 byte event': () => largeEvent(7_001),
  'MigrationFailed StateFailed 65536 byte string': () => failure(MigrationFailureReason.stateFailed(LONG_TEXT)),
  'MigrationFailed IdentityTransportFailed 65536 byte string': () =>
    failure(MigrationFailureReason.identityTransportFailed(LONG_TEXT)),
  'BufferedEvents count=1000001, daemon_origin=1, body 1000001*44 zero bytes': () => emptyEvents(1_000_001, 1_000_001),
  'BufferedEvents count=1000000, daemon_origin=1, body 1000001*44 zero bytes (trailing 44)': () =>
    emptyEvents(1_000_000, 1_000_001),
};

/** A million events, counted on every way there is. */
function acceptsMillion(codec: FrameCodec, frame: Uint8Array): void {
  const message = codec.decode(frame);
  assert.ok(message.kind === 'BufferedEvents' && message.events.length === 1_000_000, 'decode gives the events');
  const batch = new Uint8Array(4 + frame.length);
  new DataView(batch.buffer).setUint32(0, frame.length, true);
  batch.set(frame, 4);
  const columns = new FrameColumns(1);
  codec.decodeBatch(batch, columns);
  assert.is(columns.status[0], 0, 'row status');
  assert.is(columns.index[0], 1_000_000, 'row index');
  assert.is(columns.baseLength[0], 13 + 44_000_000, 'row baseLength');
  if (isMigrationCodec(codec)) assert.is(codec.decodeEvents(frame).count, 1_000_000, 'decodeEvents count');
}

/** What the reference encodes but does not decode; ours refuses to encode it. */
export const encodeAsymmetry: Runner = {
  file: 'encode_asymmetry',
  level: 'frames',
  run(vectors, codec, tally) {
    listOf(vectors, 'encode_asymmetry').forEach((value, i) => {
      const names = ['case', 'encode?', 'encoded_len?', 'decode?', 'error_kind?'];
      const f = fieldsOf(value, names, `encode_asymmetry[${i}]`);
      const name = text(f.case, 'case');
      const make = CASES[name];
      if (make === undefined) throw new NotUnderstood(`encode_asymmetry case "${name}"`);
      tally.vector(`[${i}] ${name}`, () => {
        const { message, frame } = make();
        if (f.encode !== undefined) refusal(() => codec.encode(message!), 'encoding');
        if (f.decode === undefined) return;
        const bytes = frame!();
        if (f.encoded_len !== undefined) assert.is(bytes.length, number(f.encoded_len, 'encoded_len'), 'encoded_len');
        if (f.decode === 'refused') refusesFrame(codec, bytes);
        else if (f.decode === 'ok') acceptsMillion(codec, bytes);
        else throw new NotUnderstood(`decode "${String(f.decode)}"`);
      });
    });
  },
};
