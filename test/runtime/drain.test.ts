import * as assert from 'uvu/assert';
import { DrainThrottle } from '../../lib/runtime/drain.js';
import { suite } from '../support.js';

const drain = suite('drain throttle');
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Counts what has been admitted. */
function admitting(throttle: DrainThrottle, origin: bigint) {
  const state = { admitted: 0 };
  return {
    state,
    admit(count: number) {
      void Promise.resolve(throttle.admit(origin, count)).then(() => {
        state.admitted += count;
      });
    },
  };
}

drain('lets everything through while nothing drains', () => {
  assert.is(new DrainThrottle().admit(1n, 1_000), undefined);
});

drain('admits one event for two that were replayed, in order, over any span', async () => {
  const throttle = new DrainThrottle();
  throttle.begin(1n);
  const { state, admit } = admitting(throttle, 1n);
  for (let i = 0; i < 200; i++) admit(10);
  await turn();
  // What is admitted before the target has replayed any.
  assert.is(state.admitted, 1_000);
  for (let replayed = 0; replayed < 1_000; replayed += 100) {
    throttle.replayed(1n, 100);
    await turn();
  }
  // Half of a thousand; a batch may be ahead of its allowance.
  assert.ok(state.admitted >= 1_500 && state.admitted <= 1_510, String(state.admitted));
});

drain('keeps nobody waiting when it ends, and other daemons never', async () => {
  const throttle = new DrainThrottle();
  throttle.begin(1n);
  throttle.begin(1n);
  assert.is(throttle.admit(2n, 5), undefined);
  const { state, admit } = admitting(throttle, 1n);
  admit(1_000);
  admit(5);
  throttle.end(1n);
  throttle.end(1n);
  await turn();
  assert.is(state.admitted, 1_005);
  assert.is(throttle.admit(1n, 5), undefined);
});
