import { isPromise, type MaybePromise } from '../maybe-promise.js';
import { describe } from '../wire/arguments.js';
import type { StateChunks } from './daemon.js';

/** No piece is asked for while so many bytes are read ahead. */
const READ_AHEAD_BYTES = 1024 * 1024;
/** Smaller pieces are copied together, so that many of them take no more than their bytes. */
const SMALL_BYTES = 16 * 1024;
const BLOCK_BYTES = 64 * 1024;
/** Work before the event loop gets its turn: a piece asked for is one, and so are so many of its bytes. */
const WORK_PER_TURN = 4_096;
const BYTES_PER_WORK = 2_048;
/** Empty pieces in a row that count as a stream that never ends. */
const MAX_EMPTY = 10_000;

export interface StateReaderOptions {
  /** Of the whole state. */
  readonly byteLength: number;
  readonly open: () => StateChunks;
  /** Takes each piece before anybody else does. */
  readonly keep?: ((chunk: Uint8Array) => MaybePromise<void>) | undefined;
  /** What is to be thrown when something is wrong with the stream. */
  readonly fail: (why: string, cause?: unknown) => Error;
}

type Step = IteratorResult<Uint8Array, unknown>;

export interface StateSource {
  next(): MaybePromise<Step>;
  return?(): unknown;
}

