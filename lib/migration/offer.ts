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
  /** In live mode: where the source's chain ended when it stopped (32 bytes), to which the target's replay must have led. */
  readonly head?: Uint8Array | undefined;
}

const NOTHING = new Uint8Array(0);

/** What stands in the register for a target without extensions: its try and digests are known to nobody. */
export function openOffer(target: bigint): Offer {
  return { try: 0n, target, snapshotDigest: NOTHING, logCount: 0n, logDigest: NOTHING };
}

/** Whether a target may take what was offered: it holds exactly that, or it was let go to it. */
export function mayClaim(offered: Offer, claimed: Offer): boolean {
  if (offered.try === 0n) return claimed.try === 0n && offered.target === claimed.target;
  return sameOffer(offered, claimed);
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
