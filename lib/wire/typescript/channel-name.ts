import { MigrationError } from '../../errors.js';
import { checkString } from '../arguments.js';
import { MAX_CHANNEL_NAME_BYTES } from '../channel.js';
import { xxh3 } from './xxh3.js';

const OTHER = 0;
const PLAIN = 1;
const DOT = 2;
const SLASH = 3;
const UPPER = 4;

/** What each byte is in a name. */
const CLASS = new Uint8Array(256);
for (const byte of Buffer.from('abcdefghijklmnopqrstuvwxyz0123456789-_')) CLASS[byte] = PLAIN;
for (const byte of Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZ')) CLASS[byte] = UPPER;
CLASS[0x2e] = DOT;
CLASS[0x2f] = SLASH;

function nameError(kind: 'invalid-char' | 'invalid-format', where: string, at: number, why: string): MigrationError {
  return new MigrationError(`channel-name-${kind}`, `${where} refused at byte ${at}: ${why}`, {
    details: { offset: at },
  });
}

function lengthError(where: string, length: number, offset: number): MigrationError {
  if (length === 0) {
    return new MigrationError('channel-name-empty', `${where} refused at byte ${offset}: it is empty`, {
      details: { offset, length },
    });
  }
  return new MigrationError(
    'channel-name-too-long',
    `${where} refused at byte ${offset}: it has ${length} bytes, at most ${MAX_CHANNEL_NAME_BYTES} are taken`,
    { details: { offset, length, max: MAX_CHANNEL_NAME_BYTES } },
  );
}

/**
 * Refuses `bytes[at .. at + length)` unless it is a channel name, in the order that `MigrationCodec.validateChannelName`
 * gives. `where` names it; offsets in errors are those in `bytes`.
 */
export function checkNameBytes(bytes: Uint8Array, at: number, length: number, where: string): void {
  if (length === 0 || length > MAX_CHANNEL_NAME_BYTES) throw lengthError(where, length, at);
  const end = at + length;
  let badSegmentAt = -1;
  let segmentAt = at;
  let onlyDots = true;
  for (let i = at; i < end; i++) {
    switch (CLASS[bytes[i]!]) {
      case PLAIN:
        onlyDots = false;
        break;
      case DOT:
        break;
      case SLASH:
        if (badSegmentAt < 0 && onlyDots && i - segmentAt < 3) badSegmentAt = segmentAt;
        segmentAt = i + 1;
        onlyDots = true;
        break;
      case UPPER:
        throw nameError('invalid-format', where, i, 'upper-case letters are not taken');
      case OTHER:
        throw nameError('invalid-char', where, i, `byte 0x${bytes[i]!.toString(16)} is none of a-z 0-9 - _ . /`);
    }
  }
  if (badSegmentAt < 0 && onlyDots && end - segmentAt < 3) badSegmentAt = segmentAt;
  if (badSegmentAt >= 0) {
    throw nameError('invalid-format', where, badSegmentAt, 'a segment between slashes is empty, "." or ".."');
  }
}

/** A name of 255 UTF-16 units has at most 765 bytes of UTF-8. */
const scratch = Buffer.alloc(1024);

/** The name's bytes in memory that the next call overwrites, once they are checked. */
export function nameBytes(name: string, argument: string): Uint8Array {
  checkString(name, argument);
  if (name.length > MAX_CHANNEL_NAME_BYTES) throw lengthError(argument, Buffer.byteLength(name), 0);
  const length = scratch.write(name, 'utf8');
  checkNameBytes(scratch, 0, length, argument);
  return scratch.subarray(0, length);
}

export function validateChannelName(name: string): void {
  nameBytes(name, 'name');
}

export function channelHash(name: string): bigint {
  const bytes = nameBytes(name, 'name');
  return xxh3(bytes, bytes.length);
}