/** One reading of a streamed state, a bounded way ahead of whoever takes its bytes. */
export class StateReader {
  readonly #options: StateReaderOptions;
  #source: StateSource | undefined;
  /** What has been read and not been taken, oldest first. */
  #queue: Uint8Array[] = [];
  #available = 0;
  /** The last of the queue is part of this block of ours, which is filled so far. */
  #block: Uint8Array | undefined;
  #filled = 0;
  #read = 0;
  #empties = 0;
  #work = 0;
  #isWaiting = false;
  #isOver = false;
  #isClosed = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(options: StateReaderOptions) {
    this.#options = options;
  }

  /** The stream has said that it is over, at its full length. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Reads on where there is room. @returns bytes that can be taken now @throws what is wrong with the stream */
  available(): number {
    this.#readOn();
    if (this.#failure) throw this.#failure;
    return this.#available;
  }

  /** Takes `length` bytes, which must be here, to `at` of an array. */
  take(target: Uint8Array, at: number, length: number): void {
    for (let done = 0; done < length; ) {
      const piece = this.#first(length - done);
      target.set(piece, at + done);
      done += piece.length;
    }
  }

  /** Passes over at most that many bytes. @returns how many were here */
  skip(length: number): number {
    const count = Math.min(length, this.#available);
    for (let done = 0; done < count; ) done += this.#first(count - done).length;
    return count;
  }

  /**
   * Calls `wake` once, when there is more than there was, or nothing more will come; at once where that is so already, and where
   * nothing was waited for but others' turn.
   */
  onReady(wake: () => void): void {
    const isRested = this.#work >= WORK_PER_TURN;
    this.#work = 0;
    if (isRested || this.#failure || this.#isOver || this.#isClosed) wake();
    else this.#wake = wake;
  }

  /** Nothing more is read; an iterator that has not ended is closed, and not waited for. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue = [];
    this.#available = 0;
    this.#block = undefined;
    this.#closeSource();
    this.#awake();
  }

  #closeSource(): void {
    const source = this.#source;
    this.#source = undefined;
    closeSource(() => source);
  }

  #readOn(): void {
    while (!this.#isWaiting && !this.#isClosed && !this.#isOver && !this.#failure) {
      if (this.#available >= READ_AHEAD_BYTES || this.#work >= WORK_PER_TURN) return;
      this.#work++;
      try {
        const source = this.#source ?? sourceOf(this.#options.open());
        this.#source = source;
        const step = source.next();
        // The daemon may have ended its own migration in there.
        if (this.#isClosed) closeSource(() => source);
        else if (isPromise(step)) this.#await(step, (later) => this.#came(later));
        else this.#came(step);
      } catch (cause) {
        this.#thrown(cause);
      }
    }
  }

  /** Goes on when something has come; whoever waits is told, also to read on in a turn of its own. */
  #await<T>(value: Promise<T>, then: (value: T) => void): void {
    this.#isWaiting = true;
    const resume = (run: () => void) => {
      this.#isWaiting = false;
      if (this.#isClosed) return;
      const before = this.#available;
      try {
        run();
      } catch (cause) {
        this.#thrown(cause);
      }
      this.#readOn();
      if (this.#available > before || this.#isOver || this.#failure || this.#work >= WORK_PER_TURN) this.#awake();
    };
    value.then(
      (result) => resume(() => then(result)),
      (cause) => resume(() => this.#thrown(cause)),
    );
  }

  /** An iterator that has thrown has ended: there is nothing to close. */
  #thrown(cause: unknown): void {
    if (this.#failure) return;
    this.#source = undefined;
    this.#failure = this.#options.fail('threw', cause);
  }

  #fail(why: string): void {
    this.#failure = this.#options.fail(why);
    this.#closeSource();
  }

  #came(step: Step): void {
    if (step.done) {
      // It has ended by itself: nothing to close.
      this.#source = undefined;
      const { byteLength, fail } = this.#options;
      if (this.#read === byteLength) this.#isOver = true;
      else this.#failure = fail(`ended after ${this.#read} bytes, and its byteLength says ${byteLength}`);
      return;
    }
    const chunk: unknown = step.value;
    const wrong = this.#wrong(chunk);
    if (wrong) this.#fail(wrong);
    else this.#pass(chunk as Uint8Array);
  }

  #wrong(chunk: unknown): string | undefined {
    if (!(chunk instanceof Uint8Array)) return `gave ${describe(chunk)} instead of a Uint8Array`;
    const { byteLength } = this.#options;
    if (this.#read + chunk.length > byteLength)
      return `gave more than the ${byteLength} bytes that its byteLength says`;
    this.#empties = chunk.length === 0 ? this.#empties + 1 : 0;
    return this.#empties > MAX_EMPTY ? `gave more than ${MAX_EMPTY} empty pieces in a row` : undefined;
  }

  #pass(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#read += chunk.length;
    this.#work += chunk.length / BYTES_PER_WORK;
    const kept = this.#keep(chunk, this.#options.keep);
    if (isPromise(kept)) this.#await(kept, () => this.#enqueue(chunk));
    else this.#enqueue(chunk);
  }

  #keep(chunk: Uint8Array, keep: StateReaderOptions['keep']): MaybePromise<void> {
    const failed = (cause: unknown) => {
      this.#failure = this.#options.fail('could not be kept', cause);
      this.#closeSource();
    };
    try {
      const kept = keep?.(chunk);
      return isPromise(kept) ? kept.catch(failed) : kept;
    } catch (cause) {
      failed(cause);
    }
  }

  #enqueue(chunk: Uint8Array): void {
    if (this.#failure) return;
    this.#available += chunk.length;
    if (chunk.length >= SMALL_BYTES) {
      this.#block = undefined;
      this.#queue.push(chunk);
      return;
    }
    if (!this.#block || this.#block.length - this.#filled < chunk.length) {
      this.#block = new Uint8Array(BLOCK_BYTES);
      this.#filled = 0;
    }
    this.#block.set(chunk, this.#filled);
    const last = this.#queue.at(-1);
    const isNext = last?.buffer === this.#block.buffer && last.byteOffset + last.length === this.#filled;
    const from = isNext ? last.byteOffset : this.#filled;
    this.#filled += chunk.length;
    const piece = this.#block.subarray(from, this.#filled);
    if (isNext) this.#queue[this.#queue.length - 1] = piece;
    else this.#queue.push(piece);
  }

  /** The oldest bytes, at most that many; they leave the queue. */
  #first(length: number): Uint8Array {
    const first = this.#queue[0]!;
    const piece = first.subarray(0, length);
    if (piece.length === first.length) this.#queue.shift();
    else this.#queue[0] = first.subarray(piece.length);
    this.#available -= piece.length;
    return piece;
  }

  #awake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** An iterator over pieces; an async one where there is one. */
export function sourceOf(chunks: StateChunks): StateSource {
  const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = chunks as AsyncIterable<Uint8Array> &
    Iterable<Uint8Array>;
  const open = later ?? now;
  if (typeof open !== 'function')
    throw new TypeError('chunks must be an iterable, an async iterable, or a function that gives one');
  return open.call(chunks) as StateSource;
}

/** Tells an iterator that nobody reads on. What goes wrong in that, and how long it takes, is nobody's any more. */
export function closeSource(source: () => StateSource | undefined): void {
  try {
    const closed = source()?.return?.();
    if (isPromise(closed)) closed.then(undefined, () => {});
  } catch {}
}
