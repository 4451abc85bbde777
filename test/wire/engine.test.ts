import { spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import { createCodec } from '../../lib/wire/engine.js';

const ENGINE = new URL('../../lib/wire/engine.js', import.meta.url).href;

/** Runs a script in a Node that cannot load addons. */
function withoutAddons(script: string) {
  const program = `import { createCodec } from ${JSON.stringify(ENGINE)};\n${script}`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--no-addons', '--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  return { stdout, stderr };
}

const test = suite('createCodec');

test('gives the engine that was asked for by name', () => {
  assert.is(createCodec({ engine: 'typescript' }).engine, 'typescript');
});

test('refuses a name that it does not know', () => {
  const unknown = (error: unknown) =>
    error instanceof MigrationError && error.kind === 'unknown-engine' && error.message.includes('cobol');
  assert.throws(() => createCodec({ engine: 'cobol' as never }), unknown);
  assert.throws(() => createCodec({ engine: 'baseline' as never }), /native and typescript are known/);
});

test('falls back to typescript where no addon loads, and says so once', () => {
  const { stdout, stderr } = withoutAddons('console.log(createCodec().engine, createCodec({}).engine);');
  assert.is(stdout, 'typescript typescript\n');
  assert.is(stderr.match(/the native engine cannot be loaded, the typescript engine takes over/g)?.length, 1, stderr);
});

test('says how to build the native engine where it was asked for by name', () => {
  const { stdout, stderr } = withoutAddons(
    'try { createCodec({ engine: "native" }); } catch (error) { console.log(error.kind, error.message, !!error.cause); }',
  );
  assert.match(stdout, /^engine-unavailable .*npm run build:native.* true\n$/);
  assert.is(stderr, '');
});

test.run();
