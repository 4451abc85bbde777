import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { platform } from 'node:process';
import { IdentityError } from './errors.js';

/*
 * A node's key file, version 1: three lines of text, each ended by a line feed, 167 bytes in all:
 *
 *   daemon-migration node key, version 1
 *   <Ed25519 seed, 64 lower-case hexadecimal digits>
 *   <Ed25519 public key, the same: a damaged seed is noticed>
 */
const HEADER = new TextEncoder().encode('daemon-migration node key, version 1\n');
const HEX_DIGITS = 64;
const SEED_AT = HEADER.length;
const PUBLIC_AT = SEED_AT + HEX_DIGITS + 1;
const LINE_FEED = 10;
/** Bytes of a key file. */
export const KEY_FILE_BYTES = PUBLIC_AT + HEX_DIGITS + 1;

const OWNER_ONLY = 0o600;
const GROUP_AND_OTHERS = 0o077;
const POSIX = platform !== 'win32';

function malformed(path: string, why: string): IdentityError {
  return new IdentityError('key-file-malformed', `${path} is no node key file: ${why}`, { details: { path } });
}

/** An error of the file system. Its text holds the path and a code, never what was read. */
function refusedBySystem(path: string, doing: string, cause: unknown): IdentityError {
  if (cause instanceof IdentityError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  if (code === 'EEXIST') {
    return new IdentityError('key-file-exists', `${path} exists: keys are never overwritten; move it away first`, {
      details: { path },
    });
  }
  if (code === 'ENOENT') {
    return new IdentityError('key-file-not-found', `${path}: no such key file or folder, while ${doing}`, {
      details: { path },
    });
  }
  if (code === 'ELOOP') return notRegular(path, 'a symbolic link');
  if (code === 'EISDIR') return notRegular(path, 'a directory');
  return new IdentityError('key-file-unreadable', `${path}: the system refused with ${code} while ${doing}`, {
    cause,
    details: { path, code },
  });
}

function notRegular(path: string, what: string): IdentityError {
  return new IdentityError('key-file-not-regular', `${path} is ${what}; a key file is a regular file`, {
    details: { path },
  });
}

/** A shell's word for `path`. */
function quoted(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`;
}

function checkStats(path: string, stats: Stats): void {
  if (!stats.isFile()) throw notRegular(path, stats.isDirectory() ? 'a directory' : 'no regular file');
  const mode = stats.mode & 0o7777;
  if (POSIX && (mode & GROUP_AND_OTHERS) !== 0) {
    const octal = mode.toString(8).padStart(4, '0');
    throw new IdentityError(
      'key-file-exposed',
      `${path} has mode ${octal}: others than its owner can reach the node's private key; run: chmod 600 ${quoted(path)}`,
      { details: { path, mode: octal } },
    );
  }
  const user = process.geteuid?.();
  if (POSIX && stats.uid !== user && stats.uid !== 0) {
    throw new IdentityError(
      'key-file-exposed',
      `${path} belongs to user ${stats.uid}, who can read the node's private key; run: chown ${user} ${quoted(path)}`,
      { details: { path, owner: stats.uid } },
    );
  }
  if (stats.size !== KEY_FILE_BYTES) throw malformed(path, `it has ${stats.size} bytes, not ${KEY_FILE_BYTES}`);
}

