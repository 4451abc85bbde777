import * as assert from 'uvu/assert';
import type { MigrationError } from '../../lib/errors.js';
import { events, suite } from '../support.js';
import { type Cluster, type ClusterOptions, inCluster, ORIGIN, SOURCE, TARGET } from './cluster.js';

const large = suite('an event larger than a frame, and who speaks extensions');
const PUBLISHER = 78n;

/** The next event, with so many bytes. */
function give(cluster: Cluster, sequence: number, length: number): void {
  const [event] = events(PUBLISHER, sequence, 1);
  const payload = new Uint8Array(length);
  payload.set(event!.payload);
  void cluster.source.source.bufferEvent(ORIGIN, { ...event!, payload });
}

/** Moves the daemon; an event of that size is logged once the snapshot is taken. @returns kinds of all frames */
async function move(cluster: Cluster, length: number): Promise<ReadonlySet<number>> {
  give(cluster, 1, 8);
  cluster.start();
  for (let round = 0; cluster.source.copy!.gate === 'live' && round < 100; round++) {
    if (cluster.queue.length > 0) cluster.deliver();
    await cluster.breathe();
  }
  give(cluster, 2, length);
  give(cluster, 3, 8);
  await cluster.later();
  return new Set(cluster.sent.map(({ payload }) => payload[0]!));
}

const EVENT_FRAGMENT = 0x87;
const SPEAKING: ReadonlyArray<readonly [who: string, options: ClusterOptions, isCarried: boolean]> = [
  ['all of them', {}, true],
  ['all of them, as the mesh says', { known: true, register: true }, true],
  ['all of them, and the source leads', { orchestrator: SOURCE }, true],
  ['all of them, and the target leads', { orchestrator: TARGET }, true],
  ['none', { extensions: false }, false],
  ['all but the target', { node: (id) => (id === TARGET ? { extensions: false } : {}) }, false],
  ['only the target', { extensions: false, node: (id) => (id === TARGET ? { extensions: true } : {}) }, false],
];

for (const engine of ['native', 'typescript'] as const) {
  for (const [who, options, isCarried] of SPEAKING) {
    for (const length of [7_000, 7_001, 100_000]) {
      const isWhole = isCarried || length === 7_000;
      large(
        `(${engine}) of ${length} bytes ${isWhole ? 'moves' : 'fails the move before the stop'} where ${who} do`,
        () =>
          inCluster({ engine, ...options }, async (cluster) => {
            const kinds = await move(cluster, length);
            assert.is(kinds.has(EVENT_FRAGMENT), isCarried && length > 7_000);
            const home = isWhole ? cluster.target : cluster.source;
            assert.ok(home.isLive);
            assert.equal(home.daemon!.seen, [1n, 2n, 3n]);
            if (isWhole) return;
            const failed = cluster.source.reports.find(({ kind }) => kind === 'failed') as { error: MigrationError };
            assert.is(failed.error.kind, 'event-too-large');
            assert.match(failed.error.message, /a target without extensions takes at most 7000 per event/);
            assert.equal([failed.error.details.size, failed.error.details.limit], [length, 7_000]);
            assert.not.ok(cluster.source.reports.some(({ kind }) => kind === 'cutover'));
          }),
      );
    }
  }
}
