import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';

const MAIN = fileURLToPath(new URL('../../examples/flights/main.js', import.meta.url));
const demo = suite('demo');

/** Where nothing may be left when a run is over. */
const temporary = mkdtempSync(join(tmpdir(), 'demo-runs-'));
const env = { ...process.env, TMPDIR: temporary, TEMP: temporary };
process.on('exit', () => rmSync(temporary, { recursive: true }));

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    timeout: 120_000,
    env,
  });
  assert.equal(readdirSync(temporary), [], 'nothing is left on disk');
  return { status, stdout, stderr };
}

function oneLine(text: string): string {
  assert.equal(text.trim().split('\n').length, 1, text);
  return text.trim();
}

demo('prints one JSON object, in which everything is equal', () => {
  const { status, stdout } = run('--records', '50000', '--json');
  assert.is(status, 0);
  const result = JSON.parse(oneLine(stdout));
  for (const [key, value] of Object.entries({
    records: 50_000,
    processed: 50_000,
    lost: 0,
    doubled: 0,
    equal: true,
    summaries: 50,
    outcome: 'completed',
  })) {
    assert.is(result[key], value, key);
  }
  // A header, 25,000 flights and their routes, at the least.
  assert.ok(result.snapshotBytes > 25_000 * 16, `snapshotBytes ${result.snapshotBytes}`);
  assert.ok(result.pauseMs > 0 && result.transferMs > 0);
});

demo('uses the engine that it is told', () => {
  const { status, stdout } = run('--records', '2000', '--json', '--engine', 'typescript');
  assert.is(status, 0);
  assert.is(JSON.parse(stdout).engine, 'typescript');
});

demo('pads the state', () => {
  const { status, stdout } = run('--records', '2000', '--state-mib', '3', '--json');
  assert.is(status, 0);
  assert.ok(JSON.parse(stdout).snapshotBytes > 3 * 1024 * 1024);
});

demo('writes plain lines of progress into a pipe', () => {
  const { status, stderr } = run('--records', '2000');
  assert.is(status, 0);
  assert.match(stderr, /^ {2}Snapshot +0\.0 of/m);
  assert.match(stderr, /^ {2}Complete +0\.\d of 0\.\d MiB, \d+ MiB\/s, [\d,]+ events waiting$/m);
  assert.not.ok(stderr.includes('\u001b['), 'no control sequences');
});

for (const call of ['snapshot', 'restore']) {
  demo(`a daemon that throws in ${call} goes on at its source, with nothing lost`, () => {
    const { status, stdout } = run('--records', '20000', '--json', '--fail', call);
    assert.is(status, 1);
    const result = JSON.parse(oneLine(stdout));
    assert.match(
      result.outcome,
      new RegExp(`failed: .*daemon "flights" .*threw in ${call}\\(\\): told to throw in ${call}`),
    );
    assert.ok(result.equal && result.processed === 20_000 && result.lost === 0 && result.doubled === 0);
    assert.is(result.summaries, 20);
    assert.is(result.summaryFault, null);
  });
}

/** Runs with --json, and gives the object. The whole stream must have been compared. */
function result(status: number, ...args: string[]) {
  const ran = run('--records', '20000', '--json', ...args);
  const found = JSON.parse(oneLine(ran.stdout));
  assert.is(found.records, 20_000);
  assert.is(ran.status, status, found.outcome);
  return found;
}

function isWhole(found: ReturnType<typeof result>): void {
  assert.is(found.outcome, 'completed');
  assert.ok(found.equal && found.processed === 20_000 && found.lost === 0 && found.doubled === 0);
  assert.is(found.summaries, 20);
  assert.is(found.summaryFault, null);
}

for (const mode of ['pause', 'live']) {
  demo(`goes there and back again; mode: ${mode}`, () => {
    const found = result(0, '--back', '--mode', mode);
    isWhole(found);
    assert.is(found.tries, 2);
    assert.is(found.killed, null);
  });
}

for (const [phase, mode] of [
  ['Restore', 'pause'],
  ['holding', 'live'],
  ['claiming', 'pause'],
] as const) {
  demo(
    `a target that is ended in phase ${phase} costs nothing, and is moved to when it runs again; mode: ${mode}`,
    () => {
      const found = result(0, '--kill', 'target', '--at', phase, '--mode', mode);
      isWhole(found);
      assert.equal(found.killed, { role: 'target', phase });
      assert.is(found.tries, 2);
    },
  );
}

