import { type FencedName, parseFencedName } from '../../lib/spool/fenced-name.js';
import type { SpoolStorage } from '../../lib/spool/storage.js';
import { type DiskOperation, MemoryDisk } from '../spool/memory-disk.js';
import type { Chances } from './chance.js';
import type { Scheduler } from './scheduler.js';

/** How bad the disks are: probabilities per operation, and per crash. */
export interface DiskFaults {
  /** Takes up to 150 ms longer. */
  readonly slow: number;
  /** Is refused, once. */
  readonly failed: number;
  /** The disk is full, for up to 400 ms. */
  readonly full: number;
  /** The node crashes in the middle of it. */
  readonly crashes: number;
  /** Per crash: the node comes back with an empty disk. */
  readonly lost: number;
}

const READ_MS = 0.3;
const WRITE_MS = 4;
const SLOW_MS = 150;
const FULL_MS = 400;
const NEEDS_ROOM = new Set<DiskOperation['kind']>(['create', 'write', 'sync', 'replace']);

export interface DiskWitness {
  /** The node is to crash now. */
  crash(): void;
  /** An operation was refused. */
  refused(operation: DiskOperation, code: string): void;
}

/** The disk of one node, whatever becomes of the node: each operation takes time, and some fail. */
export class SimulatedDisk {
  readonly #node: number;
  readonly #scheduler: Scheduler;
  readonly #chances: Chances;
  readonly #faults: DiskFaults;
  readonly #witness: DiskWitness;
  readonly #underWay = new Set<DiskOperation>();
  /** Files that were to be removed, and were not. */
  readonly unremovable = new Set<string>();
  #disk: MemoryDisk;
  #count = 0;
  #crashes = 0;
  #fullUntil = 0;

  constructor(node: number, scheduler: Scheduler, chances: Chances, faults: DiskFaults, witness: DiskWitness) {
    this.#node = node;
    this.#scheduler = scheduler;
    this.#chances = chances;
    this.#faults = faults;
    this.#witness = witness;
    this.#disk = this.#empty();
  }

  /** For one life of the node. */
  storage(): SpoolStorage {
    return this.#disk.storage();
  }

  /** Something is being written. */
  get isWriting(): boolean {
    return this.#underWay.size > 0;
  }

  /** Copies of daemons that are on it. */
  copies(): FencedName[] {
    return [...this.#disk.contents().keys()].flatMap((name) => parseFencedName(name) ?? []);
  }

  /** Snapshots that are being received. */
  arrivals(): string[] {
    return [...this.#disk.contents().keys()].filter((name) => name.startsWith('arrival-'));
  }

  /** The node dies. @returns whether what was synced is still there */
  crash(): boolean {
    const n = ++this.#crashes;
    const happens = (fate: 'spool-lost' | 'crash-loses' | 'crash-tears', probability: number) =>
      this.#chances.strikes(fate, probability, this.#node, 0, n);
    this.#underWay.clear();
    if (happens('spool-lost', this.#faults.lost)) {
      this.#disk.crash('lost');
      this.#disk = this.#empty();
      return false;
    }
    let drawn = 0;
    const fate = happens('crash-tears', 0.4) ? 'torn' : happens('crash-loses', 0.5) ? 'lost' : 'kept';
    this.#disk.crash(fate, () => this.#chances.measure(this.#node, 93, n * 1_000 + ++drawn));
    return true;
  }

  #empty(): MemoryDisk {
    const disk = new MemoryDisk();
    disk.delay = (operation) => this.#delay(operation);
    disk.fault = (operation) => this.#fault(operation);
    return disk;
  }

  #delay(operation: DiskOperation): Promise<void> {
    const n = ++this.#count;
    const longest = operation.kind === 'read' ? READ_MS : WRITE_MS;
    const isSlow = this.#chances.strikes('disk-slow', this.#faults.slow, this.#node, 0, n);
    const measure = this.#chances.measure(this.#node, 94, n);
    const ms = 0.05 + longest * measure + (isSlow ? SLOW_MS * measure : 0);
    if (operation.kind !== 'read') {
      this.#underWay.add(operation);
      if (this.#chances.strikes('disk-crash', this.#faults.crashes, this.#node, 0, n))
        this.#scheduler.in(ms / 2, 0, () => {
          if (this.#underWay.has(operation)) this.#witness.crash();
        });
    }
    return new Promise((resolve) => {
      this.#scheduler.in(ms, this.#node, () => {
        this.#underWay.delete(operation);
        resolve();
      });
    });
  }

  #fault(operation: DiskOperation): string | undefined {
    const code = this.#codeOf(operation);
    if (code !== undefined) this.#witness.refused(operation, code);
    if (code !== undefined && operation.kind === 'remove') this.unremovable.add(operation.name);
    return code;
  }

  #codeOf({ kind }: DiskOperation): string | undefined {
    const n = this.#count;
    const { now } = this.#scheduler;
    if (this.#chances.isOver) return undefined;
    if (this.#chances.strikes('disk-failed', this.#faults.failed, this.#node, 0, n)) return 'EIO';
    if (!NEEDS_ROOM.has(kind)) return undefined;
    if (this.#chances.strikes('disk-full', this.#faults.full, this.#node, 0, n))
      this.#fullUntil = now + FULL_MS * this.#chances.measure(this.#node, 92, n);
    return now < this.#fullUntil ? 'ENOSPC' : undefined;
  }
}
