import { checkBytesOfLength, checkObject, isObject, wrongType } from '../wire/arguments.js';
import type { StateSnapshot } from '../wire/snapshot.js';
import { encodeLink } from '../wire/typescript/chain.js';
import { EntityId } from './entity-id.js';
import { EntityKeypair } from './entity-keypair.js';
import { EnvelopeError } from './errors.js';
import { IdentityEnvelope } from './identity-envelope.js';
import { NodeKeys } from './node-keys.js';
import { STATIC_KEY_BYTES, StaticKeypair } from './static-keypair.js';

/** What of a snapshot goes into its envelope: known before a byte of the state is. */
export type SealableSnapshot = Pick<StateSnapshot, 'entityId' | 'chainLink'>;

/**
 * Opens the envelope of a received snapshot: the daemon's full key pair, or `undefined` where there is no envelope. The
 * receiver owns the key pair and disposes of it. Throws `EnvelopeError` with its kind (PROTOCOL.md §6).
 */
export type EnvelopeUnsealFn = (snapshot: StateSnapshot) => EntityKeypair | undefined;

/**
 * The 209 bytes of an envelope for `snapshot`, sealed to `targetPublic`. Throws `EnvelopeError`: `source-read-only`,
 * `low-order-target`, or `origin-hash-mismatch` where the key pair is not the snapshot's daemon's.
 */
export type EnvelopeSealFn = (
  snapshot: SealableSnapshot,
  daemon: EntityKeypair,
  targetPublic: Uint8Array,
) => Uint8Array;

/** What the dispatcher gets: it can have envelopes sealed and opened, and nothing in here gives it a private key. */
export interface MigrationIdentityContext {
  readonly unsealSnapshot: EnvelopeUnsealFn;
  /** Default: what {@link createMigrationIdentityContext} gives; sealing needs no key of this node. */
  readonly sealSnapshot?: EnvelopeSealFn;
  /** A node's X25519 public key (32 bytes), where it is known. */
  readonly peerStaticLookup: (nodeId: bigint) => Uint8Array | undefined;
}

export interface MigrationIdentityContextOptions {
  /** This node's keys. They stay the caller's to dispose; after that nothing opens. */
  readonly nodeKeys: NodeKeys | StaticKeypair;
  readonly peerStaticLookup: (nodeId: bigint) => Uint8Array | undefined;
}

/** Seals a daemon's key to a target: {@link EnvelopeSealFn}. */
export function sealSnapshot(snapshot: SealableSnapshot, daemon: EntityKeypair, targetPublic: Uint8Array): Uint8Array {
  checkObject(snapshot, 'snapshot');
  if (!(daemon instanceof EntityKeypair)) throw wrongType('daemon', 'an EntityKeypair', daemon);
  if (!daemon.id.equals(snapshot.entityId)) {
    throw new EnvelopeError(
      'origin-hash-mismatch',
      `the key pair is that of entity ${daemon.id.hex}, the snapshot is of another one`,
      { details: { entityId: daemon.id.hex } },
    );
  }
  return IdentityEnvelope.seal(daemon, targetPublic, encodeLink(snapshot.chainLink)).toBytes();
}

function unseal(keys: StaticKeypair, snapshot: StateSnapshot): EntityKeypair | undefined {
  checkObject(snapshot, 'snapshot');
  if (snapshot.identityEnvelope === undefined) return undefined;
  const entity = EntityId.fromBytes(snapshot.entityId);
  const link = snapshot.chainLink;
  const keypair = IdentityEnvelope.fromBytes(snapshot.identityEnvelope).open(keys, encodeLink(link), entity);
  if (keypair.originHash === link.originHash) return keypair;
  keypair.dispose();
  throw new EnvelopeError(
    'origin-hash-mismatch',
    `the sealed key pair has origin ${keypair.originHash}, the snapshot's chain link ${link.originHash}`,
    { details: { expected: link.originHash, actual: keypair.originHash } },
  );
}

/** Binds a node's keys into closures, so that whoever holds the context can use them and never see them. */
export function createMigrationIdentityContext(
  options: MigrationIdentityContextOptions,
): Required<MigrationIdentityContext> {
  if (!isObject(options)) throw wrongType('options', 'an object', options);
  const { nodeKeys, peerStaticLookup } = options;
  if (!(nodeKeys instanceof NodeKeys) && !(nodeKeys instanceof StaticKeypair)) {
    throw wrongType('nodeKeys', 'NodeKeys or a StaticKeypair', nodeKeys);
  }
  if (typeof peerStaticLookup !== 'function') throw wrongType('peerStaticLookup', 'a function', peerStaticLookup);
  const keys = nodeKeys instanceof NodeKeys ? nodeKeys.staticKeypair : nodeKeys;
  return Object.freeze({
    sealSnapshot,
    unsealSnapshot: (snapshot: StateSnapshot) => unseal(keys, snapshot),
    peerStaticLookup: (nodeId: bigint) => {
      const found = peerStaticLookup(nodeId);
      if (found !== undefined) checkBytesOfLength(found, 'what peerStaticLookup returned', STATIC_KEY_BYTES);
      return found;
    },
  });
}
