import * as assert from 'uvu/assert';
import {
  DaemonRuntime,
  type DaemonRuntimeOptions,
  EntityKeypair,
  InProcessMesh,
  type MigrationErrorKind,
} from '../../lib/index.js';
import { events, Recorder, refusal, suite } from '../support.js';
import { ManualEnvironment } from './manual-environment.js';

const refused = suite('a migration that another node refuses');

interface Case {
  readonly source?: Partial<DaemonRuntimeOptions>;
  readonly target?: Partial<DaemonRuntimeOptions>;
  /** The target makes no such daemon. */
  readonly withoutFactory?: true;
  readonly pinned?: true;
  /** Another migration is under way, for ever. */
  readonly crowded?: true;
  /** The source has none of that origin. */
  readonly withoutDaemon?: true;
}

const CASES: Readonly<Partial<Record<MigrationErrorKind, readonly Case[]>>> = {
  'not-authorised': [{ source: { orchestrators: [] } }, { target: { orchestrators: [] } }],
  pinned: [{ pinned: true }],
  'too-many-migrations': [
    { crowded: true, source: { policy: { source: { maxMigrations: 1 } } } },
    { crowded: true, target: { policy: { target: { maxMigrations: 1 } } } },
  ],
  'snapshot-too-large': [
    { target: { policy: { target: { maxSnapshotBytes: 8_000 } } } },
    { target: { policy: { target: { maxPendingBytes: 8_000 } } } },
  ],
  'factory-not-found': [{ withoutFactory: true }],
  'daemon-not-found': [{ withoutDaemon: true }],
};
/** No deadline and no repetition is that short. */
const AT_ONCE_MS = 200;

/** Node 3 moves a daemon of node 1, whose state has three chunks, to node 2. */
async function world({ source, target, withoutFactory, pinned, crowded }: Case) {
  const environment = new ManualEnvironment();
  const mesh = new InProcessMesh();
  const node = (options: Partial<DaemonRuntimeOptions> = {}) => {
    const runtime = new DaemonRuntime({ orchestrators: [3n], ...options, environment, mesh: mesh.join() });
    runtime.start();
    return runtime;
  };
  const nodes = [node(source), node(target), node()] as const;
  nodes[0].registerFactory('recorder', () => Object.assign(new Recorder(), pinned && { movable: false }));
  const hanging = () => Object.assign(new Recorder(), crowded && { restore: () => new Promise<void>(() => {}) });
  if (!withoutFactory) nodes[1].registerFactory('recorder', hanging);
  const spawn = async () => {
    const origin = await nodes[0].spawn('recorder', EntityKeypair.generate());
    await nodes[0].deliver(origin, events(77n, 1, 2_000));
    return origin;
  };
  const move = (origin: bigint) => nodes[2].startMigration(origin, 1n, 2n);
  if (crowded) {
    move(await spawn());
    await environment.advance(AT_ONCE_MS);
  }
  const end = async () => {
    for (const each of nodes) await each.shutdown({ deadlineMs: 0 }).catch(() => {});
  };
  return { environment, source: nodes[0], spawn, move, end };
}

for (const [kind, cases] of Object.entries(CASES) as Array<[MigrationErrorKind, readonly Case[]]>) {
  for (const [n, one] of cases.entries()) {
    refused(`is refused at once, and by its kind, to who leads it: ${kind}, ${n + 1}`, async () => {
      const { environment, source, spawn, move, end } = await world(one);
      const origin = await spawn();
      const error = refusal(kind, () => move(one.withoutDaemon ? origin + 1n : origin).wait());
      await environment.advance(AT_ONCE_MS);
      await error;
      assert.ok(source.has(origin), 'the daemon goes on');
      assert.is(source.counts(origin).processed, 2_000);
      const ended = end();
      await environment.advance(1_000);
      await ended;
    });
  }
}
