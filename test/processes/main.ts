// Plays rounds of killed processes: `npm run kills -- SEED… [--trace] [--typescript]`, with seeds as numbers or first..last, and
// one node on that engine. Time is real, so a seed says what is tried, not how it goes.
import { planOf } from './plan.js';
import { Round } from './round.js';
import { World } from './world.js';

const words = process.argv.slice(2);
const [isTold, isTypescript] = ['--trace', '--typescript'].map((flag) => words.includes(flag));
const seeds = words
  .filter((word) => !word.startsWith('--'))
  .flatMap((word) => {
    const [first, last = first] = word.split('..').map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });
if (seeds.length === 0 || seeds.some((seed) => !Number.isSafeInteger(seed) || seed < 1))
  throw new TypeError('give seeds, as whole numbers from 1 or as first..last');
const newWorld = () => new World(isTypescript ? 'typescript' : 'native');
let world = newWorld();
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
      world = newWorld();
    }
  }
} finally {
  await world.close();
}
