import { constants } from 'node:fs';
import { chmod, type FileHandle, lstat, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { platform } from 'node:process';
import { MigrationError } from '../errors.js';
import { checkString } from '../wire/arguments.js';
import { FolderLock, isLock } from './folder-lock.js';
import { spoolError } from './spool-error.js';
import type { SpoolFile, SpoolStorage } from './storage.js';

const OWNER_ONLY_FOLDER = 0o700;
const OWNER_ONLY = 0o600;
const GROUP_AND_OTHERS = 0o077;
const NAME = /^[a-z][a-z0-9.-]{0,199}$/;
/** Ends the name of a file that is not whole yet. */
const DRAFT = '.draft';

/** A folder of the system's. Everything is done off the main thread. */
export class SpoolFolder implements SpoolStorage {
  readonly label: string;
  #lock: FolderLock | undefined;

  /** @param folder made where it is not there; its parent must be */
  constructor(folder: string) {
    checkString(folder, 'folder');
    if (folder === '' || folder.includes('\0')) throw new TypeError('folder must be a path, without null characters');
    this.label = resolve(folder);
  }

  async take(): Promise<void> {
    try {
      await this.#makeOwn();
      this.#lock = await FolderLock.take(this.label);
      await this.#removeDrafts();
    } catch (cause) {
      await this.letGo();
      throw spoolError(this.label, 'taking the folder', cause);
    }
  }

  async letGo(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }

  async names(): Promise<readonly string[]> {
    return (await readdir(this.label)).filter((name) => NAME.test(name) && !isLock(name) && !name.endsWith(DRAFT));
  }

  async create(name: string): Promise<SpoolFile> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | noFollow();
    return new FolderFile(await open(this.path(name), flags, OWNER_ONLY), () => this.#sync());
  }

  async open(name: string): Promise<SpoolFile> {
    return new FolderFile(await open(this.path(name), constants.O_RDWR | noFollow()), () => this.#sync());
  }

  async replace(name: string, content: readonly Uint8Array[]): Promise<void> {
    const draft = `${name}${DRAFT}`;
    const file = await this.create(draft);
    try {
      await file.write(0, content);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.rename(draft, name);
  }

  async rename(from: string, to: string): Promise<void> {
    await rename(this.path(from), this.path(to));
    await this.#sync();
  }

  async remove(name: string): Promise<void> {
    try {
      await unlink(this.path(name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  path(name: string): string {
    if (!NAME.test(name)) throw new TypeError(`name must be 1 to 200 of a-z 0-9 . -, a letter first, got "${name}"`);
    return join(this.label, name);
  }

  async #makeOwn(): Promise<void> {
    try {
      await mkdir(this.label, OWNER_ONLY_FOLDER);
      // What a process masks is its own affair: the mode is as it must be.
      await chmod(this.label, OWNER_ONLY_FOLDER);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      await this.#requireOwn();
    }
  }

  /** Daemons' states lie in it as they are: nobody else may look, or put anything there. */
  async #requireOwn(): Promise<void> {
    const stats = await lstat(this.label);
    if (!stats.isDirectory()) throw this.#unusable('is no folder; name another');
    if (platform === 'win32') return;
    const octal = (stats.mode & 0o7777).toString(8).padStart(4, '0');
    if ((stats.mode & GROUP_AND_OTHERS) !== 0)
      throw this.#unusable(`has mode ${octal}: others than its owner can reach daemons' states; run chmod 700`);
    const user = process.geteuid?.();
    if (stats.uid !== user) throw this.#unusable(`belongs to user ${stats.uid}; run chown ${user}`);
  }

  #unusable(why: string): MigrationError {
    const details = { folder: this.label };
    return new MigrationError('spool-unusable', `the spool ${this.label} ${why}`, { details });
  }

  /** Of replacements that were cut short. */
  async #removeDrafts(): Promise<void> {
    for (const name of await readdir(this.label)) if (NAME.test(name) && name.endsWith(DRAFT)) await this.remove(name);
  }

  /** A name is on disk once its folder is. Windows has no such call, and needs none. */
  async #sync(): Promise<void> {
    if (platform === 'win32') return;
    const handle = await open(this.label, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/** A link in a file's place is somebody's trick. */
function noFollow(): number {
  return constants.O_NOFOLLOW ?? 0;
}

class FolderFile implements SpoolFile {
  readonly #handle: FileHandle;
  readonly #syncFolder: () => Promise<void>;
  #isNameSynced = false;
  #isClosed = false;

  constructor(handle: FileHandle, syncFolder: () => Promise<void>) {
    this.#handle = handle;
    this.#syncFolder = syncFolder;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async read(at: number, target: Uint8Array): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, at + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async write(at: number, parts: readonly Uint8Array[]): Promise<void> {
    let next = at;
    // All in one call of the system's, which may take less than it was given.
    for (let left = parts.filter(({ length }) => length > 0); left.length > 0; ) {
      const { bytesWritten } = await this.#handle.writev(left, next);
      if (bytesWritten === 0) throw Object.assign(new Error('the system wrote nothing'), { code: 'EIO' });
      next += bytesWritten;
      left = behind(left, bytesWritten);
    }
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
    if (this.#isNameSynced) return;
    await this.#syncFolder();
    this.#isNameSynced = true;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#handle.close();
  }
}

/** What of these comes after so many bytes. */
function behind(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  const rest: Uint8Array[] = [];
  for (const part of parts) {
    if (left < part.length) rest.push(part.subarray(left));
    left = Math.max(0, left - part.length);
  }
  return rest;
}
