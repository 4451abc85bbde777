import * as assert from 'uvu/assert';
import { DaemonFactoryRegistry } from '../../lib/daemon/factories.js';
import { DaemonRegistry } from '../../lib/daemon/registry.js';
import { MigrationSubprotocolHandler } from '../../lib/migration/handler.js';
import { MigrationOrchestrator } from '../../lib/migration/orchestrator.js';
import { MigrationSourceHandler } from '../../lib/migration/source.js';
import { MigrationTargetHandler } from '../../lib/migration/target.js';
import { refusal, suite } from '../support.js';
import { inCluster, SOURCE, TARGET } from './cluster.js';
import { chunkFrames, codec, HERE, ORCHESTRATOR, ORIGIN } from './harness.js';

const misuse = suite('a dispatcher that is used wrongly');

function dispatcher(localNode: unknown = HERE, options: unknown = {}, hooks: unknown = {}) {
  const registry = new DaemonRegistry();
  return new MigrationSubprotocolHandler(
    new MigrationOrchestrator(),
    new MigrationSourceHandler(registry),
    new MigrationTargetHandler(registry, new DaemonFactoryRegistry()),
    localNode as bigint,
    options === null ? (null as never) : { codec, ...(options as object) },
    hooks as object,
  );
}

/** A TypeError that names the argument, and nothing begun. */
function names(argument: string, run: (handler: MigrationSubprotocolHandler) => unknown): void {
  const handler = dispatcher();
  assert.throws(
    () => run(handler),
    (error: unknown) => error instanceof TypeError && error.message.startsWith(argument),
  );
  assert.equal(handler.list(), []);
  assert.equal(handler.takeOutbound(), []);
}

for (const wrong of [5, '5', null, undefined, -1n, 2n ** 64n]) {
  misuse(`names the number that must be a u64, ${typeof wrong} ${wrong}`, () => {
    const value = wrong as bigint;
    names('origin', (handler) => handler.startMigration(value, SOURCE, TARGET));
    names('source', (handler) => handler.startMigration(ORIGIN, value, TARGET));
    names('target', (handler) => handler.startMigration(ORIGIN, SOURCE, value));
    names('origin', (handler) => handler.startMigrationAuto(value, SOURCE, [], () => 1));
    names('origin', (handler) => handler.cancelMigration(value));
    names('origin', (handler) => handler.recover(value));
    names('origin', (handler) => handler.logged(value));
    names('node', (handler) => handler.peerGone(value));
    names('fromNode', (handler) => handler.handleMessage(chunkFrames(10)[0]!, value));
    names('fromNode', (handler) => handler.handleBatch(new Uint8Array(8), value));
    if (wrong !== undefined) names('localNode', () => dispatcher(value));
    names('each of orchestrators', () => dispatcher(HERE, { orchestrators: [value] }));
  });
}

misuse('names every other argument', () => {
  names('data', (handler) => handler.handleMessage('frame' as never, SOURCE));
  names('data', (handler) => handler.handleMessage(null as never, SOURCE));
  names('batch', (handler) => handler.handleBatch(null as never, SOURCE));
  names('batch', (handler) => handler.handleBatch(new Uint8Array(new SharedArrayBuffer(8)), SOURCE));
  names('options', (handler) => handler.startMigration(ORIGIN, SOURCE, TARGET, null as never));
  names('mode', (handler) => handler.startMigration(ORIGIN, SOURCE, TARGET, { mode: 'fast' as never }));
  names('transportIdentity', (handler) =>
    handler.startMigration(ORIGIN, SOURCE, TARGET, { transportIdentity: 'false' as never }),
  );
  names('options', () => dispatcher(HERE, null));
  names('hooks must', () => dispatcher(HERE, {}, null));
  names('hooks.readiness', () => dispatcher(HERE, {}, { readiness: true }));
  names('hooks.identity', () => dispatcher(HERE, {}, { identity: 'key' }));
  names('policy must', () => new MigrationOrchestrator(null as never));
  names('policy.phases', () => new MigrationOrchestrator({ phases: null as never }));
  names('policy', () => new MigrationSourceHandler(new DaemonRegistry(), null as never));
});

for (const now of [Number.POSITIVE_INFINITY, 1e300, 2 ** 53, Number.NaN, '5', 5n]) {
  misuse(`refuses to tick at ${typeof now} ${now}, and stands still`, () => {
    const handler = dispatcher();
    handler.startMigration(ORIGIN, SOURCE, TARGET);
    assert.throws(() => handler.tick(now as number), /^now must be/);
    assert.is(handler.list()[0]!.phase, 'Snapshot');
  });
}

misuse('ticks at the largest time, again and again', () => {
  const handler = dispatcher();
  handler.startMigration(ORIGIN, SOURCE, TARGET);
  for (let i = 0; i < 3; i++) handler.tick(Number.MAX_SAFE_INTEGER);
  assert.is(handler.list()[0]!.phase, 'Rollback');
});

misuse('takes nothing once disposed, and its clock may go on', async () => {
  const handler = dispatcher();
  for (let i = 0; i < 2; i++) handler.dispose();
  await refusal('disposed', () => handler.startMigration(ORIGIN, SOURCE, TARGET));
  await refusal('disposed', () => handler.handleMessage(chunkFrames(10)[0]!, ORCHESTRATOR));
  await refusal('disposed', () => handler.handleBatch(new Uint8Array(0), ORCHESTRATOR));
  assert.equal(handler.tick(60_000), []);
  assert.equal(handler.list(), []);
});

misuse('goes on where its transport throws: what it does not take is lost, and the migration ends', () => {
  const broken = () => {
    throw new RangeError('no route to that node');
  };
  const transport = { send: broken, stream: broken };
  inCluster({ node: (id) => (id === TARGET ? { transport } : {}) }, (cluster) => {
    cluster.publish(3);
    cluster.start();
    cluster.quiet();
    assert.is(cluster.whole(), SOURCE);
    assert.equal(cluster.target.ends, ['target timed-out']);
    assert.ok(cluster.target.refused.some(({ message }) => message === 'no route to that node'));
  });
});
