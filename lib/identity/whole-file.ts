import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { platform } from 'node:process';

const OWNER_ONLY = 0o600;
const DRAFT_END = '.draft';
const DRAFT_ID_BYTES = 8;
const DRAFT_ID = /^[0-9a-f]{16}$/;
/** Writing takes milliseconds; a minute is for clocks that differ, as on a network's file system. */
const STALE_AFTER_MS = 60_000;

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
  }
}

function isDraftOf(path: string, name: string): boolean {
  const start = `${basename(path)}.`;
  if (!name.startsWith(start) || !name.endsWith(DRAFT_END)) return false;
  return DRAFT_ID.test(name.slice(start.length, -DRAFT_END.length));
}

function removeDrafts(path: string, isLeft: (draft: Stats) => boolean): void {
  const folder = dirname(path);
  for (const name of readdirSync(folder)) {
    if (!isDraftOf(path, name)) continue;
    const draft = join(folder, name);
    const stats = lstatSync(draft, { throwIfNoEntry: false });
    if (stats?.isFile() && isLeft(stats)) removeIfThere(draft);
  }
}

/** Of writes that were killed. A young draft may be that of one which is still going on. */
function removeStaleDrafts(path: string): void {
  try {
    removeDrafts(path, ({ mtimeMs }) => Date.now() - mtimeMs > STALE_AFTER_MS);
  } catch (cause) {
    // A folder that may not be listed cannot be synced either, which is reported then.
    if (codeOf(cause) !== 'EACCES') throw cause;
  }
}

/** Removes the second name of a file whose write was killed after it had got its first. Where that fails, it stays. */
export function removeSecondNames(path: string, { dev, ino, nlink }: Stats): void {
  if (nlink < 2) return;
  try {
    removeDrafts(path, (draft) => draft.dev === dev && draft.ino === ino);
  } catch {
    // Who may read a file may not have the right to change its folder.
  }
}

function writeDraft(path: string, content: Uint8Array): void {
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, OWNER_ONLY);
  try {
    fchmodSync(descriptor, OWNER_ONLY);
    for (let written = 0; written < content.length; ) {
      written += writeSync(descriptor, content, written, content.length - written);
    }
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** A name is on disk once its folder is. Windows has no such call, and needs none. */
function syncFolder(folder: string): void {
  if (platform === 'win32') return;
  const descriptor = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Makes a new file of mode 0600 that is there whole or not at all, on disk when this returns, and never in the place of
 * another: it is written beside under a name of its own, synced, and then linked. Whatever fails, nothing stays; what a
 * kill leaves behind, the next call removes. Throws the system's errors.
 */
export function writeWholeFile(path: string, content: Uint8Array): void {
  removeStaleDrafts(path);
  const draft = `${path}.${randomBytes(DRAFT_ID_BYTES).toString('hex')}${DRAFT_END}`;
  try {
    writeDraft(draft, content);
    linkSync(draft, path);
    try {
      syncFolder(dirname(path));
    } catch (cause) {
      removeIfThere(path);
      throw cause;
    }
  } finally {
    removeIfThere(draft);
  }
}
