import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, type StateChunks, type StreamedState } from '../../lib/index.js';
import type { FrameProducer } from '../../lib/wire/frame-producer.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';
import {
  inTappedWorld,
  numbers,
  PUBLISHER,
  SOURCE,
  TARGET,
  type TappedOptions,
  type TappedWorld,
} from './tapped-world.js';

const streams = suite('a daemon that streams its state');
const KIB = 1024;
const MIB = 2 ** 20;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What stands behind what a recorder has seen, so that its state is many chunks. */
const PADDING = Uint8Array.from({ length: 300_000 }, (_, i) => (i ^ (i >> 8) ^ (i >> 16)) & 255);

/** Iterators that were opened and not ended, and what was asked of them. */
class Ledger {
  opened = 0;
  ended = 0;
  pieces = 0;
}

type Kind = 'function' | 'async function' | 'array' | 'generator' | 'async generator';
const KINDS: readonly Kind[] = ['function', 'async function', 'array', 'generator', 'async generator'];

interface StreamOptions {
  readonly size?: number;
  /** Called before each piece: throws or waits there. The number counts pieces over all readings. */
  readonly before?: (piece: number, ledger: Ledger) => void | Promise<void>;
  readonly changed?: (piece: Uint8Array, ledger: Ledger) => Uint8Array;
}

class StreamingRecorder extends Recorder {
  readonly ledger = new Ledger();

  constructor(
    readonly kind: Kind = 'async function',
    readonly options: StreamOptions = {},
  ) {
    super();
  }

  override state(bytes: Uint8Array): StreamedState {
    const whole = Buffer.concat([bytes, PADDING]);
    return { byteLength: whole.length, chunks: this.#chunks(whole) };
  }

  override restore(state: Uint8Array): void | Promise<void> {
    assert.is(Buffer.compare(state.subarray(-PADDING.length), PADDING), 0);
    return super.restore(state.subarray(0, -PADDING.length));
  }

  #chunks(whole: Uint8Array): StateChunks | (() => StateChunks) {
    if (this.kind === 'function') return () => this.#now(whole);
    if (this.kind === 'async function') return () => this.#later(whole);
    if (this.kind === 'generator') return this.#now(whole);
    if (this.kind === 'async generator') return this.#later(whole);
    return [...this.#now(whole)];
  }

  *#now(whole: Uint8Array): Generator<Uint8Array> {
    const { size = 20_000, changed } = this.options;
    this.ledger.opened++;
    try {
      for (let at = 0; at < whole.length; at += size) {
        void this.options.before?.(this.ledger.pieces++, this.ledger);
        const piece = whole.subarray(at, at + size);
        yield changed?.(piece, this.ledger) ?? piece;
      }
    } finally {
      this.ledger.ended++;
    }
  }

  async *#later(whole: Uint8Array): AsyncGenerator<Uint8Array> {
    const { size = 20_000, changed } = this.options;
    this.ledger.opened++;
    try {
      for (let at = 0; at < whole.length; at += size) {
        await turn();
        await this.options.before?.(this.ledger.pieces++, this.ledger);
        const piece = whole.subarray(at, at + size);
        yield changed?.(piece, this.ledger) ?? piece;
      }
    } finally {
      this.ledger.ended++;
    }
  }
}

async function inStreamingWorld(
  run: (world: TappedWorld, daemon: StreamingRecorder) => Promise<void>,
  { kind, options, ...rest }: { kind?: Kind; options?: StreamOptions } & Omit<TappedOptions, 'daemon'> = {},
): Promise<void> {
  const daemon = () => new StreamingRecorder(kind, options);
  await inTappedWorld((world) => run(world, world.made.get(SOURCE)![0] as StreamingRecorder), { ...rest, daemon });
}

const isChunk = ({ message }: { message: { kind: string } }) => message.kind === 'SnapshotReady';

