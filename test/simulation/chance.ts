/** Scatters some whole numbers over 32 bits: the same numbers always give the same, and near ones give what is far apart. */
export function scatter(a: number, b = 0, c = 0, d = 0): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15) ^ b, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 13) ^ c, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 16) ^ d, 0x165667b1);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return (h ^ (h >>> 13)) >>> 0;
}

/** A row of numbers that its seed decides. */
export class Random {
  readonly #seed: number;
  #drawn = 0;

  constructor(seed: number, row = 0) {
    this.#seed = scatter(seed, row, 0x51ed);
  }

  /** 0 and above, below 1. */
  fraction(): number {
    return scatter(this.#seed, ++this.#drawn) / 2 ** 32;
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.fraction() * list.length)]!;
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.between(0, 255));
  }
}

/** What chance may do to a frame, an operation of the register or of a disk, a call of a daemon. */
export const FATES = [
  'lost',
  'doubled',
  'delayed',
  'overtaken',
  'register-slow',
  'register-refused',
  'register-unanswered',
  'register-late',
  'subscribe-refused',
  'subscribe-unanswered',
  'snapshot-throws',
  'restore-throws',
  'publish-lost',
  'disk-slow',
  'disk-failed',
  'disk-full',
  'disk-crash',
  'spool-lost',
  'crash-loses',
  'crash-tears',
] as const;

export type Fate = (typeof FATES)[number];

/**
 * Decides what chance does, each decision by what it is about and not by what was decided before: so that a run in which some
 * of them are switched off goes as the one with all of them, but for those.
 */
export class Chances {
  readonly #seed: number;
  readonly #allowed: ReadonlySet<string> | undefined;
  /** What has happened by chance, by name, in order. */
  readonly taken: string[] = [];
  /** From then on nothing does. */
  isOver = false;

  /** @param allowed the only decisions that may go against the world; undefined: all that the seed says */
  constructor(seed: number, allowed?: ReadonlySet<string>) {
    this.#seed = seed;
    this.#allowed = allowed;
  }

  /** Whether it happens to the `n`th of what two numbers name. */
  strikes(fate: Fate, probability: number, a: number, b: number, n: number): boolean {
    if (this.isOver || probability === 0) return false;
    const drawn = scatter(this.#seed ^ (FATES.indexOf(fate) << 24), a * 131 + b, n, 7) / 2 ** 32;
    return drawn < probability && this.allows(`${fate}:${a}>${b}#${n}`);
  }

  /** Whether something that was planned under that name happens. */
  allows(name: string): boolean {
    if (this.#allowed && !this.#allowed.has(name)) return false;
    this.taken.push(name);
    return true;
  }

  /** Not a fault, only a number: how long something takes. From 0 to below 1. */
  measure(a: number, b: number, n: number): number {
    return scatter(this.#seed ^ 0x3a3a, a * 131 + b, n, 3) / 2 ** 32;
  }
}
