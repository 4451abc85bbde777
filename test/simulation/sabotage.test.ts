import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { simulate } from './run.js';
import { SABOTAGES, type Sabotage } from './sabotage.js';

const sabotage = suite('sabotage');
/** Within so many seeds the checkers must have noticed. */
const SEEDS = 1_000;

/** The first seed that shows it, looked for from where it was last seen. */
async function firstCaught({ near }: Sabotage): Promise<number | undefined> {
  for (let n = 0; n < SEEDS; n++) {
    const seed = ((near - 1 + n) % SEEDS) + 1;
    const { violation } = await simulate(seed);
    if (violation) return seed;
  }
  return undefined;
}

for (const one of SABOTAGES) {
  sabotage(`${one.name}: ${one.what}`, async () => {
    const undo = one.commit();
    let seed: number | undefined;
    try {
      seed = await firstCaught(one);
    } finally {
      undo();
    }
    assert.is.not(seed, undefined, `nobody noticed in ${SEEDS} seeds`);
    assert.is((await simulate(seed!)).violation, undefined, `seed ${seed} without it`);
  });
}
