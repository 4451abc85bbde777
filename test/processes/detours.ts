import type { Role } from './messages.js';
import type { Pass, Passing } from './network.js';
import type { Detour } from './plan.js';

/** Events that come at once where a source is to be crowded: more than may be left when it stops. */
const CROWD = 1_500;

export interface DetourMeans {
  readonly cancel: () => void;
  /** Sends that many events at once. Resolves when they are accepted. */
  readonly burst: (events: number) => Promise<void>;
}

/** Leads the migration of a round off its common way, as long as blows fall. */
export class Detours {
  isOver = false;
  readonly #detour: Detour;
  readonly #nodes: Readonly<Record<Role, bigint>>;
  readonly #means: DetourMeans;
  #acks = 0;
  #isBursting = false;

  constructor(detour: Detour, nodes: Readonly<Record<Role, bigint>>, means: DetourMeans) {
    this.#detour = detour;
    this.#nodes = nodes;
    this.#means = means;
  }

  /** Whether it keeps that, for now or for good; `pass` is called where it only comes later. */
  keeps(passing: Passing, pass: Pass): boolean {
    if (this.isOver) return false;
    const { kind, names, from, to } = passing;
    const isFrame = (...wanted: string[]) => kind === 'frame' && wanted.some((name) => names.includes(name));
    const { source, target } = this.#nodes;
    switch (this.#detour) {
      case 'cancelled':
        if (isFrame('RestoreComplete')) this.#means.cancel();
        return false;
      case 'withdrawn':
        this.#cancelAt('offer', passing);
        return to === target && isFrame('Offer', 'ActivateTarget');
      case 'outrun':
        this.#cancelAt('claim', passing);
        return from === target && isFrame('ActivateAck', 'ActivationConfirmed');
      case 'crowded':
        if (from === target && to === source && isFrame('EventAck')) return ++this.#acks > 1;
        return isFrame('CutoverNotify') && this.#holdsUntilCrowded(pass);
      default:
        return false;
    }
  }

  #cancelAt(operation: string, { kind, names }: Passing): void {
    // Behind the answer, which passes in this turn.
    if (kind === 'answer' && names.includes(operation)) setTimeout(this.#means.cancel, 1);
  }

  #holdsUntilCrowded(pass: Pass): boolean {
    if (this.#isBursting) return false;
    this.#isBursting = true;
    void this.#means.burst(CROWD).then(pass);
    return true;
  }
}
