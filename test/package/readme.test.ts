import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const readme = suite('README');

readme('its code is the quick start, which moves a daemon', () => {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const code = /```ts\n(.*?)```/s.exec(text)?.[1];
  assert.ok(code);
  assert.ok(readFileSync(join(ROOT, 'examples/quick-start.ts'), 'utf8').startsWith(code));
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/examples/quick-start.js')], {
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  assert.is(stdout.trim(), 'the daemon lives on node 2');
});

readme('every command that it names is there', () => {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  for (const [, name] of text.matchAll(/npm run (?:-s )?([a-z:]+)/g)) assert.ok(name && name in scripts, name);
});

readme('the drop-in example gives the same frames on both engines', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/examples/drop-in.js')], {
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  assert.is(stderr, '');
  assert.match(stdout, /has processed 7 events/);
  assert.match(stdout, /the same 11 frames, byte for byte/);
});