for (const kind of KINDS) {
  streams(`by ${kind} moves whole, with every event`, () =>
    inStreamingWorld(
      async (world, { ledger }) => {
        await world.publish(10);
        const handle = world.move();
        await world.publish(10);
        await handle.wait({ timeout: 5_000 });
        await world.publish(10, TARGET);
        world.whole(TARGET);
        const { bytesDone, bytesTotal } = handle.status;
        assert.is(bytesDone, bytesTotal);
        assert.ok(bytesTotal > PADDING.length);
        assert.equal([ledger.opened, ledger.ended], [1, 1]);
      },
      { kind },
    ),
  );

  streams(`by ${kind} moves whole where chunks are lost, doubled and turned round`, () =>
    inStreamingWorld(
      async (world, { ledger }) => {
        let number = 0;
        const held: Array<() => void> = [];
        world.meet = (tapped) => {
          if (!isChunk(tapped)) return tapped.pass();
          number++;
          if (number % 5 === 0) return;
          if (number % 7 === 0) held.push(tapped.pass);
          else tapped.pass();
          if (number % 3 === 0) tapped.pass();
          if (held.length === 3) for (const pass of held.splice(0).reverse()) pass();
        };
        await world.publish(10);
        const handle = world.move();
        await world.publish(10);
        await handle.wait({ timeout: 20_000 });
        world.whole(TARGET);
        assert.is(ledger.ended, ledger.opened);
        // What was kept, or is an array, is not asked for again.
        const isReopened = kind === 'function' || kind === 'async function';
        assert.is(ledger.opened > 1, isReopened, `${ledger.opened} readings`);
      },
      { kind },
    ),
  );
}

streams('and reads it again otherwise fails the migration at its target, and goes on', () =>
  inStreamingWorld(
    async (world, { ledger }) => {
      let number = 0;
      world.meet = (tapped) => {
        if (!isChunk(tapped) || ++number !== 20) tapped.pass();
      };
      await world.publish(10);
      const handle = world.move();
      await world.publish(10);
      const error = await refusal('state-failed', () => handle.wait({ timeout: 10_000 }));
      assert.match(error.message, /its digest differs/);
      assert.ok(ledger.opened > 1);
      await eventually('its streams are closed', () => ledger.ended === ledger.opened);
      world.whole(SOURCE);
      world.meet = ({ pass }) => pass();
      ledger.opened = 0;
      await world.move().wait({ timeout: 5_000 });
      world.whole(TARGET);
    },
    {
      options: {
        changed: (piece, { opened }) => (opened > 1 ? Uint8Array.from(piece, (byte) => byte ^ 1) : piece),
      },
    },
  ),
);

const thrown = new Error('the disk is gone');
const WRONG: ReadonlyArray<readonly [what: string, options: StreamOptions, says: RegExp]> = [
  [
    'throws at first',
    {
      before: () => {
        throw thrown;
      },
    },
    /threw: the disk is gone/,
  ],
  [
    'throws in its midst',
    {
      before: (piece) => {
        if (piece % 10 === 7) throw thrown;
      },
    },
    /threw: the disk is gone/,
  ],
  ['gives too little', { changed: (piece) => piece.subarray(1) }, /ended after \d+ bytes, and its byteLength says \d+/],
  ['gives too much', { changed: (piece) => Buffer.concat([piece, piece]) }, /gave more than the \d+ bytes/],
  ['gives no bytes', { changed: () => 'text' as never }, /gave a string instead of a Uint8Array/],
  ['gives nothing but empty pieces', { size: 20, changed: (piece) => piece.subarray(0, 0) }, /empty pieces in a row/],
];

for (const [what, options, says] of WRONG) {
  for (const kind of ['function', 'async generator'] as const) {
    streams(`by ${kind} that ${what} fails the migration alone, and goes on with every event`, () =>
      inStreamingWorld(
        async (world, { ledger }) => {
          await world.publish(10);
          const handle = world.source.startMigration(world.origin, SOURCE, TARGET);
          await world.publish(10);
          const error = await refusal('state-failed', () => handle.wait({ timeout: 10_000 }));
          assert.match(error.message, says);
          await eventually('its stream is closed', () => ledger.ended === ledger.opened);
          assert.ok(ledger.opened >= 1);
          world.whole(SOURCE);
          await world.publish(10);
          world.whole(SOURCE);
          const again = await refusal('state-failed', () => world.source.snapshot(world.origin));
          assert.match(again.message, says);
          if (/threw/.test(again.message)) assert.is(again.cause, thrown);
          await world.publish(1);
          world.whole(SOURCE);
        },
        { kind, options },
      ),
    );
  }
}

