import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import { typescriptCodec } from '../../../lib/wire/typescript/index.js';
import { suite } from '../../support.js';

const test = suite('what pending snapshots take');

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function held(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

test('many snapshots of which one byte came are charged what they take', () => {
  const COUNT = 20_000;
  const chunk = new Uint8Array(1);
  const reassembler = typescriptCodec.createReassembler();
  reassembler.feed(1n, 1n, 0, 40, chunk, 0);
  const before = held() - reassembler.pendingBytes;
  for (let origin = 2; origin <= COUNT; origin++) reassembler.feed(BigInt(origin), 1n, 0, 40, chunk, 0);
  const taken = held() - before;
  assert.ok(reassembler.pendingBytes > 0.8 * taken, `${reassembler.pendingBytes} bytes counted, ${taken} taken`);
  assert.ok(reassembler.pendingBytes < 2 * taken, `${reassembler.pendingBytes} bytes counted, ${taken} taken`);
  reassembler.dispose();
});
