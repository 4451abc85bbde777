import * as assert from 'uvu/assert';
import { systemEnvironment } from '../../lib/runtime/environment.js';
import { suite } from '../support.js';

const environment = suite("the system's environment");

/** Timers that the test runs, in place of the system's. */
async function withTimers(run: (timers: Array<{ readonly ms: number; readonly run: () => void }>) => void) {
  const { setTimeout } = globalThis;
  const timers: Array<{ readonly ms: number; readonly run: () => void }> = [];
  globalThis.setTimeout = ((run: () => void, ms: number) => timers.push({ ms, run })) as never;
  try {
    run(timers);
  } finally {
    globalThis.setTimeout = setTimeout;
  }
}

environment('waits longer than one timer of the system can', () =>
  withTimers((timers) => {
    let called = 0;
    systemEnvironment.after(2 ** 32, () => called++);
    let waited = 0;
    for (let timer = timers.shift(); timer; timer = timers.shift()) {
      assert.is(called, 0);
      assert.ok(timer.ms < 2 ** 31, 'the system takes it for 1 ms');
      waited += timer.ms;
      timer.run();
    }
    assert.equal([called, waited], [1, 2 ** 32]);
  }),
);

environment('waits for ever where it is told so', () =>
  withTimers((timers) => {
    systemEnvironment.after(Number.POSITIVE_INFINITY, () => assert.unreachable());
    for (let n = 0; n < 100; n++) {
      const timer = timers.shift()!;
      assert.ok(timer.ms < 2 ** 31);
      timer.run();
    }
  }),
);
