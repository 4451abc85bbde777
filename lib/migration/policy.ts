import { numberFromOne, wholeFromOne } from '../limits.js';
import { checkObject } from '../wire/arguments.js';
import type { MigrationPhase } from './core.js';

/** A phase in which an orchestrator waits for somebody. */
export type WaitingPhase = Exclude<MigrationPhase, 'Complete'>;

export interface PhasePolicy {
  /** Milliseconds without progress after which the phase is given up. */
  readonly deadlineMs: number;
  /** How often what the phase waits for is asked for in that time, the first time included. */
  readonly tries: number;
}

/** How patient an orchestrator is, and how much it leads at once (ARCHITECTURE.md, promise 5). */
export interface MigrationOrchestratorPolicy {
  readonly phases: Readonly<Record<WaitingPhase, PhasePolicy>>;
  /** Migrations led at once. */
  readonly maxMigrations: number;
  /** Migrations led at once from one source, or to one target. */
  readonly maxPerPeer: number;
}

/** A policy with some of its values; the others are the defaults. */
export type OrchestratorPolicyOptions = Partial<Omit<MigrationOrchestratorPolicy, 'phases'>> & {
  readonly phases?: Partial<Record<WaitingPhase, Partial<PhasePolicy>>>;
};

const PATIENT: PhasePolicy = { deadlineMs: 30_000, tries: 30 };

const DEFAULT_PHASES: MigrationOrchestratorPolicy['phases'] = {
  Snapshot: PATIENT,
  Transfer: PATIENT,
  Restore: { deadlineMs: 300_000, tries: 30 },
  Replay: PATIENT,
  Cutover: PATIENT,
  Rollback: { deadlineMs: 5_000, tries: 10 },
};

/** @throws RangeError where a number is not one that the policy can hold to; TypeError where the options are no object */
export function orchestratorPolicy(options: OrchestratorPolicyOptions = {}): MigrationOrchestratorPolicy {
  checkObject(options, 'policy');
  if (options.phases !== undefined) checkObject(options.phases, 'policy.phases');
  const phases = {} as Record<WaitingPhase, PhasePolicy>;
  for (const [phase, standard] of Object.entries(DEFAULT_PHASES) as Array<[WaitingPhase, PhasePolicy]>) {
    const { deadlineMs = standard.deadlineMs, tries = standard.tries } = options.phases?.[phase] ?? {};
    phases[phase] = {
      deadlineMs: numberFromOne(deadlineMs, `phases.${phase}.deadlineMs`),
      tries: wholeFromOne(tries, `phases.${phase}.tries`),
    };
  }
  for (const phase of Object.keys(options.phases ?? {})) {
    if (!(phase in phases)) throw new RangeError(`phases.${phase}: there is no such phase to wait in`);
  }
  const { maxMigrations = 1_000_000, maxPerPeer = 1_000_000 } = options;
  return {
    phases,
    maxMigrations: wholeFromOne(maxMigrations, 'maxMigrations'),
    maxPerPeer: wholeFromOne(maxPerPeer, 'maxPerPeer'),
  };
}

/** How patient a source or a target is, and how much it takes on at once. */
export interface ParticipantPolicy {
  /** Milliseconds without progress after which a migration is given up. */
  readonly patienceMs: number;
  /** Milliseconds without an answer after which something is sent again. */
  readonly repeatMs: number;
  /** Migrations at once. */
  readonly maxMigrations: number;
  /** Migrations at once for one orchestrator. */
  readonly maxPerPeer: number;
}

export type ParticipantPolicyOptions = Partial<ParticipantPolicy>;

/** @throws RangeError where a number is not one that the policy can hold to; TypeError where the options are no object */
export function participantPolicy(options: ParticipantPolicyOptions, patience: number): ParticipantPolicy {
  checkObject(options, 'policy');
  const { patienceMs = patience, repeatMs = 1_000, maxMigrations = 1_000_000, maxPerPeer = 1_000_000 } = options;
  return {
    patienceMs: numberFromOne(patienceMs, 'patienceMs'),
    repeatMs: numberFromOne(repeatMs, 'repeatMs'),
    maxMigrations: wholeFromOne(maxMigrations, 'maxMigrations'),
    maxPerPeer: wholeFromOne(maxPerPeer, 'maxPerPeer'),
  };
}