streams('that is no stream at all fails the migration, and goes on', () =>
  inStreamingWorld(async (world, daemon) => {
    for (const [state, kind] of [
      [{ byteLength: -1, chunks: [] }, 'state-failed'],
      [{ byteLength: 4, chunks: 4 }, 'state-failed'],
      [{ byteLength: 2 ** 40, chunks: [] }, 'state-too-large'],
      [{}, 'state-failed'],
      [null, 'state-failed'],
    ] as const) {
      daemon.state = () => state as never;
      const handle = world.move();
      await world.publish(5);
      await refusal(kind, () => handle.wait({ timeout: 5_000 }));
      world.whole(SOURCE);
    }
  }),
);

/** Where a migration is cancelled: in the midst of its stream, or at the frame that is lost. */
const STEPS: ReadonlyArray<readonly [step: string, stopAt: number | undefined, lost: string | undefined]> = [
  ['before the first piece', 0, undefined],
  ['in the midst of it', 8, undefined],
  ['at its last piece', 15, undefined],
  ['behind it', undefined, 'SnapshotReady'],
  ['while the target restores', undefined, 'restore'],
  ['when the target has restored', undefined, 'CutoverNotify'],
  ['after the stop', undefined, 'ActivateTarget'],
];

for (const [step, stopAt, lost] of STEPS) {
  for (const kind of ['async function', 'async generator'] as const) {
    streams(`by ${kind}, cancelled ${step}, closes it and goes on`, () =>
      inStreamingWorld(
        async (world, { ledger, options }) => {
          let isCancelled = false;
          (options as { before: StreamOptions['before'] }).before = async (piece) => {
            while (piece === stopAt && !isCancelled) await pause(5);
          };
          world.meet = (tapped) => {
            // The last chunk is lost; or every frame of that kind.
            const isLost = isChunk(tapped) ? tapped.trailer?.snapshotDigest !== undefined : true;
            if (isCancelled || tapped.message.kind !== lost || !isLost) tapped.pass();
          };
          world.beforeRestore = async () => {
            while (lost === 'restore' && !isCancelled) await pause(5);
          };
          await world.publish(10);
          const handle = world.move();
          await world.publish(10);
          await pause(150);
          const cancelled = handle.cancel();
          isCancelled = true;
          assert.is(await cancelled, 'cancelled');
          await eventually('it goes on', () => world.source.has(world.origin));
          await eventually('its streams are closed', () => ledger.ended === ledger.opened);
          world.whole(SOURCE);
          const { pieces } = ledger;
          await pause(30);
          assert.is(ledger.pieces, pieces, 'nothing more is read');
          await world.publish(10);
          await world.move().wait({ timeout: 10_000 });
          world.whole(TARGET);
        },
        { kind, options: {} },
      ),
    );
  }
}

streams('that hangs is given up after the patience of its source, and goes on', () =>
  inStreamingWorld(
    async (world, { ledger }) => {
      await world.publish(10);
      const handle = world.move();
      await world.publish(10);
      const error = await refusal('timed-out', () => handle.wait({ timeout: 5_000 }));
      assert.match(error.message, /no progress for 300 ms in phase transferring/);
      assert.equal([ledger.opened, ledger.ended], [1, 0]);
      world.whole(SOURCE);
      await world.publish(10);
      world.whole(SOURCE);
    },
    {
      options: { before: (piece) => (piece === 8 ? new Promise(() => {}) : undefined) },
      node: () => ({ policy: { source: { patienceMs: 300, repeatMs: 40 } } }),
    },
  ),
);

