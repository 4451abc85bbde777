import * as assert from 'uvu/assert';
import { namesValues, sameBytes } from '../check.js';
import { acceptsFrame, refusesFrame } from '../frames.js';
import type { Runner } from '../runner.js';
import { bytes, fieldsOf, listOf, NotUnderstood, number, text, truth } from '../vector-json.js';

/** Frames that decoding refuses. */
export const rejects: Runner = {
  file: 'rejects',
  level: 'frames',
  run(vectors, codec, tally) {
    listOf(vectors, 'rejects').forEach((value, i) => {
      const f = fieldsOf(value, ['bytes', 'error_kind', 'error_fields?', 'note'], `rejects[${i}]`);
      const note = text(f.note, 'note');
      text(f.error_kind, 'error_kind');
      tally.vector(`[${i}] ${note}`, () => {
        const error = refusesFrame(codec, bytes(f.bytes, 'bytes'));
        namesValues(error, f.error_fields, note);
      });
    });
  },
};

/** Frames with bytes after the last field. */
export const acceptsWithTrailing: Runner = {
  file: 'accepts_with_trailing',
  level: 'frames',
  run(vectors, codec, tally) {
    listOf(vectors, 'accepts_with_trailing').forEach((value, i) => {
      const names = ['bytes', 'kind', 'reencoded', 'reencoded_equals_prefix', 'trailing_len'];
      const f = fieldsOf(value, names, `accepts_with_trailing[${i}]`);
      const kind = text(f.kind, 'kind');
      tally.vector(`[${i}] ${kind}`, () => {
        const frame = bytes(f.bytes, 'bytes');
        const reencoded = bytes(f.reencoded, 'reencoded');
        const base = frame.length - number(f.trailing_len, 'trailing_len');
        const isPrefix = Buffer.compare(frame.subarray(0, reencoded.length), reencoded) === 0;
        assert.is(isPrefix, truth(f.reencoded_equals_prefix, 'reencoded_equals_prefix'), 'reencoded_equals_prefix');
        acceptsAs(codec, frame, kind, reencoded, base);
      });
    });
  },
};

/** That the frame decodes to a message of that kind which encodes to `reencoded`. */
function acceptsAs(
  codec: Parameters<Extract<Runner, { level: 'frames' }>['run']>[1],
  frame: Uint8Array,
  kind: string,
  reencoded: Uint8Array,
  baseLength: number,
): void {
  const message = codec.decode(frame);
  assert.is(message.kind, kind, 'kind');
  sameBytes(codec.encode(message), reencoded, 'encode of what was decoded');
  acceptsFrame(codec, frame, codec.decode(reencoded), baseLength);
}

/** Frames made from valid ones by random edits. */
export const mutations: Runner = {
  file: 'mutations',
  level: 'frames',
  run(vectors, codec, tally) {
    listOf(vectors, 'mutations').forEach((value, i) => {
      const names = ['bytes', 'ops', 'verdict', 'kind?', 'reencoded?', 'error_kind?', 'error_fields?'];
      const f = fieldsOf(value, names, `mutations[${i}]`);
      const verdict = text(f.verdict, 'verdict');
      const ops = listOf(f.ops, 'ops').join(' ');
      if (verdict !== 'accept' && verdict !== 'reject') throw new NotUnderstood(`verdict "${verdict}"`);
      tally.vector(`[${i}] ${verdict} after ${ops}`, () => {
        const frame = bytes(f.bytes, 'bytes');
        if (verdict === 'reject') {
          namesValues(refusesFrame(codec, frame), f.error_fields, `mutations[${i}]`);
          return;
        }
        const reencoded = bytes(f.reencoded, 'reencoded');
        acceptsAs(codec, frame, text(f.kind, 'kind'), reencoded, reencoded.length);
      });
    });
  },
};
