/** What was wrong with bytes: the kinds that a codec refuses with (PROTOCOL.md §3 to §5). */
export const CODEC_ERROR_KINDS = [
  // frames
  'empty-frame',
  'unknown-type',
  'unknown-failure-code',
  'truncated',
  'invalid-utf8',
  'text-too-long',
  'zero-total-chunks',
  'total-chunks-too-large',
  'chunk-index-out-of-range',
  'chunk-too-large',
  'event-too-large',
  'event-count-too-large',
  'sequence-overflow',
  // snapshots
  'bad-magic',
  'unsupported-version',
  'trailing-bytes',
  'bad-envelope-flag',
  'seq-mismatch',
  'origin-mismatch',
  'state-too-large',
  'bindings-too-large',
  // bindings and channel names
  'binding-count-too-large',
  'bad-token-flag',
  'token-too-long',
  'channel-name-empty',
  'channel-name-too-long',
  'channel-name-invalid-char',
  'channel-name-invalid-format',
  // reassembly
  'empty-chunk',
  'stale-seq-through',
  'total-chunks-mismatch',
  'snapshot-too-large',
  'too-many-pending-bytes',
  'out-of-memory',
  'disposed',
] as const;

export type CodecErrorKind = (typeof CODEC_ERROR_KINDS)[number];

/** Why an identity envelope was not sealed, not read or not opened (PROTOCOL.md §6). */
export const ENVELOPE_ERROR_KINDS = [
  'invalid-length',
  'unsupported-version',
  'invalid-signer-key',
  'invalid-attestation',
  'seal-open-failed',
  'origin-hash-mismatch',
  'source-read-only',
  'low-order-target',
] as const;

export type EnvelopeErrorKind = (typeof ENVELOPE_ERROR_KINDS)[number];

/** What keys, their files and the memory that holds them refuse with. */
export const IDENTITY_ERROR_KINDS = [
  'public-only',
  'disposed',
  'invalid-public-key',
  'secure-memory-exhausted',
  'secure-memory-not-locked',
  'key-file-exists',
  'key-file-not-found',
  'key-file-not-regular',
  'key-file-exposed',
  'key-file-malformed',
  'key-file-unreadable',
] as const;

export type IdentityErrorKind = (typeof IDENTITY_ERROR_KINDS)[number];

/** What else can go wrong in a migration (PROTOCOL.md §7, last rules). */
export const COURSE_ERROR_KINDS = [
  'daemon-not-found',
  'target-unavailable',
  'no-target-available',
  'state-failed',
  'identity-transport-failed',
  'already-migrating',
  'factory-not-found',
  'compute-not-supported',
  'not-ready',
  'not-ready-timeout',
  'wrong-phase',
  'buffer-full',
  'wrong-peer',
  'moving',
  'not-authorised',
  'cancelled',
  'timed-out',
  'position-expired',
  'sequence-gap',
  'already-exists',
  'pinned',
  'no-control',
  'ownership-lost',
  'register-unavailable',
  'too-many-migrations',
  'extensions-required',
  'unknown-engine',
  'engine-unavailable',
  'handed-over',
] as const;

/** What a spool refuses with: the folder, what the disk refused, and what a file holds (docs/spool.md). */
export const SPOOL_ERROR_KINDS = [
  'spool-unusable',
  'spool-in-use',
  'spool-full',
  'spool-failed',
  'spool-damaged',
] as const;

export type SpoolErrorKind = (typeof SPOOL_ERROR_KINDS)[number];

/** What went wrong in a migration. */
export type MigrationErrorKind =
  | CodecErrorKind
  | EnvelopeErrorKind
  | IdentityErrorKind
  | SpoolErrorKind
  | (typeof COURSE_ERROR_KINDS)[number];

const KINDS: ReadonlySet<string> = new Set([
  ...CODEC_ERROR_KINDS,
  ...ENVELOPE_ERROR_KINDS,
  ...IDENTITY_ERROR_KINDS,
  ...SPOOL_ERROR_KINDS,
  ...COURSE_ERROR_KINDS,
]);

/** Whether a text from elsewhere is one of our kinds. */
export function isMigrationErrorKind(text: string): text is MigrationErrorKind {
  return KINDS.has(text);
}

const RETRIABLE: ReadonlySet<MigrationErrorKind> = new Set<MigrationErrorKind>([
  'not-ready',
  'moving',
  'buffer-full',
  'sequence-gap',
  'too-many-migrations',
]);

/** What any thrown value says; a value may be thrown that has no text. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return `a thrown ${typeof thrown} that has no text`;
  }
}

/** Values named by an error: what was expected, what was got, at which byte. */
export type MigrationErrorDetails = Readonly<Record<string, bigint | number | string | undefined>>;

/**
 * Every failure of this package that is not a misuse of its types (those are `TypeError`). `kind` is for programs,
 * `message` for people: what was wrong, where, and what to do.
 */
export class MigrationError extends Error {
  override readonly name: string = 'MigrationError';
  readonly kind: MigrationErrorKind;
  /** Whether the same call may succeed later, unchanged. */
  readonly retriable: boolean;
  readonly details: MigrationErrorDetails;

  constructor(
    kind: MigrationErrorKind,
    message: string,
    options: { readonly details?: MigrationErrorDetails; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retriable = RETRIABLE.has(kind);
    this.details = options.details ?? {};
  }
}
