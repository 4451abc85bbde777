import { createServer, type Socket } from 'node:net';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { PseudoRandom } from './pseudo-random.js';
import { FrameWriter, READ_BYTES } from './snapshot-stream.js';

/** No multiple of a chunk, so that chunks differ. */
const BLOCK_BYTES = 999_983;
const SHORT_BYTES = 4 * 2 ** 20;
let block: Uint8Array | undefined;

/** Bytes `from .. to` of the snapshot that is streamed; at most one chunk. */
export function streamedBytes(from: number, to: number): Uint8Array {
  block ??= new PseudoRandom(13).bytes(BLOCK_BYTES + 7_000);
  const at = from % BLOCK_BYTES;
  return block.subarray(at, at + to - from);
}

/** Sends a snapshot's frames, no faster than the other side takes them. */
async function send(socket: Socket, length: number): Promise<void> {
  const writer = new FrameWriter(length, streamedBytes);
  for (;;) {
    const piece = new Uint8Array(READ_BYTES);
    const written = writer.write(piece);
    const isTaken = socket.write(piece.subarray(0, written));
    if (written < piece.length) break;
    if (!isTaken) await new Promise((resolve) => socket.once('drain', resolve));
  }
  socket.end();
}

// As a worker thread: serves one stream per connection, a short one or a whole one as it is asked for.
if (!isMainThread) {
  const { path, length } = workerData as { path: string; length: number };
  const server = createServer((socket) => {
    socket.once('data', (word) => void send(socket, word.toString() === 'short' ? SHORT_BYTES : length));
  });
  server.listen(path, () => parentPort!.postMessage('listening'));
}
