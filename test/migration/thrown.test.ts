import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { inCluster, SOURCE, TARGET } from './cluster.js';

const thrown = suite('what a hook throws');

const VALUES: ReadonlyArray<readonly [name: string, value: unknown]> = [
  ['more text than a frame takes', new Error('x'.repeat(100_000))],
  ['more bytes than a frame takes', new Error('€'.repeat(22_000))],
  ['an object without text', Object.create(null)],
  ['nothing', undefined],
  ['a symbol', Symbol('s')],
];

for (const [name, value] of VALUES) {
  for (const [hook, node] of [
    ['postRestore', TARGET],
    ['readiness', TARGET],
    ['preCleanup', SOURCE],
  ] as const) {
    thrown(`ends the migration at once everywhere: ${name}, in ${hook}`, () => {
      const failing = () => {
        throw value;
      };
      inCluster({ node: (id) => (id === node ? { hooks: { [hook]: failing } } : {}) }, (cluster) => {
        cluster.publish(3);
        cluster.start();
        cluster.drain();
        assert.is(cluster.isBusy, false, cluster.describe());
        assert.is(cluster.whole(), SOURCE);
        for (const { ends } of [cluster.source, cluster.orchestrator])
          assert.ok(ends.every((end) => end.endsWith('state-failed')));
      });
    });
  }
}

thrown('is no unhandled rejection where a promise is rejected with an object without text', async () => {
  const postRestore = () => Promise.reject(Object.create(null));
  await inCluster({ node: (id) => (id === TARGET ? { hooks: { postRestore } } : {}) }, async (cluster) => {
    cluster.start();
    await cluster.later();
    assert.is(cluster.whole(), SOURCE);
    assert.equal(cluster.source.ends, ['source state-failed']);
  });
});
