import { MigrationError } from '../errors.js';
import type { CausalLink } from '../wire/link.js';

/** How many links are remembered, so that a known number with another link is noticed. */
const REMEMBERED_LINKS = 1_024;
/** How many sequences above a gap are remembered per origin. */
const MAX_AHEAD = 4_096;

const RING_ENTRY_SIZE = 24;
const MASK = (1n << 64n) - 1n;

/** What an event is to the one who may have seen it. `conflict`: a known number with another link. */
export type Sighting = 'new' | 'duplicate' | 'conflict';

interface OriginSeen {
  /** Every sequence from the first one seen to this has been seen. */
  through: bigint;
  /** Seen above a gap. */
  readonly ahead: Set<bigint>;
}

/**
 * What a daemon has seen, exactly (ARCHITECTURE.md, "horizon"): per origin the highest sequence up to which nothing is
 * missing since the first one seen, and a bounded set of those above it. Travels with the daemon.
 */
export class Horizon {
  readonly #origins = new Map<bigint, OriginSeen>();
  /** (origin, sequence, link hash) of the last events, as a ring. */
  readonly #links = new BigUint64Array(3 * REMEMBERED_LINKS);
  #linkCount = 0n;

  /** How many origins have been seen. */
  get size(): number {
    return this.#origins.size;
  }

  /**
   * Notes an event as seen, where it is new.
   *
   * @throws MigrationError `sequence-gap` when too many are already waiting behind a missing one of its origin
   */
  observe(link: CausalLink): Sighting {
    const { originHash, sequence } = link;
    const seen = this.#origins.get(originHash);
    if (!seen) {
      this.#origins.set(originHash, { through: sequence, ahead: new Set() });
    } else if (sequence === seen.through + 1n) {
      seen.through = sequence;
      if (seen.ahead.size > 0) closeGap(seen);
    } else if (sequence <= seen.through || seen.ahead.has(sequence)) {
      const known = this.#rememberedHash(link);
      return known === undefined || known === linkHash(link) ? 'duplicate' : 'conflict';
    } else if (seen.ahead.size >= MAX_AHEAD) {
      throw new MigrationError(
        'sequence-gap',
        `event ${sequence} of origin ${originHash}: ${MAX_AHEAD} events already wait behind the missing ${seen.through + 1n}; send that first`,
        { details: { origin: originHash, sequence, missing: seen.through + 1n } },
      );
    } else {
      seen.ahead.add(sequence);
    }
    this.#remember(link);
    return 'new';
  }

  /** Whether an event counts as seen. */
  has({ originHash, sequence }: CausalLink): boolean {
    const seen = this.#origins.get(originHash);
    return seen !== undefined && (sequence <= seen.through || seen.ahead.has(sequence));
  }

  /**
   * The first gap of an origin counts as seen: whoever calls this knows that nobody sends what is missing.
   *
   * @returns whether there was one
   */
  passOver(originHash: bigint): boolean {
    const [gap] = this.missing(originHash);
    if (!gap) return false;
    const seen = this.#origins.get(originHash)!;
    seen.through = gap[1];
    closeGap(seen);
    return true;
  }

  /** The highest sequence of an origin up to which nothing is missing. */
  through(originHash: bigint): bigint | undefined {
    return this.#origins.get(originHash)?.through;
  }

  /** Sequences of an origin that are missing below something seen, as [first, last] pairs. */
  missing(originHash: bigint): ReadonlyArray<readonly [bigint, bigint]> {
    const seen = this.#origins.get(originHash);
    if (!seen || seen.ahead.size === 0) return [];
    const gaps: Array<readonly [bigint, bigint]> = [];
    let next = seen.through + 1n;
    for (const sequence of [...seen.ahead].sort((a, b) => (a < b ? -1 : 1))) {
      if (sequence > next) gaps.push([next, sequence - 1n]);
      next = sequence + 1n;
    }
    return gaps;
  }

