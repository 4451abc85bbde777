import type { RuntimePolicy } from '../../lib/index.js';
import type { PhasePolicy } from '../../lib/migration/policy.js';

interface EvenPolicy {
  /** Of every phase of an orchestrator but its rollback. */
  readonly phase: PhasePolicy;
  readonly rollback: PhasePolicy;
  readonly sourceMs: number;
  readonly targetMs: number;
  readonly repeatMs: number;
}

/** A node that is as patient in one phase as in the others. */
export function evenPolicy({ phase, rollback, sourceMs, targetMs, repeatMs }: EvenPolicy): RuntimePolicy {
  return {
    orchestrator: {
      phases: { Snapshot: phase, Transfer: phase, Restore: phase, Replay: phase, Cutover: phase, Rollback: rollback },
    },
    source: { patienceMs: sourceMs, repeatMs },
    target: { patienceMs: targetMs, repeatMs },
  };
}
