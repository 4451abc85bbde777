import type { MigrationCodec } from '../wire/codec.js';
import { type CausalEvent, type CausalLink, genesisLink } from '../wire/link.js';

const NOTHING = new Uint8Array(0);

/** Builds a daemon's chain of outputs: each link names the hash of the one before (PROTOCOL.md §2). */
export class CausalChain {
  readonly #codec: MigrationCodec;
  #head: CausalLink;
  #lastPayload: Uint8Array;

  constructor(codec: MigrationCodec, head: CausalLink, lastPayload: Uint8Array) {
    this.#codec = codec;
    this.#head = head;
    this.#lastPayload = lastPayload;
  }

  static genesis(codec: MigrationCodec, originHash: bigint): CausalChain {
    return new CausalChain(codec, genesisLink(originHash), NOTHING);
  }

  get head(): CausalLink {
    return this.#head;
  }

  get lastPayload(): Uint8Array {
    return this.#lastPayload;
  }

  /**
   * The next event of the chain.
   *
   * @param horizon the Bloom filter of the origins seen, for the link
   * @throws MigrationError `sequence-overflow`
   */
  append(payload: Uint8Array, horizon: bigint, receivedAt: bigint): CausalEvent {
    this.#head = this.#codec.nextLink(this.#head, this.#lastPayload, horizon);
    this.#lastPayload = payload;
    return { link: this.#head, payload, receivedAt };
  }
}
