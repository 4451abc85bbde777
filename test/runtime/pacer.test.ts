import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, type RuntimePolicy } from '../../lib/index.js';
import { Pacer } from '../../lib/runtime/pacer.js';
import type { FrameProducer } from '../../lib/wire/frame-producer.js';
import { eventually, Recorder, refusal, suite } from '../support.js';
import { ManualEnvironment } from './manual-environment.js';

const pacer = suite('what leaves in a second');
const FRAME = 7_029;

/** A transport that takes all it is given at once, and the clock. */
function paced(maxBytesPerSecond: number | undefined) {
  const world = { now: 0, gone: false, sent: [] as bigint[], bytes: 0, streams: 0 };
  const target = new Uint8Array(FRAME);
  const it = new Pacer({
    maxBytesPerSecond,
    nowMs: () => world.now,
    isPeer: () => !world.gone,
    stream: (node, frames) => {
      world.streams++;
      while (!frames.done) {
        const length = frames.writeNext(target, 0);
        world.bytes += length;
        if (length > 0) world.sent.push(node);
      }
    },
  });
  /** Ticks as a runtime does; what left in that time. */
  const advance = (ms: number) => {
    const before = world.bytes;
    for (const until = world.now + ms; world.now < until; ) {
      world.now += 20;
      it.tick();
    }
    return world.bytes - before;
  };
  return { it, world, advance };
}

function stream(count: number): FrameProducer & { cancelled: boolean; written: number } {
  return {
    cancelled: false,
    written: 0,
    maxFrameLength: FRAME,
    get done() {
      return this.cancelled || this.written === count;
    },
    writeNext() {
      if (this.done) return 0;
      this.written++;
      return FRAME;
    },
  };
}

for (const rate of [7_000, 100_000, 1_000_000, 12_345_678]) {
  pacer(`is at most ${rate} bytes, and no less where there is more to send`, () => {
    const { it, advance } = paced(rate);
    it.stream(2n, stream(100_000));
    let total = 0;
    for (let second = 1; second <= 10; second++) {
      const bytes = advance(1_000);
      total += bytes;
      assert.ok(bytes <= rate + FRAME, `${bytes} bytes in second ${second}`);
    }
    assert.ok(Math.abs(total - 10 * rate) <= FRAME, `${total} bytes in 10 seconds`);
  });
}

pacer('does not grow by having sent nothing, or by ticks that were late', () => {
  const { it, world, advance } = paced(1_000_000);
  advance(60_000);
  const first = stream(100_000);
  it.stream(2n, first);
  assert.ok(world.bytes <= 100_000 + FRAME, `${world.bytes} bytes at once`);
  const before = world.bytes;
  world.now += 30_000;
  it.tick();
  assert.ok(world.bytes - before <= 100_000 + FRAME, `${world.bytes - before} bytes after a long while`);
});

pacer('is shared: streams take turns, whoever came first', () => {
  const { it, world, advance } = paced(1_000_000);
  const streams = [stream(10_000), stream(10_000), stream(10_000)];
  streams.forEach((one, i) => {
    it.stream(BigInt(i), one);
  });
  advance(3_000);
  const counts = streams.map(({ written }) => written);
  for (const count of counts) assert.ok(Math.abs(count - world.sent.length / 3) <= 10, counts.join());
});

pacer('is nothing of a stream that was cancelled, or for a node that has gone', () => {
  const { it, world, advance } = paced(1_000_000);
  const one = stream(10_000);
  it.stream(2n, one);
  advance(100);
  one.cancelled = true;
  const other = stream(10_000);
  it.stream(3n, other);
  advance(1_000);
  assert.ok(other.written > 100, 'the other has all');
  world.gone = true;
  assert.is(advance(1_000), 0);
  const { streams } = world;
  advance(1_000);
  assert.is(world.streams, streams, 'forgotten');
});

pacer('is all at once without a limit, and refused where the limit is none', () => {
  const { it, world } = paced(undefined);
  it.stream(2n, stream(1_000));
  assert.is(world.bytes, 1_000 * FRAME);
  for (const wrong of [6_999, 0, -1, Number.NaN, '9000' as unknown as number]) {
    assert.throws(
      () => paced(wrong),
      (error: unknown) => error instanceof RangeError && /^maxBytesPerSecond must be/.test(error.message),
    );
  }
});

const limited = suite('a runtime with limits');

class Large extends Recorder {
  constructor(readonly size: number) {
    super();
  }

  override snapshot(): Uint8Array {
    return new Uint8Array(this.size);
  }
}

/** Daemons of that size on node 1, and node 2, by a clock of their own. */
async function inPair(
  options: { size?: number; maxBytesPerSecond?: number; policies?: readonly RuntimePolicy[] },
  run: (world: {
    a: DaemonRuntime;
    b: DaemonRuntime;
    environment: ManualEnvironment;
    origins: readonly bigint[];
  }) => Promise<void>,
) {
  const { size = 104, maxBytesPerSecond, policies = [] } = options;
  const environment = new ManualEnvironment();
  const mesh = new InProcessMesh();
  const [a, b] = [1n, 2n].map((id, i) => {
    const node = new DaemonRuntime({
      mesh: mesh.join(id),
      orchestrators: [1n, 2n],
      environment,
      policy: policies[i] ?? {},
      ...(maxBytesPerSecond === undefined || id === 2n ? {} : { maxBytesPerSecond }),
    });
    node.registerFactory('large', () => new Large(size));
    node.start();
    return node;
  }) as [DaemonRuntime, DaemonRuntime];
  const origins = [await a.spawn('large', EntityKeypair.generate()), await a.spawn('large', EntityKeypair.generate())];
  try {
    await run({ a, b, environment, origins });
  } finally {
    await a.shutdown();
    await b.shutdown();
    assert.is(environment.timers, 0, 'timers left behind');
  }
}

