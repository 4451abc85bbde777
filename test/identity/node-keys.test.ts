import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath, geteuid, platform, umask } from 'node:process';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import * as assert from 'uvu/assert';
import { EntityKeypair, NodeKeys, secureMemoryStatus } from '../../lib/identity/index.js';
import { refusal, suite } from '../support.js';
import { wrongType } from './wrong-type.js';

const SEED = Uint8Array.from({ length: 32 }, (_, i) => 251 - 5 * i);
const SEED_HEX = Buffer.from(SEED).toString('hex');
const MESSAGE = Buffer.from('node');

function inFolder(body: (folder: string) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(join(tmpdir(), 'node-keys-'));
    try {
      await body(folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
}

const keys = suite('node keys');

keys('are an Ed25519 key pair and the X25519 one of it, which peers can work out', () => {
  const node = NodeKeys.generate();
  assert.is(node.nodeId, node.id.nodeId);
  assert.equal(node.staticPublic, node.id.toStaticPublic());
  assert.ok(node.id.verify(MESSAGE, node.identity.sign(MESSAGE)));
  assert.ok(NodeKeys.fromSeed(SEED).id.equals(EntityKeypair.fromSeed(SEED).id));
});

keys('give both secrets back when disposed', async () => {
  const before = secureMemoryStatus().secrets;
  const node = NodeKeys.generate();
  assert.is(secureMemoryStatus().secrets, before + 2);
  node.dispose();
  node[Symbol.dispose]();
  assert.is(secureMemoryStatus().secrets, before);
  await refusal('disposed', () => node.save(join(tmpdir(), 'never-written')));
  assert.not.ok(existsSync(join(tmpdir(), 'never-written')));
});

const file = suite('a key file');

file(
  'has the documented bytes, and gives the same node back',
  inFolder((folder) => {
    const path = join(folder, 'node.key');
    const node = NodeKeys.fromSeed(SEED);
    node.save(path);
    const expected = `daemon-migration node key, version 1\n${SEED_HEX}\n${node.id.hex}\n`;
    assert.is(readFileSync(path, 'latin1'), expected);
    const loaded = NodeKeys.load(path);
    assert.ok(loaded.id.equals(node.id));
    assert.equal(loaded.staticPublic, node.staticPublic);
    assert.equal(loaded.identity.sign(MESSAGE), node.identity.sign(MESSAGE));
  }),
);

file(
  'is for its owner alone, whatever the umask, and nothing stays beside it',
  inFolder((folder) => {
    const old = umask(0);
    try {
      for (const mask of [0, 0o022, 0o277]) {
        umask(mask);
        const path = join(folder, `mask-${mask}`);
        NodeKeys.generate().save(path);
        if (platform !== 'win32') assert.is(statSync(path).mode & 0o7777, 0o600);
        NodeKeys.load(path);
      }
    } finally {
      umask(old);
    }
    assert.is(readdirSync(folder).length, 3);
  }),
);

file(
  'is never written over, nor through a link',
  inFolder(async (folder) => {
    const path = join(folder, 'node.key');
    writeFileSync(path, 'mine');
    const error = await refusal('key-file-exists', () => NodeKeys.generate().save(path));
    assert.match(error.message, path);
    assert.is(readFileSync(path, 'utf8'), 'mine');
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'link'));
    await refusal('key-file-exists', () => NodeKeys.generate().save(join(folder, 'link')));
    assert.equal(readdirSync(folder).sort(), ['link', 'node.key']);
  }),
);

file(
  'in a folder that is not there is refused by name',
  inFolder(async (folder) => {
    const path = join(folder, 'none', 'node.key');
    assert.match((await refusal('key-file-not-found', () => NodeKeys.generate().save(path))).message, path);
    assert.match((await refusal('key-file-not-found', () => NodeKeys.load(path))).message, path);
  }),
);

file(
  'that others can reach is refused, with its mode and the command that mends it',
  inFolder(async (folder) => {
    const path = join(folder, "it's a key");
    NodeKeys.fromSeed(SEED).save(path);
    if (platform === 'win32') {
      assert.is(platform, 'win32', 'Windows has no such modes: nothing to refuse');
      return;
    }
    for (const mode of [0o640, 0o604, 0o620, 0o610, 0o601, 0o644, 0o777]) {
      chmodSync(path, mode);
      const error = await refusal('key-file-exposed', () => NodeKeys.load(path));
      assert.match(error.message, path);
      assert.match(error.message, `mode 0${mode.toString(8)}`);
      const command = /run: (chmod .*)$/.exec(error.message)![1]!;
      execFileSync('sh', ['-c', command]);
      NodeKeys.load(path);
    }
    chmodSync(path, 0o400);
    NodeKeys.load(path);
  }),
);

