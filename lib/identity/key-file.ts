import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, type Stats } from 'node:fs';
import { platform } from 'node:process';
import { wrongType } from '../wire/arguments.js';
import { IdentityError } from './errors.js';
import { removeSecondNames, writeWholeFile } from './whole-file.js';

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

const GROUP_AND_OTHERS = 0o077;
const POSIX = platform !== 'win32';

function malformed(path: string, why: string): IdentityError {
  return new IdentityError('key-file-malformed', `${path} is no node key file: ${why}`, { details: { path } });
}

/** An error of the file system. Its text holds the path and a code, never what was read. */
function refusedBySystem(path: string, doing: string, cause: unknown): IdentityError {
  if (cause instanceof IdentityError) return cause;
  const { code = 'an unknown error', syscall = 'a call', path: where = path } = cause as NodeJS.ErrnoException;
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
  return new IdentityError(
    'key-file-unreadable',
    `${path}: the system refused ${syscall} of ${where} with ${code} while ${doing}`,
    {
      cause,
      details: { path, code },
    },
  );
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
    const stats = fstatSync(descriptor);
    checkStats(path, stats);
    if (!readWhole(descriptor, text.subarray(0, KEY_FILE_BYTES))) throw malformed(path, 'it ends too early');
    removeSecondNames(path, stats);
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

/** @throws TypeError */
export function checkPath(path: string): void {
  if (typeof path !== 'string') throw wrongType('path', 'a string', path);
  if (path.includes('\0')) throw new TypeError('path must be a string without null characters');
}

/**
 * Writes a new key file, mode 0600, through `text` (secure memory): whole or not at all, and never in the place of another
 * file. Throws `IdentityError` `key-file-exists`, `-not-found` (no such folder) or `-unreadable`.
 */
export function writeKeyFile(path: string, text: Uint8Array, seed: Uint8Array, publicKey: Uint8Array): void {
  text.set(HEADER);
  encodeHex(seed, text, SEED_AT);
  text[PUBLIC_AT - 1] = LINE_FEED;
  encodeHex(publicKey, text, PUBLIC_AT);
  text[KEY_FILE_BYTES - 1] = LINE_FEED;
  try {
    writeWholeFile(path, text.subarray(0, KEY_FILE_BYTES));
  } catch (cause) {
    throw refusedBySystem(path, 'writing it', cause);
  }
}
