/**
 * A value that changes, as an async iterable: each reader gets the newest whenever it asks, and the last one for certain. A
 * slow reader misses those in between; nothing is queued.
 */
export class Latest<T> implements AsyncIterable<T> {
  #value: T;
  #version = 0;
  #ended = false;
  #waiting: Array<() => void> = [];

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (this.#ended) return;
    this.#value = value;
    this.#version++;
    this.#wake();
  }

  /** No more changes: readers end behind the value that stands now. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (let seen = -1; ; ) {
      while (seen === this.#version && !this.#ended) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (seen === this.#version) return;
      seen = this.#version;
      yield this.#value;
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
