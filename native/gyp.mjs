// Starts node-gyp, node-gyp-build or prebuildify with the headers of the running Node, so that nothing is downloaded.
//
//   node native/gyp.mjs <tool> [args…]     runs the tool; its exit code is ours
//   node native/gyp.mjs baseline           builds the addon and the baseline engine
//   node native/gyp.mjs install            builds or finds the addon; never fails: without a toolchain it says what is
//                                          missing, and the TypeScript engine serves
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const [tool, ...args] = process.argv.slice(2);

const env = { ...process.env };
const prefix = resolve(dirname(process.execPath), '..');
if (!env.npm_config_nodedir && existsSync(join(prefix, 'include/node/node_api.h'))) env.npm_config_nodedir = prefix;

const require = createRequire(import.meta.url);

/** The script behind a package's command, so that no shell and no PATH entry is needed. */
function script(name) {
  const manifestPath = require.resolve(`${name}/package.json`);
  const { bin } = require(manifestPath);
  return join(dirname(manifestPath), typeof bin === 'string' ? bin : bin[name]);
}

function run(name, args) {
  const { status, error } = spawnSync(process.execPath, [script(name), ...args], { cwd: root, env, stdio: 'inherit' });
  if (error) console.error(`${name} could not be started: ${error.message}`);
  return status ?? 1;
}

function onPath(command) {
  const endings = process.platform === 'win32' ? ['.exe', '.cmd', ''] : [''];
  return (env.PATH ?? '')
    .split(delimiter)
    .some((dir) => endings.some((ending) => existsSync(join(dir, command + ending))));
}

function loads() {
  try {
    require('node-gyp-build')(root);
    return true;
  } catch {
    return false;
  }
}

function install() {
  if (loads()) return;
  const missing = [
    ['cargo', onPath('cargo'), 'the Rust toolchain, 1.88 or later (rustup.rs)'],
    ['python3', onPath('python3') || onPath('python'), 'Python 3, which node-gyp runs on'],
    ['make', process.platform === 'win32' || onPath('make'), 'make'],
    [
      'c++',
      process.platform === 'win32' || onPath('c++') || onPath('g++') || onPath('clang++'),
      'a C++ compiler (g++ or clang)',
    ],
  ].filter(([, present]) => !present);
  if (missing.length === 0 && run('node-gyp', ['rebuild']) === 0 && loads()) return;
  console.warn(
    missing.length > 0
      ? `daemon-migration: the native engine was not built: missing ${missing.map(([name, , what]) => `${name} (${what})`).join(', ')}.`
      : 'daemon-migration: the native engine was not built: see the messages above.',
  );
  console.warn(
    'daemon-migration: the TypeScript engine will be used. To build the native one later: npm run build:native',
  );
}

if (tool === 'install') install();
else if (tool === 'baseline') {
  env.WITH_BASELINE = '1';
  // Not rebuild: that would take the native engine away while a running process may need it.
  process.exitCode = run('node-gyp', ['configure', 'build']);
} else if (tool) process.exitCode = run(tool, args);
else {
  console.error('usage: node native/gyp.mjs install | baseline | <node-gyp|node-gyp-build|prebuildify> [args…]');
  process.exitCode = 1;
}
