// Runs everything: formatting, linting, Rust, TypeScript, the demo in a short form. The last line is
// `N passed, N failed`, summed over all of them; a check counts as one.
//
//   npm test                       all
//   npm test -- mesh/link demo     the TypeScript tests whose path contains one of the words, and nothing else
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const words = process.argv.slice(2);
/** A test program that takes longer hangs. */
const FILE_TIMEOUT_MS = 300_000;
const totals = { passed: 0, failed: 0 };

/** Runs a command; its output is shown when it fails, or always. */
function run(command, args, { show = false, timeout = 0 } = {}) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout,
    killSignal: 'SIGKILL',
    env: { ...process.env, FORCE_COLOR: '0', CARGO_TERM_COLOR: 'never' },
  });
  const output = `${stdout ?? ''}${stderr ?? ''}`;
  if (show || error || status !== 0) process.stdout.write(error ? `${error.message}\n` : output);
  return { ok: !error && status === 0, output };
}

function count(name, passed, failed) {
  totals.passed += passed;
  totals.failed += failed;
  console.log(`${failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${passed} passed, ${failed} failed`);
}

function check(name, command, args) {
  const { ok } = run(command, args);
  count(name, ok ? 1 : 0, ok ? 0 : 1);
  return ok;
}

/** The script behind a development dependency's command. */
function bin(name, file) {
  return join(dirname(require.resolve(`${name}/package.json`)), file);
}

/** `cargo test` prints one result line per test program. */
function cargoTest(name, args) {
  const { ok, output } = run('cargo', ['test', '--locked', '--quiet', ...args]);
  let [passed, failed] = [0, 0];
  for (const [, p, f, ignored] of output.matchAll(/test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/g)) {
    passed += Number(p);
    failed += Number(f) + Number(ignored);
  }
  count(name, passed, failed + (ok || failed > 0 ? 0 : 1));
}

function testFiles(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
    .sort();
}

/** Each file is a program of its own, so that none can spoil another; uvu prints its totals. */
function uvu() {
  const folder = join(root, 'dist/test');
  for (const file of testFiles(folder)) {
    const { ok, output } = run(process.execPath, ['--enable-source-maps', '--expose-gc', join(folder, file)], {
      timeout: FILE_TIMEOUT_MS,
    });
    const number = (name) =>
      [...output.matchAll(new RegExp(`${name}:\\s+(\\d+)`, 'g'))].reduce((sum, [, n]) => sum + Number(n), 0);
    const [total, passed, skipped] = [number('Total'), number('Passed'), number('Skipped')];
    const failed = total - passed + skipped;
    count(file, passed, failed + (ok || failed > 0 ? 0 : 1) + (total === 0 ? 1 : 0));
  }
}

function checks() {
  const biome = bin('@biomejs/biome', 'bin/biome');
  check('biome', process.execPath, [biome, 'check', '--error-on-warnings', '.']);
  check('rustfmt', 'cargo', ['fmt', '--all', '--check']);
  check('clippy', 'cargo', ['clippy', '--locked', '--workspace', '--all-targets', '--quiet', '--', '-D', 'warnings']);
  const baseline = readdirSync(join(root, 'native/baseline')).map((file) => join('native/baseline', file));
  check('clang-format', process.execPath, [
    bin('clang-format-node', 'build/cli.js'),
    '--dry-run',
    '-Werror',
    ...baseline,
  ]);
  cargoTest('cargo test', ['--workspace']);
  cargoTest('fuzz corpus', ['--manifest-path', 'fuzz/Cargo.toml']);
  if (!existsSync(join(root, 'build/Release/baseline.addon'))) {
    check('baseline engine', process.execPath, ['native/gyp.mjs', 'baseline']);
  }
}

/** The demo in a short form, once per engine: it exits with 0 only when nothing was lost, doubled or changed. */
function demo() {
  for (const engine of ['native', 'typescript']) {
    const main = join(root, 'dist/examples/flights/main.js');
    check(`demo, ${engine}`, process.execPath, [
      '--enable-source-maps',
      main,
      '--records',
      '60000',
      '--engine',
      engine,
    ]);
  }
}

if (check('tsc', process.execPath, [bin('typescript', 'bin/tsc'), '-p', '.'])) {
  if (words.length === 0) checks();
  uvu();
  if (words.length === 0) demo();
}
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed === 0 ? 0 : 1;
