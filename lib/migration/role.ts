import { MigrationError } from '../errors.js';
import type { MigrationAnswer, RoleContext } from './core.js';
import { asMigrationError } from './failure.js';

/** What every half keeps of a migration. */
export interface RoleRecord<Phase extends string> {
  readonly origin: bigint;
  phase: Phase;
  /** When this phase began, in milliseconds of the context's clock. */
  phaseSince: number;
  /** The request whose answer this phase waits for. */
  awaiting: number | undefined;
}

/** A half's rules: what it does with an input in a phase. What a phase does not name is refused as `wrong-phase`. */
export type TransitionTable<Phase extends string, Inputs, Record> = {
  readonly [P in Phase]: { readonly [K in keyof Inputs]?: (record: Record, input: Inputs[K]) => void };
};

/** What the three halves share: records by origin, and the way from an input through the table. */
export abstract class RoleHandler<Phase extends string, Inputs, Record extends RoleRecord<Phase>> {
  protected readonly records = new Map<bigint, Record>();
  #ctx: RoleContext | undefined;

  protected abstract readonly table: TransitionTable<Phase, Inputs, Record>;

  /** Called once by the dispatcher that this half belongs to. */
  attach(ctx: RoleContext): void {
    if (this.#ctx) throw new TypeError('this handler belongs to a dispatcher already; make one for each');
    this.#ctx = ctx;
  }

  protected get ctx(): RoleContext {
    if (!this.#ctx)
      throw new TypeError('this handler belongs to no dispatcher yet; give it to a MigrationSubprotocolHandler first');
    return this.#ctx;
  }

  protected enter(record: Record, phase: Phase, awaiting?: number): void {
    record.phase = phase;
    record.phaseSince = this.ctx.now;
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
