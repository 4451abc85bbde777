import { mustBe } from '../../../bench/harness/check.js';
import type { BenchDefinition, BenchReport } from '../../../bench/harness/definition.js';
import { interleave } from '../../../bench/harness/measure.js';

/** A bench whose second contender is fast, and wrong in its last call: what the harness must not let through. */
export const definition: BenchDefinition = { name: 'wrong', order: 1, title: 'Wrong', method: '', quoted: [] };

export async function run(): Promise<BenchReport> {
  const plan = { subject: 'sum', unit: 'ns per call', convert: (ms: number) => ms, rounds: 1, sliceMs: 0 } as const;
  let sum = 0;
  const adds = (name: string, last: number) => ({
    name,
    run() {
      sum = last;
      return undefined;
    },
    check: () => mustBe(sum, 5_050, `${name}, sum`),
  });
  await interleave(plan, [adds('right', 5_050), adds('wrong', 5_049)]);
  return { measurements: [], goals: [], notes: [], checked: 0, unavailable: [] };
}
