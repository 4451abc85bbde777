import { MigrationError } from '../errors.js';
import type { Trailer } from '../wire/trailer.js';
import type { MigrationAnswer, MigrationRole, MigrationStatus, RoleContext } from './core.js';
import { Deadlines } from './deadlines.js';
import { asMigrationError, shuttingDown, type ToldFailure } from './failure.js';

/** What every half keeps of a migration. Times are milliseconds of the context's clock. */
export interface RoleRecord<Phase extends string> {
  readonly origin: bigint;
  readonly orchestrator: bigint;
  readonly startedAt: number;
  phase: Phase;
  phaseSince: number;
  /** When something was last known to have moved. */
  progressAt: number;
  /** When this half looks at it again. */
  dueAt: number;
  /** The request whose answer this phase waits for. */
  awaiting: number | undefined;
}

/** A half's rules: what it does with an input in a phase. What a phase does not name is refused as `wrong-phase`. */
export type TransitionTable<Phase extends string, Inputs, Record> = {
  readonly [P in Phase]: { readonly [K in keyof Inputs]?: (record: Record, input: Inputs[K]) => void };
};

/** When a record is looked at again after looking at it went wrong. */
const AFTER_FAULT_MS = 1_000;

/** How many migrations a half takes on: at once, and at once for one peer. */
interface Limits {
  readonly maxMigrations: number;
  readonly maxPerPeer: number;
}

/** What the three halves share: records by origin, deadlines, and the way from an input through the table. */
export abstract class RoleHandler<Phase extends string, Inputs, Record extends RoleRecord<Phase>> {
  protected abstract readonly role: MigrationRole;
  protected readonly records = new Map<bigint, Record>();
  protected abstract readonly table: TransitionTable<Phase, Inputs, Record>;
  readonly #deadlines = new Deadlines<Record>();
  readonly #perPeer = new Map<bigint, number>();
  #ctx: RoleContext | undefined;
  #isWindingDown = false;

