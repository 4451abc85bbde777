import type { MaybePromise } from '../maybe-promise.js';
import type { StateChunks } from './daemon.js';

/**
 * Where a state that can be read only once is kept while it leaves, until the target has all of it. Opened by whoever
 * takes the snapshot: in memory, unless another store is handed in (`StreamedSnapshot.keepIn`).
 */
export interface StateKeep {
  /**
   * Keeps the next piece, which does not change. The piece is sent only when this has returned (or its promise settled):
   * where it fails, the migration does, with that error as cause.
   */
  append(chunk: Uint8Array): MaybePromise<void>;
  /** Everything kept, once more, from that byte on. Called when all of it is here; at most one is read at a time. */
  chunks(from: number): StateChunks;
  /** Nothing of it is needed any more. Idempotent, and does not throw. */
  dispose(): void;
}

/** @param byteLength how much there will be */
export type KeepState = (origin: bigint, byteLength: number) => StateKeep;

/** Smaller pieces are copied together, so that a state in many of them takes no more than its bytes. */
const BLOCK_BYTES = 256 * 1024;

/** Keeps a state in memory: no more than its bytes and one block. */
export class MemoryKeep implements StateKeep {
  #blocks: Uint8Array[] = [];
  /** Bytes of the last block that are in use. */
  #used = 0;

  append(chunk: Uint8Array): void {
    if (chunk.length >= BLOCK_BYTES) {
      this.#seal();
      this.#blocks.push(chunk);
      this.#used = chunk.length;
      return;
    }
    for (let done = 0; done < chunk.length; ) {
      let block = this.#blocks.at(-1);
      if (!block || this.#used === block.length) {
        block = new Uint8Array(BLOCK_BYTES);
        this.#blocks.push(block);
        this.#used = 0;
      }
      const piece = chunk.subarray(done, done + block.length - this.#used);
      block.set(piece, this.#used);
      this.#used += piece.length;
      done += piece.length;
    }
  }

  *chunks(from: number): Iterable<Uint8Array> {
    this.#seal();
    let skip = from;
    for (const block of this.#blocks) {
      if (skip < block.length) yield block.subarray(skip);
      skip = Math.max(0, skip - block.length);
    }
  }

  dispose(): void {
    this.#blocks = [];
    this.#used = 0;
  }

  /** The last block ends where it is in use. */
  #seal(): void {
    const last = this.#blocks.pop();
    if (last && this.#used > 0) this.#blocks.push(last.subarray(0, this.#used));
  }
}
