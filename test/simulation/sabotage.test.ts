import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { simulate } from './run.js';
import { SABOTAGES, type Sabotage } from './sabotage.js';

const sabotage = suite('sabotage');
/** Within so many seeds the checkers must have noticed. */
const SEEDS = 1_000;

/** The first seed that shows it, looked for from where it was last seen; and what else was said on the way there. */
async function firstCaught({ near, breaks }: Sabotage) {
  const others = new Map<string, number>();
  for (let n = 0; n < SEEDS; n++) {
    const seed = ((near - 1 + n) % SEEDS) + 1;
    const { violation } = await simulate(seed);
    if (violation && breaks.includes(violation.promise)) return { seed, others };
    if (violation) others.set(`${violation.promise}: ${violation.text}`, seed);
  }
  return { seed: undefined, others };
}

for (const one of SABOTAGES) {
  sabotage(`${one.name}: ${one.what}`, async () => {
    const undo = one.commit();
    let caught: Awaited<ReturnType<typeof firstCaught>>;
    try {
      caught = await firstCaught(one);
    } finally {
      undo();
    }
    const { seed, others } = caught;
    const said = [...others].map(([what, where]) => `seed ${where}: ${what}`).slice(0, 5);
    assert.is.not(
      seed,
      undefined,
      `nobody noticed ${one.breaks.join(' or ')} in ${SEEDS} seeds; ${said.join('; ') || 'nor anything else'}`,
    );
    assert.is((await simulate(seed!)).violation, undefined, `seed ${seed} without it`);
  });
}
