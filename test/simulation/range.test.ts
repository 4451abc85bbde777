import { availableParallelism } from 'node:os';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { lineOf, runRange, unvisited } from './range.js';

const range = suite('range of seeds');
const SEEDS = 2_000;

range(`${SEEDS} seeds break no promise, and go through every hard case`, async () => {
  const report = await runRange(1, SEEDS, Math.min(4, availableParallelism()));
  console.log(lineOf(report));
  assert.equal(report.violations, []);
  assert.equal(unvisited(report), []);
  assert.is(report.seeds, SEEDS);
  // A simulation in which nothing moves, or nothing fails, would see nothing.
  assert.ok(report.completed > 2 * SEEDS, `${report.completed} migrations completed`);
  assert.ok(report.rolledBack > SEEDS, `${report.rolledBack} rolled back`);
});
