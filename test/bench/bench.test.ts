import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { chart } from '../../bench/harness/chart.js';
import type { BenchReport, Entry, Goal } from '../../bench/harness/definition.js';
import { atLeast, atMost } from '../../bench/harness/goals.js';
import { PseudoRandom } from '../../bench/harness/pseudo-random.js';
import { benchFiles, type Run, runBenches } from '../../bench/harness/run.js';
import {
  EngineAssembler,
  FrameReader,
  FrameWriter,
  NaiveAssembler,
  readsOf,
} from '../../bench/harness/snapshot-stream.js';
import { entryOf, quantile, ratio } from '../../bench/harness/statistics.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { suite } from '../support.js';

const MAIN = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
const REPORT = fileURLToPath(new URL('../../bench/report.js', import.meta.url));

function command(program: string, ...args: string[]) {
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', maxBuffer: 2 ** 26 });
}

const every = suite('every bench in its quick form');

const quick = command(MAIN, '--quick', '--json');
const run = JSON.parse(quick.stdout || '{}') as Run;

function isFigure(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}

function checkEntry(entry: Entry, where: string): void {
  assert.ok(isFigure(entry.median) && isFigure(entry.low) && isFigure(entry.high), `${where} has figures`);
  assert.ok(entry.low <= entry.median && entry.median <= entry.high, `${where}: the median lies between the quartiles`);
  assert.ok(entry.rounds > 0, `${where} has rounds`);
}

function checkReport(name: string, report: BenchReport): void {
  assert.ok(report.checked > 0, `${name}: results were checked`);
  assert.equal(report.unavailable, [], `${name}: all engines are here`);
  for (const { subject, entries } of report.measurements) {
    assert.ok(entries.length > 0, `${name}, ${subject}: contenders`);
    for (const entry of entries) checkEntry(entry, `${name}, ${subject}, ${entry.contender}`);
  }
  for (const { goal, measured, limit, reached } of report.goals) {
    assert.ok(isFigure(measured) && isFigure(limit), `${name}, ${goal}`);
    assert.type(reached, 'boolean');
  }
}

every('ends well, whatever goals it misses', () => {
  assert.is(quick.status, 0, quick.stderr);
  assert.is(run.ok, true);
  assert.is(run.quick, true);
  assert.is(run.command, 'npm run bench -- --quick');
  for (const fact of Object.values(run.machine)) assert.ok(fact !== '' && fact !== 0);
});

every('is there, checked its results, and gives figures', async () => {
  const files = (await benchFiles()).map(({ definition }) => definition.name);
  assert.equal(
    run.benches.map(({ name }) => name),
    files,
  );
  const asked = [
    'frames',
    'boundary',
    'chunks-in',
    'chunks-out',
    'memory',
    'loop',
    'snapshot',
    'ledger',
    'events',
    'identity',
  ];
  for (const name of asked) assert.ok(files.includes(name), name);
  assert.is(files[0], 'frames');
  for (const { name, report, failure } of run.benches) {
    assert.is(failure, undefined, name);
    checkReport(name, report!);
  }
});

every('has each engine beside the others', () => {
  const frames = run.benches.find(({ name }) => name === 'frames')!.report!;
  for (const { subject, entries } of frames.measurements) {
    const contenders = entries.map(({ contender }) => contender);
    for (const engine of ['native', 'typescript', 'baseline']) assert.ok(contenders.includes(engine), subject);
  }
  const chunks = run.benches.find(({ name }) => name === 'chunks-in')!.report!;
  for (const { entries } of chunks.measurements) {
    assert.ok(entries.some(({ contender }) => contender.startsWith('limit')));
  }
});

const wrong = suite('a wrong result');

wrong('fails the bench and the run, and is named', async () => {
  const seen: string[] = [];
  const folder = fileURLToPath(new URL('./wrong', import.meta.url));
  const { ok, benches } = await runBenches({
    quick: true,
    engines: [],
    only: undefined,
    command: 'test',
    folder,
    onStart: ({ name }) => seen.push(name),
    onEnd: ({ name }) => seen.push(name),
  });
  assert.is(ok, false);
  assert.equal(seen, ['wrong', 'wrong']);
  assert.is(benches[0]!.isWrongResult, true);
  assert.match(benches[0]!.failure ?? '', 'wrong, sum: got 5049, expected 5050');
});

const options = suite('npm run bench');

for (const [args, says] of [
  [['--only', 'teapots'], /--only: teapots is none of frames, /],
  [['--engine', 'cobol'], /--engine: cobol is none of native, typescript, baseline/],
  [['--colour'], /--colour/],
] as const) {
  options(`refuses ${args.join(' ')} in one line`, () => {
    const { status, stdout, stderr } = command(MAIN, ...args);
    assert.is(status, 1);
    assert.is(stdout, '');
    assert.match(stderr, says);
    assert.is(stderr.trimEnd().split('\n').length, 1);
  });
}