  #remember(link: CausalLink): void {
    const at = Number(this.#linkCount % BigInt(REMEMBERED_LINKS)) * 3;
    this.#links[at] = link.originHash;
    this.#links[at + 1] = link.sequence;
    this.#links[at + 2] = linkHash(link);
    this.#linkCount += 1n;
  }

  #rememberedHash(link: CausalLink): bigint | undefined {
    const end = 3 * Number(this.#linkCount < REMEMBERED_LINKS ? this.#linkCount : BigInt(REMEMBERED_LINKS));
    for (let at = 0; at < end; at += 3) {
      if (this.#links[at] === link.originHash && this.#links[at + 1] === link.sequence) return this.#links[at + 2];
    }
    return undefined;
  }

  /** Bytes: `origins u32 | (origin u64, through u64, ahead u32, ahead × u64)… | links u32 | (origin, sequence, hash)…` */
  encode(): Uint8Array {
    let length = 8;
    for (const { ahead } of this.#origins.values()) length += 20 + 8 * ahead.size;
    const links = Number(this.#linkCount < REMEMBERED_LINKS ? this.#linkCount : BigInt(REMEMBERED_LINKS));
    length += RING_ENTRY_SIZE * links;
    const view = new DataView(new ArrayBuffer(length));
    view.setUint32(0, this.#origins.size, true);
    let at = 4;
    for (const [origin, { through, ahead }] of this.#origins) {
      view.setBigUint64(at, origin, true);
      view.setBigUint64(at + 8, through, true);
      view.setUint32(at + 16, ahead.size, true);
      at += 20;
      for (const sequence of [...ahead].sort((a, b) => (a < b ? -1 : 1))) {
        view.setBigUint64(at, sequence, true);
        at += 8;
      }
    }
    view.setUint32(at, links, true);
    at += 4;
    // Oldest first, so that a decoded ring forgets in the same order.
    const oldest = this.#linkCount - BigInt(links);
    for (let n = 0; n < links; n++) {
      const from = Number((oldest + BigInt(n)) % BigInt(REMEMBERED_LINKS)) * 3;
      for (let k = 0; k < 3; k++, at += 8) view.setBigUint64(at, this.#links[from + k]!, true);
    }
    return new Uint8Array(view.buffer);
  }

  /** @throws MigrationError `truncated` or `trailing-bytes` */
  static decode(bytes: Uint8Array): Horizon {
    const horizon = new Horizon();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    const need = (size: number) => {
      if (bytes.length - at < size) {
        throw new MigrationError(
          'truncated',
          `the horizon ends at byte ${bytes.length}, ${size} more were expected at ${at}`,
          {
            details: { offset: at },
          },
        );
      }
    };
    need(4);
    const origins = view.getUint32(0, true);
    at = 4;
    for (let n = 0; n < origins; n++) {
      need(20);
      const origin = view.getBigUint64(at, true);
      const through = view.getBigUint64(at + 8, true);
      const count = view.getUint32(at + 16, true);
      at += 20;
      need(8 * count);
      const ahead = new Set<bigint>();
      for (let k = 0; k < count; k++, at += 8) ahead.add(view.getBigUint64(at, true));
      horizon.#origins.set(origin, { through, ahead });
    }
    need(4);
    const links = Math.min(view.getUint32(at, true), REMEMBERED_LINKS);
    at += 4;
    need(RING_ENTRY_SIZE * links);
    for (let k = 0; k < 3 * links; k++, at += 8) horizon.#links[k] = view.getBigUint64(at, true);
    horizon.#linkCount = BigInt(links);
    if (at !== bytes.length) {
      throw new MigrationError('trailing-bytes', `the horizon has ${bytes.length - at} bytes left over at byte ${at}`, {
        details: { offset: at },
      });
    }
    return horizon;
  }
}

function closeGap(seen: OriginSeen): void {
  while (seen.ahead.delete(seen.through + 1n)) seen.through += 1n;
}

/** Origin and sequence are compared beside it, so only the other two fields count. */
function linkHash(link: CausalLink): bigint {
  return (link.parentHash ^ (link.horizon * 0x9e3779b97f4a7c15n)) & MASK;
}
