import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import { inSlices, numbersTo, type Turn } from '../slices.js';
import type { CausalLink } from '../wire/link.js';

/** How many links are remembered, so that a known number with another link is noticed. */
const REMEMBERED_LINKS = 1_024;
/** How many sequences above a gap are remembered per origin. */
const MAX_AHEAD = 4_096;

/** Sequences written or read before the event loop gets its turn. */
const SLICE = 2_000;
const ORIGIN_SIZE = 20;
const RING_ENTRY_SIZE = 24;
const MASK = (1n << 64n) - 1n;

/** What an event is to the one who may have seen it. `conflict`: a known number with another link. */
export type Sighting = 'new' | 'duplicate' | 'conflict';

interface OriginSeen {
  readonly origin: bigint;
  /** Where it stands in the list. */
  readonly place: number;
  /** It is changed in this generation of the horizon only. */
  readonly generation: number;
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
  readonly #list: OriginSeen[] = [];
  /** Raised when the horizon is frozen: what was seen until then is replaced, no longer changed. */
  #generation = 0;
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
      this.#add(originHash, sequence, new Set());
    } else if (sequence === seen.through + 1n) {
      const own = this.#own(seen);
      own.through = sequence;
      if (own.ahead.size > 0) closeGap(own);
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
      this.#own(seen).ahead.add(sequence);
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
    const seen = this.#own(this.#origins.get(originHash)!);
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

  #add(origin: bigint, through: bigint, ahead: Set<bigint>): void {
    const place = this.#origins.get(origin)?.place ?? this.#list.length;
    const seen = { origin, place, generation: this.#generation, through, ahead };
    this.#origins.set(origin, seen);
    this.#list[place] = seen;
  }

  /** What may be changed of an origin. */
  #own(seen: OriginSeen): OriginSeen {
    if (seen.generation === this.#generation) return seen;
    const own = { ...seen, generation: this.#generation, ahead: new Set(seen.ahead) };
    this.#origins.set(seen.origin, own);
    this.#list[seen.place] = own;
    return own;
  }

  /** As it is now: cheap however many origins there are, and what is observed later does not show in it. */
  frozen(): FrozenHorizon {
    this.#generation++;
    const count = Number(this.#linkCount < REMEMBERED_LINKS ? this.#linkCount : BigInt(REMEMBERED_LINKS));
    // Oldest first, so that a decoded ring forgets in the same order.
    const oldest = this.#linkCount - BigInt(count);
    const links = new BigUint64Array(3 * count);
    for (let n = 0; n < count; n++) {
      const from = Number((oldest + BigInt(n)) % BigInt(REMEMBERED_LINKS)) * 3;
      links.set(this.#links.subarray(from, from + 3), 3 * n);
    }
    return new FrozenHorizon(this.#list.slice(), links);
  }

  /**
   * Over several turns where there is much to read.
   *
   * @throws MigrationError `truncated`, `trailing-bytes`, or `sequence-gap` where more stands above a gap than is remembered
   */
  static decode(bytes: Uint8Array, turn?: Turn): MaybePromise<Horizon> {
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
    const readOrigin = (): void => {
      need(ORIGIN_SIZE);
      const origin = view.getBigUint64(at, true);
      const through = view.getBigUint64(at + 8, true);
      const count = view.getUint32(at + 16, true);
      if (count > MAX_AHEAD)
        throw new MigrationError(
          'sequence-gap',
          `the horizon of origin ${origin} has ${count} events above a gap, where at most ${MAX_AHEAD} are remembered`,
          { details: { origin, offset: at } },
        );
      at += ORIGIN_SIZE;
      need(8 * count);
      const ahead = new Set<bigint>();
      for (let k = 0; k < count; k++, at += 8) ahead.add(view.getBigUint64(at, true));
      horizon.#add(origin, through, ahead);
    };
    const readLinks = (): Horizon => {
      need(4);
      const links = Math.min(view.getUint32(at, true), REMEMBERED_LINKS);
      at += 4;
      need(RING_ENTRY_SIZE * links);
      for (let k = 0; k < 3 * links; k++, at += 8) horizon.#links[k] = view.getBigUint64(at, true);
      horizon.#linkCount = BigInt(links);
      if (at === bytes.length) return horizon;
      throw new MigrationError('trailing-bytes', `the horizon has ${bytes.length - at} bytes left over at byte ${at}`, {
        details: { offset: at },
      });
    };
    need(4);
    const origins = view.getUint32(0, true);
    at = 4;
    const weight = () => weightOf(horizon.#list.at(-1)!);
    return whenReady(inSlices(numbersTo(origins), SLICE, turn, readOrigin, weight), readLinks);
  }
}

/** A horizon as it was at one moment. */
export class FrozenHorizon {
  readonly #origins: readonly OriginSeen[];
  readonly #links: BigUint64Array;

  /** @param links (origin, sequence, hash) of each, oldest first */
  constructor(origins: readonly OriginSeen[], links: BigUint64Array) {
    this.#origins = origins;
    this.#links = links;
  }

  /**
   * Bytes: `origins u32 | (origin u64, through u64, ahead u32, ahead × u64)… | links u32 | (origin, sequence, hash)…`; over several
   * turns where there is much to write.
   */
  encode(turn?: Turn): MaybePromise<Uint8Array> {
    let length = 8 + 8 * this.#links.length;
    const measured = inSlices(this.#origins, SLICE, turn, ({ ahead }) => {
      length += ORIGIN_SIZE + 8 * ahead.size;
    });
    return whenReady(measured, () => this.#write(new DataView(new ArrayBuffer(length)), turn));
  }

  #write(view: DataView<ArrayBuffer>, turn: Turn | undefined): MaybePromise<Uint8Array> {
    view.setUint32(0, this.#origins.length, true);
    let at = 4;
    const writeOrigin = ({ origin, through, ahead }: OriginSeen): void => {
      view.setBigUint64(at, origin, true);
      view.setBigUint64(at + 8, through, true);
      view.setUint32(at + 16, ahead.size, true);
      at += ORIGIN_SIZE;
      for (const sequence of [...ahead].sort((a, b) => (a < b ? -1 : 1))) {
        view.setBigUint64(at, sequence, true);
        at += 8;
      }
    };
    return whenReady(inSlices(this.#origins, SLICE, turn, writeOrigin, weightOf), () => {
      view.setUint32(at, this.#links.length / 3, true);
      at += 4;
      for (const value of this.#links) {
        view.setBigUint64(at, value, true);
        at += 8;
      }
      return new Uint8Array(view.buffer);
    });
  }
}

function weightOf({ ahead }: OriginSeen): number {
  return 1 + ahead.size;
}

function closeGap(seen: OriginSeen): void {
  while (seen.ahead.delete(seen.through + 1n)) seen.through += 1n;
}

/** Origin and sequence are compared beside it, so only the other two fields count. */
function linkHash(link: CausalLink): bigint {
  return (link.parentHash ^ (link.horizon * 0x9e3779b97f4a7c15n)) & MASK;
}
