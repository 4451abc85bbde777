import { isMigrationErrorKind, MigrationError, type MigrationErrorKind, messageOf } from '../errors.js';
import { EnvelopeError, IdentityError } from '../identity/errors.js';
import { MigrationFailureReason } from '../wire/failure.js';

const REASON_BY_KIND: Partial<Record<MigrationErrorKind, () => MigrationFailureReason>> = {
  'not-ready': MigrationFailureReason.notReady,
  'factory-not-found': MigrationFailureReason.factoryNotFound,
  'compute-not-supported': MigrationFailureReason.computeNotSupported,
  'already-migrating': MigrationFailureReason.alreadyMigrating,
};

/** What the protocol has no code for goes as StateFailed with a fixed text (PROTOCOL.md §8); what a spool refused, behind its kind. */
const WORD_BY_KIND: Partial<Record<MigrationErrorKind, string>> = {
  'not-authorised': 'not authorised',
  pinned: 'pinned',
};

const KIND_BY_WORD = new Map(
  Object.entries(WORD_BY_KIND).map(([kind, word]) => [word, kind as MigrationErrorKind] as const),
);

/** Errors that came from a peer, so that they are passed on as they came. */
const toldReasons = new WeakMap<MigrationError, MigrationFailureReason>();

/** A frame takes 65,535 bytes of UTF-8, of which a character takes three at most; what a daemon throws may be longer. */
const MAX_TOLD_CHARACTERS = 16_384;

/** A failure as a peer is told it. */
export interface ToldFailure {
  readonly reason: MigrationFailureReason;
  /** What the reason's code does not tell; undefined where it does. */
  readonly kind: MigrationErrorKind | undefined;
}

export function told(error: unknown): ToldFailure {
  const reason = reasonOf(error);
  return { reason, kind: reason.kind === 'StateFailed' && error instanceof MigrationError ? error.kind : undefined };
}

/** How an error is told to a peer that reads no kinds. */
export function reasonOf(error: unknown): MigrationFailureReason {
  if (!(error instanceof MigrationError)) return MigrationFailureReason.stateFailed(shortened(messageOf(error)));
  const known = toldReasons.get(error);
  if (known) return known;
  const word = WORD_BY_KIND[error.kind];
  if (word !== undefined) return MigrationFailureReason.stateFailed(word);
  if (error.kind === 'identity-transport-failed' || error instanceof EnvelopeError || error instanceof IdentityError)
    return MigrationFailureReason.identityTransportFailed(shortened(error.message));
  return REASON_BY_KIND[error.kind]?.() ?? MigrationFailureReason.stateFailed(shortened(error.message));
}

/** A text that a frame takes. */
export function shortened(text: string): string {
  return text.length > MAX_TOLD_CHARACTERS ? `${text.slice(0, MAX_TOLD_CHARACTERS - 1)}…` : text;
}

const KIND_BY_REASON = {
  NotReady: 'not-ready',
  FactoryNotFound: 'factory-not-found',
  ComputeNotSupported: 'compute-not-supported',
  StateFailed: 'state-failed',
  AlreadyMigrating: 'already-migrating',
  IdentityTransportFailed: 'identity-transport-failed',
  NotReadyTimeout: 'not-ready-timeout',
} as const satisfies Record<MigrationFailureReason['kind'], MigrationErrorKind>;

/**
 * What a caller is told of a peer's reason.
 *
 * @param kind what the peer says that it was (`failureKind`), which counts where the reason's code says nothing
 */
export function errorOf(origin: bigint, reason: MigrationFailureReason, kind?: string): MigrationError {
  const error = new MigrationError(kindOf(reason, kind), messageFor(origin, reason, kind), { details: { origin } });
  toldReasons.set(error, reason);
  return error;
}

function kindOf(reason: MigrationFailureReason, kind: string | undefined): MigrationErrorKind {
  if (reason.kind !== 'StateFailed') return KIND_BY_REASON[reason.kind];
  if (kind !== undefined && isMigrationErrorKind(kind)) return kind;
  // Without a kind these texts are all that there is (PROTOCOL.md §8).
  return KIND_BY_WORD.get(reason.message) ?? 'state-failed';
}

function messageFor(origin: bigint, reason: MigrationFailureReason, kind: string | undefined): string {
  if (kindOf(reason, kind) === 'pinned') return `daemon ${origin} is pinned to its node: it says movable: false`;
  const isTyped = reason.kind === 'StateFailed' && kindOf(reason, kind) !== 'state-failed';
  const why = isTyped ? reason.message : MigrationFailureReason.describe(reason);
  return `the migration of daemon ${origin} failed: ${why}`;
}

/** Any thrown value as a MigrationError. */
export function asMigrationError(error: unknown): MigrationError {
  if (error instanceof MigrationError) return error;
  return new MigrationError('state-failed', messageOf(error), { cause: error });
}

/** A frame without a trailer from a node that does send them: nobody is talked down (PROTOCOL.md §8). */
export function extensionsRequired(what: string, origin: bigint, from: bigint): MigrationError {
  return new MigrationError(
    'extensions-required',
    `${what} for daemon ${origin} came without a trailer from node ${from}, which speaks extensions as the mesh says`,
    { details: { origin, from } },
  );
}

/** A node that shuts down takes on nothing. */
export function shuttingDown(node: bigint): MigrationError {
  const message = `node ${node} is shutting down and takes part in no new migration`;
  return new MigrationError('not-ready', message, { details: { node } });
}

/** A node that shuts down ends what it takes part in. */
export function endedByShutdown(origin: bigint, node: bigint): MigrationError {
  const message = `the migration of daemon ${origin} ended: node ${node} shuts down`;
  return new MigrationError('target-unavailable', message, { details: { origin, node } });
}

/** A node that takes part is gone for certain. */
export function nodeGone(origin: bigint, node: bigint): MigrationError {
  return new MigrationError('target-unavailable', `the migration of daemon ${origin} ended: node ${node} is gone`, {
    details: { origin, node },
  });
}

/** Source and target are one node: nothing would move. */
export function toItself(origin: bigint, node: bigint): MigrationError {
  return new MigrationError(
    'target-unavailable',
    `daemon ${origin} cannot migrate from node ${node} to itself; name another target`,
    { details: { origin, source: node, target: node } },
  );
}
