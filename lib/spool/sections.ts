import { MigrationError } from '../errors.js';
import type { Blake3Hasher } from '../wire/codec.js';
import { damaged } from './spool-error.js';
import type { SpoolFile } from './storage.js';

/*
 * What every file of the spool begins with, and is made of (all integers LE):
 *
 *   magic 8 | version u16 | kind u16 | zeros 4
 *   then sections:  tag u32 | zeros u32 | length u64 | that many bytes | BLAKE3-256 32
 *
 * A section's digest is taken over the digest before it (for the first one: over that of the file's first 16 bytes), its header
 * and its bytes: so a section that is whole says that all before it is, in this order.
 */
const MAGIC = Uint8Array.of(0x89, 0x44, 0x4d, 0x53, 0x50, 0x0d, 0x0a, 0x1a);
const VERSION = 1;
export const FILE_HEAD_SIZE = 16;
export const SECTION_HEAD_SIZE = 16;
export const DIGEST_SIZE = 32;
/** Hashed, read or written at once: the event loop gets its turn between. */
const SLICE = 256 * 1024;

export type CreateHasher = () => Blake3Hasher;

/** Writes sections to a new file, one behind the other. What it was given must not change until its promise resolves. */
export class SectionWriter {
  readonly #file: SpoolFile;
  readonly #hasher: CreateHasher;
  #digest: Uint8Array;
  #at = FILE_HEAD_SIZE;

  private constructor(file: SpoolFile, hasher: CreateHasher, head: Uint8Array) {
    this.#file = file;
    this.#hasher = hasher;
    this.#digest = digestOf(hasher, head);
  }

  /** @param kind u16: of what the file is */
  static async begin(file: SpoolFile, kind: number, hasher: CreateHasher): Promise<SectionWriter> {
    const head = fileHead(kind);
    await file.write(0, [head]);
    return new SectionWriter(file, hasher, head);
  }

  /** Bytes written. */
  get size(): number {
    return this.#at;
  }

