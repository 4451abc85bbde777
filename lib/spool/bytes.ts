/** Small records, field by field, all integers LE: as many as are known when they are written. */
export class ByteWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get parts(): readonly Uint8Array[] {
    return this.#parts;
  }

  bytes(value: Uint8Array): this {
    this.#parts.push(value);
    this.#length += value.length;
    return this;
  }

  u8(value: number): this {
    return this.bytes(Uint8Array.of(value));
  }

  u64(value: bigint): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return this.bytes(bytes);
  }

  /** Behind its length, u32. */
  sized(value: Uint8Array): this {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, value.length, true);
    return this.bytes(length).bytes(value);
  }

  text(value: string): this {
    return this.sized(new TextEncoder().encode(value));
  }
}

/** Reads what {@link ByteWriter} wrote; views of the bytes it was given. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** @throws RangeError where fewer are left */
  bytes(length: number): Uint8Array {
    if (this.#bytes.length - this.#at < length) throw new RangeError(`${length} bytes expected at byte ${this.#at}`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  u8(): number {
    return this.bytes(1)[0]!;
  }

  u64(): bigint {
    this.bytes(8);
    return this.#view.getBigUint64(this.#at - 8, true);
  }

  sized(): Uint8Array {
    this.bytes(4);
    return this.bytes(this.#view.getUint32(this.#at - 4, true));
  }

  text(): string {
    return new TextDecoder('utf-8', { fatal: true }).decode(this.sized());
  }

  rest(): Uint8Array {
    return this.bytes(this.#bytes.length - this.#at);
  }
}
