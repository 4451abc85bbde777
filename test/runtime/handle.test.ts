import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, type StartMigrationOptions } from '../../lib/index.js';
import type { HandleProgress } from '../../lib/runtime/progress.js';
import { ProgressMeter } from '../../lib/runtime/progress.js';
import { retryDelay } from '../../lib/runtime/retry.js';
import { Recorder, refusal, suite } from '../support.js';
import { ManualEnvironment, settled } from './manual-environment.js';

const retry = suite('the retry schedule');

retry('waits 500 ms, 1, 2, 4, 8, 16, 16 … s, while the budget lasts', () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8].map((attempts) => retryDelay(attempts, 0, 1e9));
  assert.equal(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000]);
  assert.is(retryDelay(1, 500, 1_000), 500);
  assert.is(retryDelay(1, 501, 1_000), undefined);
  assert.is(retryDelay(1, 0, 0), undefined);
});

const handles = suite('a handle');

/** Two nodes and a daemon on the first; `isReady` says whether the second has started. */
async function pair(isReady: boolean) {
  const environment = new ManualEnvironment();
  const mesh = new InProcessMesh();
  const errors: Error[] = [];
  const make = (orchestrators: readonly bigint[] = []) =>
    new DaemonRuntime({ mesh: mesh.join(), orchestrators, environment, onError: (error) => errors.push(error) });
  const a = make();
  const b = make([a.nodeId]);
  for (const node of [a, b]) node.registerFactory('recorder', () => new Recorder());
  a.start();
  if (isReady) b.start();
  const origin = await a.spawn('recorder', EntityKeypair.generate());
  const migrate = (options?: StartMigrationOptions) =>
    a.startMigration(origin, a.nodeId, b.nodeId, { transportIdentity: false, ...options });
  const end = async () => {
    await Promise.all([a.shutdown(), b.shutdown()]);
    assert.is(environment.timers, 0, 'timers left behind');
  };
  return { environment, a, b, origin, migrate, errors, end };
}

handles('asks a target that is not ready again, and completes once it is', async () => {
  const { environment, a, b, origin, migrate, end } = await pair(false);
  const handle = migrate();
  await environment.advance(100);
  assert.is(handle.state, 'retrying');
  assert.is(a.has(origin), true);
  await environment.advance(3_500);
  assert.is(handle.status.attempt, 4);
  b.start();
  await environment.advance(4_000);
  await handle.wait();
  assert.is(handle.state, 'completed');
  assert.is(handle.status.attempt, 4 + 1);
  assert.is(b.has(origin), true);
  await end();
});

handles('gives up when the budget is spent, and says after how many attempts', async () => {
  const { environment, a, origin, migrate, end } = await pair(false);
  const handle = migrate({ retryNotReady: 4_000 });
  await environment.advance(10_000);
  const error = await refusal('not-ready-timeout', () => handle.wait());
  assert.is(error.details.attempts, 4);
  assert.is((error.cause as { kind?: string }).kind, 'not-ready');
  assert.is(a.has(origin), true);
  await end();
});

handles('fails at once with not-ready where no retry is wanted', async () => {
  const { environment, migrate, end } = await pair(false);
  const handle = migrate({ retryNotReady: false });
  await environment.advance(100);
  const error = await refusal('not-ready', () => handle.wait());
  assert.is(error.retriable, true);
  assert.is(handle.status.attempt, 1);
  await end();
});

handles('is cancelled at once between attempts, and the daemon may move elsewhere', async () => {
  const { environment, b, origin, migrate, end } = await pair(false);
  const handle = migrate();
  await environment.advance(600);
  await refusal('already-migrating', () => migrate());
  assert.is(await handle.cancel(), 'cancelled');
  assert.is(await handle.cancel(), 'cancelled');
  await refusal('cancelled', () => handle.wait());
  b.start();
  const next = migrate();
  await environment.advance(1_000);
  await next.wait();
  assert.is(b.has(origin), true);
  await end();
});

handles('that is cancelled too late says so', async () => {
  const { environment, migrate, end } = await pair(true);
  const handle = migrate();
  await environment.advance(1_000);
  assert.is(await handle.cancel(), 'completed');
  assert.is(handle.state, 'completed');
  await end();
});