/** A hexadecimal digit's value by its character code; -1 where it is none. */
function nibble(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

function decodeHex(text: Uint8Array, from: number, target: Uint8Array): boolean {
  let valid = 1;
  for (let index = 0; index < target.length; index++) {
    const high = nibble(text[from + 2 * index]!);
    const low = nibble(text[from + 2 * index + 1]!);
    if (high < 0 || low < 0) valid = 0;
    target[index] = (high << 4) | low;
  }
  return valid === 1;
}

function encodeHex(bytes: Uint8Array, text: Uint8Array, at: number): void {
  const digit = (value: number) => value + 48 + (((9 - value) >> 31) & 39);
  for (let index = 0; index < bytes.length; index++) {
    text[at + 2 * index] = digit(bytes[index]! >>> 4);
    text[at + 2 * index + 1] = digit(bytes[index]! & 15);
  }
}

function readWhole(descriptor: number, target: Uint8Array): boolean {
  let filled = 0;
  while (filled < target.length) {
    const read = readSync(descriptor, target, filled, target.length - filled, null);
    if (read === 0) return false;
    filled += read;
  }
  return true;
}

function writeWhole(descriptor: number, source: Uint8Array): void {
  let written = 0;
  while (written < source.length) written += writeSync(descriptor, source, written, source.length - written);
}

/** Where there is no `O_NOFOLLOW` (Windows), a link is looked for before opening. */
function openForReading(path: string): number {
  if (constants.O_NOFOLLOW === undefined && lstatSync(path).isSymbolicLink()) throw notRegular(path, 'a symbolic link');
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  return openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
}

/**
 * Reads a key file through `text` (at least {@link KEY_FILE_BYTES} of secure memory) into `seed` (secure) and `publicKey`.
 * Throws `IdentityError`: `key-file-not-found`, `-not-regular` (symbolic links included), `-exposed`, `-malformed`, `-unreadable`.
 */
export function readKeyFile(path: string, text: Uint8Array, seed: Uint8Array, publicKey: Uint8Array): void {
  let descriptor: number | undefined;
  try {
    descriptor = openForReading(path);
    checkStats(path, fstatSync(descriptor));
    if (!readWhole(descriptor, text.subarray(0, KEY_FILE_BYTES))) throw malformed(path, 'it ends too early');
  } catch (cause) {
    throw refusedBySystem(path, 'reading it', cause);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  if (Buffer.compare(text.subarray(0, SEED_AT), HEADER) !== 0) {
    throw malformed(path, 'its first line is not that of a key file of version 1');
  }
  if (text[PUBLIC_AT - 1] !== LINE_FEED || text[KEY_FILE_BYTES - 1] !== LINE_FEED) {
    throw malformed(path, 'its lines do not have 64 digits');
  }
  if (!decodeHex(text, SEED_AT, seed)) throw malformed(path, 'line 2 is not 64 lower-case hexadecimal digits');
  if (!decodeHex(text, PUBLIC_AT, publicKey)) throw malformed(path, 'line 3 is not 64 lower-case hexadecimal digits');
}

function syncFolder(path: string): void {
  if (!POSIX) return;
  const folder = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function writeNew(path: string, content: Uint8Array): void {
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, OWNER_ONLY);
  try {
    fchmodSync(descriptor, OWNER_ONLY);
    writeWhole(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Writes a key file, mode 0600, through `text` (secure memory). It appears whole or not at all, and never in the place of
 * another: it is written beside under a name of its own, synced, and then linked. Throws `IdentityError`
 * `key-file-exists`, `-not-found` (no such folder) or `-unreadable`.
 */
export function writeKeyFile(path: string, text: Uint8Array, seed: Uint8Array, publicKey: Uint8Array): void {
  text.set(HEADER);
  encodeHex(seed, text, SEED_AT);
  text[PUBLIC_AT - 1] = LINE_FEED;
  encodeHex(publicKey, text, PUBLIC_AT);
  text[KEY_FILE_BYTES - 1] = LINE_FEED;
  const draft = `${path}.${randomBytes(8).toString('hex')}.draft`;
  try {
    writeNew(draft, text.subarray(0, KEY_FILE_BYTES));
    linkSync(draft, path);
    syncFolder(path);
  } catch (cause) {
    throw refusedBySystem(path, 'writing it', cause);
  } finally {
    removeDraft(draft);
  }
}

/** A draft that was never made is no matter; one that stays would be a second copy of the key. */
function removeDraft(draft: string): void {
  try {
    unlinkSync(draft);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
      throw refusedBySystem(draft, 'removing a draft of it', cause);
  }
}
