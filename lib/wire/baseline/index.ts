import type { FrameCodec } from '../codec.js';
import { checkColumns } from '../columns.js';
import { loadBaselineAddon } from './addon.js';
import { createReassembler } from './reassembler.js';

/**
 * The C++ engine of native/baseline: frames, chunking and reassembly written plainly, for differential tests and
 * benchmarks. Only a checkout has it, once `npm run build:baseline` has built it; the published package does not.
 *
 * @throws MigrationError `engine-unavailable` where it was not built
 */
export function loadBaselineCodec(): FrameCodec {
  const addon = loadBaselineAddon();
  const result = new Uint32Array(2);
  return {
    engine: 'baseline',
    encode: (message) => addon.encode(message),
    decode: (frame) => addon.decode(frame),
    decodeBatch(batch, columns, start = 0) {
      checkColumns(columns);
      addon.decodeBatch(batch, start, columns.capacity, columns.buffer, result);
      columns.count = result[0]!;
      return result[1]!;
    },
    encodeBatch(columns, target) {
      checkColumns(columns);
      return addon.encodeBatch(columns.capacity, columns.buffer, columns.count, target);
    },
    writeChunkHeaders(headers, daemonOrigin, seqThrough, snapshotLength, firstIndex, count) {
      addon.writeChunkHeaders(headers, daemonOrigin, seqThrough, snapshotLength, firstIndex, count);
    },
    createReassembler: (options) => createReassembler(addon, options),
  };
}