  /** Called once by the dispatcher that this half belongs to. */
  attach(ctx: RoleContext): void {
    if (this.#ctx) throw new TypeError('this handler belongs to a dispatcher already; make one for each');
    this.#ctx = ctx;
  }

  /** Whether this half takes part in a migration of that daemon. */
  has(origin: bigint): boolean {
    return this.records.has(origin);
  }

  /** Takes on nothing new from here on, and ends what may still be ended. Idempotent. */
  windDown(): void {
    if (this.#isWindingDown) return;
    this.#isWindingDown = true;
    this.forEachRecord((record) => this.endUnlessDecided(record));
  }

  /** Forgets everything that is under way. */
  dispose(): void {
    this.records.clear();
  }

  /** How many migrations are under way here. */
  get size(): number {
    return this.records.size;
  }

  *statuses(): Iterable<MigrationStatus> {
    for (const record of this.records.values()) yield this.status(record);
  }

  /** Looks at every record that is due; what goes wrong with one is reported, and keeps no other from its turn. */
  tick(): void {
    const { now } = this.ctx;
    for (let record = this.#deadlines.take(now); record; record = this.#deadlines.take(now)) this.#look(record);
  }

  protected abstract status(record: Record): MigrationStatus;

  /** This node shuts down: the migration ends, unless it is another's to say by now. */
  protected abstract endUnlessDecided(record: Record): void;

  /** Something may be overdue. @returns when to look again, in milliseconds from now */
  protected abstract due(record: Record): number;

  /** The nodes that a record counts for in the limit per peer. */
  protected abstract peers(record: Record): readonly bigint[];

  protected get ctx(): RoleContext {
    if (!this.#ctx)
      throw new TypeError('this handler belongs to no dispatcher yet; give it to a MigrationSubprotocolHandler first');
    return this.#ctx;
  }

  /** Why nothing new is taken on any more; undefined while it is. */
  protected get notReady(): MigrationError | undefined {
    return this.#isWindingDown ? shuttingDown(this.ctx.localNode) : undefined;
  }

  /** @throws MigrationError `not-ready`; `too-many-migrations` where one more for these peers is over the limits */
  protected requireRoom(origin: bigint, peers: readonly bigint[], limits: Limits): void {
    const refusal = this.notReady ?? this.#crowding(origin, peers, limits);
    if (refusal) throw refusal;
  }

  /** What keeps this half from taking on a migration of that daemon for these peers. */
  protected inTheWay(origin: bigint, peers: readonly bigint[], limits: Limits): MigrationError[] {
    const already = this.records.has(origin) ? alreadyMigrating(origin) : undefined;
    const obstacles = [this.notReady, already, this.#crowding(origin, peers, limits)];
    return obstacles.filter((obstacle) => obstacle !== undefined);
  }

  /** Why one more for these peers is too many; undefined where it is not. */
  #crowding(
    origin: bigint,
    peers: readonly bigint[],
    { maxMigrations, maxPerPeer }: Limits,
  ): MigrationError | undefined {
    const crowded = peers.find((peer) => (this.#perPeer.get(peer) ?? 0) >= maxPerPeer);
    if (crowded === undefined && this.records.size < maxMigrations) return undefined;
    const limit = crowded === undefined ? maxMigrations : maxPerPeer;
    const whose = crowded === undefined ? '' : ` for node ${crowded}`;
    return new MigrationError(
      'too-many-migrations',
      `daemon ${origin}: ${limit} migrations${whose} are under way at this ${this.role}, and no more are allowed; try again when one has ended`,
      { details: { origin, limit } },
    );
  }

  protected add(record: Record, dueInMs: number): void {
    this.records.set(record.origin, record);
    for (const peer of this.peers(record)) this.#perPeer.set(peer, (this.#perPeer.get(peer) ?? 0) + 1);
    this.lookIn(record, dueInMs);
  }

  protected remove(record: Record): void {
    if (this.records.get(record.origin) !== record) return;
    this.records.delete(record.origin);
    this.ctx.ended(record.origin);
    for (const peer of this.peers(record)) {
      const left = this.#perPeer.get(peer)! - 1;
      if (left === 0) this.#perPeer.delete(peer);
      else this.#perPeer.set(peer, left);
    }
  }

  /** Looks at a record no later than in that many milliseconds. */
  protected lookIn(record: Record, ms: number): void {
    const at = this.ctx.now + ms;
    if (record.dueAt > this.ctx.now && record.dueAt <= at) return;
    record.dueAt = at;
    this.#deadlines.add(at, record);
  }

  protected enter(record: Record, phase: Phase, awaiting?: number): void {
    record.phase = phase;
    record.phaseSince = this.ctx.now;
    record.progressAt = this.ctx.now;
    record.awaiting = awaiting;
  }

  /** @throws MigrationError `wrong-phase` where the record's phase has no rule for this input */
  protected apply<K extends keyof Inputs & string>(record: Record, kind: K, input: Inputs[K]): void {
    const rule = this.table[record.phase][kind];
    if (!rule) {
      throw new MigrationError(
        'wrong-phase',
        `${kind} for daemon ${record.origin} does not belong into phase ${record.phase}`,
        {
          details: { origin: record.origin, got: kind, expected: Object.keys(this.table[record.phase]).join(', ') },
        },
      );
    }
    rule(record, input);
  }

  /** MigrationFailed; a trailer, where the frame has one, also tells the kind. */
  protected tellFailure(to: bigint, origin: bigint, failure: ToldFailure, trailer: Trailer | undefined): void {
    const { reason, kind: failureKind } = failure;
    const withKind = trailer && failureKind !== undefined ? { ...trailer, failureKind } : trailer;
    this.ctx.send(to, { kind: 'MigrationFailed', daemonOrigin: origin, reason }, withKind);
  }

  /** Does something with each record; what goes wrong with one is reported, and keeps no other from its turn. */
  protected forEachRecord(run: (record: Record) => void): void {
    for (const record of [...this.records.values()]) this.guarded(() => run(record));
  }

  protected guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.ctx.fault(asMigrationError(error));
    }
  }

  /** The record that waits for this answer; undefined where nobody does any more. */
  protected awaiting(answer: MigrationAnswer): Record | undefined {
    const record = this.records.get(answer.origin);
    return record?.awaiting === answer.id ? record : undefined;
  }

  #look(record: Record): void {
    // An earlier look has put it off, or it is over.
    if (record.dueAt > this.ctx.now || this.records.get(record.origin) !== record) return;
    let nextMs = AFTER_FAULT_MS;
    this.guarded(() => {
      nextMs = this.due(record);
    });
    if (this.records.get(record.origin) === record) this.lookIn(record, Math.max(1, nextMs));
  }
}

export function alreadyMigrating(origin: bigint): MigrationError {
  return new MigrationError(
    'already-migrating',
    `daemon ${origin} is already migrating; cancel that first or wait for its end`,
    { details: { origin } },
  );
}

/** @throws MigrationError `wrong-peer` */
export function requirePeer(origin: bigint, what: string, from: bigint, expected: bigint): void {
  if (from === expected) return;
  throw new MigrationError(
    'wrong-peer',
    `${what} for daemon ${origin} came from node ${from}; only node ${expected} may send it`,
    {
      details: { origin, from, expected },
    },
  );
}

/** @throws MigrationError `daemon-not-found` */
export function noMigration(origin: bigint, what: string, where: string): MigrationError {
  return new MigrationError('daemon-not-found', `${what}: no migration of daemon ${origin} ${where}`, {
    details: { origin },
  });
}
