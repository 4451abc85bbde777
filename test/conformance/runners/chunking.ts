import * as assert from 'uvu/assert';
import { refusal, sameBytes } from '../check.js';
import type { Runner } from '../runner.js';
import { fieldsOf, listOf, number } from '../vector-json.js';

const ORIGIN = 0x0102_0304_0506_0708n;
const SEQ_THROUGH = 0xffff_ffff_ffff_fffen;

/** `low byte of (((i·131) xor ((i>>8)·17)) + seed)`, as the vectors' README gives it. */
export function pattern(seed: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => ((i * 131) ^ ((i >> 8) * 17)) + seed);
}

/** How a snapshot of a given size is cut, and that it comes together again. */
export const chunking: Runner = {
  file: 'chunking',
  level: 'frames',
  run(vectors, codec, tally) {
    listOf(vectors, 'chunking').forEach((value, i) => {
      const f = fieldsOf(value, ['chunks', 'encoded_lens', 'lens', 'size'], `chunking[${i}]`);
      const size = number(f.size, 'size');
      tally.vector(`[${i}] ${size} bytes`, () => {
        const total = number(f.chunks, 'chunks');
        const lengths = listOf(f.lens, 'lens').map((length) => number(length, 'lens'));
        const encodedLengths = listOf(f.encoded_lens, 'encoded_lens').map((length) => number(length, 'encoded_lens'));
        assert.is(lengths.length, total, 'lens');
        const snapshot = pattern(5, size);
        const headers = new Uint8Array(29 * total);
        codec.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, size, 0, total);
        const reassembler = codec.createReassembler();
        let at = 0;
        let whole: Uint8Array | undefined;
        lengths.forEach((length, index) => {
          const chunk = snapshot.subarray(at, at + length);
          const frame = Buffer.concat([headers.subarray(29 * index, 29 * index + 29), chunk]);
          const message = codec.decode(frame);
          assert.ok(message.kind === 'SnapshotReady', 'the headers are of SnapshotReady');
          assert.equal([message.chunkIndex, message.totalChunks], [index, total], 'chunk number and total');
          assert.equal([message.daemonOrigin, message.seqThrough], [ORIGIN, SEQ_THROUGH], 'origin and seq_through');
          sameBytes(codec.encode(message), frame, `encode of chunk ${index}`);
          assert.is(frame.length, encodedLengths[index], `encoded_lens[${index}]`);
          if (length > 0) whole = reassembler.feed(ORIGIN, SEQ_THROUGH, index, total, message.snapshotBytes)?.bytes;
          at += length;
        });
        assert.is(at, size, 'lens add up to size');
        if (size > 0) sameBytes(whole ?? new Uint8Array(0), snapshot, 'the snapshot put together');
        const one = new Uint8Array(29);
        const past = () => codec.writeChunkHeaders(one, ORIGIN, SEQ_THROUGH, size, total, 1);
        assert.is(refusal(past, 'a chunk behind the last').kind, 'chunk-index-out-of-range');
        codec.writeChunkHeaders(one, ORIGIN, SEQ_THROUGH, size, total - 1, 1);
        sameBytes(one, headers.subarray(29 * (total - 1)), 'the last header alone');
        reassembler.dispose();
      });
    });
  },
};
