import { MigrationError, messageOf } from '../errors.js';
import type { MaybePromise } from '../maybe-promise.js';
import { COPIED_PER_TURN } from '../slices.js';
import type { StateChunks, StreamedState } from './daemon.js';
import type { StateKeep } from './state-keep.js';
import { closeSource, StateReader, sourceOf } from './state-reader.js';

/** A state that a daemon streams: read once, and again where that is possible. */
export class StateStream {
  readonly byteLength: number;
  /** It can be read again; else only what was kept of the first reading can be. */
  readonly canReopen: boolean;
  readonly #whose: string;
  readonly #chunks: StreamedState['chunks'];
  #wasOpened = false;

  /** @throws MigrationError `state-failed` where it is no stream */
  constructor(whose: string, state: StreamedState) {
    const { byteLength, chunks } = state;
    this.#whose = whose;
    this.byteLength = byteLength;
    this.#chunks = chunks;
    if (!Number.isSafeInteger(byteLength) || byteLength < 0)
      throw this.#failed(`has no byteLength of a whole number of bytes: ${String(byteLength)}`);
    const isIterable = typeof chunks === 'object' && chunks !== null;
    if (typeof chunks !== 'function' && !isIterable)
      throw this.#failed('has no chunks that are an iterable, an async iterable, or a function that gives one');
    this.canReopen = typeof chunks === 'function' || isReopened(chunks);
  }

  /** Reads it, or reads it again. @param keep takes each piece first */
  read(keep?: StateKeep): StateReader {
    return this.#reader(() => this.#open(), this.byteLength, keep);
  }

  /** Reads what was kept, from that byte on. */
  readKept(keep: StateKeep, from: number): StateReader {
    return this.#reader(() => keep.chunks(from), this.byteLength - from);
  }

  /**
   * All of it, in an array of its own. Others get their turn however large it is.
   *
   * @param opened gets the reading, to close it: then this throws
   */
  async collect(turn: (() => Promise<void>) | undefined, opened: (reader: StateReader) => void): Promise<Uint8Array> {
    const whole = this.orClose(() => this.#allocate());
    const reader = this.read();
    opened(reader);
    try {
      for (let at = 0; at < whole.length || !reader.isOver; ) {
        if (reader.isClosed) throw this.#failed('was closed before it had been read');
        const count = Math.min(reader.available(), COPIED_PER_TURN, whole.length - at);
        reader.take(whole, at, count);
        at += count;
        if (count === COPIED_PER_TURN) await turn?.();
        if (count === 0 && !reader.isOver) await new Promise<void>((resolve) => reader.onReady(resolve)).then(turn);
      }
      return whole;
    } finally {
      reader.close();
    }
  }

  /** Nobody will read it: what was never opened is closed too. */
  close(): void {
    const chunks = this.#chunks;
    if (this.#wasOpened || this.canReopen || typeof chunks === 'function') return;
    this.#wasOpened = true;
    closeSource(() => sourceOf(chunks));
  }

  /** Does what stands before reading it; where that throws, nobody will read it, and it is closed. */
  orClose<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #allocate(): Uint8Array {
    try {
      return new Uint8Array(this.byteLength);
    } catch (cause) {
      throw this.#failed('does not fit into one array', cause);
    }
  }

  #open(): StateChunks {
    this.#wasOpened = true;
    const chunks = this.#chunks;
    return typeof chunks === 'function' ? chunks() : chunks;
  }

  #reader(open: () => StateChunks, byteLength: number, keep?: StateKeep): StateReader {
    return new StateReader({
      byteLength,
      open,
      keep: keep && ((chunk): MaybePromise<void> => keep.append(chunk)),
      fail: (why, cause) => this.#failed(why, cause),
    });
  }

  #failed(why: string, cause?: unknown): MigrationError {
    const because = cause === undefined ? '' : `: ${messageOf(cause)}`;
    return new MigrationError('state-failed', `${this.#whose}: its streamed state ${why}${because}`, { cause });
  }
}

/** Whether an iterable makes a new iterator each time; of an async one nobody can say. */
function isReopened(chunks: StateChunks): boolean {
  if (Symbol.asyncIterator in chunks) return false;
  try {
    const source = sourceOf(chunks);
    if ((source as unknown) === chunks) return false;
    closeSource(() => source);
    return true;
  } catch {
    // Reading it will say why.
    return false;
  }
}
