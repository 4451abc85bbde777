import {
  type OwnershipEntry,
  type OwnershipRegister,
  OwnershipTable,
  type RegisteredOwnership,
} from '../../lib/mesh/register.js';
import type { Chances } from './chance.js';
import type { Scheduler } from './scheduler.js';

/** How bad the register is: probabilities per operation. */
export interface RegisterFaults {
  /** Takes up to half a second. */
  readonly slow: number;
  /** Rejects, and nothing was written. */
  readonly refused: number;
  /** Rejects after it has taken effect. */
  readonly unanswered: number;
  /** Rejects, and takes effect later. */
  readonly late: number;
}

export const NO_REGISTER_FAULTS: RegisterFaults = { slow: 0, refused: 0, unanswered: 0, late: 0 };

/** What an operation that was written has changed. */
export type RegisterChange = 'created' | 'removed' | 'try' | 'offer' | 'claim' | 'withdraw' | 'recover' | 'other';

export interface RegisterObserver {
  wrote(node: number, origin: bigint, change: RegisterChange, entry: OwnershipEntry | undefined, fate: string): void;
  lostRace(node: number, origin: bigint, entry: OwnershipEntry | undefined): void;
}

/** How long an operation that gets no answer is waited for. */
const TIMEOUT_MS = 120;

/** The ownership register, and the ways to it. */
export class SimulatedRegister {
  readonly table = new OwnershipTable();
  readonly #scheduler: Scheduler;
  readonly #chances: Chances;
  faults: RegisterFaults;
  observer: RegisterObserver = { wrote() {}, lostRace() {} };
  /** Nodes that cannot reach it, each by how many faults. */
  readonly #away = new Map<number, number>();
  #count = 0;

  constructor(scheduler: Scheduler, chances: Chances, faults: RegisterFaults) {
    this.#scheduler = scheduler;
    this.#chances = chances;
    this.faults = faults;
  }

  goAway(node: number): void {
    this.#away.set(node, (this.#away.get(node) ?? 0) + 1);
  }

  comeBack(node: number): void {
    const left = (this.#away.get(node) ?? 1) - 1;
    if (left > 0) this.#away.set(node, left);
    else this.#away.delete(node);
  }

  /** One operation of a node: when, and whether, it takes effect and is answered. */
  operate<T>(register: NodeRegister, effect: (fate: string) => T): Promise<T> {
    const { node } = register;
    const n = ++this.#count;
    const { slow, refused, unanswered, late } = this.faults;
    return new Promise((resolve, reject) => {
      const after = (ms: number, run: () => void) => this.#scheduler.in(ms, node, run);
      const answer = (ms: number, run: () => void) =>
        after(ms, () => {
          if (!register.isCut) run();
        });
      const noAnswer = () => reject(new Error('the register gave no answer'));
      const isSlow = this.#chances.strikes('register-slow', slow, node, 0, n);
      const way =
        0.5 + 2 * this.#chances.measure(node, 99, n) + (isSlow ? 500 * this.#chances.measure(node, 98, n) : 0);
      if (this.#away.has(node) || this.#chances.strikes('register-refused', refused, node, 0, n)) {
        answer(TIMEOUT_MS, noAnswer);
      } else if (this.#chances.strikes('register-unanswered', unanswered, node, 0, n)) {
        after(way, () => void effect('unanswered'));
        answer(way + TIMEOUT_MS, noAnswer);
      } else if (this.#chances.strikes('register-late', late, node, 0, n)) {
        answer(TIMEOUT_MS, noAnswer);
        after(TIMEOUT_MS + 400 * this.#chances.measure(node, 97, n), () => void effect('late'));
      } else {
        // What is under way when its node crashes takes effect all the same.
        after(way, () => {
          const value = effect('answered');
          answer(way, () => resolve(value));
        });
      }
    });
  }

  compareAndSet(
    node: number,
    origin: bigint,
    expected: bigint,
    entry: OwnershipEntry | undefined,
    fate: string,
  ): boolean {
    const before = this.table.read(origin);
    const isWritten = this.table.compareAndSet(origin, expected, entry);
    if (isWritten) this.observer.wrote(node, origin, changeOf(before?.entry, entry, node), entry, fate);
    else this.observer.lostRace(node, origin, entry);
    return isWritten;
  }
}

/** The register as one node reaches it. */
export class NodeRegister implements OwnershipRegister {
  readonly node: number;
  readonly #register: SimulatedRegister;
  isCut = false;
  /** The world has ended: nothing is waited for. */
  isOver = false;

  constructor(node: number, register: SimulatedRegister) {
    this.node = node;
    this.#register = register;
  }

  read(origin: bigint): Promise<RegisteredOwnership | undefined> {
    return this.#operate(() => this.#register.table.read(origin));
  }

  compareAndSet(origin: bigint, expected: bigint, entry: OwnershipEntry | undefined): Promise<boolean> {
    return this.#operate((fate) => this.#register.compareAndSet(this.node, origin, expected, entry, fate));
  }

  #operate<T>(effect: (fate: string) => T): Promise<T> {
    if (this.isOver) return Promise.reject(new Error('the world has ended'));
    return this.isCut ? new Promise(() => {}) : this.#register.operate(this, effect);
  }
}

function changeOf(before: OwnershipEntry | undefined, after: OwnershipEntry | undefined, node: number): RegisterChange {
  if (!after) return 'removed';
  if (!before) return 'created';
  if (after.epoch === before.epoch) return after.tries > before.tries ? 'try' : after.offer ? 'offer' : 'other';
  if (before.offer && before.offer.target === BigInt(node) && before.owner !== after.owner) return 'claim';
  if (before.offer && before.owner === after.owner) return 'withdraw';
  return 'recover';
}
