import * as assert from 'uvu/assert';
import { type CausalEvent, DaemonRuntime, EntityKeypair, InProcessMesh, type MeshDaemon } from '../../lib/index.js';
import { SUBPROTOCOL_DELIVERY } from '../../lib/runtime/delivery.js';
import { eventually, Recorder, refusal, suite } from '../support.js';
import { inTappedWorld, PUBLISHER, SOURCE, TARGET, type TappedWorld } from './tapped-world.js';

const large = suite('events larger than a frame');
const MIB = 2 ** 20;

/** Keeps the lengths and a sum of what it processed; gives back a payload of the same length. */
class Weigher extends Recorder {
  weights: string[] = [];

  override process({ payload, link }: CausalEvent): Uint8Array[] {
    this.weights.push(weigh(link.sequence, payload));
    // A channel keeps only so many bytes.
    return payload.length < 4 * MIB ? [payload.slice()] : [];
  }

  override state(): Uint8Array {
    return Buffer.from(JSON.stringify(this.weights));
  }

  override async restore(state: Uint8Array): Promise<void> {
    const weights = JSON.parse(Buffer.from(state).toString()) as string[];
    await this.before('restore');
    this.weights = weights;
  }
}

function weigh(sequence: bigint, payload: Uint8Array): string {
  let sum = 0;
  for (let i = 0; i < payload.length; i++) sum = (sum * 31 + payload[i]!) | 0;
  return `${sequence}: ${payload.length} ${sum}`;
}

/** Of that length each; sequences from `first` on. */
function sized(first: number, lengths: readonly number[]): CausalEvent[] {
  return lengths.map((length, i) => {
    const payload = new Uint8Array(length);
    for (let at = 0; at < length; at += 97) payload[at] = (first + i + at) & 255;
    return {
      link: { originHash: PUBLISHER, horizon: 0n, sequence: BigInt(first + i), parentHash: 0n },
      payload,
      receivedAt: 5n,
    };
  });
}

const weights = (events: readonly CausalEvent[]) => events.map(({ link, payload }) => weigh(link.sequence, payload));

const LENGTHS = [10, 7_000, 7_001, 20_000, 10, 0, 300_000, 300_000, 1, 14_000, 1_500_000, 10, 7_002, 20_001];

async function inWorld(run: (world: TappedWorld) => Promise<void>): Promise<void> {
  await inTappedWorld(run, { daemon: () => new Weigher() });
}

const seen = (world: TappedWorld, node: bigint) => (world.made.get(node)!.at(-1) as Weigher).weights;

type Fate = 'lost' | 'late' | 'twice' | undefined;

/** Pseudo-random numbers, the same in each run. */
function* numbersFrom(seed: number): Generator<number> {
  for (let state = seed; ; ) {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    yield ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }
}

/** What becomes of fragments, and of what says that they are here. */
const NETWORKS: ReadonlyArray<readonly [what: string, fate: (chance: number, kind: string) => Fate]> = [
  ['that takes all', () => undefined],
  ['that loses every fifth of them', (chance, kind) => (kind === 'EventFragment' && chance < 0.2 ? 'lost' : undefined)],
  [
    'that loses every second acknowledgement',
    (chance, kind) => (kind === 'EventAck' && chance < 0.5 ? 'lost' : undefined),
  ],
  ['that doubles them', () => 'twice'],
  ['that turns them round', (chance) => (chance < 0.5 ? 'late' : undefined)],
  [
    'that does all of it',
    (chance) => (chance < 0.1 ? 'lost' : chance < 0.4 ? 'late' : chance < 0.7 ? 'twice' : undefined),
  ],
];

for (const mode of ['pause', 'live'] as const) {
  for (const [what, fateOf] of NETWORKS) {
    large(`move with their daemon in ${mode} mode over a network ${what}`, () =>
      inWorld(async (world) => {
        const counts = new Map<string, number>();
        const late: Array<() => void> = [];
        const chances = numbersFrom(7);
        world.meet = ({ message: { kind }, pass }) => {
          if (!['EventFragment', 'EventAck', 'BufferedEvents'].includes(kind)) return pass();
          const n = (counts.get(kind) ?? 0) + 1;
          counts.set(kind, n);
          const fate = fateOf(chances.next().value as number, kind);
          if (fate === 'late') late.push(pass);
          else if (fate !== 'lost') pass();
          if (fate === 'twice') pass();
          if (late.length > 2 || n % 16 === 0) for (const one of late.splice(0).reverse()) one();
        };
        const all = sized(1, [...LENGTHS, ...LENGTHS]);
        const goOn = holdRestore(world);
        await world.source.deliver(world.origin, all.slice(0, 2));
        const handle = world.orchestrator.startMigration(world.origin, SOURCE, TARGET, { mode });
        await eventually('the target restores', () => world.made.has(TARGET));
        for (const event of all.slice(2, 20)) await world.source.deliver(world.origin, [event]);
        setTimeout(goOn, 10);
        const rest = world.source.deliver(world.origin, all.slice(20));
        await handle.wait({ timeout: 20_000 });
        const { accepted } = await rest;
        await world.target.deliver(world.origin, all.slice(20 + accepted));
        assert.ok(counts.get('EventFragment')! > 300);
        assert.equal(seen(world, TARGET), weights(all));
        assert.equal(
          world.outputs.map(({ payload }) => payload.length),
          all.map(({ payload }) => payload.length),
        );
      }),
    );
  }
}

