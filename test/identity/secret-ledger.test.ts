import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { getEnvironmentData, setEnvironmentData, Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import {
  configureSecureMemory,
  DEFAULT_MAX_SECRETS,
  EntityKeypair,
  type SecureMemoryStatus,
  secureMemoryStatus,
} from '../../lib/identity/index.js';
import { eventually, refusal, suite } from '../support.js';

const KEY = 'daemon-migration/secret-ledger/1';
const TAKER = new URL('secret-taker.js', import.meta.url);

interface Taken {
  readonly made: number;
  readonly refusal: string | undefined;
  readonly sign: boolean;
  readonly status: SecureMemoryStatus;
}

type Take = (secrets: number) => Promise<{ thread: Worker; taken: Taken }>;

/** Threads that hold secrets end with the test, and the limit is what it was, whatever became of it. */
function withThreads(run: (take: Take) => Promise<void>): () => Promise<void> {
  return async () => {
    const threads: Worker[] = [];
    try {
      await run(async (secrets) => {
        const thread = new Worker(TAKER, { workerData: secrets });
        threads.push(thread);
        const [taken] = await once(thread, 'message');
        return { thread, taken };
      });
    } finally {
      configureSecureMemory({ maxSecrets: DEFAULT_MAX_SECRETS });
      await Promise.all(threads.map((thread) => thread.terminate()));
    }
  };
}

const together = suite('secrets of all threads of a process');

together(
  'have one limit: four threads that want 400 each of 1,000 get 1,000, and a typed error',
  withThreads(async (take) => {
    const before = secureMemoryStatus();
    configureSecureMemory({ maxSecrets: before.secrets + 1_000 });
    const threads = await Promise.all([400, 400, 400, 400].map(take));
    const made = threads.reduce((sum, { taken }) => sum + taken.made, 0);
    // Those that ask for the last one at the same instant may all be refused it.
    assert.ok(made <= 1_000 && made > 1_000 - threads.length, `${made} secrets`);
    assert.is(secureMemoryStatus().secrets, before.secrets + made);
    const refused = threads.filter(({ taken }) => taken.made < 400);
    assert.ok(refused.length > 0);
    for (const { taken } of refused) assert.is(taken.refusal, 'secure-memory-exhausted');
    for (const { taken } of threads) assert.ok(taken.sign);

    const rest: EntityKeypair[] = [];
    while (secureMemoryStatus().secrets < before.secrets + 1_000) rest.push(EntityKeypair.generate());
    const error = await refusal('secure-memory-exhausted', () => EntityKeypair.generate());
    assert.equal(error.details, { secrets: before.secrets + 1_000, maxSecrets: before.secrets + 1_000 });
    for (const keypair of rest) keypair.dispose();
  }),
);

together(
  'are fewer by those of a thread that was terminated, and of one that ended by itself',
  withThreads(async (take) => {
    const before = secureMemoryStatus();
    const [terminated, ended] = await Promise.all([take(700), take(10)]);
    assert.is(secureMemoryStatus().secrets, before.secrets + 710);
    assert.ok(secureMemoryStatus().bytes > before.bytes);
    await terminated.thread.terminate();
    assert.is(secureMemoryStatus().secrets, before.secrets + 10);
    ended.thread.postMessage('end');
    await once(ended.thread, 'exit');
    assert.equal(secureMemoryStatus(), before);
  }),
);

together('are counted through a thread in between that never loaded the package', async () => {
  const before = secureMemoryStatus();
  const between = new Worker(
    `const { Worker, parentPort, workerData } = require('node:worker_threads');
     const inner = new Worker(new URL(workerData), { workerData: 20 });
     inner.on('message', () => parentPort.postMessage('taken'));
     parentPort.on('message', () => inner.postMessage('end'));
     inner.on('exit', () => parentPort.postMessage('ended'));`,
    { eval: true, workerData: TAKER.href },
  );
  try {
    assert.equal(await once(between, 'message'), ['taken']);
    assert.is(secureMemoryStatus().secrets, before.secrets + 20);
    between.postMessage('end');
    assert.equal(await once(between, 'message'), ['ended']);
    assert.equal(secureMemoryStatus(), before);
  } finally {
    await between.terminate();
  }
});

together(
  'are counted apart where a thread was started before anybody counted',
  withThreads(async (take) => {
    const ledger = getEnvironmentData(KEY);
    assert.instance(ledger, SharedArrayBuffer);
    const before = secureMemoryStatus();
    // What such a thread finds: nothing, or something of another layout.
    for (const inherited of [undefined, new SharedArrayBuffer(64), 'nonsense']) {
      setEnvironmentData(KEY, inherited as never);
      const { thread, taken } = await take(30);
      assert.is(taken.status.secrets, 30);
      assert.is(taken.status.maxSecrets, DEFAULT_MAX_SECRETS);
      assert.equal(secureMemoryStatus(), before);
      await thread.terminate();
    }
    setEnvironmentData(KEY, ledger);
    const { thread } = await take(30);
    assert.is(secureMemoryStatus().secrets, before.secrets + 30);
    await thread.terminate();
  }),
);

together('are counted together by two copies of the package', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'copy-'));
  try {
    cpSync(fileURLToPath(new URL('../../lib', import.meta.url)), join(folder, 'lib'), { recursive: true });
    symlinkSync(fileURLToPath(new URL('../../../node_modules', import.meta.url)), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const path = pathToFileURL(join(folder, 'lib/identity/index.js')).href;
    const other = (await import(path)) as typeof import('../../lib/identity/index.js');
    assert.is.not(other.EntityKeypair, EntityKeypair);
    const { secrets } = secureMemoryStatus();
    configureSecureMemory({ maxSecrets: secrets + 2 });
    const [mine, theirs] = [EntityKeypair.generate(), other.EntityKeypair.generate()];
    assert.is(secureMemoryStatus().secrets, secrets + 2);
    assert.equal(other.secureMemoryStatus(), secureMemoryStatus());
    await refusal('secure-memory-exhausted', () => EntityKeypair.generate());
    assert.throws(() => other.EntityKeypair.generate(), /maxSecrets allows/);
    mine.dispose();
    theirs.dispose();
  } finally {
    configureSecureMemory({ maxSecrets: DEFAULT_MAX_SECRETS });
    rmSync(folder, { recursive: true, force: true });
  }
});

together(
  'of threads that come and go add up to nothing',
  withThreads(async (take) => {
    const before = secureMemoryStatus();
    for (let round = 0; round < 5; round++) {
      const threads = await Promise.all([1, 1, 1, 1].map(take));
      for (const { thread } of threads) thread.postMessage('end');
      await eventually('all are gone', () => secureMemoryStatus().secrets === before.secrets);
    }
  }),
);
