import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MigrationError,
} from '../../lib/index.js';
import { decodeDelivery, SUBPROTOCOL_DELIVERY } from '../../lib/runtime/delivery.js';
import { encodeMigrationFrame } from '../../lib/wire/extension.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';

const faults = suite('what goes wrong around a migration');
const PUBLISHER = 77n;

interface World {
  readonly seats: readonly Mesh[];
  readonly nodes: readonly DaemonRuntime[];
  readonly daemons: Recorder[];
  readonly errors: MigrationError[];
  readonly outputs: CausalEvent[];
  readonly origin: bigint;
  /** The next daemon that node 2 makes waits in its restore until this is called. */
  readonly holdRestore: () => () => void;
}

async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const mesh = new InProcessMesh();
  const daemons: Recorder[] = [];
  const errors: MigrationError[] = [];
  const outputs: CausalEvent[] = [];
  let hold: Promise<void> | undefined;
  const seats = [1n, 2n, 3n].map((id) => mesh.join(id));
  const nodes = seats.map((seat) => {
    const runtime = new DaemonRuntime({
      mesh: seat,
      orchestrators: [1n, 2n, 3n],
      onError: (error) => errors.push(error),
    });
    runtime.registerFactory('recorder', () => {
      const daemon = new Recorder();
      const held = seat.nodeId === 2n ? hold : undefined;
      hold = seat.nodeId === 2n ? undefined : hold;
      daemon.before = (call) => (call === 'restore' ? held : undefined);
      daemons.push(daemon);
      return daemon;
    });
    runtime.start();
    return runtime;
  });
  const holdRestore = () => {
    let goOn!: () => void;
    hold = new Promise((resolve) => {
      goOn = resolve;
    });
    return goOn;
  };
  await seats[2]!.subscribe('recorder', {}, (_, published) => void outputs.push(...published));
  const origin = await nodes[0]!.spawn('recorder', EntityKeypair.generate());
  try {
    await run({ seats, nodes, daemons, errors, outputs, origin, holdRestore });
  } finally {
    for (const node of nodes) await node.shutdown();
  }
}

const numbers = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => BigInt(first + i));

faults('an event larger than a frame, logged in the middle of a failed migration, is processed at the source', () =>
  inWorld(async ({ nodes, daemons, origin, outputs, holdRestore }) => {
    const goOn = holdRestore();
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    const large = { ...events(PUBLISHER, 2, 1)[0]!, payload: new Uint8Array(7_001) };
    await nodes[0]!.deliver(origin, [...events(PUBLISHER, 1, 1), large, ...events(PUBLISHER, 3, 1)]);
    handle.cancel();
    goOn();
    await refusal('cancelled', () => handle.wait({ timeout: 5_000 }));
    await eventually('all are processed', () => outputs.length === 3);
    await nodes[2]!.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
    assert.equal(daemons.at(-1)!.seen, [1n, 0n, 3n], 'the large one holds zeros');
  }),
);

faults('malformed frames of a peer are counted, and nothing else happens', () =>
  inWorld(async ({ seats, nodes, origin }) => {
    for (const frame of [
      [],
      [9],
      [0, 1],
      [1, 2, 3],
      [0, ...new Array(30).fill(255)],
      [1, ...new Array(30).fill(255)],
    ]) {
      for (const subprotocol of [SUBPROTOCOL_DELIVERY, SUBPROTOCOL_MIGRATION])
        seats[1]!.send(1n, subprotocol, Uint8Array.from(frame));
    }
    await eventually('they are counted', () => nodes[0]!.refusedFrames >= 10);
    const { accepted } = await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 5));
    assert.is(accepted, 5);
  }),
);