streams('that hangs keeps no node from its shutdown, nor what waits for the whole of it', () =>
  inStreamingWorld(
    async (world) => {
      const handle = world.source.startMigration(world.origin, SOURCE, TARGET);
      await pause(50);
      const snapshot = refusal('state-failed', () => world.source.snapshot(world.origin));
      world.source.state(world.origin).catch(() => {});
      await pause(20);
      // It waits until then for the daemon to go on, which is still read for that snapshot.
      await refusal('timed-out', () => world.source.shutdown({ deadlineMs: 300 }));
      await refusal('cancelled', () => handle.wait({ timeout: 1_000 }));
      await snapshot;
    },
    { options: { before: (piece) => (piece % 8 === 7 ? new Promise(() => {}) : undefined) } },
  ),
);

streams('goes on publishing in live mode while its frozen state leaves', () =>
  inStreamingWorld(
    async (world) => {
      await world.publish(10);
      const handle = world.orchestrator.startMigration(world.origin, SOURCE, TARGET, { mode: 'live' });
      for (let i = 0; i < 10; i++) {
        await world.publish(10);
        await turn();
      }
      await handle.wait({ timeout: 5_000 });
      world.whole(TARGET);
    },
    { options: { before: () => pause(2) } },
  ),
);

streams('is read whole for a snapshot, and processes nothing until it has been', () =>
  inStreamingWorld(
    async (world, daemon) => {
      await world.publish(10);
      const snapshot = world.source.snapshot(world.origin);
      await pause(10);
      const published = world.publish(5);
      await pause(10);
      assert.is(daemon.seen.length, 10);
      const bytes = await snapshot;
      await published;
      assert.is(daemon.seen.length, 15);
      const expected = Buffer.concat([new Uint8Array(BigUint64Array.from(numbers(1, 15)).buffer), PADDING]);
      assert.is(Buffer.compare(await world.source.state(world.origin), expected), 0);
      const keypair = EntityKeypair.fromEntityId(world.source.keypair(world.origin).id);
      await world.source.stop(world.origin);
      await world.target.spawnFromSnapshot('recorder', keypair, bytes);
      assert.equal(world.seen(TARGET), numbers(1, 10));
    },
    { options: { before: () => pause(2) } },
  ),
);

streams('is refused by its length where that is over what the target takes, and closed', () =>
  inStreamingWorld(
    async (world, { ledger }) => {
      await refusal('snapshot-too-large', () => world.move().wait({ timeout: 5_000 }));
      await eventually('its stream is closed', () => ledger.ended === ledger.opened);
      const [obstacle] = await world.orchestrator.canMigrate(world.origin, TARGET, {
        source: SOURCE,
        transportIdentity: false,
      });
      assert.is(obstacle?.kind, 'snapshot-too-large');
    },
    { node: () => ({ policy: { target: { maxSnapshotBytes: 200_000 } } }) },
  ),
);

/** Two nodes over a real link; `pulled` counts the bytes of frames that left the source. */
async function overLink(
  make: () => Recorder,
  run: (world: {
    a: DaemonRuntime;
    b: DaemonRuntime;
    origin: bigint;
    pulled: () => number;
    made: Recorder[];
  }) => Promise<void>,
  rate?: number,
): Promise<void> {
  const mesh = new InProcessMesh();
  const seat = mesh.join();
  let pulled = 0;
  const stream = seat.stream.bind(seat);
  seat.stream = (to, subprotocol, frames) => {
    const counted: FrameProducer = Object.create(frames, {
      done: { get: () => frames.done },
      maxFrameLength: { get: () => frames.maxFrameLength },
      onReady: { get: () => frames.onReady },
      writeNext: {
        value: (target: Uint8Array, at: number) => {
          const length = frames.writeNext(target, at);
          pulled += length;
          return length;
        },
      },
    });
    stream(to, subprotocol, counted);
  };
  const made: Recorder[] = [];
  const a = new DaemonRuntime({ mesh: seat, ...(rate === undefined ? {} : { maxBytesPerSecond: rate }) });
  const b = new DaemonRuntime({ mesh: mesh.join(), orchestrators: [a.nodeId] });
  for (const node of [a, b]) {
    node.registerFactory('recorder', () => {
      made.push(make());
      return made.at(-1)!;
    });
    node.start();
  }
  try {
    await run({ a, b, origin: await a.spawn('recorder', EntityKeypair.generate()), pulled: () => pulled, made });
  } finally {
    await Promise.all([a.shutdown(), b.shutdown()]);
  }
}

