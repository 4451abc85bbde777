/**
 * Searches memory and text for secrets, in pieces of eight bytes, so that a part of a copy is found too, and in every
 * spelling that a program leaves behind. One pass over the bytes looks for all of them.
 */

/** A piece of a secret in one spelling. */
interface Pattern {
  readonly secret: string;
  readonly spelling: string;
  readonly bytes: Buffer;
}

export interface Hit {
  /** The name of the secret. */
  readonly secret: string;
  /** How it was spelled, and which bytes of it. */
  readonly spelling: string;
}

const PIECE_BYTES = 8;
/** Every pattern is longer than this, and is looked up by this much of it. */
const PREFIX_BYTES = 4;
const FILTER_BITS = 20;
/** The longest stretch of memory that one pattern covers: 31 characters of two bytes, or eight numbers of eight. */
export const LONGEST_BYTES = 128;

function spell(secret: string, whole: Uint8Array): Pattern[] {
  const buffer = Buffer.from(whole);
  const patterns: Pattern[] = [];
  for (let at = 0; at < buffer.length; at += PIECE_BYTES) {
    const piece = buffer.subarray(at, at + PIECE_BYTES);
    const add = (spelling: string, bytes: Buffer) =>
      patterns.push({ secret, spelling: `${spelling} ${at}–${at + PIECE_BYTES}`, bytes });
    add('bytes', piece);
    add('hex', Buffer.from(piece.toString('hex')));
    add('upper-case hex', Buffer.from(piece.toString('hex').toUpperCase()));
    add('decimals', Buffer.from([...piece].join(',')));
  }
  // Base64 of a part depends on where the part stands modulo three.
  for (const skip of [0, 1, 2]) {
    const text = buffer.subarray(skip, skip + 24).toString('base64');
    for (const at of [0, 16]) {
      patterns.push({ secret, spelling: `base64 + ${skip}`, bytes: Buffer.from(text.slice(at, at + 16)) });
    }
  }
  return patterns;
}

/** A place in the filter for four bytes read as one number. */
function filterPlace(prefix: number): number {
  return Math.imul(prefix, 0x9e3779b1) >>> (32 - FILTER_BITS);
}

/**
 * Memory read in other ways than byte by byte: text of two bytes per character, V8's small integers (the upper half of
 * eight bytes) and doubles, each as words and as bytes. What an array of numbers spells out stands in these as plain bytes.
 */
function readings(memory: Buffer): [string, Uint8Array][] {
  const count = Math.floor(memory.length / 8);
  const aligned = memory.buffer.slice(memory.byteOffset, memory.byteOffset + count * 8);
  const [halves, doubles] = [new Int32Array(aligned), new Float64Array(aligned)];
  const everySecond = new Uint8Array(count * 4);
  for (let i = 0; i < everySecond.length; i++) everySecond[i] = memory[2 * i]!;
  const integers = new Int32Array(count);
  const integerBytes = new Uint8Array(count);
  const rounded = new Int32Array(count);
  const roundedBytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    integers[i] = halves[2 * i + 1]!;
    integerBytes[i] = integers[i]!;
    rounded[i] = doubles[i]!;
    roundedBytes[i] = rounded[i]!;
  }
  return [
    ['', memory],
    ['two-byte ', everySecond],
    ['integers ', new Uint8Array(integers.buffer)],
    ['small integers ', integerBytes],
    ['doubles ', new Uint8Array(rounded.buffer)],
    ['small doubles ', roundedBytes],
  ];
}

export class SecretSearch {
  readonly #byPrefix = new Map<number, Pattern[]>();
  readonly #filter = new Uint8Array(1 << FILTER_BITS);

  constructor(secrets: ReadonlyMap<string, Uint8Array>) {
    for (const [name, secret] of secrets) {
      for (const pattern of spell(name, secret)) {
        const prefix = pattern.bytes.readInt32LE(0);
        this.#filter[filterPlace(prefix)] = 1;
        this.#byPrefix.set(prefix, [...(this.#byPrefix.get(prefix) ?? []), pattern]);
      }
    }
  }

  /** What is found in text, or in memory that begins at a multiple of eight. */
  in(memory: Buffer): Hit[] {
    return readings(memory).flatMap(([reading, bytes]) =>
      this.#scan(bytes).map(({ secret, spelling }) => ({ secret, spelling: reading + spelling })),
    );
  }

  #scan(bytes: Uint8Array): Pattern[] {
    const found: Pattern[] = [];
    const filter = this.#filter;
    let prefix = 0;
    for (let end = 0; end < bytes.length; end++) {
      prefix = (prefix >>> 8) | (bytes[end]! << 24);
      if (filter[filterPlace(prefix)] === 1) found.push(...this.#at(bytes, end + 1 - PREFIX_BYTES, prefix));
    }
    return found;
  }

  #at(bytes: Uint8Array, at: number, prefix: number): Pattern[] {
    const candidates = at < 0 ? [] : (this.#byPrefix.get(prefix) ?? []);
    return candidates.filter((pattern) => pattern.bytes.equals(bytes.subarray(at, at + pattern.bytes.length)));
  }
}
