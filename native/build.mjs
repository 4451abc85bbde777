// The action of binding.gyp's target: builds the Rust addon into --out=<dir>/daemon_migration.node.
// In a checkout @napi-rs/cli builds it and writes its typings; a consumer who builds from source has cargo alone.
import { spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const out = resolve(
  root,
  process.argv.find((arg) => arg.startsWith('--out='))?.slice('--out='.length) ?? 'build/Release',
);
const addon = 'daemon_migration.node';
const typings = join(root, 'lib/wire/native/binding.ts');

// make's own job server must not reach cargo: its pipe is gone by then.
const env = { ...process.env, CARGO_TERM_COLOR: 'never' };
delete env.MAKEFLAGS;
delete env.MFLAGS;

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, env, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function napiCli() {
  try {
    return join(dirname(createRequire(join(root, 'package.json')).resolve('@napi-rs/cli/package.json')), 'dist/cli.js');
  } catch {
    return undefined;
  }
}

const cli = napiCli();
if (cli) {
  run(process.execPath, [
    cli,
    'build',
    '--release',
    '--manifest-path',
    'native/addon/Cargo.toml',
    '--package-json-path',
    'package.json',
    '--target-dir',
    'target',
    '--output-dir',
    out,
    '--no-js',
    '--no-const-enum',
    '--dts',
    relative(out, typings),
    '--',
    '--locked',
  ]);
} else {
  run('cargo', ['build', '--locked', '--release', '-p', 'migration-addon']);
  const library =
    { win32: 'migration_addon.dll', darwin: 'libmigration_addon.dylib' }[process.platform] ?? 'libmigration_addon.so';
  copyFileSync(join(root, 'target/release', library), join(out, addon));
}
