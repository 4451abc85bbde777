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
  'sequence-gap',
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

/** What went wrong in a migration (PROTOCOL.md §7, last rules). */
export type MigrationErrorKind =
  | CodecErrorKind
  | 'daemon-not-found'
  | 'target-unavailable'
  | 'no-target-available'
  | 'state-failed'
  | 'identity-transport-failed'
  | 'already-migrating'
  | 'factory-not-found'
  | 'compute-not-supported'
  | 'not-ready'
  | 'not-ready-timeout'
  | 'wrong-phase'
  | 'buffer-full'
  | 'wrong-peer'
  | 'moving'
  | 'not-authorised'
  | 'cancelled'
  | 'timed-out'
  | 'position-expired'
  | 'already-exists'
  | 'ownership-lost'
  | 'register-unavailable'
  | 'unknown-engine'
  | 'engine-unavailable';

const RETRIABLE: ReadonlySet<MigrationErrorKind> = new Set<MigrationErrorKind>([
  'not-ready',
  'moving',
  'buffer-full',
  'sequence-gap',
]);

/** Values named by an error: what was expected, what was got, at which byte. */
export type MigrationErrorDetails = Readonly<Record<string, bigint | number | string | undefined>>;

/**
 * Every failure of this package that is not a misuse of its types (those are `TypeError`). `kind` is for programs,
 * `message` for people: what was wrong, where, and what to do.
 */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
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