file(
  'that is a link, a folder or a pipe is refused without waiting',
  inFolder(async (folder) => {
    const path = join(folder, 'node.key');
    NodeKeys.generate().save(path);
    symlinkSync(path, join(folder, 'link'));
    mkdirSync(join(folder, 'folder'));
    const special = ['link', 'folder'];
    if (platform !== 'win32') {
      execFileSync('mkfifo', ['-m', '600', join(folder, 'pipe')]);
      special.push('pipe');
    }
    for (const name of special) {
      const error = await refusal('key-file-not-regular', () => NodeKeys.load(join(folder, name)));
      assert.match(error.message, join(folder, name));
    }
    linkSync(path, join(folder, 'hard-link'));
    NodeKeys.load(join(folder, 'hard-link'));
  }),
);

file(
  'with anything wrong in it is refused, without a word of what is in it',
  inFolder(async (folder) => {
    const good = join(folder, 'good');
    NodeKeys.fromSeed(SEED).save(good);
    const text = readFileSync(good, 'latin1');
    const before = secureMemoryStatus().secrets;
    const wrong: [string, RegExp][] = [
      ['', /0 bytes/],
      [text.slice(1), /bytes/],
      [`${text}\n`, /bytes/],
      [text.replace('version 1', 'version 2'), /first line/],
      [text.replace(SEED_HEX, SEED_HEX.toUpperCase()), /line 2/],
      [text.replace(SEED_HEX, `g${SEED_HEX.slice(1)}`), /line 2/],
      [text.replace(SEED_HEX, `${SEED_HEX.slice(1)} `), /line 2/],
      [text.replace(SEED_HEX, `0${SEED_HEX.slice(1)}`), /damaged/],
      [text.replace(`${SEED_HEX}\n`, `${SEED_HEX}x`), /lines/],
      [text.replaceAll('\n', '\r'), /first line/],
      [`${text.slice(0, -2)}z\n`, /line 3/],
      [`${text.slice(0, -2)}${text.at(-2) === '0' ? '1' : '0'}\n`, /damaged/],
      [`${text.slice(0, -1)}x`, /lines/],
    ];
    for (const [index, [content, says]] of wrong.entries()) {
      const path = join(folder, `bad-${index}`);
      writeFileSync(path, content, { mode: 0o600 });
      const error = await refusal('key-file-malformed', () => NodeKeys.load(path));
      assert.match(error.message, path);
      assert.match(error.message, says);
      assert.not.match(inspect(error, { showHidden: true, depth: 9 }), SEED_HEX.slice(8, 24));
    }
    assert.is(secureMemoryStatus().secrets, before);
  }),
);

file(
  'of another user is refused, with the command that mends it; one of root is not',
  inFolder(async (folder) => {
    if (geteuid?.() !== 0) {
      console.log('  not run: only root can give a file to another user');
      assert.is.not(geteuid?.(), 0);
      return;
    }
    const path = join(folder, 'node.key');
    NodeKeys.generate().save(path);
    chownSync(path, 12_345, 0);
    const error = await refusal('key-file-exposed', () => NodeKeys.load(path));
    assert.match(error.message, `${path} belongs to user 12345`);
    assert.equal(error.details, { path, owner: 12_345 });
    execFileSync('sh', ['-c', /run: (chown .*)$/.exec(error.message)![1]!]);
    NodeKeys.load(path).dispose();

    const { id } = NodeKeys.load(path);
    process.seteuid!(12_345);
    try {
      // Whoever is not root cannot read it: that is the system's refusal, and none of ours.
      const unreadable = await refusal('key-file-unreadable', () => NodeKeys.load(path));
      assert.match(unreadable.message, /EACCES/);
    } finally {
      process.seteuid!(0);
    }
    assert.ok(NodeKeys.load(path).id.equals(id));
  }),
);

file('is named by a string', () => {
  const node = NodeKeys.generate();
  for (const path of [undefined, null, 7, new URL('file:///keys'), Buffer.from('keys'), 'ke\0ys']) {
    wrongType('path', () => NodeKeys.load(path as string));
    wrongType('path', () => node.save(path as string));
  }
});

