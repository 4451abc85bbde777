import {
  CODEC_ERROR_KINDS,
  MigrationError,
  type MigrationErrorDetails,
  type MigrationErrorKind,
} from '../../errors.js';

const KINDS: ReadonlySet<string> = new Set<MigrationErrorKind>([
  ...CODEC_ERROR_KINDS,
  'buffer-full',
  'spool-full',
  'spool-failed',
]);

/** A u64 crosses as a string of digits. */
function detailsOf(json: string): MigrationErrorDetails {
  const details = JSON.parse(json) as Record<string, number | string>;
  const entries = Object.entries(details).map(
    ([name, value]) => [name, typeof value === 'string' ? BigInt(value) : value] as const,
  );
  return Object.fromEntries(entries);
}

/**
 * What to throw for what the addon threw: a refusal, whose code is its kind and whose message ends with a line of details,
 * becomes a `MigrationError`; anything else (a panic) is passed on.
 */
export function refusal(error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code !== 'string' || typeof message !== 'string' || !KINDS.has(code)) return error;
  const cut = message.lastIndexOf('\n');
  return new MigrationError(code as MigrationErrorKind, message.slice(0, cut), {
    details: detailsOf(message.slice(cut + 1)),
  });
}
