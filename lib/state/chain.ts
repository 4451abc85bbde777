import type { MigrationCodec } from '../wire/codec.js';
import { type CausalEvent, type CausalLink, genesisLink } from '../wire/link.js';

const NOTHING = new Uint8Array(0);

/** Builds a daemon's chain of outputs: each link names the hash of the one before (PROTOCOL.md §2). */
export class CausalChain {
  readonly #codec: MigrationCodec;
  #head: CausalLink;
  /** The last output's payload, or what the next link names in place of its hash. */
  #last: Uint8Array | bigint;

  private constructor(codec: MigrationCodec, head: CausalLink, last: Uint8Array | bigint) {
    this.#codec = codec;
    this.#head = head;
    this.#last = last;
  }

  static genesis(codec: MigrationCodec, originHash: bigint): CausalChain {
    return new CausalChain(codec, genesisLink(originHash), NOTHING);
  }

  /** Goes on after `head`; `nextParent` is what the next link names. */
  static after(codec: MigrationCodec, head: CausalLink, nextParent: bigint): CausalChain {
    return new CausalChain(codec, head, nextParent);
  }

  get head(): CausalLink {
    return this.#head;
  }

  /** What the next link names: the hash of the head and its payload. */
  get nextParent(): bigint {
    return typeof this.#last === 'bigint' ? this.#last : this.#codec.parentHash(this.#head, this.#last);
  }

  /**
   * The next event of the chain.
   *
   * @param horizon the Bloom filter of the origins seen, for the link
   * @throws MigrationError `sequence-overflow`
   */
  append(payload: Uint8Array, horizon: bigint, receivedAt: bigint): CausalEvent {
    if (typeof this.#last === 'bigint') {
      const parentHash = this.#last;
      this.#head = { ...this.#codec.nextLink(this.#head, NOTHING, horizon), parentHash };
    } else this.#head = this.#codec.nextLink(this.#head, this.#last, horizon);
    this.#last = payload;
    return { link: this.#head, payload, receivedAt };
  }
}
