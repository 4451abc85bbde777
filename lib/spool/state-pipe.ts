import type { StateKeep } from '../daemon/state-keep.js';

/** The migration that a state was written for is over before all of it had come: nobody's loss. */
export class Abandoned extends Error {}

interface Offered {
  readonly chunk: Uint8Array;
  readonly taken: () => void;
  readonly refused: (cause: unknown) => void;
}

/**
 * A state that a daemon streams, on its way into a file while it leaves: each piece goes to the target when the file has taken it,
 * and what is lost on the way is read from there.
 */
export class StatePipe implements StateKeep {
  readonly #byteLength: number;
  readonly #readBack: (from: number) => AsyncIterable<Uint8Array>;
  #offered: Offered | undefined;
  #wake: (() => void) | undefined;
  #isDisposed = false;
  #isOver = false;

  /** @param readBack what stands in the file, from that byte of the state on */
  constructor(byteLength: number, readBack: (from: number) => AsyncIterable<Uint8Array>) {
    this.#byteLength = byteLength;
    this.#readBack = readBack;
  }

  append(chunk: Uint8Array): Promise<void> {
    if (this.#isOver) return Promise.reject(noMore());
    return new Promise((taken, refused) => {
      this.#offered = { chunk, taken, refused };
      this.#wake?.();
    });
  }

  chunks(from: number): AsyncIterable<Uint8Array> {
    return this.#readBack(from);
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#wake?.();
  }

  /** All pieces, for whoever writes the file. @throws Abandoned where not all of them will come */
  async *pieces(): AsyncIterable<Uint8Array> {
    try {
      for (let left = this.#byteLength; left > 0; ) {
        const { chunk, taken } = await this.#next();
        yield chunk;
        this.#offered = undefined;
        left -= chunk.length;
        taken();
      }
    } finally {
      this.#isOver = true;
      this.#offered?.refused(noMore());
    }
  }

  async #next(): Promise<Offered> {
    while (!this.#offered) {
      if (this.#isDisposed) throw new Abandoned('the rest of the state will not come');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#offered;
  }
}

function noMore(): Error {
  return new Error('the spool takes no more of it');
}
