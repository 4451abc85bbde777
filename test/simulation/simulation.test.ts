import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { type Plan, planOf } from './plan.js';
import { quiet } from './quiet.js';
import { type RangeReport, reportOf, runRange, type SeedReport, sumOf } from './range.js';
import { simulate, simulatePlan } from './run.js';
import { SABOTAGES } from './sabotage.js';
import { shrink } from './shrink.js';
import { tellRange } from './tell.js';
import { HARD_CASES } from './watcher.js';

const simulation = suite('simulation');
const SOME_SEEDS = [3, 6, 9, 14, 18, 24, 42];

function command(...args: string[]) {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  return { status, lines: stdout.trimEnd().split('\n'), stderr };
}

simulation('a seed is one run, whatever ran before it, and wherever', async () => {
  const hashes = new Map<number, string>();
  for (const seed of SOME_SEEDS) hashes.set(seed, (await simulate(seed)).hash);
  for (const seed of [...SOME_SEEDS].reverse()) {
    const { hash } = await simulate(seed, { keepsLines: true });
    assert.is(hash, hashes.get(seed), `seed ${seed}, in another order`);
  }
  const elsewhere = new Map<number, SeedReport>();
  await runRange(1, 42, 2, (report) => elsewhere.set(report.seed, report));
  for (const seed of SOME_SEEDS) assert.is(elsewhere.get(seed)!.hash, hashes.get(seed), `seed ${seed}, in a thread`);
  assert.is(new Set(hashes.values()).size, SOME_SEEDS.length, 'each is another run');
});

simulation('without anything that goes wrong nothing fails', async () => {
  const outcome = await simulatePlan(planOf(11), { allowed: new Set(['migrate:0', 'burst:9']) });
  assert.is(outcome.violation, undefined);
  assert.is(outcome.rolledBack, 0);
  assert.ok(outcome.completed > 0, 'daemons move');
});

/** Source and target crash right when the offer stands. */
function crashWhileOffered(lost: number): Plan {
  const when = { seen: 'wrote offer', nth: 1, thenMs: 0.001 };
  return quiet({
    spools: new Set([1, 2, 3]),
    disk: { slow: 0, failed: 0, full: 0, crashes: 0, lost },
    planned: [
      { name: 'events', at: 60, deed: { do: 'burst', publisher: 0, events: 12 } },
      { name: 'move', at: 100, deed: { do: 'migrate', daemon: 0, by: 3, to: 2 } },
      { name: 'crash-source', when, deed: { do: 'crash', node: 'source', daemon: 0, downMs: 50 } },
      { name: 'crash-target', when, deed: { do: 'crash', node: 'target', daemon: 0, downMs: 50 } },
    ],
  });
}

simulation('a node with a spool comes back with what it had offered, and without its disk it does not', async () => {
  const allowed = new Set(['events', 'move', 'crash-source', 'crash-target', 'spool-lost:1>0#1']);
  const kept = await simulatePlan(crashWhileOffered(0), { allowed });
  assert.is(kept.violation, undefined);
  assert.is(kept.visits.get('fenced-copy-taken-up'), 1);
  assert.is(kept.visits.get('spawned-anew'), undefined);
  const lost = await simulatePlan(crashWhileOffered(1), { allowed });
  assert.is(lost.violation, undefined);
  assert.is(lost.visits.get('spool-lost'), 1);
  assert.is(lost.visits.get('fenced-copy-taken-up'), undefined);
  assert.is(lost.visits.get('spawned-anew'), 1);
});

simulation('a failing run is shrunk to what it needs, and told', async () => {
  const sabotage = SABOTAGES.find(({ name }) => name === 'resumes-without-its-log')!;
  const undo = sabotage.commit();
  try {
    const plan = planOf(sabotage.near);
    const first = await simulatePlan(plan);
    const { outcome, isMinimal } = await shrink(plan, first, 60_000);
    const needed = [...new Set(outcome.taken)];
    assert.is(isMinimal, true);
    assert.is(outcome.violation?.promise, first.violation!.promise);
    assert.ok(needed.length < first.taken.length / 2, `${needed.length} of ${first.taken.length} are left`);
    assert.match(outcome.lines.join('\n'), /BROKEN/);
    assert.match(outcome.lines.join('\n'), /\d → \d {2}SnapshotReady d\d chunk 1/);
    for (const name of needed) {
      const without = await simulatePlan(plan, { allowed: new Set(needed.filter((other) => other !== name)) });
      assert.is.not(without.violation?.promise, first.violation!.promise, `without ${name}`);
    }
  } finally {
    undo();
  }
});

simulation('the command runs one seed, or a range, and says what came of it', () => {
  const one = command('--seed', '3', '--trace');
  assert.is(one.status, 0);
  assert.ok(one.lines.length > 50, 'a trace');
  assert.match(one.lines.at(-1)!, /^seed 3 \(\w+\): \d+ steps in \d+ ms, \d+ migrations completed/);
  const range = command('--seeds', '1..30', '--threads', '2');
  assert.is(range.status, 0);
  assert.match(
    range.lines.at(-1)!,
    /^30 seeds, \d+ steps, \d+ migrations completed, \d+ rolled back; .*; 0 violations$/,
  );
  for (const name of Object.keys(HARD_CASES)) assert.match(range.lines.at(-1)!, new RegExp(`${name} \\d+`));
  const json = JSON.parse(command('--seeds', '1..30', '--threads', '1', '--json').lines.at(-1)!);
  assert.is(range.lines.at(-1)!.startsWith(`30 seeds, ${json.steps} steps, ${json.completed} migrations`), true);
  assert.equal(json.violations, []);
});

simulation('a range tells the trace of its first violation, and what is missing', async () => {
  const sabotage = SABOTAGES.find(({ name }) => name === 'breaks-the-chain')!;
  const tell = async (report: RangeReport, isJson: boolean) => {
    const lines: string[] = [];
    const isGood = await tellRange(report, 2_000, isJson, (line) => lines.push(line));
    return { isGood, lines };
  };
  const undo = sabotage.commit();
  try {
    const broken = reportOf(await simulate(2));
    const report: RangeReport = { ...sumOf([broken]), seeds: 1_990 };
    const { isGood, lines } = await tell(report, false);
    assert.is(isGood, false);
    assert.match(lines[0]!, /^seed 2, the first of them, breaks chain/);
    assert.ok(
      lines.some((line) => /BROKEN chain/.test(line)),
      'its trace',
    );
    assert.match(lines.at(-3)!, /^10 of 2000 seeds were not run/);
    assert.match(lines.at(-2)!, /^hard cases that never came up: /);
    const json = JSON.parse((await tell(report, true)).lines.at(-1)!);
    assert.is(json.unrun, 10);
    assert.ok(json.missing.includes('spool-lost'));
  } finally {
    undo();
  }
  const whole: RangeReport = { ...sumOf([]), seeds: 999 };
  assert.is((await tell(whole, true)).isGood, false);
  assert.is(await tellRange(whole, 999, true, () => {}), true);
});

simulation('seeds of a thread that ends are not counted', async () => {
  const ends = new URL('data:text/javascript,process.exit(0)');
  assert.is((await runRange(1, 30, 2, () => {}, ends)).seeds, 0);
});

simulation('the command refuses what it cannot run', () => {
  for (const args of [[], ['--seed', 'x'], ['--seeds', '5'], ['--seeds', '9..3'], ['--seed', '-1']]) {
    const { status, stderr } = command(...args);
    assert.is(status === 0, false, args.join(' '));
    assert.match(stderr, /--seed/);
  }
});
