import { MigrationError, type MigrationErrorKind, messageOf, SPOOL_ERROR_KINDS } from '../errors.js';
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

/** Errors that came from a peer, so that they are passed on as they came. */
const toldReasons = new WeakMap<MigrationError, MigrationFailureReason>();

/** A frame takes 65,535 bytes of UTF-8, of which a character takes three at most; what a daemon throws may be longer. */
const MAX_TOLD_CHARACTERS = 16_384;

/** How an error is told to a peer. */
export function reasonOf(error: unknown): MigrationFailureReason {
  if (!(error instanceof MigrationError)) return MigrationFailureReason.stateFailed(shortened(messageOf(error)));
  const told = toldReasons.get(error);
  if (told) return told;
  if (isSpoolKind(error.kind)) return MigrationFailureReason.stateFailed(shortened(`${error.kind}: ${error.message}`));
  const word = WORD_BY_KIND[error.kind];
  if (word !== undefined) return MigrationFailureReason.stateFailed(word);
  if (error.kind === 'identity-transport-failed' || error instanceof EnvelopeError || error instanceof IdentityError)
    return MigrationFailureReason.identityTransportFailed(shortened(error.message));
  return REASON_BY_KIND[error.kind]?.() ?? MigrationFailureReason.stateFailed(shortened(error.message));
}

function shortened(text: string): string {
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

/** What a caller is told of a peer's reason. */
export function errorOf(origin: bigint, reason: MigrationFailureReason): MigrationError {
  const kind = kindOf(reason);
  const message =
    kind === 'pinned'
      ? `daemon ${origin} is pinned to its node: it says movable: false`
      : `the migration of daemon ${origin} failed: ${MigrationFailureReason.describe(reason)}`;
  const error = new MigrationError(kind, message, { details: { origin } });
  toldReasons.set(error, reason);
  return error;
}

function kindOf(reason: MigrationFailureReason): MigrationErrorKind {
  if (reason.kind !== 'StateFailed') return KIND_BY_REASON[reason.kind];
  if (reason.message === WORD_BY_KIND.pinned) return 'pinned';
  return SPOOL_ERROR_KINDS.find((kind) => reason.message.startsWith(`${kind}: `)) ?? 'state-failed';
}

function isSpoolKind(kind: MigrationErrorKind): boolean {
  return (SPOOL_ERROR_KINDS as readonly string[]).includes(kind);
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

/** Source and target are one node: nothing would move. */
export function toItself(origin: bigint, node: bigint): MigrationError {
  return new MigrationError(
    'target-unavailable',
    `daemon ${origin} cannot migrate from node ${node} to itself; name another target`,
    { details: { origin, source: node, target: node } },
  );
}
