import type { SnapshotBytes, SnapshotReader } from '../migration/snapshot-bytes.js';

/** How far a snapshot may be ahead of the file that takes it. */
export const AHEAD_BYTES = 64 * 1024 * 1024;

/** What takes a snapshot on its way out. */
export interface Taker {
  /** Bytes that it has taken. */
  readonly taken: number;
  /** Calls `wake` once, when it has taken more. */
  onTaken(wake: () => void): void;
}

/**
 * A snapshot that leaves no faster than the spool takes it: a transfer that goes on shows that it does, and a daemon that
 * stands still never waits for a disk that is far behind.
 */
export class PacedSnapshot implements SnapshotBytes {
  readonly byteLength: number;
  readonly #bytes: SnapshotBytes;
  readonly #taker: Taker;

  constructor(bytes: SnapshotBytes, taker: Taker) {
    this.byteLength = bytes.byteLength;
    this.#bytes = bytes;
    this.#taker = taker;
  }

  read(): SnapshotReader {
    const reader = this.#bytes.read();
    const taker = this.#taker;
    let isTooFast = false;
    return {
      write(target, at, from, length) {
        isTooFast = from + length > taker.taken + AHEAD_BYTES;
        return !isTooFast && reader.write(target, at, from, length);
      },
      onReady(wake) {
        if (isTooFast) taker.onTaken(wake);
        else reader.onReady?.(wake);
      },
      end: () => reader.end?.(),
    };
  }

  close(): void {
    this.#bytes.close();
  }
}
