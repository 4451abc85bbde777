import { MigrationError } from '../../lib/errors.js';
import type { SpoolFile, SpoolStorage } from '../../lib/spool/storage.js';

/** What a crash does to what was written and not synced. */
export type Fate = 'lost' | 'kept' | 'torn';

interface Content {
  bytes: Uint8Array;
  length: number;
}

/** An operation that changes the disk, or `read`: any that does not. */
export interface DiskOperation {
  readonly kind: 'create' | 'write' | 'sync' | 'rename' | 'replace' | 'remove' | 'read';
  readonly name: string;
}

/**
 * A disk that outlives the nodes that use it: what was synced survives a crash, and of the rest what its fate is. Operations can
 * be made to fail.
 */
export class MemoryDisk {
  /** What a node sees. */
  #files = new Map<string, Content>();
  /** What survives a crash. */
  #synced = new Map<string, Uint8Array>();
  #owner: object | undefined;
  /** Every operation that changed the disk, or was to. */
  readonly operations: DiskOperation[] = [];
  /** Asked before each that changes something; what it gives is thrown, as a system's error with that code. */
  fault: (operation: DiskOperation, index: number) => string | undefined = () => undefined;
  /** Awaited before each operation. */
  delay: (operation: DiskOperation) => Promise<void> = () => Promise.resolve();

  /** For one life of a node. */
  storage(): SpoolStorage {
    const life = {};
    const run = async <T>(work: () => T | Promise<T>): Promise<T> => {
      await Promise.resolve();
      return this.#owner === life ? work() : never();
    };
    const look = async <T>(name: string, work: () => T): Promise<T> => {
      if (this.#owner !== life) return never();
      await this.delay({ kind: 'read', name });
      return run(work);
    };
    const change = async <T>(operation: DiskOperation, work: () => T): Promise<T> => {
      if (this.#owner !== life) return never();
      await this.delay(operation);
      return run(() => {
        this.operations.push(operation);
        const code = this.fault(operation, this.operations.length - 1);
        if (code !== undefined) throw systemError(code, operation);
        // Whoever was asked may have let the node die.
        return this.#owner === life ? work() : never<T>();
      });
    };
    const file = (name: string, content: Content): SpoolFile => ({
      size: () => look(name, () => content.length),
      read: (at, target) =>
        look(name, () => {
          const from = content.bytes.subarray(
            Math.min(at, content.length),
            Math.min(at + target.length, content.length),
          );
          target.set(from);
          return from.length;
        }),
      write: (at, parts) => change({ kind: 'write', name }, () => write(content, at, parts)),
      sync: () => change({ kind: 'sync', name }, () => this.#sync(content)),
      close: () => Promise.resolve(),
    });
    const found = (name: string): Content => {
      const content = this.#files.get(name);
      if (!content) throw systemError('ENOENT', { kind: 'write', name });
      return content;
    };
    return {
      label: 'memory',
      take: async () => {
        if (this.#owner) throw new MigrationError('spool-in-use', 'the spool memory is in use');
        this.#owner = life;
      },
      letGo: async () => {
        if (this.#owner === life) this.#owner = undefined;
      },
      names: () => look('', () => [...this.#files.keys()]),
      create: (name) =>
        change({ kind: 'create', name }, () => {
          const content = { bytes: new Uint8Array(1024), length: 0 };
          this.#files.set(name, content);
          return file(name, content);
        }),
      open: (name) => look(name, () => file(name, found(name))),
      replace: (name, parts) =>
        change({ kind: 'replace', name }, () => {
          const content = { bytes: new Uint8Array(1024), length: 0 };
          write(content, 0, parts);
          this.#files.set(name, content);
          this.#sync(content);
        }),
      rename: (from, to) =>
        change({ kind: 'rename', name: from }, () => {
          const content = found(from);
          this.#files.delete(from);
          this.#files.set(to, content);
          const synced = this.#synced.get(from);
          this.#synced.delete(from);
          if (synced) this.#synced.set(to, synced);
          else this.#synced.set(to, new Uint8Array(0));
        }),
      remove: (name) => change({ kind: 'remove', name }, () => void this.#files.delete(name)),
    };
  }

  /** The node that uses the disk dies: of what it does from here on nothing happens. */
  crash(fate: Fate = 'lost', random: () => number = Math.random): void {
    this.#owner = undefined;
    if (fate === 'kept') return;
    const files = new Map<string, Content>();
    for (const [name, bytes] of this.#synced) files.set(name, { bytes: bytes.slice(), length: bytes.length });
    if (fate === 'torn') {
      for (const [name, { bytes, length }] of this.#files) {
        const synced = this.#synced.get(name)?.length ?? 0;
        // Some of what came after the last sync, and perhaps something else at its end.
        const kept = synced + Math.floor(random() * (Math.max(length, synced) - synced + 1));
        const torn = bytes.slice(0, kept);
        if (kept > synced && random() < 0.5) torn[kept - 1]! ^= 0xff;
        files.set(name, { bytes: torn, length: kept });
      }
    }
    this.#files = files;
    // What a node finds when it is started again stays so.
    this.#synced = new Map([...files].map(([name, { bytes, length }]) => [name, bytes.slice(0, length)]));
  }

  /** All files, as they are. */
  contents(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#files].map(([name, { bytes, length }]) => [name, bytes.subarray(0, length)]));
  }

  /** Changes a file from outside, durably. */
  edit(name: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const { bytes, length } = this.#files.get(name)!;
    const changed = change(bytes.slice(0, length));
    this.#files.set(name, { bytes: changed, length: changed.length });
    this.#synced.set(name, changed.slice());
  }

  #sync(content: Content): void {
    for (const [name, here] of this.#files)
      if (here === content) this.#synced.set(name, content.bytes.slice(0, content.length));
  }
}

function write(content: Content, at: number, parts: readonly Uint8Array[]): void {
  const end = parts.reduce((sum, part) => sum + part.length, at);
  if (end > content.bytes.length) {
    const larger = new Uint8Array(2 * end);
    larger.set(content.bytes);
    content.bytes = larger;
  }
  content.length = Math.max(content.length, end);
  for (const part of parts) {
    content.bytes.set(part, at);
    at += part.length;
  }
}

function systemError(code: string, { kind, name }: DiskOperation): Error {
  return Object.assign(new Error(`${code}: ${kind} of ${name} was refused`), { code });
}

/** Who is dead hears nothing. */
function never<T>(): Promise<T> {
  return new Promise(() => {});
}
