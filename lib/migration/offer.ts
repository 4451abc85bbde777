import { sameBytes } from '../wire/trailer.js';

/**
 * What a source writes into the ownership register when it has stopped: only its target can claim the daemon, and only
 * with exactly this (ARCHITECTURE.md, "A witness decides who lives").
 */
export interface Offer {
  readonly try: bigint;
  /** Node id. */
  readonly target: bigint;
  /** BLAKE3-256 of the snapshot. */
  readonly snapshotDigest: Uint8Array;
  /** How many events the source's log holds. */
  readonly logCount: bigint;
  /** The log's running digest over them. */
  readonly logDigest: Uint8Array;
  /** In live mode: the chain head when the source stopped (32 bytes), which the target's replay must have led to. */
  readonly head?: Uint8Array | undefined;
}

/** Whether a target holds exactly what was offered. */
export function sameOffer(a: Offer, b: Offer): boolean {
  return (
    a.try === b.try &&
    a.target === b.target &&
    a.logCount === b.logCount &&
    Buffer.compare(a.snapshotDigest, b.snapshotDigest) === 0 &&
    Buffer.compare(a.logDigest, b.logDigest) === 0 &&
    (a.head === b.head || sameBytes(a.head, b.head))
  );
}
