import type { MigrationIdentityContext } from '../identity/identity-context.js';
import type { MaybePromise } from '../maybe-promise.js';
import type { MigrationFailureReason } from '../wire/failure.js';
import type { AuthorizationRequest } from './core.js';

/**
 * Target: a copy has been restored, and is not live yet. Once per migration, repeated frames or not. What it throws fails
 * the migration.
 */
export type PostRestoreCallback = (origin: bigint) => MaybePromise<void>;

/**
 * Source: the daemon is about to stop, at CutoverNotify. Once per migration, repeated frames or not. What it throws fails
 * the migration, and the daemon goes on; so does a later withdrawal: `failure` follows then.
 */
export type PreCleanupCallback = (origin: bigint) => MaybePromise<void>;

/**
 * Target: whether daemons may move in now; false answers NotReady, which the other side may retry. Once per migration, before
 * anything of the daemon is taken. What it throws fails the migration.
 */
export type ReadinessCallback = () => MaybePromise<boolean>;

/**
 * Any side: a migration of this daemon has failed here, for that reason: a MigrationFailed was accepted, a deadline has
 * passed, or a source goes on after all. Once per migration. What it throws is reported and changes nothing.
 */
export type FailureCallback = (origin: bigint, reason: MigrationFailureReason) => void;

/** Whether a daemon may be taken from here, or placed here. False is answered with StateFailed `not authorised`. */
export type AuthorizeFn = (request: AuthorizationRequest) => MaybePromise<boolean>;

/** What a node may hang into its dispatcher. Each works alone, and none is needed (PROTOCOL.md §7). */
export interface MigrationHandlerHooks {
  /** Seals and opens daemons' keys. Without one no envelope is sent, and one that arrives is passed over. */
  readonly identity?: MigrationIdentityContext;
  readonly postRestore?: PostRestoreCallback;
  readonly preCleanup?: PreCleanupCallback;
  readonly readiness?: ReadinessCallback;
  readonly failure?: FailureCallback;
  /** Default: this node itself, and the dispatcher's list of orchestrators. */
  readonly authorize?: AuthorizeFn;
}

/** The default: this node itself, and an explicit list. */
export function allowList(localNode: bigint, orchestrators: readonly bigint[]): AuthorizeFn {
  const allowed = new Set([localNode, ...orchestrators]);
  return ({ orchestrator }) => allowed.has(orchestrator);
}
