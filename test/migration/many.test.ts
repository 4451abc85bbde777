import * as assert from 'uvu/assert';
import { DaemonRegistry } from '../../lib/daemon/registry.js';
import { type MigrationServices, MigrationSubprotocolHandler } from '../../lib/migration/handler.js';
import { MigrationOrchestrator } from '../../lib/migration/orchestrator.js';
import { MigrationSourceHandler } from '../../lib/migration/source.js';
import { MigrationTargetHandler } from '../../lib/migration/target.js';
import { suite } from '../support.js';
import { codec, frame, SOURCE, TARGET } from './harness.js';

const many = suite('many migrations');

/** Leads migrations to itself that fail there, and whose source never answers. @returns microseconds per failure */
function failing(count: number): number {
  const services = new Proxy({} as MigrationServices, { get: () => () => undefined });
  const registry = new DaemonRegistry();
  const target = new MigrationTargetHandler(registry);
  const source = new MigrationSourceHandler(registry);
  const transport = { send() {}, stream() {} };
  let failures = 0;
  const handler = new MigrationSubprotocolHandler(
    new MigrationOrchestrator(),
    source,
    target,
    TARGET,
    { codec, services, extensions: false, transport },
    { failure: () => void failures++ },
  );
  const reason = { kind: 'NotReady', code: 0, retriable: true } as const;
  const chunk = { seqThrough: 1n, chunkIndex: 0, totalChunks: 2, snapshotBytes: new Uint8Array(10) };
  const frames = Array.from({ length: count }, (_, i) => {
    const daemonOrigin = BigInt(i + 1);
    handler.startMigration(daemonOrigin, SOURCE, TARGET);
    handler.handleMessage(frame({ kind: 'SnapshotReady', daemonOrigin, ...chunk }), SOURCE);
    handler.handleMessage(frame({ kind: 'SnapshotReady', daemonOrigin, ...chunk }), TARGET);
    return frame({ kind: 'MigrationFailed', daemonOrigin, reason });
  });
  const start = performance.now();
  for (const failed of frames) handler.handleMessage(failed, TARGET);
  const each = ((performance.now() - start) * 1_000) / count;
  assert.is(failures, count, 'once each');
  assert.ok(handler.list().every(({ role, phase }) => role === 'orchestrator' && phase === 'Rollback'));
  handler.dispose();
  return each;
}

many('that fail together cost as much each as few do', () => {
  failing(500);
  const few = failing(500);
  const lots = failing(8_000);
  assert.ok(lots < 6 * few + 30, `${lots} µs each of 8,000, ${few} µs each of 500`);
});
