// Plays rounds of killed processes: `npm run kills -- SEED [SEED …]`. Time is real, so a seed says what is tried, not how it goes.
import { Chance } from './chance.js';
import { planOf } from './plan.js';
import { Round } from './round.js';
import { World } from './world.js';

const isTold = process.argv.includes('--trace');
const seeds = process.argv
  .slice(2)
  .filter((word) => word !== '--trace')
  .flatMap((word) => {
    const [first, last = first] = word.split('..').map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });
if (seeds.length === 0 || seeds.some((seed) => !Number.isSafeInteger(seed)))
  throw new TypeError('give seeds, as whole numbers or as first..last');
let world = new World(new Chance(seeds[0]!));
try {
  for (const seed of seeds) {
    const round = new Round(world, planOf(seed));
    const before = performance.now();
    try {
      const outcome = await round.run();
      console.log(seed, JSON.stringify(outcome), `${(performance.now() - before).toFixed(0)} ms`);
      if (isTold) console.log(round.describe());
    } catch (error) {
      console.log(`round ${seed} FAILED: ${(error as Error).message}`);
      process.exitCode = 1;
      // What a broken round has left must not trouble the next.
      await world.close();
      world = new World(new Chance(seed));
    }
  }
} finally {
  await world.close();
}