/** Its target's restore waits. @returns lets it go on */
function holdRestore(world: TappedWorld): () => void {
  let goOn = () => {};
  world.beforeRestore = () =>
    new Promise((resolve) => {
      goOn = resolve;
    });
  return () => goOn();
}

large('that are on their way when a migration is cancelled stay, and move with the next one', () =>
  inWorld(async (world) => {
    let isLost = true;
    world.meet = ({ message: { kind }, trailer, pass }) => {
      if (!isLost || kind !== 'EventFragment' || trailer!.fragmentOffset! < 100_000n) pass();
    };
    const all = sized(1, LENGTHS);
    const goOn = holdRestore(world);
    const handle = world.move();
    await eventually('the target restores', () => world.made.has(TARGET));
    await world.source.deliver(world.origin, all);
    world.beforeRestore = () => {};
    goOn();
    await eventually('fragments wait', () => handle.phase === 'Cutover' || handle.phase === 'Replay');
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.is(await handle.cancel(), 'cancelled');
    assert.equal(seen(world, SOURCE), weights(all));
    isLost = false;
    const next = sized(100, LENGTHS);
    const again = world.move();
    const { accepted } = await world.source.deliver(world.origin, next);
    await again.wait({ timeout: 10_000 });
    await world.target.deliver(world.origin, next.slice(accepted));
    assert.equal(seen(world, TARGET), weights([...all, ...next]));
  }),
);

large('of tens of MiB move, with no more on its way than the window', () =>
  inTappedWorld(
    async (world) => {
      let [onTheWay, most] = [0, 0];
      const passing: Array<() => void> = [];
      world.meet = ({ message: { kind }, trailer, pass }) => {
        if (kind !== 'EventFragment') return pass();
        onTheWay += trailer!.fragment!.length;
        most = Math.max(most, onTheWay);
        passing.push(() => {
          onTheWay -= trailer!.fragment!.length;
          pass();
        });
        if (passing.length === 1)
          setImmediate(() => {
            for (const one of passing.splice(0)) one();
          });
      };
      const all = sized(1, [40 * MIB, 10, 20 * MIB]);
      const goOn = holdRestore(world);
      const handle = world.move();
      await eventually('the target restores', () => world.made.has(TARGET));
      await world.source.deliver(world.origin, all);
      goOn();
      await handle.wait({ timeout: 60_000 });
      assert.equal(
        seen(world, TARGET).map((weight) => weight.split(' ')[1]),
        all.map(({ payload }) => String(payload.length)),
      );
      assert.ok(most <= MIB + 7_000, `${most} bytes on their way`);
    },
    { daemon: () => new Weigher(), node: () => ({ policy: { source: { repeatMs: 5_000 } } }) },
  ),
);

large('that no log takes fail the migration before the stop, and the daemon goes on', () =>
  inTappedWorld(
    async (world) => {
      const goOn = holdRestore(world);
      const handle = world.move();
      await eventually('the target restores', () => world.made.has(TARGET));
      const [event] = sized(1, [64 * MIB + 1]);
      await world.source.deliver(world.origin, [event!]);
      world.beforeRestore = () => {};
      goOn();
      const error = await refusal('event-too-large', () => handle.wait({ timeout: 10_000 }));
      assert.match(error.message, /has 67108865 bytes, and a log takes at most 67108864 per event/);
      assert.is(seen(world, SOURCE).length, 1);
      await world.source.deliver(world.origin, sized(2, [10]));
      assert.is(seen(world, SOURCE).length, 2);
      await world.move().wait({ timeout: 10_000 });
    },
    { daemon: () => new Weigher(), node: () => ({ eventLog: { maxBytes: 100 * MIB } }) },
  ),
);

