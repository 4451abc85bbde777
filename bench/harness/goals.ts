import type { Goal } from './definition.js';

interface GoalSpec {
  readonly goal: string;
  /** Undefined: an engine that it needs took no part, and nothing can be said. */
  readonly measured: number | undefined;
  readonly unit: string;
  readonly how: string;
}

/** `measured` must not be over `limit`. */
export function atMost(limit: number, spec: GoalSpec): Goal[] {
  if (spec.measured === undefined) return [];
  return [{ ...spec, measured: spec.measured, limit, reached: spec.measured <= limit }];
}

/** `measured` must not be under `limit`. */
export function atLeast(limit: number, spec: GoalSpec): Goal[] {
  if (spec.measured === undefined) return [];
  return [{ ...spec, measured: spec.measured, limit, reached: spec.measured >= limit }];
}