handles('is cancelled by a signal, before it begins and while it is under way', async () => {
  const { environment, a, origin, migrate, end } = await pair(true);
  const early = migrate({ signal: AbortSignal.abort(new Error('never mind')) });
  const refused = await refusal('cancelled', () => early.wait());
  assert.is((refused.cause as Error).message, 'never mind');
  const controller = new AbortController();
  const handle = migrate({ signal: controller.signal });
  controller.abort();
  assert.match(handle.state, /^cancell/);
  await environment.advance(100);
  await refusal('cancelled', () => handle.wait());
  assert.is(a.has(origin), true);
  await end();
});

handles('is cancelled and waited for where it goes out of scope', async () => {
  const { environment, a, origin, migrate, end } = await pair(false);
  {
    await using handle = migrate();
    assert.is(handle.state, 'running');
    await settled();
  }
  assert.is(a.has(origin), true);
  assert.is(environment.timers, 1, 'the tick alone');
  await end();
});

handles('gives progress to many readers, each to the end', async () => {
  const { environment, migrate, end } = await pair(true);
  const seen: HandleProgress[] = [];
  const handle = migrate({ onProgress: (progress) => seen.push(progress) });
  const read = async () => {
    const phases: string[] = [];
    for await (const { phase, state } of handle.progress) phases.push(`${phase} ${state}`);
    return phases;
  };
  const readers = [read(), read()];
  await environment.advance(1_000);
  await handle.wait();
  for (const phases of await Promise.all(readers)) assert.is(phases.at(-1), 'Complete completed');
  assert.equal(await read(), ['Complete completed'], 'who comes late gets the last one');
  const phases = seen.map(({ phase }) => phase);
  for (const phase of ['Snapshot', 'Transfer', 'Replay', 'Cutover', 'Complete'])
    assert.ok(phases.includes(phase as never), phase);
  await end();
});

handles('waits for its turn where as many as are allowed are under way', async () => {
  const environment = new ManualEnvironment();
  const mesh = new InProcessMesh();
  const a = new DaemonRuntime({ mesh: mesh.join(), environment, maxConcurrentMigrations: 2 });
  const b = new DaemonRuntime({ mesh: mesh.join(), environment, orchestrators: [a.nodeId] });
  for (const node of [a, b]) {
    node.registerFactory('recorder', () => new Recorder());
    node.start();
  }
  const start = async () => {
    const origin = await a.spawn('recorder', EntityKeypair.generate());
    return a.startMigration(origin, a.nodeId, b.nodeId, { transportIdentity: false });
  };
  const all = [await start(), await start(), await start(), await start(), await start()];
  assert.equal(
    all.map(({ state }) => state),
    ['running', 'running', 'queued', 'queued', 'queued'],
  );
  assert.is(await all[3]!.cancel(), 'cancelled');
  await environment.advance(5_000);
  for (const i of [0, 1, 2, 4]) await all[i]!.wait();
  await refusal('cancelled', () => all[3]!.wait());
  assert.is(b.has(all[4]!.origin), true);
  assert.is(a.has(all[3]!.origin), true);
  await Promise.all([a.shutdown(), b.shutdown()]);
  assert.throws(
    () => new DaemonRuntime({ mesh: mesh.join(9n), maxConcurrentMigrations: 0 }),
    /maxConcurrentMigrations/,
  );
});

handles('waits no longer than it is told, and goes on', async () => {
  const { environment, migrate, end } = await pair(false);
  const handle = migrate();
  const late = refusal('timed-out', () => handle.wait({ timeout: 700 }));
  await environment.advance(1_000);
  await late;
  assert.is(handle.state, 'retrying');
  await handle.cancel();
  await end();
});

handles('waits for no time that is none', async () => {
  const { migrate, end } = await pair(false);
  const handle = migrate();
  for (const timeout of [Number.NaN, -1, '5' as unknown as number]) {
    const error = await handle.wait({ timeout }).catch((thrown: unknown) => thrown);
    assert.instance(error, RangeError, String(timeout));
    assert.match((error as Error).message, /^timeout must be/);
  }
  assert.is(handle.state, 'running');
  await handle.cancel();
  await end();
});