faults('an answer forged by another node does not count', () =>
  inWorld(async ({ seats, nodes, daemons, origin }) => {
    // Node 1's daemon takes its time; node 2 answers in its place.
    let goOn!: () => void;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    daemons[0]!.before = () => held;
    const ids: bigint[] = [];
    const send = seats[2]!.send.bind(seats[2]);
    seats[2]!.send = (to, subprotocol, frame) => {
      const sent = subprotocol === SUBPROTOCOL_DELIVERY ? decodeDelivery(frame) : undefined;
      if (sent?.kind === 'events') ids.push(sent.place.id);
      send(to, subprotocol, frame);
    };
    const publisher = nodes[2]!.publisher(origin, 1n);
    await publisher.send(events(PUBLISHER, 1, 10));
    assert.is(ids.length, 1);
    for (const id of ids) {
      const forged = Buffer.alloc(26);
      forged[0] = 1;
      forged.writeBigUInt64LE(id, 1);
      forged.writeUInt32LE(10, 9);
      seats[1]!.send(3n, SUBPROTOCOL_DELIVERY, forged);
    }
    await eventually('the forged answers are refused', () => nodes[2]!.refusedFrames > 0);
    assert.is(publisher.accepted, 0);
    goOn();
    await publisher.flush();
    assert.is(publisher.accepted, 10);
  }),
);

faults('outputs that are none fail their event alone, live and when a migration rolls back', () =>
  inWorld(async ({ nodes, daemons, errors, outputs, origin, holdRestore }) => {
    const wrong: unknown[] = [5, Uint8Array.of(1), ['x'], 'text', [Uint8Array.of(1), 7]];
    const daemon = daemons[0]!;
    const process = daemon.process.bind(daemon);
    daemon.process = (event) => {
      const good = process(event);
      const bad = wrong[Number(event.link.sequence) % 10];
      return bad === undefined ? good : (bad as never);
    };
    await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 10));
    assert.is(outputs.length, 5);
    const goOn = holdRestore();
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    await nodes[0]!.deliver(origin, events(PUBLISHER, 11, 10));
    handle.cancel();
    await refusal('cancelled', () => handle.wait({ timeout: 5_000 }));
    goOn();
    assert.equal(daemon.seen, numbers(1, 20), 'every event has been processed');
    await eventually('the good ones have their outputs', () => outputs.length === 10);
    assert.is(errors.length, 10);
    assert.match(errors[0]!.message, /process\(\) must give an iterable of Uint8Arrays/);
  }),
);

faults('a publisher that was sent on comes back when the move rolls back', () =>
  inWorld(async ({ seats, nodes, daemons, origin }) => {
    // The offer is never answered while the register is held, so the daemon stands fenced.
    const { register } = seats[0]!;
    const write = register.compareAndSet.bind(register);
    let letGo!: () => void;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    register.compareAndSet = (at, expected, entry) =>
      entry?.offer ? held.then(() => write(at, expected, entry)) : write(at, expected, entry);
    const publisher = nodes[2]!.publisher(origin, 1n);
    await publisher.send(events(PUBLISHER, 1, 10));
    await publisher.flush();
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the source has stopped', () => !nodes[0]!.has(origin));
    const sent = publisher.send(events(PUBLISHER, 11, 10)).then(() => publisher.flush());
    await new Promise((resolve) => setTimeout(resolve, 20));
    handle.cancel();
    letGo();
    await refusal('cancelled', () => handle.wait({ timeout: 5_000 }));
    await sent;
    assert.equal(daemons[0]!.seen, numbers(1, 20));
    assert.is(publisher.node, 1n);
  }),
);

faults('a daemon that ended and lives again is heard from its first output on', () =>
  inWorld(async ({ nodes, outputs }) => {
    const { id } = EntityKeypair.generate();
    for (let life = 1; life <= 2; life++) {
      const origin = await nodes[1]!.spawn('recorder', EntityKeypair.fromEntityId(id));
      await nodes[1]!.deliver(origin, events(PUBLISHER, 1, 4));
      assert.is(outputs.length, 4 * life);
      await nodes[1]!.stop(origin);
    }
  }),
);

faults('listeners that throw keep no migration from its end', () =>
  inWorld(async ({ seats, nodes, origin, daemons }) => {
    await seats[1]!.subscribe('recorder', {}, () => {
      throw new Error('a reader’s own fault');
    });
    const onProgress = () => {
      throw new Error('a watcher’s own fault');
    };
    await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 3));
    const handle = nodes[0]!.startMigration(origin, 1n, 2n, { onProgress });
    await nodes[0]!.deliver(origin, events(PUBLISHER, 4, 3));
    await handle.wait({ timeout: 5_000 });
    assert.equal(daemons[1]!.seen, numbers(1, 6));
  }),
);

