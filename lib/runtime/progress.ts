import type { MigrationMode, MigrationPhase, MigrationProgress } from '../migration/core.js';
import { CUTOVER_GAP } from '../migration/source.js';

/**
 * What became of a migration: `queued` while as many as are allowed are under way; `cancelling` until it is known whether
 * it could still be ended.
 */
export type MigrationState = 'queued' | 'running' | 'retrying' | 'cancelling' | 'cancelled' | 'completed' | 'failed';

/** Where a migration stands, for an operator. Times are milliseconds. */
export interface HandleProgress extends MigrationProgress {
  readonly state: MigrationState;
  /** How often it has been begun: more than once where the target was not ready. */
  readonly attempt: number;
  /** Snapshot bytes per second, lately; 0 while not known. */
  readonly bytesPerSecond: number;
  /** Logged events that the target applies per second, lately; 0 while not known. */
  readonly eventsPerSecond: number;
  /** Estimate of the time left; undefined while nothing is known to estimate by. */
  readonly remainingMs: number | undefined;
  /** For how long events have been waiting to be processed. */
  readonly pauseMs: number;
  /**
   * Estimate of that time at the end, undefined while nothing is known to estimate by. In `live` mode it is what the target takes to
   * replay what may be left when the source stops (1,000 events); the messages of the hand-over come on top.
   */
  readonly expectedPauseMs: number | undefined;
}

/** Rates are taken over at least this long. */
const WINDOW_MS = 100;
/** How much the newest rate counts. */
const WEIGHT = 0.3;

/** In which phases a daemon's events are not processed. */
const PAUSED: Readonly<Record<MigrationMode, ReadonlySet<MigrationPhase>>> = {
  pause: new Set(['Transfer', 'Restore', 'Replay', 'Cutover', 'Rollback']),
  live: new Set(['Cutover']),
};

/** A rate of change, smoothed. */
class Rate {
  #at: number;
  #value: number;
  #perSecond = 0;

  constructor(at: number, value: number) {
    this.#at = at;
    this.#value = value;
  }

  get perSecond(): number {
    return this.#perSecond;
  }

  note(at: number, value: number): void {
    const elapsed = at - this.#at;
    if (elapsed < WINDOW_MS) return;
    const newest = (Math.max(0, value - this.#value) / elapsed) * 1_000;
    this.#perSecond = this.#perSecond === 0 ? newest : this.#perSecond + WEIGHT * (newest - this.#perSecond);
    this.#at = at;
    this.#value = value;
  }
}

/** Makes of an orchestrator's reports what an operator can use. */
export class ProgressMeter {
  readonly #mode: MigrationMode;
  readonly #bytes: Rate;
  readonly #events: Rate;
  /** Events that the target has applied, as far as their number in waiting shows. */
  #applied = 0;
  #waiting = 0;
  #pausedAt: number | undefined;
  #pauseMs = 0;

  constructor(now: number, mode: MigrationMode) {
    this.#mode = mode;
    this.#bytes = new Rate(now, 0);
    this.#events = new Rate(now, 0);
  }

  measure(progress: MigrationProgress, state: MigrationState, attempt: number, now: number): HandleProgress {
    this.#applied += Math.max(0, this.#waiting - progress.eventsWaiting);
    this.#waiting = progress.eventsWaiting;
    this.#bytes.note(now, progress.bytesDone);
    this.#events.note(now, this.#applied);
    this.#notePause(progress.phase, now);
    const remainingMs = progress.phase === 'Complete' ? 0 : this.#remaining(progress);
    const pauseMs = this.#pauseMs + (this.#pausedAt === undefined ? 0 : now - this.#pausedAt);
    return {
      ...progress,
      state,
      attempt,
      bytesPerSecond: this.#bytes.perSecond,
      eventsPerSecond: this.#events.perSecond,
      remainingMs,
      pauseMs,
      expectedPauseMs: this.#expectedPause(progress, pauseMs, remainingMs),
    };
  }

  #expectedPause({ phase, eventsWaiting }: MigrationProgress, pauseMs: number, remainingMs: number | undefined) {
    if (phase === 'Complete') return pauseMs;
    if (this.#mode === 'pause') return remainingMs === undefined ? undefined : pauseMs + remainingMs;
    const { perSecond } = this.#events;
    const left = Math.min(eventsWaiting, CUTOVER_GAP);
    if (left > 0 && perSecond === 0) return undefined;
    return pauseMs + (left > 0 ? (left / perSecond) * 1_000 : 0);
  }

  #notePause(phase: MigrationPhase, now: number): void {
    if (PAUSED[this.#mode].has(phase)) this.#pausedAt ??= now;
    else if (this.#pausedAt !== undefined) {
      this.#pauseMs += now - this.#pausedAt;
      this.#pausedAt = undefined;
    }
  }

  #remaining({ bytesDone, bytesTotal, eventsWaiting }: MigrationProgress): number | undefined {
    const bytesLeft = bytesTotal - bytesDone;
    const { perSecond: bytesPerSecond } = this.#bytes;
    const { perSecond: eventsPerSecond } = this.#events;
    if (bytesTotal === 0 || (bytesLeft > 0 && bytesPerSecond === 0)) return undefined;
    const transferMs = bytesLeft > 0 ? (bytesLeft / bytesPerSecond) * 1_000 : 0;
    const replayMs = eventsPerSecond > 0 ? (eventsWaiting / eventsPerSecond) * 1_000 : 0;
    return transferMs + replayMs;
  }
}
