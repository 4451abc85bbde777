import { checkBytes, checkObject, wrongType } from '../wire/arguments.js';
import { EntityKeypair } from './entity-keypair.js';
import type { MigrationIdentityContext } from './identity-context.js';
import { isLowOrder, STATIC_KEY_BYTES } from './static-keypair.js';

/** What a daemon's private key cannot travel without (PROTOCOL.md §7, identity). */
export type TransportPrerequisiteKind =
  | 'identity-context'
  | 'daemon-keypair'
  | 'daemon-private-key'
  | 'target-public-key'
  | 'usable-target-public-key';

/** One thing that is missing, and what to do about it. */
export interface MissingPrerequisite {
  readonly kind: TransportPrerequisiteKind;
  readonly message: string;
}

export interface TransportPrerequisiteInput {
  /** This node's context; `undefined` where it has none. */
  readonly context: MigrationIdentityContext | undefined;
  /** The daemon's key pair as this node has it. */
  readonly daemon: EntityKeypair | undefined;
  /** The target's X25519 public key; `undefined` where it is unknown. */
  readonly targetPublic: Uint8Array | undefined;
  /** For the texts. */
  readonly target: bigint;
}

function missingOfDaemon(daemon: EntityKeypair | undefined): MissingPrerequisite | undefined {
  if (daemon === undefined) {
    return { kind: 'daemon-keypair', message: 'the daemon has no key pair on this node: spawn it with one' };
  }
  if (daemon.canSign) return undefined;
  const state = daemon.isDisposed ? 'disposed' : 'public-only';
  return {
    kind: 'daemon-private-key',
    message: `the key pair of the daemon (entity ${daemon.id.hex}) is ${state}: its private half is not on this node`,
  };
}

function missingOfTarget(target: bigint, targetPublic: Uint8Array | undefined): MissingPrerequisite | undefined {
  if (targetPublic === undefined) {
    return {
      kind: 'target-public-key',
      message: `the X25519 public key of target node ${target} is unknown: the mesh must announce it`,
    };
  }
  if (targetPublic.length === STATIC_KEY_BYTES && !isLowOrder(targetPublic)) return undefined;
  const fault = targetPublic.length === STATIC_KEY_BYTES ? 'of low order' : `of ${targetPublic.length} bytes, not 32`;
  return {
    kind: 'usable-target-public-key',
    message: `the X25519 public key of target node ${target} is ${fault}: nothing can be sealed to it safely`,
  };
}

/**
 * What is missing for sealing a daemon's private key to a target, all of it; empty when it can be done. With
 * `transportIdentity: false` a daemon moves without, as `keypair.publicOnly()`.
 */
export function transportPrerequisites(input: TransportPrerequisiteInput): readonly MissingPrerequisite[] {
  checkObject(input, 'input');
  const { daemon, targetPublic } = input;
  if (daemon !== undefined && !(daemon instanceof EntityKeypair)) {
    throw wrongType('input.daemon', 'an EntityKeypair or undefined', daemon);
  }
  if (targetPublic !== undefined) checkBytes(targetPublic, 'input.targetPublic');
  const missing: (MissingPrerequisite | undefined)[] = [
    input.context === undefined
      ? { kind: 'identity-context', message: 'this node has no identity context: give its dispatcher one' }
      : undefined,
    missingOfDaemon(daemon),
    missingOfTarget(input.target, targetPublic),
  ];
  return missing.filter((entry) => entry !== undefined);
}