handles('is not begun with an option that is none, and keeps nobody out then', async () => {
  const { environment, a, b, origin, migrate, end } = await pair(true);
  const wrong: ReadonlyArray<readonly [name: string, value: unknown, type: typeof TypeError | typeof RangeError]> = [
    ['signal', 'abort', TypeError],
    ['signal', {}, TypeError],
    ['onProgress', 'tell me', TypeError],
    ['retryNotReady', Number.NaN, RangeError],
    ['retryNotReady', -1, RangeError],
    ['retryNotReady', '30s', RangeError],
  ];
  for (const [name, value, type] of wrong) {
    try {
      migrate({ [name]: value });
      assert.unreachable(name);
    } catch (error) {
      assert.instance(error, type, name);
      assert.match((error as Error).message, new RegExp(`^${name} must be`));
    }
  }
  for (const [name, ids] of [
    ['origin', [1, a.nodeId, b.nodeId]],
    ['source', [origin, 1, b.nodeId]],
    ['target', [origin, a.nodeId, Number(b.nodeId)]],
  ] as const)
    assert.throws(
      () => a.startMigration(...(ids as unknown as [bigint, bigint, bigint])),
      (error: Error) => error instanceof TypeError && error.message.startsWith(`${name} must be a bigint`),
      name,
    );
  await environment.advance(500);
  assert.is(a.has(origin), true, 'nothing has begun');
  const handle = migrate();
  await environment.advance(500);
  await handle.wait();
  assert.is(b.has(origin), true);
  await end();
});

const meter = suite('progress');

meter('estimates rate, time left and pause', () => {
  const base = { origin: 1n, source: 2n, target: 3n, phase: 'Transfer', bytesTotal: 10_000, eventsWaiting: 0 } as const;
  const it = new ProgressMeter(0, 'pause');
  assert.is(
    it.measure({ ...base, phase: 'Snapshot', bytesTotal: 0, bytesDone: 0 }, 'running', 1, 0).remainingMs,
    undefined,
  );
  it.measure({ ...base, bytesDone: 0 }, 'running', 1, 100);
  const later = it.measure({ ...base, bytesDone: 1_000 }, 'running', 1, 1_100);
  assert.is(later.bytesPerSecond, 1_000);
  assert.is(later.remainingMs, 9_000);
  assert.is(later.pauseMs, 1_000);
  assert.is(later.expectedPauseMs, 10_000);
  const replaying = it.measure(
    { ...base, phase: 'Replay', bytesDone: 10_000, eventsWaiting: 300 },
    'running',
    1,
    2_100,
  );
  assert.is(replaying.remainingMs, 0, 'no event has been applied yet: nothing to estimate by');
  const applied = it.measure({ ...base, phase: 'Replay', bytesDone: 10_000, eventsWaiting: 200 }, 'running', 1, 3_100);
  assert.is(applied.eventsPerSecond, 100);
  assert.is(applied.remainingMs, 2_000);
  const done = it.measure({ ...base, phase: 'Complete', bytesDone: 10_000 }, 'completed', 1, 4_100);
  assert.is(done.remainingMs, 0);
  assert.is(done.pauseMs, 4_000, 'over with the migration');
  assert.is(it.measure({ ...base, phase: 'Complete', bytesDone: 10_000 }, 'completed', 1, 9_000).pauseMs, 4_000);
});

meter('expects of a live migration the pause that the last events take', () => {
  const base = { origin: 1n, source: 2n, target: 3n, phase: 'Replay', bytesTotal: 10, bytesDone: 10 } as const;
  const it = new ProgressMeter(0, 'live');
  assert.is(it.measure({ ...base, eventsWaiting: 5_000 }, 'running', 1, 0).expectedPauseMs, undefined);
  const some = it.measure({ ...base, eventsWaiting: 3_000 }, 'running', 1, 1_000);
  assert.equal([some.eventsPerSecond, some.pauseMs, some.expectedPauseMs], [2_000, 0, 500]);
  assert.is(it.measure({ ...base, eventsWaiting: 100 }, 'running', 1, 1_050).expectedPauseMs, 50);
  assert.is(it.measure({ ...base, eventsWaiting: 0 }, 'running', 1, 1_060).expectedPauseMs, 0);
  it.measure({ ...base, phase: 'Cutover', eventsWaiting: 0 }, 'running', 1, 1_070);
  const done = it.measure({ ...base, phase: 'Complete', eventsWaiting: 0 }, 'completed', 1, 1_075);
  assert.equal([done.pauseMs, done.expectedPauseMs], [5, 5]);
});
