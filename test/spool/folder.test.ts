import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import { SpoolFolder } from '../../lib/spool/folder.js';
import { refusal, suite } from '../support.js';

const text = (words: string) => new TextEncoder().encode(words);

async function inTemporary(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'spool-'));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function content(spool: SpoolFolder, name: string): Promise<string> {
  const file = await spool.open(name);
  const bytes = new Uint8Array((await file.size()) + 10);
  const read = await file.read(0, bytes);
  await file.close();
  return new TextDecoder().decode(bytes.subarray(0, read));
}

const folder = suite('a folder as a spool');

folder('is made for its owner alone, and so are its files', () =>
  inTemporary(async (parent) => {
    const spool = new SpoolFolder(join(parent, 'node-1'));
    await spool.take();
    const file = await spool.create('one');
    await file.write(0, [text('ab'), text('c')]);
    await file.write(4, [text('e')]);
    await file.sync();
    assert.is(await file.size(), 5);
    await file.close();
    await file.close();
    assert.is((await stat(spool.label)).mode & 0o777, 0o700);
    assert.is((await stat(spool.path('one'))).mode & 0o777, 0o600);
    assert.is(await content(spool, 'one'), 'abc\0e');
    await spool.letGo();
  }),
);

folder('replaces, renames and removes; what is no file of its own is not named', () =>
  inTemporary(async (parent) => {
    const spool = new SpoolFolder(join(parent, 'node-1'));
    await spool.take();
    await spool.replace('one', [text('first'), text('!')]);
    await spool.replace('one', [text('second')]);
    await writeFile(join(spool.label, 'Stranger'), 'x');
    assert.equal(await spool.names(), ['one']);
    assert.is(await content(spool, 'one'), 'second');
    await spool.replace('two', [text('third')]);
    await spool.rename('two', 'one');
    assert.is(await content(spool, 'one'), 'third');
    await spool.remove('one');
    await spool.remove('one');
    assert.equal(await spool.names(), []);
    assert.throws(() => spool.path('../one'), /a-z 0-9/);
    await spool.letGo();
  }),
);

folder('drops what a replacement that was cut short left', () =>
  inTemporary(async (parent) => {
    const spool = new SpoolFolder(join(parent, 'node-1'));
    await spool.take();
    await spool.replace('one', [text('whole')]);
    await spool.letGo();
    await writeFile(join(spool.label, 'one.draft'), 'hal');
    await spool.take();
    assert.equal(await spool.names(), ['one']);
    assert.not((await readdir(spool.label)).includes('one.draft'));
    await spool.letGo();
  }),
);

folder('that others can reach, or that is none, is refused', () =>
  inTemporary(async (parent) => {
    const open = join(parent, 'open');
    await mkdir(open);
    await chmod(open, 0o755);
    assert.match((await refusal('spool-unusable', () => new SpoolFolder(open).take())).message, /mode 0755.*chmod 700/);
    await symlink(open, join(parent, 'link'));
    await refusal('spool-unusable', () => new SpoolFolder(join(parent, 'link')).take());
    await writeFile(join(parent, 'file'), '');
    await refusal('spool-unusable', () => new SpoolFolder(join(parent, 'file')).take());
    await refusal('spool-failed', () => new SpoolFolder(join(parent, 'no', 'parent')).take());
    assert.throws(() => new SpoolFolder(''), /folder must be a path/);
  }),
);

folder('is one runtime’s at a time, in this process too', () =>
  inTemporary(async (parent) => {
    const [one, two] = [new SpoolFolder(join(parent, 'a')), new SpoolFolder(join(parent, 'a'))];
    await one.take();
    await refusal('spool-in-use', () => two.take());
    await one.letGo();
    await two.take();
    await two.letGo();
    await two.letGo();
    assert.equal(await readdir(one.label), []);
  }),
);

folder('is one’s however many want it at once', () =>
  inTemporary(async (parent) => {
    const spools = Array.from({ length: 8 }, () => new SpoolFolder(join(parent, 'a')));
    const outcomes = await Promise.allSettled(spools.map((spool) => spool.take()));
    assert.ok(outcomes.filter(({ status }) => status === 'fulfilled').length <= 1);
    await Promise.all(spools.map((spool) => spool.letGo()));
  }),
);

folder('is free again when the process that had it was killed, and not before', () =>
  inTemporary(async (parent) => {
    // A path that is longer than a socket's may be.
    const path = join(parent, 'n'.repeat(120));
    const script = `const { SpoolFolder } = await import(${JSON.stringify(new URL('../../lib/spool/folder.js', import.meta.url).href)});
      await new SpoolFolder(${JSON.stringify(path)}).take(); console.log('taken'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const spool = new SpoolFolder(path);
    await refusal('spool-in-use', () => spool.take());
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.is((await readdir(path)).length, 1, 'its lock is still there');
    await spool.take();
    assert.is((await readdir(path)).length, 1);
    await spool.letGo();
  }),
);

folder('is free again when the thread that had it was terminated', () =>
  inTemporary(async (parent) => {
    const path = join(parent, 'a');
    const script = `const { parentPort } = require('node:worker_threads');
      import(${JSON.stringify(new URL('../../lib/spool/folder.js', import.meta.url).href)}).then(async ({ SpoolFolder }) => {
        await new SpoolFolder(${JSON.stringify(path)}).take();
        parentPort.postMessage('taken');
        setInterval(() => {}, 1000);
      });`;
    const worker = new Worker(script, { eval: true });
    await once(worker, 'message');
    const spool = new SpoolFolder(path);
    await refusal('spool-in-use', () => spool.take());
    await worker.terminate();
    await spool.take();
    await spool.letGo();
  }),
);
