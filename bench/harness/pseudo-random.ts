/** Numbers that look random and are the same in every run (xorshift32). */
export class PseudoRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** 0 to `limit` − 1. */
  below(limit: number): number {
    return this.u32() % limit;
  }

  /** A block of such bytes, repeated: as hard to guess, and quick to make. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const words = new Uint32Array(Math.min(16_384, Math.ceil(length / 4)));
    for (let i = 0; i < words.length; i++) words[i] = this.u32();
    const block = new Uint8Array(words.buffer);
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += block.length)
      bytes.set(block.subarray(0, Math.min(block.length, length - at)), at);
    return bytes;
  }
}
