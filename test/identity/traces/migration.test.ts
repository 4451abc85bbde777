import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../../support.js';
import { masked } from './masking.js';
import type { ProcessCommand } from './migrating-process.js';
import { SecretSearch } from './patterns.js';
import { assertGuarded, canSearch, SearchedProcess, summary } from './searched-process.js';

const PROGRAM = fileURLToPath(new URL('migrating-process.js', import.meta.url));
const newSecret = () => Uint8Array.from(randomBytes(32));

/** A node's X25519 secret: the scalar of its Ed25519 one. */
function staticPrivate(seed: Uint8Array): Uint8Array {
  const scalar = createHash('sha512').update(seed).digest().subarray(0, 32);
  scalar[0]! &= 248;
  scalar[31] = (scalar[31]! & 127) | 64;
  return scalar;
}

interface Scene {
  readonly process: SearchedProcess<ProcessCommand>;
  /** All secrets of the process that are known here, by name. */
  readonly secrets: ReadonlyMap<string, Uint8Array>;
}

/** A process with a daemon on one of two nodes in threads, each of which keeps its keys. */
async function inScene(body: (scene: Scene) => Promise<void>): Promise<void> {
  const [daemon, first, second] = [newSecret(), newSecret(), newSecret()];
  const process = await SearchedProcess.start<ProcessCommand>(PROGRAM);
  try {
    assert.is(await process.ask({ do: 'begin', nodeSeeds: [masked(first), masked(second)] }), true);
    assert.is(await process.ask({ do: 'spawn', masked: masked(daemon) }), 64);
    const nodes = { first, second, 'static of first': staticPrivate(first), 'static of second': staticPrivate(second) };
    await body({ process, secrets: new Map(Object.entries({ daemon, ...nodes })) });
  } finally {
    process.end();
  }
}

const migration = suite('a daemon that moves between threads, there and back');

migration(
  'has its seed once in all memory of the process, guarded, after each move; and nowhere after the end',
  async () => {
    if (!canSearch()) return;
    await inScene(async ({ process, secrets }) => {
      const search = new SecretSearch(secrets);
      assertGuarded(process.search(search), secrets.keys());
      for (let moves = 0; moves < 2; moves++) {
        assert.is(await process.ask({ do: 'move' }), 64);
        assertGuarded(process.search(search), secrets.keys());
      }
      assert.equal(await process.ask({ do: 'end' }), [false, false]);
      assert.equal(summary(process.search(search)), []);
    });
  },
);

migration('has it in no heap snapshot of any of the three threads', () =>
  inScene(async ({ process, secrets }) => {
    const folder = mkdtempSync(join(tmpdir(), 'traces-'));
    try {
      assert.is(await process.ask({ do: 'move' }), 64);
      const leaked = newSecret();
      assert.is(await process.ask({ do: 'leak', masked: masked(leaked) }), 64);
      const search = new SecretSearch(new Map([...secrets, ['leaked', leaked]]));
      const paths = (await process.ask({ do: 'snapshots', folder })) as string[];
      const found = paths.map((path) => [...new Set(search.in(readFileSync(path)).map(({ secret }) => secret))]);
      assert.equal(found, [[], ['leaked'], []], 'the one that was left in the second thread is found');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }),
);