  /**
   * Nothing is synced.
   *
   * @param length of all of `content`
   * @throws RangeError where the content has another length: the file is then good for nothing
   */
  async section(tag: number, length: number, content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    const head = sectionHead(tag, length);
    const hasher = this.#hasher();
    hasher.update(this.#digest);
    hasher.update(head);
    // Small sections are one write.
    let pending: Uint8Array[] = [head];
    let [at, size] = [this.#at, SECTION_HEAD_SIZE];
    const end = at + SECTION_HEAD_SIZE + length;
    for await (const part of content) {
      for (let from = 0; from < part.length; from += SLICE) {
        const slice = part.subarray(from, from + SLICE);
        hasher.update(slice);
        pending.push(slice);
        size += slice.length;
        if (at + size > end) throw wrongLength(tag, length);
        if (size < SLICE) continue;
        await this.#file.write(at, pending);
        at += size;
        [pending, size] = [[], 0];
      }
    }
    if (at + size !== end) throw wrongLength(tag, length);
    this.#digest = hasher.digest();
    await this.#file.write(at, [...pending, this.#digest]);
    this.#at = end + DIGEST_SIZE;
  }
}

/** One section, whose bytes are read by {@link SectionReader.content} or passed over by {@link SectionReader.check}. */
export interface SectionHead {
  readonly tag: number;
  /** Of its bytes. */
  readonly length: number;
  /** Where its bytes begin in the file. */
  readonly at: number;
}

/** Reads a file's sections in order, each checked. Damage throws `spool-damaged`, with the file and the place. */
export class SectionReader {
  readonly #file: SpoolFile;
  readonly #name: string;
  readonly #hasher: CreateHasher;
  readonly #size: number;
  #digest: Uint8Array;
  #at = FILE_HEAD_SIZE;

  private constructor(file: SpoolFile, name: string, hasher: CreateHasher, size: number, head: Uint8Array) {
    this.#file = file;
    this.#name = name;
    this.#hasher = hasher;
    this.#size = size;
    this.#digest = digestOf(hasher, head);
  }

  /**
   * @param name for errors
   * @throws MigrationError `spool-damaged` where the file is of another kind, or none of ours; `unsupported-version` where a
   * later version of this package wrote it
   */
  static async open(file: SpoolFile, name: string, kind: number, hasher: CreateHasher): Promise<SectionReader> {
    const head = new Uint8Array(FILE_HEAD_SIZE);
    const size = await file.size();
    if ((await file.read(0, head)) < FILE_HEAD_SIZE) throw damaged(name, size, 'it ends, within its first bytes');
    if (Buffer.compare(head.subarray(0, MAGIC.length), MAGIC) !== 0)
      throw damaged(name, 0, 'it does not begin as a file of a spool');
    const view = viewOf(head);
    const version = view.getUint16(8, true);
    if (version !== VERSION) throw unreadable(name, version);
    if (Buffer.compare(head, fileHead(kind)) !== 0)
      throw damaged(name, 10, `it says kind ${view.getUint16(10, true)} where ${kind} was expected`);
    return new SectionReader(file, name, hasher, size, head);
  }

  /** Where the next section begins: behind the last one that was read. */
  get at(): number {
    return this.#at;
  }

  /** The next section's head; undefined at the file's end. */
  async next(): Promise<SectionHead | undefined> {
    if (this.#at === this.#size) return undefined;
    const head = await this.#head();
    const view = viewOf(head);
    const length = view.getBigUint64(8, true);
    const left = BigInt(this.#size - this.#at - SECTION_HEAD_SIZE - DIGEST_SIZE);
    if (length > left) throw damaged(this.#name, this.#at, `a section of ${length} bytes begins, and ${left} are left`);
    return { tag: view.getUint32(0, true), length: Number(length), at: this.#at + SECTION_HEAD_SIZE };
  }

  /** The bytes of the section that `next` gave, into memory of their own. @throws MigrationError `spool-damaged` */
  async content({ length }: SectionHead): Promise<Uint8Array> {
    // Memory of its own, so that none of it is kept by what it was cut from.
    const content = new Uint8Array(new ArrayBuffer(length));
    await this.#read(length, (at, size) => content.subarray(at, at + size));
    return content;
  }

  /** Passes over the section that `next` gave, if it is whole. @throws MigrationError `spool-damaged` */
  async check({ length }: SectionHead): Promise<void> {
    const slice = new Uint8Array(Math.min(length, SLICE));
    await this.#read(length, (_, size) => slice.subarray(0, size));
  }

  async #read(length: number, target: (at: number, size: number) => Uint8Array): Promise<void> {
    const hasher = this.#hasher();
    hasher.update(this.#digest);
    hasher.update(await this.#head());
    const begin = this.#at + SECTION_HEAD_SIZE;
    for (let at = 0; at < length; at += SLICE) {
      const slice = target(at, Math.min(SLICE, length - at));
      await this.#fill(begin + at, slice);
      hasher.update(slice);
    }
    const digest = new Uint8Array(DIGEST_SIZE);
    await this.#fill(begin + length, digest);
    if (Buffer.compare(digest, hasher.digest()) !== 0)
      throw damaged(this.#name, this.#at, `a section of ${length} bytes begins that is not what was written`);
    this.#digest = digest;
    this.#at = begin + length + DIGEST_SIZE;
  }

  async #head(): Promise<Uint8Array> {
    const head = new Uint8Array(SECTION_HEAD_SIZE);
    if (this.#size - this.#at < SECTION_HEAD_SIZE + DIGEST_SIZE)
      throw damaged(this.#name, this.#at, `${this.#size - this.#at} bytes are left, too few for a section`);
    await this.#fill(this.#at, head);
    return head;
  }

  async #fill(at: number, target: Uint8Array): Promise<void> {
    if ((await this.#file.read(at, target)) < target.length)
      throw damaged(this.#name, at, `it ends before the ${target.length} bytes that were there`);
  }
}

function fileHead(kind: number): Uint8Array {
  const head = new Uint8Array(FILE_HEAD_SIZE);
  head.set(MAGIC);
  viewOf(head).setUint16(8, VERSION, true);
  viewOf(head).setUint16(10, kind, true);
  return head;
}

function sectionHead(tag: number, length: number): Uint8Array {
  const head = new Uint8Array(SECTION_HEAD_SIZE);
  viewOf(head).setUint32(0, tag, true);
  viewOf(head).setBigUint64(8, BigInt(length), true);
  return head;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function digestOf(hasher: CreateHasher, bytes: Uint8Array): Uint8Array {
  const digest = hasher();
  digest.update(bytes);
  return digest.digest();
}

function wrongLength(tag: number, length: number): RangeError {
  return new RangeError(`section ${tag} was to have ${length} bytes, and its content has another length`);
}

function unreadable(name: string, version: number): MigrationError {
  const message = `${name} is a file of version ${version} of the spool, and this package reads ${VERSION}; start the node with the package that wrote it`;
  return new MigrationError('unsupported-version', message, { details: { file: name, version } });
}
