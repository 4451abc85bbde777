import type { KeepState, StateKeep } from '../daemon/state-keep.js';
import type { StateReader } from '../daemon/state-reader.js';
import type { StateStream } from '../daemon/state-stream.js';
import { lengthOf } from '../parts.js';

/** The bytes of a snapshot: all in memory, or with a state that the daemon streams. */
export interface SnapshotBytes {
  readonly byteLength: number;
  /** Reads from the first byte on. One is read to its end before the next begins. */
  read(): SnapshotReader;
  /** Nothing is read any more; readings that are under way are closed. Idempotent. */
  close(): void;
}

/** One reading of a snapshot, forwards. */
export interface SnapshotReader {
  /**
   * Writes the bytes `from` to `from + length` at `at`. Each `from` is at or behind the end of the one before; what is between
   * is passed over.
   *
   * @returns false where they are not all here yet: nothing has been written
   * @throws MigrationError `state-failed` where they never will be
   */
  write(target: Uint8Array, at: number, from: number, length: number): boolean;
  /** Calls `wake` once, when `write` may do what it could not. Undefined where all is here always. */
  readonly onReady?: ((wake: () => void) => void) | undefined;
  /** Nothing more is read. Undefined where that changes nothing. */
  readonly end?: () => void;
}

/** A snapshot in memory, in pieces that stand one after another and do not change. */
export class SnapshotParts implements SnapshotBytes {
  #parts: readonly Uint8Array[];

  constructor(parts: readonly Uint8Array[]) {
    this.#parts = parts;
  }