for (const leader of ['source', 'target'] as const) {
  limited(`sends a snapshot as fast as it may, led by the ${leader}, and completes`, () =>
    inPair({ size: 3_500_000, maxBytesPerSecond: 1_000_000 }, async ({ a, b, environment, origins }) => {
      const handle = (leader === 'source' ? a : b).startMigration(origins[0]!, 1n, 2n);
      let before = 0;
      // What the handle knows is a tenth of a second old.
      for (let second = 1; second <= 3; second++) {
        await environment.advance(1_000);
        const { bytesDone } = handle.status;
        const left = bytesDone - before;
        assert.ok(left > 850_000 && left < 1_150_000, `${left} bytes in second ${second}`);
        before = bytesDone;
      }
      await environment.advance(1_000);
      await handle.wait();
      assert.ok(b.has(origins[0]!));
    }),
  );
}

limited('shares its rate between migrations, and a cancelled one gives its part back', () =>
  inPair({ size: 2_000_000, maxBytesPerSecond: 1_000_000 }, async ({ a, b, environment, origins }) => {
    const [one, two] = origins.map((origin) => a.startMigration(origin, 1n, 2n));
    await environment.advance(1_000);
    const [first, second] = [one!.status.bytesDone, two!.status.bytesDone];
    assert.ok(first > 300_000 && second > 300_000 && first + second < 1_200_000, `${first} and ${second}`);
    const cancelled = one!.cancel();
    await environment.advance(2_000);
    assert.is(await cancelled, 'cancelled');
    await two!.wait();
    assert.ok(a.has(origins[0]!) && b.has(origins[1]!));
  }),
);

limited('leads no more migrations at once than it may', () =>
  inPair({ policies: [{ orchestrator: { maxMigrations: 1 } }] }, async ({ a, environment, origins }) => {
    const handle = a.startMigration(origins[0]!, 1n, 2n);
    const error = await refusal('too-many-migrations', () => a.startMigration(origins[1]!, 1n, 2n));
    assert.is(error.retriable, true);
    const asked = a.canMigrate(origins[1]!, 2n);
    await environment.advance(1_000);
    assert.equal(
      (await asked).map(({ kind, where }) => `${kind} ${where}`),
      ['too-many-migrations orchestrator'],
    );
    await handle.wait();
    const next = a.startMigration(origins[1]!, 1n, 2n);
    await environment.advance(1_000);
    await next.wait();
  }),
);

for (const [role, policies] of [
  ['source', [{ source: { maxMigrations: 1 } }]],
  ['target', [{}, { target: { maxMigrations: 1 } }]],
] as const) {
  limited(`takes part in no more migrations at once than it may, as the ${role}`, () =>
    inPair({ size: 3_000_000, maxBytesPerSecond: 1_000_000, policies }, async ({ a, b, environment, origins }) => {
      const first = b.startMigration(origins[0]!, 1n, 2n);
      await environment.advance(500);
      const asked = b.canMigrate(origins[1]!, 2n);
      await environment.advance(100);
      assert.equal(
        (await asked).map(({ kind, where }) => `${kind} ${where}`),
        [`too-many-migrations ${role}`],
      );
      const second = b.startMigration(origins[1]!, 1n, 2n);
      await environment.advance(1_000);
      const error = await refusal('too-many-migrations', () => second.wait());
      assert.match(error.message, /1 migrations.* are under way.* no more are allowed/);
      await environment.advance(4_000);
      await first.wait();
      assert.ok(a.has(origins[1]!) && b.has(origins[0]!));
    }),
  );
}

for (const target of [{ maxSnapshotBytes: 49_999 }, { maxPendingBytes: 49_999 }]) {
  const [option] = Object.keys(target);
  limited(`takes no snapshot that is over its ${option}, and says so beforehand once the size is known`, () =>
    inPair({ size: 50_000, policies: [{}, { target }] }, async ({ a, environment, origins }) => {
      const [origin] = origins;
      const asked = async () => {
        const asking = a.canMigrate(origin!, 2n);
        await environment.advance(100);
        return asking;
      };
      assert.equal(await asked(), [], 'of what size it is nobody knows yet');
      const whole = await a.snapshot(origin!);
      const [obstacle, ...more] = await asked();
      assert.equal(more, []);
      assert.is(obstacle?.kind, 'snapshot-too-large');
      assert.is(obstacle?.where, 'target');
      assert.match(obstacle!.message, new RegExp(`had ${whole.length} bytes, .* at most 49999`));
      const handle = a.startMigration(origin!, 1n, 2n);
      await environment.advance(1_000);
      await refusal('snapshot-too-large', () => handle.wait());
      await eventually('the daemon goes on', () => a.has(origin!));
    }),
  );
}

limited('gives up by its own patience', () =>
  inPair({ policies: [{ orchestrator: { phases: { Transfer: { deadlineMs: 700 } } } }] }, async (world) => {
    const { a, b, environment, origins } = world;
    b.registerFactory('large', () => Object.assign(new Large(1), { restore: () => new Promise<void>(() => {}) }));
    const handle = a.startMigration(origins[0]!, 1n, 2n);
    await environment.advance(1_000);
    const error = await refusal('timed-out', () => handle.wait());
    assert.match(error.message, /no progress for 700 ms in phase Transfer/);
    assert.ok(a.has(origins[0]!));
  }),
);
