import { type Mesh, SUBPROTOCOL_MIGRATION } from '../../lib/index.js';

/** A delayed frame comes so much later, at the most. */
const LONGEST_DELAY_MS = 20;

/** How frames are lost between two nodes. */
export interface LossData {
  /** The probability of each: that a frame is dropped, doubled, delayed. */
  readonly probability: number;
  readonly seed: number;
  /** Three counters that all threads share: frames dropped, doubled, delayed. */
  readonly counts: SharedArrayBuffer;
}

/**
 * Drops, doubles and delays frames of migrations on their way into a node, as the seed says; a delayed one is overtaken.
 * What publishers send comes through: nothing sends that again.
 */
export function makeLossy(mesh: Mesh, { probability, seed, counts }: LossData): void {
  const random = randomNumbers(seed ^ Number(mesh.nodeId));
  const counted = new Int32Array(counts);
  const listen = mesh.listen.bind(mesh);
  mesh.listen = (subprotocol, listener) => {
    if (subprotocol !== SUBPROTOCOL_MIGRATION) return listen(subprotocol, listener);
    listen(subprotocol, (from, batch) => {
      const now: Uint8Array[] = [];
      for (const frame of framesOf(batch)) {
        const fate = Math.floor(random() / probability);
        if (fate < 3) Atomics.add(counted, fate, 1);
        if (fate === 2)
          setTimeout(() => void listener(from, new Uint8Array(frame)), 1 + random() * LONGEST_DELAY_MS).unref();
        else if (fate !== 0) now.push(frame);
        if (fate === 1) now.push(frame);
      }
      // The batch counts as taken whatever became of its frames: the peer gets its credit.
      return listener(from, Buffer.concat(now));
    });
  };
}

/** Frames of a batch, each with its length (u32 LE) before it; views. */
function* framesOf(batch: Uint8Array): Iterable<Uint8Array> {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let at = 0; at < batch.length; ) {
    const end = at + 4 + view.getUint32(at, true);
    yield batch.subarray(at, end);
    at = end;
  }
}

/** Numbers from 0 to below 1, the same for the same seed (xorshift32). */
function randomNumbers(seed: number): () => number {
  let x = Math.imul(seed + 1, 0x9e3779b1) | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32;
  };
}
