import { simulate } from './run.js';

const args = process.argv.slice(2);
const value = (name: string) => {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? undefined : args[at + 1];
};

const seed = value('seed');
if (seed !== undefined) {
  const outcome = await simulate(Number(seed), { keepsLines: true });
  for (const line of outcome.lines) console.log(line);
  console.log(
    JSON.stringify({ ...outcome, lines: undefined, visits: [...outcome.visits], taken: outcome.taken.length }),
  );
} else {
  const [from, to] = value('seeds')!.split('..').map(Number) as [number, number];
  let steps = 0;
  const visits = new Map<string, number>();
  let [completed, rolledBack] = [0, 0];
  const begin = performance.now();
  for (let n = from; n <= to; n++) {
    const outcome = await simulate(n);
    steps += outcome.steps;
    completed += outcome.completed;
    rolledBack += outcome.rolledBack;
    for (const [name, count] of outcome.visits) visits.set(name, (visits.get(name) ?? 0) + count);
    if (outcome.violation)
      console.log(`seed ${n} (${outcome.profile}) ${outcome.violation.promise}: ${outcome.violation.text}`);
  }
  console.log(
    to - from + 1,
    'seeds',
    steps,
    'steps',
    completed,
    rolledBack,
    Math.round(performance.now() - begin),
    'ms',
  );
  console.log(Object.fromEntries(visits));
}
