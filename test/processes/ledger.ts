import type { CausalEvent, MeshDaemon, StreamedState } from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import type { DaemonShape } from './messages.js';

const HEADER_BYTES = 8;
const [ASYNC, STREAMED] = [1, 2];
const PIECE_BYTES = 20_000;

/** Keeps the entry that each event bears, in order, and puts it out again. */
export class Ledger implements MeshDaemon {
  readonly name = 'ledger';
  entries: bigint[] = [];
  #shape: DaemonShape;
  /** Called in each of its calls. */
  readonly #step: () => void;

  constructor(shape: DaemonShape, step: () => void) {
    this.#shape = shape;
    this.#step = step;
  }

  process({ payload }: CausalEvent): MaybePromise<Uint8Array[]> {
    return this.#later(() => {
      this.entries.push(new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true));
      return [payload.slice()];
    });
  }

  snapshot(): MaybePromise<Uint8Array | StreamedState> {
    return this.#later(() => {
      const state = this.#encode();
      if (!this.#shape.isStreamed) return state;
      return { byteLength: state.length, chunks: () => this.#pieces(state) };
    });
  }

  async *#pieces(state: Uint8Array): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < state.length; at += PIECE_BYTES) {
      this.#step();
      await new Promise((resolve) => setImmediate(resolve));
      yield state.subarray(at, at + PIECE_BYTES);
    }
  }

  /** `entries u32 | flags u32 | entry u64 … | padding, each byte by its place` */
  #encode(): Uint8Array {
    const { padding, isAsync, isStreamed } = this.#shape;
    const state = new Uint8Array(HEADER_BYTES + 8 * this.entries.length + padding);
    const view = new DataView(state.buffer);
    view.setUint32(0, this.entries.length, true);
    view.setUint32(4, (isAsync ? ASYNC : 0) | (isStreamed ? STREAMED : 0), true);
    this.entries.forEach((entry, i) => {
      view.setBigUint64(HEADER_BYTES + 8 * i, entry, true);
    });
    const from = state.length - padding;
    for (let i = from; i < state.length; i++) state[i] = i - from + this.entries.length;
    return state;
  }

  restore(state: Uint8Array): MaybePromise<void> {
    return this.#later(() => {
      const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
      const count = view.getUint32(0, true);
      const flags = view.getUint32(4, true);
      this.entries = Array.from({ length: count }, (_, i) => view.getBigUint64(HEADER_BYTES + 8 * i, true));
      const from = HEADER_BYTES + 8 * count;
      const padding = state.length - from;
      this.#shape = { padding, isAsync: (flags & ASYNC) !== 0, isStreamed: (flags & STREAMED) !== 0 };
      for (let i = from; i < state.length; i++)
        if (state[i] !== ((i - from + count) & 255)) throw new Error(`byte ${i} of the ledger is not what it was`);
    });
  }

  #later<T>(run: () => T): MaybePromise<T> {
    this.#step();
    if (!this.#shape.isAsync) return run();
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      this.#step();
      return run();
    });
  }
}