large('are delivered to a daemon on another node, also while that moves', () =>
  inWorld(async (world) => {
    const publisher = world.orchestrator.publisher(world.origin, SOURCE);
    const all = sized(1, [...LENGTHS, ...LENGTHS, ...LENGTHS, ...LENGTHS]);
    let handle: ReturnType<TappedWorld['move']> | undefined;
    for (let at = 0; at < all.length; at += 3) {
      if (at === 9) handle = world.move();
      await publisher.send(all.slice(at, at + 3));
    }
    await publisher.flush();
    await handle!.wait({ timeout: 20_000 });
    await publisher.flush();
    assert.is(publisher.accepted, all.length);
    assert.equal(seen(world, TARGET), weights(all));
  }),
);

large('are refused for a daemon on another node where no log would take them', () =>
  inWorld(async (world) => {
    const publisher = world.orchestrator.publisher(world.origin, SOURCE);
    await publisher.send(sized(1, [20_000]));
    const error = await refusal('event-too-large', () => publisher.send(sized(2, [10, 64 * MIB + 1])));
    assert.match(error.message, /has 67108865 bytes, and at most 67108864 are delivered to another node/);
    assert.is(error.details.limit, 64 * MIB);
    await publisher.send(sized(2, [64 * MIB, 10]));
    await publisher.flush();
    assert.is(seen(world, SOURCE).length, 3);
  }),
);

large('in a delivery that is cut off or says more than it holds are refused', () =>
  inWorld(async (world) => {
    const frame = Buffer.alloc(21 + 12 + 44 + 10);
    frame[0] = 2;
    frame.writeBigUInt64LE(world.origin, 21);
    frame.writeUInt32LE(1, 29);
    frame.writeUInt32LE(10, 33 + 32);
    const answers: Buffer[] = [];
    const seat = world.stranger;
    seat.listen(SUBPROTOCOL_DELIVERY, (_, batch) => {
      answers.push(Buffer.from(batch));
    });
    const send = async (bytes: Uint8Array) => {
      answers.length = 0;
      seat.send(SOURCE, SUBPROTOCOL_DELIVERY, bytes);
      await eventually('it is answered', () => answers.length === 1);
      return answers[0]!.toString('latin1');
    };
    for (let length = 21; length < frame.length; length++)
      assert.match(await send(frame.subarray(0, length)), /truncated/);
    for (const [at, value] of [
      [29, 2],
      [29, 0xffff_ffff],
      [65, 11],
      [65, 0xffff_ffff],
    ] as const) {
      const wrong = Buffer.from(frame);
      wrong.writeUInt32LE(value, at);
      assert.match(await send(wrong), /truncated/);
    }
    assert.equal(seen(world, SOURCE), []);
    frame.writeUInt32LE(1, 13);
    assert.not.match(await send(frame), /truncated/);
    assert.is(seen(world, SOURCE).length, 1);
  }),
);

large('published by one daemon are read by another that moves', async () => {
  const mesh = new InProcessMesh();
  const [a, b] = [mesh.join(), mesh.join()].map(
    (seat, i) => new DaemonRuntime({ mesh: seat, orchestrators: i === 0 ? [] : [1n] }),
  );
  const made: Weigher[] = [];
  const echo = (): MeshDaemon => ({
    name: 'echo',
    channel: 'large',
    process: () => [new Uint8Array(50_000).fill(3), new Uint8Array(10), new Uint8Array(2_000_000).fill(4)],
    snapshot: () => new Uint8Array(1),
    restore: () => {},
  });
  for (const node of [a!, b!]) {
    node.registerFactory('echo', echo);
    node.registerFactory('weigher', () => {
      made.push(new Weigher());
      return made.at(-1)!;
    });
    node.start();
  }
  try {
    const talker = await a!.spawn('echo', EntityKeypair.generate());
    const reader = await a!.spawn('weigher', EntityKeypair.generate());
    await a!.subscribeChannel(reader, a!.nodeId, 'large');
    await a!.deliver(talker, sized(1, [1, 1]));
    await eventually('the outputs are read', () => made[0]!.weights.length === 6);
    const handle = a!.startMigration(reader, a!.nodeId, b!.nodeId);
    for (let i = 3; i < 13; i++) await a!.deliver(talker, sized(i, [1]));
    await handle.wait({ timeout: 20_000 });
    await eventually('all are read', () => made.at(-1)!.weights.length === 36);
  } finally {
    await Promise.all([a!.shutdown(), b!.shutdown()]);
  }
});
