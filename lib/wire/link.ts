/** Bytes of a causal link. */
export const CAUSAL_LINK_SIZE = 32;

/** A causal link: where an event stands in its origin's chain (PROTOCOL.md §2). All fields are u64. */
export interface CausalLink {
  /** The origin hash of the entity whose chain this is. */
  readonly originHash: bigint;
  /** A 64-bit Bloom filter of the origins seen. */
  readonly horizon: bigint;
  /** 0 for the genesis, then one more per event. */
  readonly sequence: bigint;
  /** `xxh3_64` of the previous link's 32 bytes and the previous payload; 0 for the genesis. */
  readonly parentHash: bigint;
}

/** A causal event (PROTOCOL.md §2). */
export interface CausalEvent {
  readonly link: CausalLink;
  readonly payload: Uint8Array;
  /** u64, nanoseconds since the Unix epoch. */
  readonly receivedAt: bigint;
}

/** The first link of an origin's chain: sequence 0, parent 0. */
export function genesisLink(originHash: bigint): CausalLink {
  return { originHash, horizon: 0n, sequence: 0n, parentHash: 0n };
}