demo(
  'an orchestrator that is ended leaves the daemon where it is, and moves it there and back when it runs again',
  () => {
    const found = result(0, '--kill', 'orchestrator', '--at', 'Replay', '--back');
    isWhole(found);
    assert.equal(found.killed, { role: 'orchestrator', phase: 'Replay' });
    assert.is(found.tries, 3);
  },
);

demo('a source that is ended when it has offered the daemon leaves it to the target', () => {
  const found = result(0, '--kill', 'source', '--at', 'offered');
  isWhole(found);
  assert.equal(found.killed, { role: 'source', phase: 'offered' });
  assert.is(found.tries, 1);
});

for (const way of [[], ['--back', '--mode', 'live']]) {
  demo(`a source that is ended when the daemon is on disk, and not offered yet, takes it up; ${way.join(' ')}`, () => {
    const found = result(0, '--kill', 'source', '--at', 'offering', ...way);
    isWhole(found);
    assert.equal(found.killed, { role: 'source', phase: 'offering' });
    // The first one came to nothing: the target had no right to the daemon.
    assert.is(found.tries, way.length === 0 ? 2 : 3);
  });
}

for (const [phase, mode] of [
  ['Transfer', 'pause'],
  ['streaming', 'live'],
] as const) {
  demo(`a source that is ended in phase ${phase} takes the daemon along, and that is told; mode: ${mode}`, () => {
    const found = result(1, '--kill', 'source', '--at', phase, '--mode', mode);
    assert.match(found.outcome, /^lost: it was live on the node that ended, .* once it has stopped \(.* 3 .*\)$/);
    assert.equal(found.killed, { role: 'source', phase });
    assert.ok(!found.equal && found.processed === 0 && found.lost === 20_000);
  });
}

demo('leaves nothing on disk when it is interrupted', async () => {
  const child = spawn(process.execPath, [MAIN, '--records', '200000'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  await once(child.stderr, 'data');
  assert.is(readdirSync(temporary).length, 1);
  const exit = once(child, 'exit');
  child.kill('SIGINT');
  assert.equal(await exit, [null, 'SIGINT']);
  assert.equal(readdirSync(temporary), []);
});

demo('frames that are dropped, doubled and delayed cost nothing', () => {
  const found = result(0, '--loss', '0.05', '--seed', '3', '--state-mib', '1');
  isWhole(found);
  const { dropped, doubled, delayed } = found.frames;
  for (const count of [dropped, doubled, delayed]) assert.ok(count > 5, JSON.stringify(found.frames));
});

demo('says in one line what is wrong with an option, and exits with 1', () => {
  const mistakes: ReadonlyArray<readonly [string[], RegExp]> = [
    [['--record', '5'], /Unknown option '--record'/],
    [['--records', 'many'], /--records takes a whole number from 2 to 3000000, not "many"/],
    [['--records', '3000001'], /not "3000001"/],
    [['--engine', 'wasm'], /--engine takes native or typescript, not "wasm"/],
    [['--state-mib', '-1'], /--state-mib/],
    [['extra'], /Unexpected argument 'extra'/],
    [['--mode', 'fast'], /--mode takes pause or live, not "fast"/],
    [['--kill', 'control', '--at', 'Restore'], /--kill takes source, target or orchestrator, not "control"/],
    [['--kill', 'target'], /--kill target needs --at PHASE: Snapshot, .*, claiming/],
    [['--at', 'Restore'], /--at says when a node is ended, and needs --kill/],
    [
      ['--kill', 'source', '--at', 'claiming'],
      /--at, with --kill source, takes Snapshot, .* or offered, not "claiming"/,
    ],
    [['--loss', '0.5'], /--loss takes a probability from 0 to 0\.2, not "0\.5"/],
    [['--loss', '-0.1'], /--loss/],
    [['--seed', '1.5'], /--seed takes a whole number from 0 to 2147483647, not "1\.5"/],
  ];
  for (const [args, message] of mistakes) {
    const { status, stdout, stderr } = run(...args);
    assert.is(status, 1, args.join(' '));
    assert.is(stdout, '');
    assert.match(oneLine(stderr), message);
  }
});

demo('says in one line that the data is missing or no parquet file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'demo-'));
  try {
    const missing = run('--data', join(folder, 'none.parquet'), '--json');
    assert.is(missing.status, 1);
    assert.match(oneLine(missing.stderr), /none\.parquet does not exist; name the file by --data/);
    const text = join(folder, 'text.parquet');
    writeFileSync(text, 'no flights in here');
    const wrong = run('--data', text, '--json');
    assert.is(wrong.status, 1);
    assert.match(oneLine(wrong.stderr), /text\.parquet is no parquet file of flights/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