faults('after a cancel during the restore, the next try to the same target works', () =>
  inWorld(async ({ nodes, daemons, origin, holdRestore }) => {
    const goOn = holdRestore();
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    handle.cancel();
    await refusal('cancelled', () => handle.wait({ timeout: 5_000 }));
    await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 5));
    const again = nodes[2]!.startMigration(origin, 1n, 2n);
    setTimeout(goOn, 50);
    await again.wait({ timeout: 5_000 });
    assert.equal(daemons.at(-1)!.seen, numbers(1, 5));
    assert.ok(nodes[1]!.has(origin));
  }),
);

faults('a second orchestrator is told that the daemon is moving already', () =>
  inWorld(async ({ nodes, daemons, origin, holdRestore }) => {
    const goOn = holdRestore();
    const first = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    await refusal('already-migrating', () => nodes[1]!.startMigration(origin, 1n, 3n).wait({ timeout: 5_000 }));
    goOn();
    await first.wait({ timeout: 5_000 });
  }),
);

faults('frames of a try that the orchestrator has not heard of from the source change nothing', () =>
  inWorld(async ({ seats, nodes, origin }) => {
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    const frame = (kind: 'RestoreComplete' | 'MigrationFailed') =>
      encodeMigrationFrame(
        typescriptCodec,
        kind === 'RestoreComplete'
          ? { kind, daemonOrigin: origin, restoredSeq: 0n }
          : {
              kind,
              daemonOrigin: origin,
              reason: { kind: 'StateFailed', code: 3, retriable: false, message: 'of an earlier try' },
            },
        { try: 99n },
      );
    for (const kind of ['RestoreComplete', 'MigrationFailed'] as const)
      seats[1]!.send(3n, SUBPROTOCOL_MIGRATION, frame(kind));
    await handle.wait({ timeout: 5_000 });
    assert.ok(nodes[1]!.has(origin));
  }),
);

faults('cancelling a migration that is over leaves the next one alone', () =>
  inWorld(async ({ nodes, origin }) => {
    const first = nodes[2]!.startMigration(origin, 1n, 2n);
    await first.wait({ timeout: 5_000 });
    const second = nodes[2]!.startMigration(origin, 2n, 3n);
    first.cancel();
    await second.wait({ timeout: 5_000 });
  }),
);

faults('a node that shuts down lets its daemons live elsewhere, and does nothing more', () =>
  inWorld(async ({ nodes }) => {
    const { id } = EntityKeypair.generate();
    await nodes[1]!.spawn('recorder', EntityKeypair.fromEntityId(id));
    await nodes[1]!.shutdown();
    await nodes[1]!.shutdown();
    await nodes[0]!.spawn('recorder', EntityKeypair.fromEntityId(id));
    await refusal('not-ready', () => nodes[1]!.spawn('recorder', EntityKeypair.generate()));
    await refusal('not-ready', () => nodes[1]!.startMigration(1n, 1n, 3n));
  }),
);

faults(
  'a stop whose word the register did not take, or took without an answer, can be repeated, and ends the daemon',
  async () => {
    for (const lands of [false, true]) {
      await inWorld(async ({ seats, nodes: [node], daemons, origin }) => {
        const { register } = seats[0]!;
        const { read, compareAndSet } = register;
        Object.assign(register, {
          read: () => Promise.reject(new Error('out of reach')),
          compareAndSet: () => Promise.reject(new Error('out of reach')),
        });
        if (lands) {
          register.read = read;
          register.compareAndSet = async (...change) => {
            await compareAndSet.apply(register, change);
            throw new Error('no answer');
          };
        }
        const first = await node!.stop(origin).then(
          () => 'stopped',
          (error: MigrationError) => error.kind,
        );
        assert.is(first, lands ? 'stopped' : 'register-unavailable');
        Object.assign(register, { read, compareAndSet });
        if (!lands) await node!.stop(origin);
        assert.is(await register.read(origin), undefined, 'the register has forgotten it');
        await refusal('daemon-not-found', () => node!.keypair(origin));
        assert.is(daemons.length, 1);
      });
    }
  },
);