const drafts = suite('drafts of key files');

const SAVER = fileURLToPath(new URL('key-saver.js', import.meta.url));
const draftsIn = (folder: string) => readdirSync(folder).filter((name) => name.endsWith('.draft'));

/** As if it had been left some time ago. */
function age(path: string, seconds: number): void {
  const then = Date.now() / 1000 - seconds;
  utimesSync(path, then, then);
}

drafts(
  'of a save that was killed are removed by the next one; young ones and what is none stay',
  inFolder((folder) => {
    const path = join(folder, 'node.key');
    const stale = ['node.key.0123456789abcdef.draft', 'node.key.fedcba9876543210.draft'];
    const others = [
      'other.key.0123456789abcdef.draft',
      'node.key.0123456789abcde.draft',
      'node.key.0123456789abcdeg.draft',
      'node.key.draft',
      'node.key.0123456789abcdef.draft.bak',
    ];
    for (const name of [...stale, ...others]) {
      writeFileSync(join(folder, name), 'half of a ke', { mode: 0o600 });
      age(join(folder, name), 100);
    }
    const young = 'node.key.00112233445566ff.draft';
    writeFileSync(join(folder, young), 'being written', { mode: 0o600 });
    age(join(folder, young), 10);
    mkdirSync(join(folder, 'node.key.aaaaaaaaaaaaaaaa.draft'));
    age(join(folder, 'node.key.aaaaaaaaaaaaaaaa.draft'), 100);
    NodeKeys.generate().save(path);
    const left = [...others, young, 'node.key.aaaaaaaaaaaaaaaa.draft', 'node.key'];
    assert.equal(readdirSync(folder).sort(), left.sort());
  }),
);

drafts(
  'that got their name before the kill are removed when the key is loaded, however young',
  inFolder((folder) => {
    const path = join(folder, 'node.key');
    const node = NodeKeys.generate();
    node.save(path);
    linkSync(path, `${path}.0123456789abcdef.draft`);
    linkSync(path, join(folder, 'mine'));
    writeFileSync(`${path}.00000000000000ff.draft`, 'of another save', { mode: 0o600 });
    assert.ok(NodeKeys.load(path).id.equals(node.id));
    assert.equal(readdirSync(folder).sort(), ['mine', 'node.key', 'node.key.00000000000000ff.draft']);
  }),
);

drafts(
  'are all that a kill leaves: each key file is whole, and nothing stays after the next save',
  inFolder(async (folder) => {
    for (let round = 0; round < 10; round++) {
      const saver = spawn(execPath, [SAVER, folder, 'endless'], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(saver.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, 3 * round));
      saver.kill('SIGKILL');
      await once(saver, 'exit');
      const left = draftsIn(folder);
      assert.ok(left.length <= 1);
      for (const name of left) {
        age(join(folder, name), 100);
        const key = join(folder, name.split('.').slice(0, 2).join('.'));
        // Loading removes it where it has its name already; the next save does where not.
        if (existsSync(key)) NodeKeys.load(key);
        else NodeKeys.generate().save(key);
      }
      assert.equal(draftsIn(folder), []);
      for (const name of readdirSync(folder)) NodeKeys.load(join(folder, name)).dispose();
      for (const name of readdirSync(folder)) rmSync(join(folder, name));
    }
  }),
);

drafts(
  'and the key file itself are taken back where the folder cannot be synced, which is said',
  inFolder((folder) => {
    if (platform !== 'linux') {
      assert.is.not(platform, 'linux', 'elsewhere there is no setpriv to take root its rights with');
      return;
    }
    // Names can be made in this folder, but it cannot be opened to be synced.
    chmodSync(folder, 0o300);
    const drop = geteuid!() === 0 ? '-dac_override,-dac_read_search' : '';
    const withoutRights = drop ? ['setpriv', '--bounding-set', drop, '--inh-caps', drop] : [];
    const [command, ...args] = [...withoutRights, execPath, SAVER, folder];
    const said = execFileSync(command!, args, { encoding: 'utf8' });
    chmodSync(folder, 0o700);
    assert.match(said, /^key-file-unreadable: .*node\.key: the system refused open of .* with EACCES while writing it/);
    assert.match(said, folder);
    assert.equal(readdirSync(folder), []);
    assert.is(execFileSync(command!, args, { encoding: 'utf8' }), 'saved\n', 'it can be tried again');
  }),
);
