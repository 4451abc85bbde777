import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import {
  DaemonRuntime,
  type DaemonRuntimeOptions,
  type Mesh,
  type MeshDaemon,
  type MigrationError,
  type NodeKeys,
} from '../../lib/index.js';
import type { BatchListener } from '../../lib/mesh/mesh.js';
import { type Environment, systemEnvironment } from '../../lib/runtime/environment.js';
import { SpoolFolder } from '../../lib/spool/folder.js';
import type { SpoolStorage } from '../../lib/spool/storage.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';

/** A state of some bytes. */
export class Blob implements MeshDaemon {
  readonly name = 'blob';
  bytes: Uint8Array;

  constructor(length = 0) {
    this.bytes = Uint8Array.from({ length }, (_, i) => (i * 131) ^ ((i >> 8) * 17));
  }

  process(): void {}

  snapshot(): Uint8Array {
    return this.bytes;
  }

  restore(state: Uint8Array): void | Promise<void> {
    this.bytes = state.slice();
  }
}

/**
 * One life of a node: all that it does ends with `crash`, without a word to anybody, and what it had begun never ends. Its peers see
 * it as present all the time, as a broker's clients do.
 */
export class Life {
  readonly runtime: DaemonRuntime;
  readonly started: Promise<void>;
  readonly errors: MigrationError[] = [];
  readonly daemons: Blob[] = [];
  /** Indices of the chunks that arrived, in order. */
  readonly chunks: number[] = [];
  /** Whether a chunk arrives. */
  takes: (index: number) => boolean = () => true;
  /** Whether what has landed is synced when it is time. */
  syncs = true;
  /** What ends its timers. */
  readonly #timers: Array<() => void> = [];
  readonly #storage: SpoolStorage;
  #isOver = false;

  /** @param startMs how long it takes to read what is in its folder */
  constructor(
    seat: Mesh,
    nodeKeys: NodeKeys,
    folder: string,
    options: Partial<DaemonRuntimeOptions> = {},
    private readonly startMs = 0,
  ) {
    this.#storage = new SpoolFolder(folder);
    this.runtime = new DaemonRuntime({
      nodeKeys,
      environment: this.#environment(),
      onError: (error) => this.errors.push(error),
      spool: this.#mortal(this.#storage),
      ...options,
      mesh: this.#tapped(seat),
    });
    this.runtime.registerFactory('blob', () => {
      const blob = new Blob();
      this.daemons.push(blob);
      return blob;
    });
    this.started = this.runtime.start().catch((error) => void this.errors.push(error));
  }

  async crash(): Promise<void> {
    this.#isOver = true;
    for (const stop of this.#timers) stop();
    await this.#storage.letGo();
  }

  #environment(): Environment {
    const timed = (stop: () => void) => {
      this.#timers.push(stop);
      return stop;
    };
    return {
      ...systemEnvironment,
      every: (ms, run) =>
        timed(systemEnvironment.every(ms === 1_000 ? 20 : ms, ms === 1_000 ? this.#whenSyncing(run) : run)),
      after: (ms, run) => timed(systemEnvironment.after(ms, run)),
    };
  }

  #whenSyncing(run: () => void): () => void {
    return () => {
      if (this.syncs) run();
    };
  }

  #mortal(storage: SpoolStorage): SpoolStorage {
    return new Proxy(storage, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        const run = (...args: unknown[]) => (this.#isOver ? new Promise(() => {}) : value.apply(target, args));
        return name === 'names' ? () => setTimeout(this.startMs).then(run) : run;
      },
    });
  }

  #tapped(mesh: Mesh): Mesh {
    const listen: Mesh['listen'] = (subprotocol, listener) => {
      const heard: BatchListener = (from, batch) => {
        if (this.#isOver) return undefined;
        return listener(from, subprotocol === SUBPROTOCOL_MIGRATION ? this.#sifted(batch) : batch);
      };
      mesh.listen(subprotocol, heard);
    };
    return new Proxy(mesh, {
      get: (target, name) => {
        if (name === 'listen') return listen;
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => (this.#isOver ? undefined : value.apply(target, args));
      },
    });
  }

  /** The frames of a batch that arrive. */
  #sifted(batch: Uint8Array): Uint8Array {
    const bytes = Buffer.from(batch);
    const frames: Buffer[] = [];
    for (let at = 0, end = 0; at < bytes.length; at = end) {
      end = at + 4 + bytes.readUInt32LE(at);
      const message = bytes[at + 4]! < 0x80 ? typescriptCodec.decode(bytes.subarray(at + 4, end)) : undefined;
      if (message?.kind === 'SnapshotReady') {
        if (!this.takes(message.chunkIndex)) continue;
        this.chunks.push(message.chunkIndex);
      }
      frames.push(bytes.subarray(at, end));
    }
    return Uint8Array.from(Buffer.concat(frames));
  }
}

/** The names in a spool's folder, but for its lock. */
export async function filesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => !name.startsWith('lock-')).sort();
}

/** The only file of that kind in a folder. */
export async function fileIn(folder: string, extension: string): Promise<{ path: string; bytes: Buffer }> {
  const names = (await filesIn(folder)).filter((name) => name.endsWith(extension));
  if (names.length !== 1) throw new Error(`one ${extension} was expected, there is: ${names.join(', ')}`);
  const path = join(folder, names[0]!);
  return { path, bytes: await readFile(path) };
}
