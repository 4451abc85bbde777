import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const build = suite('a machine without cargo');

/** A folder that holds the tools of this machine's PATH but for one, so that it cannot be found. */
function pathWithout(hidden: string, folder: string): string {
  mkdirSync(folder);
  for (const tool of ['python3', 'make', 'g++', 'c++', 'cc', 'sh', 'rustc']) {
    const found = (process.env.PATH ?? '').split(delimiter).find((dir) => existsSync(join(dir, tool)));
    if (found && tool !== hidden) symlinkSync(join(found, tool), join(folder, tool));
  }
  symlinkSync(process.execPath, join(folder, 'node'));
  return folder;
}

build('installs well, says what is missing, and serves with the TypeScript engine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'without-cargo-'));
  try {
    for (const part of ['package.json', 'binding.gyp', 'Cargo.toml', 'Cargo.lock', 'native', 'dist/lib']) {
      cpSync(join(ROOT, part), join(folder, part), { recursive: true });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const PATH = pathWithout('cargo', join(folder, 'tools'));
    const installed = spawnSync(process.execPath, ['native/gyp.mjs', 'install'], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH },
    });
    assert.is(installed.status, 0, installed.stderr);
    assert.match(installed.stderr, /missing cargo \(the Rust toolchain, 1\.88 or later/);
    assert.match(installed.stderr, /the TypeScript engine will be used/);

    const script = `
      import { createCodec } from './dist/lib/index.js';
      console.log(createCodec().engine);
      try { createCodec({ engine: 'native' }); } catch (error) { console.log(error.kind); }`;
    const used = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH },
    });
    assert.is(used.status, 0, used.stderr);
    assert.equal(used.stdout.trim().split('\n'), ['typescript', 'engine-unavailable']);
    assert.is(used.stderr.match(/DAEMON_MIGRATION_ENGINE/g)?.length, 1, 'said once');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

build('the entry works by import and by require', () => {
  const script = `
    const required = require('daemon-migration');
    import('daemon-migration').then((imported) => console.log(required.DaemonRuntime === imported.DaemonRuntime, typeof required.createCodec));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', '-e', script], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  assert.is(stdout.trim(), 'true function');
});

build('the package holds what it needs to be built from source, and neither tests nor the baseline', () => {
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  const files: string[] = JSON.parse(stdout)[0].files.map((file: { path: string }) => file.path);
  for (const needed of [
    'binding.gyp',
    'Cargo.toml',
    'Cargo.lock',
    'native/build.mjs',
    'native/gyp.mjs',
    'native/core/Cargo.toml',
    'native/addon/src/lib.rs',
  ]) {
    assert.ok(files.includes(needed), `${needed} is not packed`);
  }
  for (const needed of ['dist/lib/index.js', 'dist/lib/index.d.ts', 'dist/lib/index.js.map'])
    assert.ok(files.includes(needed), `${needed} is not packed`);
  assert.equal(
    files.filter((file) => /baseline|^test|^dist\/(test|bench|examples)|vectors/.test(file)),
    [],
  );
});
