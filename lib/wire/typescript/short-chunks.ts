const FIRST_ARENA_BYTES = 4096;

/**
 * The chunks of one snapshot that have no fixed place, packed one behind the other: bytes in one growing array, place and
 * length of each by its index. Pages of the two tables are committed only where they are written.
 */
export class ShortChunks {
  /** Chunks here. */
  count = 0;
  readonly #places: Float64Array;
  /** 0: not here. */
  readonly #lengths: Uint16Array;
  #arena = new Uint8Array(FIRST_ARENA_BYTES);
  #used = 0;
  /** Bytes of `#used` that belong to a chunk; the rest was replaced or deleted. */
  #live = 0;

  constructor(total: number) {
    this.#places = new Float64Array(total);
    this.#lengths = new Uint16Array(total);
  }

  /** Bytes reserved for the chunks themselves. */
  get capacity(): number {
    return this.#arena.length;
  }

  lengthOf(index: number): number {
    return this.#lengths[index]!;
  }

  get(index: number): Uint8Array | undefined {
    const length = this.#lengths[index]!;
    if (length === 0) return undefined;
    const at = this.#places[index]!;
    return this.#arena.subarray(at, at + length);
  }

  put(index: number, chunk: Uint8Array): void {
    const before = this.#lengths[index]!;
    if (chunk.length <= before) {
      this.#live -= before - chunk.length;
    } else {
      if (this.#used + chunk.length > this.#arena.length) this.#makeRoom(chunk.length);
      this.delete(index);
      this.#places[index] = this.#used;
      this.#used += chunk.length;
      this.#live += chunk.length;
      this.count++;
    }
    this.#arena.set(chunk, this.#places[index]!);
    this.#lengths[index] = chunk.length;
  }

  delete(index: number): void {
    const length = this.#lengths[index]!;
    if (length === 0) return;
    this.#live -= length;
    this.#lengths[index] = 0;
    this.count--;
  }

  /** Grows the arena to twice what lives in it, and leaves the dead behind. */
  #makeRoom(incoming: number): void {
    // room in proportion to the table too, so that walking it stays cheap beside the bytes that came since the last walk
    const arena = new Uint8Array(Math.max(FIRST_ARENA_BYTES, this.#lengths.length >>> 1, 2 * (this.#live + incoming)));
    let used = 0;
    for (let index = 0; index < this.#lengths.length; index++) {
      const length = this.#lengths[index]!;
      if (length === 0) continue;
      const at = this.#places[index]!;
      arena.set(this.#arena.subarray(at, at + length), used);
      this.#places[index] = used;
      used += length;
    }
    this.#arena = arena;
    this.#used = used;
  }
}