  get byteLength(): number {
    return lengthOf(this.#parts);
  }

  get parts(): readonly Uint8Array[] {
    return this.#parts;
  }

  read(): SnapshotReader {
    return new PartsReader(this.#parts);
  }

  /** Lets go of the bytes. */
  close(): void {
    this.#parts = [];
  }
}

class PartsReader implements SnapshotReader {
  readonly #parts: readonly Uint8Array[];
  /** Where each part begins. */
  readonly #starts: readonly number[];

  constructor(parts: readonly Uint8Array[]) {
    this.#parts = parts;
    this.#starts = startsOf(parts);
  }

  write(target: Uint8Array, at: number, from: number, length: number): true {
    let part = lastAtOrBefore(this.#starts, from);
    for (let done = 0; done < length; part++) {
      const offset = from + done - this.#starts[part]!;
      const slice = this.#parts[part]!.subarray(offset, offset + length - done);
      target.set(slice, at + done);
      done += slice.length;
    }
    return true;
  }
}

export interface StreamedSnapshotFields {
  readonly origin: bigint;
  /** What stands before and behind the daemon's own bytes. */
  readonly before: readonly Uint8Array[];
  readonly state: StateStream;
  readonly behind: readonly Uint8Array[];
  /** Opens a store for a state that can be read only once. */
  readonly keepState: KeepState;
}

/** A snapshot whose state is read while it leaves: once, and again for what was lost. */
export class StreamedSnapshot implements SnapshotBytes {
  readonly byteLength: number;
  readonly #fields: StreamedSnapshotFields;
  readonly #before: SnapshotParts;
  readonly #behind: SnapshotParts;
  #keepState: KeepState;
  #isKeptAlways = false;
  #keep: StateKeep | undefined;
  #reader: StreamedReader | undefined;
  #isClosed = false;

  constructor(fields: StreamedSnapshotFields) {
    this.#fields = fields;
    this.#keepState = fields.keepState;
    this.#before = new SnapshotParts(fields.before);
    this.#behind = new SnapshotParts(fields.behind);
    this.byteLength = this.#before.byteLength + fields.state.byteLength + this.#behind.byteLength;
  }

  /** What it is made of; the state alone is streamed. */
  get fields(): StreamedSnapshotFields {
    return this.#fields;
  }

  /** The state is kept there as it leaves, also where it could be read again. To be called before the first byte is read. */
  keepIn(keepState: KeepState): void {
    this.#keepState = keepState;
    this.#isKeptAlways = true;
  }

  read(): SnapshotReader {
    this.#reader?.end();
    this.#reader = new StreamedReader(this.#before, this.#fields.state.byteLength, this.#behind, this.#opener());
    return this.#reader;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#reader?.end();
    this.#fields.state.close();
    this.#keep?.dispose();
  }

  /** How the state is read: by the daemon's stream where that can be, else the first time by it and then by what was kept. */
  #opener(): (from: number) => OpenedState {
    const { state, origin } = this.#fields;
    if (state.canReopen && !this.#isKeptAlways) return () => ({ reader: state.read(), at: 0 });
    const kept = this.#keep;
    if (kept) return (from) => ({ reader: state.readKept(kept, from), at: from });
    return () => {
      const keep = this.#keepState(origin, state.byteLength);
      this.#keep = keep;
      return { reader: state.read(keep), at: 0 };
    };
  }
}

interface OpenedState {
  readonly reader: StateReader;
  /** Where in the state it begins. */
  readonly at: number;
}

class StreamedReader implements SnapshotReader {
  readonly #before: SnapshotReader;
  readonly #behind: SnapshotReader;
  readonly #stateFrom: number;
  readonly #behindFrom: number;
  readonly #open: (from: number) => OpenedState;
  #state: StateReader | undefined;
  /** The byte of the state that the stream is at. */
  #at = 0;
  #isEnded = false;

  constructor(before: SnapshotParts, stateLength: number, behind: SnapshotParts, open: (from: number) => OpenedState) {
    this.#before = before.read();
    this.#behind = behind.read();
    this.#stateFrom = before.byteLength;
    this.#behindFrom = this.#stateFrom + stateLength;
    this.#open = open;
  }

  write(target: Uint8Array, at: number, from: number, length: number): boolean {
    const [stateFrom, behindFrom] = [this.#stateFrom, this.#behindFrom];
    const end = from + length;
    const ofState = Math.max(0, Math.min(end, behindFrom) - Math.max(from, stateFrom));
    // What comes behind the state goes out only when the stream has said that this was all.
    if (end >= stateFrom && !this.#isHere(Math.max(0, from - stateFrom), ofState, end >= behindFrom)) return false;
    const ofBefore = Math.max(0, Math.min(end, stateFrom) - from);
    if (ofBefore > 0) this.#before.write(target, at, from, ofBefore);
    if (ofState > 0) {
      this.#state!.take(target, at + ofBefore, ofState);
      this.#at += ofState;
    }
    const ofBehind = length - ofBefore - ofState;
    if (ofBehind > 0) this.#behind.write(target, at + ofBefore + ofState, end - ofBehind - behindFrom, ofBehind);
    return true;
  }

  onReady = (wake: () => void): void => {
    // Nothing more will come, so nobody is to look again.
    if (this.#isEnded) return;
    if (this.#state) this.#state.onReady(wake);
    else wake();
  };

  end = (): void => {
    this.#isEnded = true;
    this.#state?.close();
  };

  /** Whether the state's bytes `from` to `from + length` can be taken; and, where asked, that it ends there. */
  #isHere(from: number, length: number, mustBeOver: boolean): boolean {
    if (this.#isEnded) return false;
    const first = Math.min(from, this.#behindFrom - this.#stateFrom);
    if (!this.#state) {
      const { reader, at } = this.#open(first);
      this.#state = reader;
      this.#at = at;
    }
    const state = this.#state;
    for (let available = state.available(); this.#at < first; available = state.available()) {
      if (available === 0) return false;
      this.#at += state.skip(first - this.#at);
    }
    return state.available() >= length && (!mustBeOver || state.isOver);
  }
}

function startsOf(parts: readonly Uint8Array[]): readonly number[] {
  let at = 0;
  return parts.map((part) => {
    const start = at;
    at += part.length;
    return start;
  });
}

/** The index of the last of some ascending numbers, of which the first is 0, that is not over a value. */
function lastAtOrBefore(starts: readonly number[], value: number): number {
  let low = 0;
  for (let high = starts.length - 1; low < high; ) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
