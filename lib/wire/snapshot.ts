/** Version byte of a snapshot. */
export const SNAPSHOT_VERSION = 2;
/** Bytes of an identity envelope (PROTOCOL.md §6). */
export const IDENTITY_ENVELOPE_SIZE = 209;
/** Version byte of an identity envelope. */
export const IDENTITY_ENVELOPE_VERSION = 1;
/** Bytes of a snapshot around an empty state and no bindings, without an envelope. */
export const SNAPSHOT_FIXED_OVERHEAD = 94;

import type { CausalLink } from './link.js';

/** A daemon's state as it travels (PROTOCOL.md §4). */
export interface StateSnapshot {
  /** 32 bytes: the daemon's Ed25519 public key. */
  readonly entityId: Uint8Array;
  /** The sequence of the last output that the state holds; equals `chainLink.sequence`. */
  readonly throughSeq: bigint;
  /** The daemon's chain head; its origin hash is that of `entityId`. */
  readonly chainLink: CausalLink;
  /** u64, nanoseconds since the Unix epoch. */
  readonly createdAt: bigint;
  /** Below 2^32 bytes. */
  readonly state: Uint8Array;
  /** The subscription ledger as bytes (§5); empty where there is none. */
  readonly bindings: Uint8Array;
  /** 209 bytes, with version byte 1, or absent. */
  readonly identityEnvelope: Uint8Array | undefined;
}

/** All of a snapshot but its state, which may be too large to be in one piece. */
export type SnapshotFields = Omit<StateSnapshot, 'state'>;
