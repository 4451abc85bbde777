import { MigrationError, messageOf } from '../errors.js';

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/**
 * What a storage refused, as an error of ours: `spool-full` where there is no room, else `spool-failed`.
 *
 * @param doing for people: what it was asked for, as "writing fenced-1"
 */
export function spoolError(label: string, doing: string, cause: unknown): MigrationError {
  if (cause instanceof MigrationError) return cause;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  const isFull = typeof code === 'string' && FULL.has(code);
  const message = isFull
    ? `the spool ${label} has no room left (${code}) for ${doing}; make room, then move the daemon again`
    : `the spool ${label} failed in ${doing}: ${messageOf(cause)}`;
  return new MigrationError(isFull ? 'spool-full' : 'spool-failed', message, { details: { code }, cause });
}

/** Bytes in a file that are not what was written there, or end too early. */
export function damaged(name: string, offset: number, why: string): MigrationError {
  return new MigrationError('spool-damaged', `${name} is damaged: at byte ${offset} ${why}`, {
    details: { file: name, offset },
  });
}