/** Gives as many bytes as it is asked for, made on the fly, and compares what comes. */
class Large extends Recorder {
  given = 0;
  matches = false;

  constructor(
    readonly length: number,
    readonly piece: number,
    readonly isAsync: boolean,
    readonly each: (daemon: Large) => void,
  ) {
    super();
  }

  override state(): StreamedState {
    return { byteLength: this.length, chunks: this.isAsync ? () => this.#later() : () => this.#now() };
  }

  override restore(state: Uint8Array): void {
    this.matches = state.length === this.length;
    for (let at = 0, n = 0; at < state.length; at += this.piece, n++) {
      const [first, last] = [state[at], state[Math.min(at + this.piece, state.length) - 1]];
      this.matches &&= first === (n & 255) && last === (n & 255);
    }
  }

  *#now(): Generator<Uint8Array> {
    this.given = 0;
    for (let at = 0, n = 0; at < this.length; at += this.piece, n++) {
      const piece = new Uint8Array(Math.min(this.piece, this.length - at)).fill(n & 255);
      this.given += piece.length;
      this.each(this);
      yield piece;
    }
  }

  async *#later(): AsyncGenerator<Uint8Array> {
    yield* this.#now();
  }
}

for (const isAsync of [true, false]) {
  for (const piece of [1_000, 64 * KIB, 700_001]) {
    streams(
      `of 64 MiB in ${isAsync ? 'later' : 'ready'} pieces of ${piece} bytes is never further read than 1 MiB and a piece`,
      () => {
        let [furthest, inTurn, most] = [0, 0, 0];
        let pulled = () => 0;
        const count = ({ given }: Large) => {
          furthest = Math.max(furthest, given - pulled());
          inTurn += Math.min(piece, 64 * MIB);
          most = Math.max(most, inTurn);
          if (inTurn === piece)
            setImmediate(() => {
              inTurn = 0;
            });
        };
        return overLink(
          () => new Large(64 * MIB, piece, isAsync, count),
          async (world) => {
            pulled = world.pulled;
            const handle = world.a.startMigration(world.origin, world.a.nodeId, world.b.nodeId);
            await handle.wait({ timeout: 60_000 });
            assert.ok((world.made[1] as Large).matches);
            assert.ok(furthest <= MIB + piece, `${furthest} bytes ahead`);
            assert.ok(furthest >= Math.min(MIB, piece) - 100);
            // What is read in one turn of the event loop is bounded too.
            assert.ok(most <= 16 * MIB, `${most} bytes in one turn`);
          },
        );
      },
    );
  }
}

streams('keeps to a rate', () =>
  overLink(
    () => new StreamingRecorder(),
    async ({ a, b, origin, made }) => {
      await a.deliver(origin, events(PUBLISHER, 1, 5));
      await a.startMigration(origin, a.nodeId, b.nodeId).wait({ timeout: 10_000 });
      assert.equal(made[1]!.seen, numbers(1, 5));
    },
    1_000_000,
  ),
);

streams('in its own array of bytes is read once, by one piece at a time where the rate is low', async () => {
  let furthest = 0;
  let pulled = () => 0;
  const each = ({ given }: Large) => {
    furthest = Math.max(furthest, given - pulled());
  };
  await overLink(
    () => new Large(3 * MIB, 64 * KIB, true, each),
    async (world) => {
      pulled = world.pulled;
      const handle = world.a.startMigration(world.origin, world.a.nodeId, world.b.nodeId);
      await pause(300);
      assert.ok(world.pulled() < 1_500_000, `${world.pulled()} bytes`);
      assert.ok(furthest <= MIB + 64 * KIB);
      assert.is(await handle.cancel(), 'cancelled');
    },
    1_000_000,
  );
});
