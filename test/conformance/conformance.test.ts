import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ENGINES, loadEngine } from './engines.js';
import { RUNNERS } from './runners/index.js';
import { runSuite } from './suite.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const VECTORS = join(ROOT, 'test/vectors');
const MAIN = join(ROOT, 'dist/test/conformance/main.js');

function read(file: string, folder = VECTORS): unknown {
  return JSON.parse(readFileSync(join(folder, `${file}.json`), 'utf8'));
}

/** How many vectors a file holds, counted from the file and nothing that the runners know. */
function held(file: string): number {
  const vectors = read(file) as Record<string, unknown>;
  if (Array.isArray(vectors)) return vectors.length;
  if (file === 'causal') {
    const chains = vectors.chains as { events: unknown[] }[];
    const inChains = chains.reduce((sum, chain) => sum + 2 + chain.events.length, 0);
    return inChains + (vectors.parent_hashes as unknown[]).length + 2;
  }
  return Object.values(vectors).reduce<number>((sum, part) => sum + (Array.isArray(part) ? part.length : 1), 0);
}

function command(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', cwd: tmpdir() });
  return { status, stdout, stderr };
}

/** Runs `body` in a copy of the vectors. */
function withCopy(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'vectors-'));
  try {
    cpSync(VECTORS, folder, { recursive: true });
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const all = suite('every vector');

for (const name of ENGINES) {
  all(`passes on ${name}, and none is missing`, async () => {
    const engine = await loadEngine(name);
    if ('unavailable' in engine) {
      assert.is.not(name, 'typescript', 'the typescript engine is always there');
      console.log(`  ${name} is not available here: ${engine.unavailable}`);
      return;
    }
    const results = await runSuite({ folder: VECTORS, engines: [engine], isComplete: true });
    for (const result of results) {
      assert.equal(result.failures, [], result.file);
      assert.is(result.notUnderstood, undefined, result.file);
      if (result.notRun === undefined) assert.is(result.run, held(result.file), `vectors of ${result.file}`);
    }
    const run = results.filter((result) => result.notRun === undefined).map((result) => result.file);
    const expected = RUNNERS.filter((runner) => name !== 'baseline' || runner.level !== 'codec');
    assert.equal(run.sort(), expected.map((runner) => runner.file).sort(), 'files');
  });
}

all.run();

const broken = suite('a broken vector');

/** One change to each file that must make it fail, and the vectors that fail then. */
const CHANGES: Readonly<Record<string, (vectors: never) => void>> = {
  constants: (v: Record<string, number>) => (v.MAX_TOTAL_CHUNKS = 1),
  identity: (v: Record<string, string>[]) => (v[3]!.node_id = '1'),
  causal: (v: { parent_hashes: Record<string, string>[] }) => (v.parent_hashes[7]!.hash = '7'),
  messages: (v: { encoded: string }[]) => (v[20]!.encoded = `${v[20]!.encoded.slice(0, -2)}5a`),
  rejects: (v: { bytes: string }[]) => (v[1]!.bytes = '00'.repeat(17)),
  accepts_with_trailing: (v: { kind: string }[]) => (v[2]!.kind = 'ActivateAck'),
  mutations: (v: { verdict: string; bytes: string }[]) => (v.find((one) => one.verdict === 'accept')!.bytes = 'ff'),
  encode_asymmetry: (v: { encoded_len: number }[]) => (v[0]!.encoded_len = 31),
  snapshots: (v: { through_seq: string }[]) => (v[1]!.through_seq = '2'),
  snapshot_rejects: (v: { bytes: string }[]) => {
    v[0]!.bytes = (read('snapshots') as { encoded: string }[])[0]!.encoded;
  },
  snapshot_accepts_oddities: (v: { reencoded: string }[]) => (v[0]!.reencoded = v[1]!.reencoded),
  bindings: (v: { channel_names: Record<string, unknown>[] }) => (v.channel_names[0]!.wire_hash = 0),
  chunking: (v: { lens: number[] }[]) => (v[7]!.lens[0] = 6_999),
  envelopes: (v: { envelopes: { tampered: { outcome: Record<string, string> }[] }[] }) => {
    v.envelopes[3]!.tampered.at(-3)!.outcome.error_kind = 'seal-open-failed';
  },
  reassembly: (v: { steps: { pending: number }[] }[]) => (v[0]!.steps[1]!.pending = 2),
  transcripts: (v: { final: Record<string, { daemon_state: string }> }[]) =>
    (v[0]!.final['8738']!.daemon_state = '6a00000000000000'),
};

for (const { file } of RUNNERS) {
  broken(`of ${file} fails alone`, async () => {
    const engine = await loadEngine('typescript');
    const folder = mkdtempSync(join(tmpdir(), 'vectors-'));
    const vectors = read(file);
    CHANGES[file]!(vectors as never);
    writeFileSync(join(folder, `${file}.json`), JSON.stringify(vectors));
    const [result] = await runSuite({ folder, engines: [engine] });
    rmSync(folder, { recursive: true });
    assert.is(result?.notUnderstood, undefined);
    assert.is(result?.failed, 1);
    assert.is(result?.run, held(file));
  });
}

broken('that holds an unknown field is not understood', async () => {
  const engine = await loadEngine('typescript');
  const folder = mkdtempSync(join(tmpdir(), 'vectors-'));
  const vectors = read('identity') as Record<string, unknown>[];
  vectors[5]!.colour = 'red';
  writeFileSync(join(folder, 'identity.json'), JSON.stringify(vectors));
  const [result] = await runSuite({ folder, engines: [engine] });
  rmSync(folder, { recursive: true });
  assert.match(result?.notUnderstood ?? '', /identity\[5\] has the unknown field "colour"/);
});

broken.run();

const cli = suite('npm run conformance');

cli('finds its vectors from any folder, and says in JSON what it ran', () => {
  const { status, stdout } = command('--engine', 'typescript', '--json', '--only', 'identity,messages');
  assert.is(status, 0);
  const report = JSON.parse(stdout);
  assert.is(report.ok, true);
  assert.equal(
    report.results.map((one: { file: string; run: number }) => [one.file, one.run]),
    [
      ['identity', held('identity')],
      ['messages', held('messages')],
    ],
  );
});

cli('exits with 1 when a vector fails, and names it', () => {
  withCopy((folder) => {
    const messages = read('messages') as { encoded: string }[];
    messages[0]!.encoded = `01${messages[0]!.encoded.slice(2)}`;
    writeFileSync(join(folder, 'messages.json'), JSON.stringify(messages));
    const { status, stdout } = command('--engine', 'typescript', '--vectors', folder);
    assert.is(status, 1);
    assert.match(stdout, /messages +typescript +130 run +129 passed +1 failed\n +\[0\] TakeSnapshot: /);
  });
});

cli('runs the transcripts of any folder, and says why it is right that ours end differently', () => {
  withCopy((folder) => {
    const lost = (read('transcripts') as { name: string }[]).filter(({ name }) => name.startsWith('delivery 1 lost'));
    writeFileSync(join(folder, 'transcripts.json'), JSON.stringify(lost));
    const args = ['--engine', 'typescript', '--vectors', folder, '--only', 'transcripts'];
    const { status, stdout } = command(...args);
    assert.is(status, 0);
    assert.match(stdout, /\n +0 match, 0 outcome, 1 reference-only\n +\[0\] delivery 1 lost .*This is right because /);
    const [result] = JSON.parse(command(...args, '--json').stdout).results;
    assert.is(result.notes.length, 2);
  });
});

cli('exits with 1 when a file is not understood', () => {
  withCopy((folder) => {
    writeFileSync(join(folder, 'teapots.json'), '[]');
    writeFileSync(join(folder, 'chunking.json'), '[{"siz');
    const { status, stdout } = command('--engine', 'typescript', '--vectors', folder);
    assert.is(status, 1);
    assert.match(stdout, /teapots .*not understood: no runner knows it/);
    assert.match(stdout, /chunking .*not understood: .*JSON/);
  });
});

for (const [args, says] of [
  [['--engine', 'cobol'], /--engine: cobol is none of native, typescript, baseline, all/],
  [['--vectors', '/nowhere/at/all'], /--vectors: \/nowhere\/at\/all is no folder/],
  [['--only', 'messages,teapots'], /--only: .* has no teapots\.json/],
  [['--colour'], /--colour/],
  [['messages'], /messages/],
] as const) {
  cli(`refuses ${args.join(' ')} in one line`, () => {
    const { status, stdout, stderr } = command(...args);
    assert.is(status, 1);
    assert.is(stdout, '');
    assert.match(stderr, says);
    assert.is(stderr.trimEnd().split('\n').length, 1);
  });
}

cli.run();
