import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, realpath, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { platform } from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { MigrationError } from '../errors.js';

const NAME = /^lock-[0-9a-f]{12}$/;
/** What a socket's path may have: 108 bytes with the zero behind them on Linux, 104 elsewhere. */
const MAX_PATH_BYTES = platform === 'linux' ? 107 : 103;
/** Two that begin at the same moment see each other, and both step back. */
const ROUNDS = 4;
const STEP_BACK_MS = 60;

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

/** Whether a file in a spool's folder is a lock's, and none of the spool's. */
export function isLock(name: string): boolean {
  return NAME.test(name);
}

/**
 * Keeps a folder for one process, or thread: a socket in it, under a name of its own, at which somebody listens. The system
 * ends that with the process, however it dies; so what a crash leaves behind answers nobody, is no lock, and is removed.
 * A process number would say less: it is given out again, and means another process in another container.
 */
export class FolderLock {
  readonly #server: Server;
  /** Of the socket; undefined where there is none in the folder. */
  readonly #path: string | undefined;

  private constructor(server: Server, path: string | undefined) {
    this.#server = server;
    this.#path = path;
  }

  /** @throws MigrationError `spool-in-use`, `spool-unusable`; the system's errors */
  static async take(folder: string): Promise<FolderLock> {
    for (let round = 1; ; round++) {
      const lock = platform === 'win32' ? await FolderLock.#pipe(folder) : await FolderLock.#socket(folder);
      if (lock) return lock;
      if (round === ROUNDS) throw inUse(folder);
      await pause(STEP_BACK_MS * (1 + Math.random()));
    }
  }

  /** Idempotent. */
  async release(): Promise<void> {
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
    if (this.#path !== undefined) await removeIfThere(this.#path);
  }

  /** There a pipe's name is the lock: the system gives it to one process alone. */
  static async #pipe(folder: string): Promise<FolderLock | undefined> {
    const id = createHash('sha256')
      .update((await realpath(folder)).toLowerCase())
      .digest('hex');
    try {
      return new FolderLock(await listenAt(`\\\\.\\pipe\\daemon-migration-${id}`), undefined);
    } catch (error) {
      if (codeOf(error) === 'EADDRINUSE') return undefined;
      throw error;
    }
  }

  /** Listens first and looks round then: of two, the later one sees the other. */
  static async #socket(folder: string): Promise<FolderLock | undefined> {
    const name = `lock-${randomBytes(6).toString('hex')}`;
    const handle = await open(folder, 'r');
    try {
      const lock = new FolderLock(await listenAt(reachable(folder, handle, name)), join(folder, name));
      const alone = await isAlone(folder, handle, name).catch(async (error: unknown) => {
        await lock.release();
        throw error;
      });
      if (alone) return lock;
      await lock.release();
      return undefined;
    } finally {
      await handle.close();
    }
  }
}

/** Whether nobody listens at another socket in the folder; those at which nobody does are removed. */
async function isAlone(folder: string, handle: FileHandle, own: string): Promise<boolean> {
  for (const name of await readdir(folder)) {
    if (name === own || !isLock(name)) continue;
    if (await answers(reachable(folder, handle, name))) return false;
    // Its name is never given out again, so it is nobody else's by now.
    await removeIfThere(join(folder, name));
  }
  return true;
}

/** A path to a name in the folder that is short enough for a socket. */
function reachable(folder: string, { fd }: FileHandle, name: string): string {
  const path = join(folder, name);
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return path;
  if (platform === 'linux') return `/proc/self/fd/${fd}/${name}`;
  throw new MigrationError(
    'spool-unusable',
    `the spool ${folder} cannot be locked: its path is too long for a socket in it (${MAX_PATH_BYTES} bytes); use a shorter one`,
    { details: { folder } },
  );
}

function listenAt(path: string): Promise<Server> {
  const server = createServer((visitor) => visitor.destroy());
  // A lock keeps no process from ending.
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Of a cluster's process its own, not its parent's.
    server.listen({ path, exclusive: true }, () => resolve(server));
  });
}

/** Whether somebody listens; where that cannot be told, yes. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const visitor = connect(path);
    const done = (isThere: boolean) => {
      visitor.destroy();
      resolve(isThere);
    };
    visitor.once('connect', () => done(true));
    visitor.once('error', (error) => done(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'));
  });
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

function inUse(folder: string): MigrationError {
  return new MigrationError(
    'spool-in-use',
    `the spool ${folder} is in use by another runtime, in this process or another; give each node a folder of its own`,
    { details: { folder } },
  );
}
