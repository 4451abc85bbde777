import { type Plan, planOf } from './plan.js';
import { type Outcome, World, type WorldOptions } from './world.js';

/** Runs one seed. */
export function simulate(seed: number, options: WorldOptions = {}): Promise<Outcome> {
  return simulatePlan(planOf(seed), options);
}

/** Runs what was planned, by a seed or by hand. */
export function simulatePlan(plan: Plan, options: WorldOptions = {}): Promise<Outcome> {
  return new World(plan, options).run();
}
