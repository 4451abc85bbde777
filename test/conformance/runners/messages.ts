import * as assert from 'uvu/assert';
import { MigrationFailureReason } from '../../../lib/wire/failure.js';
import type { MigrationMessage } from '../../../lib/wire/message.js';
import { sameBytes } from '../check.js';
import { acceptsFrame, typeOf } from '../frames.js';
import type { Runner } from '../runner.js';
import { bytes, fieldsOf, link, listOf, NotUnderstood, number, text, truth, u64 } from '../vector-json.js';

/** The second field of the messages that have an origin and one more u64. */
const PAIRS: Readonly<Record<string, readonly [vector: string, ours: string]>> = {
  TakeSnapshot: ['target_node', 'targetNode'],
  RestoreComplete: ['restored_seq', 'restoredSeq'],
  CutoverNotify: ['target_node', 'targetNode'],
  ActivateAck: ['replayed_seq', 'replayedSeq'],
};

function messageOf(kind: string, value: unknown): MigrationMessage {
  const pair = PAIRS[kind];
  if (pair !== undefined) {
    const f = fieldsOf(value, ['daemon_origin', pair[0]], kind);
    const word = u64(f[pair[0]], pair[0]);
    return { kind, daemonOrigin: u64(f.daemon_origin, kind), [pair[1]]: word } as unknown as MigrationMessage;
  }
  switch (kind) {
    case 'CleanupComplete':
    case 'ActivateTarget':
      return { kind, daemonOrigin: u64(fieldsOf(value, ['daemon_origin'], kind).daemon_origin, kind) };
    case 'SnapshotReady':
      return snapshotReady(value);
    case 'ReplayComplete': {
      const f = fieldsOf(value, ['daemon_origin', 'replayed_seq', 'target_head'], kind);
      const { link: targetHead } = link(f.target_head, 'target_head');
      return { kind, daemonOrigin: u64(f.daemon_origin, kind), replayedSeq: u64(f.replayed_seq, kind), targetHead };
    }
    case 'MigrationFailed': {
      const f = fieldsOf(value, ['daemon_origin', 'reason'], kind);
      return { kind, daemonOrigin: u64(f.daemon_origin, kind), reason: reasonOf(f.reason) };
    }
    case 'BufferedEvents': {
      const f = fieldsOf(value, ['daemon_origin', 'events'], kind);
      return { kind, daemonOrigin: u64(f.daemon_origin, kind), events: listOf(f.events, 'events').map(eventOf) };
    }
    default:
      throw new NotUnderstood(`message kind "${kind}"`);
  }
}

function snapshotReady(value: unknown): MigrationMessage {
  const names = ['chunk_index', 'daemon_origin', 'seq_through', 'snapshot_bytes', 'total_chunks'];
  const f = fieldsOf(value, names, 'SnapshotReady');
  return {
    kind: 'SnapshotReady',
    daemonOrigin: u64(f.daemon_origin, 'daemon_origin'),
    seqThrough: u64(f.seq_through, 'seq_through'),
    chunkIndex: number(f.chunk_index, 'chunk_index'),
    totalChunks: number(f.total_chunks, 'total_chunks'),
    snapshotBytes: bytes(f.snapshot_bytes, 'snapshot_bytes'),
  };
}

function eventOf(value: unknown) {
  const f = fieldsOf(value, ['link', 'payload', 'received_at'], 'event');
  return {
    link: link(f.link, 'event.link').link,
    payload: bytes(f.payload, 'event.payload'),
    receivedAt: u64(f.received_at, 'event.received_at'),
  };
}

function reasonOf(value: unknown): MigrationFailureReason {
  const f = fieldsOf(value, ['kind', 'code', 'retriable', 'message?', 'message_hex?', 'attempts?'], 'reason');
  const reason = makeReason(text(f.kind, 'reason.kind'), f);
  assert.is(reason.code, number(f.code, 'reason.code'), 'reason.code');
  assert.is(reason.retriable, truth(f.retriable, 'reason.retriable'), 'reason.retriable');
  if (f.message_hex !== undefined) {
    sameBytes(Buffer.from(text(f.message, 'reason.message')), bytes(f.message_hex, 'message_hex'), 'message_hex');
  }
  return reason;
}

function makeReason(kind: string, f: Readonly<Record<string, unknown>>): MigrationFailureReason {
  switch (kind) {
    case 'NotReady':
      return MigrationFailureReason.notReady();
    case 'FactoryNotFound':
      return MigrationFailureReason.factoryNotFound();
    case 'ComputeNotSupported':
      return MigrationFailureReason.computeNotSupported();
    case 'StateFailed':
      return MigrationFailureReason.stateFailed(text(f.message, 'reason.message'));
    case 'AlreadyMigrating':
      return MigrationFailureReason.alreadyMigrating();
    case 'IdentityTransportFailed':
      return MigrationFailureReason.identityTransportFailed(text(f.message, 'reason.message'));
    case 'NotReadyTimeout':
      return MigrationFailureReason.notReadyTimeout(number(f.attempts, 'reason.attempts'));
    default:
      throw new NotUnderstood(`failure kind "${kind}"`);
  }
}

/** Every message and failure code: fields ↔ bytes. */
export const messages: Runner = {
  file: 'messages',
  level: 'frames',
  run(vectors, codec, tally) {
    listOf(vectors, 'messages').forEach((value, i) => {
      const f = fieldsOf(value, ['encoded', 'fields', 'kind', 'len', 'type'], `messages[${i}]`);
      const kind = text(f.kind, 'kind');
      tally.vector(`[${i}] ${kind}`, () => {
        const message = messageOf(kind, f.fields);
        const encoded = bytes(f.encoded, 'encoded');
        assert.is(encoded.length, number(f.len, 'len'), 'len');
        assert.is(typeOf(message), number(f.type, 'type'), 'type');
        sameBytes(codec.encode(message), encoded, 'encode');
        acceptsFrame(codec, encoded, message, encoded.length);
      });
    });
  },
};
