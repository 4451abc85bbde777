const BLOCK_BYTES = 65_536;

/**
 * Bytes that come in at one end and are forgotten at the other, by their position since the beginning. They lie in blocks of
 * 64 KiB outside the JavaScript heap: growing copies nothing, forgetting frees whole blocks, and at most one block at either
 * end is partly used.
 */
export class ByteQueue {
  readonly #blocks: Uint8Array[] = [];
  /** The position of the first block's first byte. */
  #base = 0;
  #end = 0;

  /** The position that the next byte gets. */
  get end(): number {
    return this.#end;
  }

  /** Bytes of memory held. */
  get capacity(): number {
    return this.#blocks.length * BLOCK_BYTES;
  }

  /** Makes sure that `length` more bytes can be appended without an error. */
  reserve(length: number): void {
    const wanted = Math.ceil((this.#end + length - this.#base) / BLOCK_BYTES);
    while (this.#blocks.length < wanted) this.#blocks.push(new Uint8Array(BLOCK_BYTES));
  }

  /** Appends bytes that were reserved. */
  append(bytes: Uint8Array): void {
    let from = 0;
    while (from < bytes.length) {
      const at = this.#end - this.#base;
      const offset = at % BLOCK_BYTES;
      const length = Math.min(bytes.length - from, BLOCK_BYTES - offset);
      const part = length === bytes.length ? bytes : bytes.subarray(from, from + length);
      this.#blocks[Math.floor(at / BLOCK_BYTES)]!.set(part, offset);
      this.#end += length;
      from += length;
    }
  }

  /** Copies `length` bytes from `position` on into `target` at `targetAt`. */
  read(position: number, length: number, target: Uint8Array, targetAt: number): void {
    let done = 0;
    while (done < length) {
      const at = position - this.#base + done;
      const offset = at % BLOCK_BYTES;
      const part = Math.min(length - done, BLOCK_BYTES - offset);
      const block = this.#blocks[Math.floor(at / BLOCK_BYTES)]!;
      target.set(block.subarray(offset, offset + part), targetAt + done);
      done += part;
    }
  }

  /** Forgets what lies before `position`. */
  dropBefore(position: number): void {
    const blocks = Math.floor((position - this.#base) / BLOCK_BYTES);
    this.#blocks.splice(0, blocks);
    this.#base += blocks * BLOCK_BYTES;
  }

  clear(): void {
    this.#blocks.length = 0;
    this.#base = 0;
    this.#end = 0;
  }
}