options('runs the engines and benches that are asked for, and prints them', () => {
  const { status, stdout, stderr } = command(MAIN, '--quick', '--only', 'chunks-out', '--engine', 'typescript');
  assert.is(status, 0, stderr);
  assert.match(stdout, /^chunks-out: /);
  assert.match(stdout, /typescript +\d/);
  assert.not.match(stdout, /^ +(native|baseline) +\d/m);
  assert.not.match(stdout, /reached/);
  assert.match(stdout, /results checked/);
});

options('writes pages and charts, and adds a bench to those that are there', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-report-'));
  try {
    for (const only of ['chunks-out', 'snapshot']) {
      const { status, stderr } = command(REPORT, '--quick', '--only', only, '--out', folder);
      assert.is(status, 0, stderr);
    }
    assert.equal(readdirSync(folder).sort(), [
      ...['README.md', 'chunks-out.md', 'chunks-out.svg', 'results.json', 'snapshot.md', 'snapshot.svg'],
    ]);
    const index = readFileSync(join(folder, 'README.md'), 'utf8');
    assert.match(index, /\[chunks-out\]\(chunks-out\.md\)/);
    assert.match(index, /\[snapshot\]\(snapshot\.md\)/);
    const page = readFileSync(join(folder, 'chunks-out.md'), 'utf8');
    assert.match(page, /npm run bench -- --only chunks-out/);
    assert.match(page, /net-mesh 0\.34\.0/);
    const rendered = command(REPORT, '--from', join(folder, 'results.json'), '--out', folder);
    assert.is(rendered.status, 0, rendered.stderr);
    assert.is(readFileSync(join(folder, 'chunks-out.md'), 'utf8'), page);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const parts = suite('what benches are made of');

parts('quartiles and ratios', () => {
  assert.is(quantile([3, 1, 2], 0.5), 2);
  assert.is(quantile([4, 1, 2, 3], 0.5), 2.5);
  assert.equal(entryOf('x', [5, 1, 3, 2, 4]), { contender: 'x', median: 3, low: 2, high: 4, rounds: 5 });
  // One disturbed round slows both: the ratio does not see it.
  assert.is(ratio([10, 100, 10], [5, 50, 5]), 2);
});

parts('goals are reached at their limit, and not said where nothing was measured', () => {
  const spec = { goal: 'g', unit: 'ns', how: 'median' };
  const reached = (goals: readonly Goal[]) => goals.map((goal) => goal.reached);
  assert.equal(reached(atMost(10, { ...spec, measured: 10 })), [true]);
  assert.equal(reached(atMost(10, { ...spec, measured: 10.1 })), [false]);
  assert.equal(reached(atLeast(5, { ...spec, measured: 5 })), [true]);
  assert.equal(reached(atLeast(5, { ...spec, measured: 4.9 })), [false]);
  assert.equal(atMost(10, { ...spec, measured: undefined }), []);
});

parts('a stream cut anywhere gives the same snapshot', () => {
  const snapshot = new PseudoRandom(1).bytes(7_000 * 5 + 123);
  const wire = Buffer.concat(readsOf(snapshot));
  for (const size of [1, 3, 4, 29, 33, 7_032, 7_033, 7_034, 20_000, wire.length]) {
    for (const assembler of [new EngineAssembler(typescriptCodec), new NaiveAssembler()]) {
      let whole: Uint8Array | undefined;
      for (let at = 0; at < wire.length; at += size) whole = assembler.push(wire.subarray(at, at + size))?.bytes;
      assert.ok(whole, `reads of ${size}`);
      assert.is(Buffer.compare(whole, snapshot), 0, `reads of ${size}`);
      assembler.dispose();
    }
  }
});

parts('frames are written whole into pieces of any size', () => {
  const snapshot = new PseudoRandom(2).bytes(15_000);
  const writer = new FrameWriter(snapshot.length, (from, to) => snapshot.subarray(from, to));
  const rows: number[] = [];
  const reader = new FrameReader(typescriptCodec);
  for (let size = 1; ; size++) {
    const piece = new Uint8Array(size * 10);
    const written = writer.write(piece);
    reader.push(piece.subarray(0, written), (_, columns) => {
      for (let row = 0; row < columns.count; row++) rows.push(columns.payloadLength[row]!);
    });
    if (written < piece.length) break;
  }
  assert.equal(rows, [7_000, 7_000, 1_000]);
});

parts('a chart is one SVG whose bars are as long as their figures', () => {
  const entries = [entryOf('native', [1]), entryOf('a < b & c', [4])];
  const svg = chart('Title', [{ subject: 's', unit: 'ns per call', entries }]);
  assert.match(svg, /^<svg [^>]*>[\s\S]*<\/svg>\n$/);
  assert.match(svg, 'a &lt; b &amp; c');
  const widths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, width]) => Number(width));
  assert.is(widths.length, 2);
  assert.ok(Math.abs(widths[1]! / widths[0]! - 4) < 0.01);
});
