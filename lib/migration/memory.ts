/** What is remembered of migrations that are over: the newest per daemon, of a bounded number of daemons. */
export class BoundedMemory<T> {
  readonly #entries = new Map<bigint, T>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(origin: bigint): T | undefined {
    return this.#entries.get(origin);
  }

  set(origin: bigint, entry: T): void {
    this.#entries.delete(origin);
    this.#entries.set(origin, entry);
    if (this.#entries.size > this.#limit) this.#entries.delete(this.#entries.keys().next().value!);
  }

  delete(origin: bigint): void {
    this.#entries.delete(origin);
  }
}
