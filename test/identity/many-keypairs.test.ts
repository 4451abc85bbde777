import { readFileSync } from 'node:fs';
import { memoryUsage, platform } from 'node:process';
import * as assert from 'uvu/assert';
import { EntityKeypair, secureMemoryStatus } from '../../lib/identity/index.js';
import { suite } from '../support.js';

const COUNT = 100_000;
const MESSAGE = Buffer.from('one of many');

const many = suite('100,000 key pairs at once');

/** Linux gives a process 65,530 mappings and ends it when it asks for more. */
function mappings(): number {
  return readFileSync('/proc/self/maps', 'latin1').split('\n').length;
}

many('are alive, sign each for itself, and take few mappings and little memory', () => {
  const rssBefore = memoryUsage.rss();
  const mappingsBefore = platform === 'linux' ? mappings() : 0;
  const begin = performance.now();
  const keypairs = Array.from({ length: COUNT }, () => EntityKeypair.generate());
  const seconds = (performance.now() - begin) / 1000;
  globalThis.gc?.();
  const rss = (memoryUsage.rss() - rssBefore) / 2 ** 20;
  const { bytes, lockedBytes } = secureMemoryStatus();
  console.log(
    `  ${COUNT} key pairs: ${seconds.toFixed(1)} s, ${rss.toFixed(0)} MiB RSS, ` +
      `of it ${(bytes / 2 ** 20).toFixed(1)} MiB guarded, ${(lockedBytes / 2 ** 20).toFixed(1)} MiB locked`,
  );
  for (let i = 0; i < COUNT; i += 997) {
    const keypair = keypairs[i]!;
    assert.ok(keypair.id.verify(MESSAGE, keypair.sign(MESSAGE)));
  }
  assert.is(secureMemoryStatus().secrets, COUNT);
  assert.ok(bytes < 4 * 2 ** 20, `${bytes} bytes guarded`);
  if (platform === 'linux') {
    const taken = mappings() - mappingsBefore;
    console.log(`  ${taken} mappings`);
    assert.ok(taken < 4_000, `${taken} mappings`);
  }
  for (const keypair of keypairs) keypair.dispose();
  assert.is(secureMemoryStatus().secrets, 0);
});
