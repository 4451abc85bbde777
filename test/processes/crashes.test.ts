import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { eventually, suite } from '../support.js';
import { planOf, seedOf, TO_BE_STRUCK } from './plan.js';
import { type Outcome, Round } from './round.js';
import { type Engine, World } from './world.js';

const KILLS = 200;
/** Rounds at the same time, each with two nodes of its own: much of a round is waiting. The engine of one of the two. */
const WORLDS: readonly Engine[] = ['native', 'native', 'typescript'];
/** No round begins later: the file must end, whatever hangs. */
const BUDGET_MS = 220_000;
/** Rounds that are tried for what chance has left out. */
const TRIES = 6;

/** What all rounds together have shown. */
class Tally {
  kills = 0;
  rounds = 0;
  readonly ends = new Map<Outcome['end'], number>();
  /** How often nodes were killed where. */
  readonly struck = new Map<string, number>();
  readonly failures: string[] = [];
  readonly #tried = new Map<string, number>();
  readonly #startedAt = performance.now();
  #next = 1;

  count(outcome: Outcome): void {
    this.kills += outcome.kills;
    this.rounds++;
    add(this.ends, outcome.end);
    for (const where of new Set([...outcome.phases, ...outcome.spots])) add(this.struck, where);
  }

  /** The seed of the next round; undefined where enough has been shown, or there is no time left. */
  nextSeed(): number | undefined {
    if (this.failures.length > 0 || performance.now() - this.#startedAt > BUDGET_MS) return undefined;
    if (this.kills < KILLS) return this.#next++;
    for (const where of this.missing()) {
      const tried = this.#tried.get(where) ?? 0;
      if (tried === TRIES) continue;
      this.#tried.set(where, tried + 1);
      return seedOf(TO_BE_STRUCK.get(where)!, tried);
    }
    return undefined;
  }

  missing(): string[] {
    return [...TO_BE_STRUCK.keys()].filter((where) => !this.struck.has(where));
  }

  describe(): string {
    const counts = (map: ReadonlyMap<string, number>) => [...map].sort().map(([what, n]) => `${what} ${n}`);
    const seconds = ((performance.now() - this.#startedAt) / 1_000).toFixed(0);
    const head = `${this.kills} kills in ${this.rounds} rounds, seeds 1 to ${this.#next - 1}, ${seconds} s; the daemon ${counts(this.ends).join(', ')}`;
    return [head, counts(this.struck).join(', ')].join('\n');
  }
}

function add<K>(map: Map<K, number>, key: K): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

async function playRounds(tally: Tally, engine: Engine): Promise<void> {
  const world = new World(engine);
  try {
    for (let seed = tally.nextSeed(); seed !== undefined; seed = tally.nextSeed()) {
      try {
        tally.count(await new Round(world, planOf(seed)).run());
      } catch (error) {
        tally.failures.push(
          `${(error as Error).message}\nplay it again by: npm run kills -- ${seed} --trace${engine === 'native' ? '' : ' --typescript'}`,
        );
      }
    }
  } finally {
    await world.close();
  }
}

const processes = suite('nodes that are processes, killed and started again');

processes('keep every promise, wherever in a migration they are killed', async () => {
  const tally = new Tally();
  await Promise.all(WORLDS.map((engine) => playRounds(tally, engine)));
  console.log(tally.describe());
  assert.equal(tally.failures, [], tally.failures.join('\n\n'));
  assert.ok(tally.kills >= KILLS, `${tally.kills} kills in the time that there is, of ${KILLS}`);
  assert.equal(tally.missing(), [], 'every phase and every step was struck');
});

processes('end by themselves when their parent is killed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'daemon-migration-orphans-'));
  const env = { ...process.env, TMPDIR: folder };
  const parent = spawn(process.execPath, [fileURLToPath(new URL('./orphans.js', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pids: number[] = JSON.parse(String(line));
  assert.is(pids.length, 2);
  assert.ok(pids.every(runs), 'they run');
  parent.kill('SIGKILL');
  await eventually('they have ended', () => !pids.some(runs), 10_000);
  rmSync(folder, { recursive: true });
});

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
