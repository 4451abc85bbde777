import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/index.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';
import { ManualEnvironment } from './manual-environment.js';
import {
  inTappedWorld,
  numbers,
  ORCHESTRATOR,
  PUBLISHER,
  SOURCE,
  TARGET,
  type Tapped,
  type TappedWorld,
} from './tapped-world.js';

const weakness = suite('a weakness of the reference that is none here, about how a migration goes');

/** A migration, with events logged, whose source has let go; ActivateTarget is held back. */
async function upToActivation(world: TappedWorld) {
  const held: Tapped[] = [];
  await world.publish(3);
  let published: Promise<void> | undefined;
  world.meet = (tapped) => {
    if (tapped.message.kind === 'ActivateTarget') return void held.push(tapped);
    if (tapped.message.kind !== 'CutoverNotify' || published) return tapped.pass();
    published = world.publish(3).then(tapped.pass);
  };
  const handle = world.move();
  await eventually('the source has let go', () => held.length > 0);
  assert.is(world.source.has(world.origin), false);
  assert.is(world.target.has(world.origin), false);
  return { handle, held };
}

weakness('#8 the target is gone between cleanup and activation: the source goes on, and the daemon can move', () =>
  inTappedWorld(async (world) => {
    const { handle } = await upToActivation(world);
    await world.seats.get(TARGET)!.close();
    await refusal('target-unavailable', () => handle.wait({ timeout: 5_000 }));
    await eventually('the source has it', () => world.source.has(world.origin));
    await world.publish(2);
    world.meet = ({ pass }) => pass();
    await world.move(SOURCE, ORCHESTRATOR).wait({ timeout: 5_000 });
    await world.publish(1, ORCHESTRATOR);
    await eventually('all is published', () => world.outputs.length === 9);
    assert.is(world.source.has(world.origin), false);
    assert.equal(world.seen(ORCHESTRATOR), numbers(1, 9));
    assert.equal(
      world.outputs.map(({ link }) => link.sequence),
      numbers(1, 9),
    );
  }),
);

weakness('#9 an abort after cleanup is a withdrawal: the source goes on, and a late activation changes nothing', () =>
  inTappedWorld(async (world) => {
    const { handle, held } = await upToActivation(world);
    handle.cancel();
    await refusal('cancelled', () => handle.wait({ timeout: 5_000 }));
    await eventually('the source has it', () => world.source.has(world.origin));
    for (const { pass } of held) pass();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await world.publish(2);
    await eventually('all is published', () => world.outputs.length === 8);
    world.whole(SOURCE);
  }),
);

weakness('#9 an abort that reaches the target alone, after cleanup, costs no copy: one of the two goes on', () =>
  inTappedWorld(async (world) => {
    const { handle, held } = await upToActivation(world);
    const { trailer } = held[0]!;
    const reason = { kind: 'StateFailed', code: 3, retriable: false, message: 'given up' } as const;
    world.meet = ({ pass }) => pass();
    const message = { kind: 'MigrationFailed', daemonOrigin: world.origin, reason } as const;
    world.sendFrom(ORCHESTRATOR, TARGET, message, trailer?.try === undefined ? undefined : { try: trailer.try });
    for (const { pass } of held) pass();
    await handle.wait({ timeout: 8_000 }).catch((error: unknown) => assert.instance(error, MigrationError));
    await eventually('it is live', () => world.source.has(world.origin) || world.target.has(world.origin));
    const home = world.source.has(world.origin) ? SOURCE : TARGET;
    await world.publish(2, home);
    await eventually('all is published', () => world.outputs.length === 8);
    world.whole(home);
  }),
);

weakness('#11 a copy that an earlier try left on the target is replaced by the newer snapshot', () =>
  inTappedWorld(async (world) => {
    await world.publish(3);
    const aborts: Tapped[] = [];
    world.meet = (tapped) => {
      if (tapped.message.kind === 'MigrationFailed' && tapped.to === TARGET) aborts.push(tapped);
      else if (tapped.message.kind !== 'CutoverNotify') tapped.pass();
    };
    const first = world.move();
    await eventually('the target has a copy', () => world.seen(TARGET).length === 3);
    first.cancel();
    await refusal('cancelled', () => first.wait({ timeout: 5_000 }));
    await eventually('the source goes on', () => world.source.has(world.origin));
    await world.publish(4);
    assert.equal(world.seen(TARGET), numbers(1, 3), 'the stale copy is still there');
    world.meet = (tapped) => {
      if (tapped.message.kind !== 'MigrationFailed') tapped.pass();
    };
    await world.move().wait({ timeout: 8_000 });
    assert.ok(aborts.length > 0);
    await world.publish(1, TARGET);
    await eventually('all is published', () => world.outputs.length === 8);
    world.whole(TARGET);
  }),
);

/** Puts nothing out, so that two snapshots have the same `seqThrough`, whatever came between them. */
class Quiet extends Recorder {
  override process(event: CausalEvent): Uint8Array[] {
    super.process(event);
    return [];
  }
}

weakness('#12 chunks of two tries with the same sequence are never one snapshot', () =>
  inTappedWorld(
    async (world) => {
      // Three chunks of 8 bytes per event.
      await world.publish(2_000);
      const old: Tapped[] = [];
      const [daemon] = world.made.get(SOURCE)!;
      world.meet = (tapped) => {
        const { message, to } = tapped;
        if (message.kind === 'MigrationFailed' && to === TARGET) return;
        if (message.kind === 'SnapshotReady' && to === TARGET) {
          old.push(tapped);
          if (message.chunkIndex > 0) return;
        }
        tapped.pass();
      };
      const first = world.move();
      await eventually('the first chunks are under way', () => old.length > 0);
      first.cancel();
      await refusal('cancelled', () => first.wait({ timeout: 5_000 }));
      await eventually('the source goes on', () => world.source.has(world.origin));
      daemon!.seen.reverse();
      const fresh: Tapped[] = [];
      world.meet = (tapped) => {
        if (tapped.message.kind === 'SnapshotReady' && tapped.to === TARGET) {
          fresh.push(tapped);
          for (const { pass } of old) pass();
        }
        tapped.pass();
      };
      await world.move().wait({ timeout: 8_000 });
      const [was, is] = [old[0]!.message, fresh[0]!.message];
      assert.ok(was.kind === 'SnapshotReady' && is.kind === 'SnapshotReady');
      assert.equal([was.seqThrough, was.totalChunks], [is.seqThrough, is.totalChunks]);
      assert.ok(is.totalChunks > 2);
      assert.equal(world.seen(TARGET), numbers(1, 2_000).reverse());
    },
    { daemon: () => new Quiet() },
  ),
);

weakness('#12 a chunk with a flipped byte is never part of a restored state', () =>
  inTappedWorld(async (world) => {
    await world.publish(2_000);
    let flipped = 0;
    world.meet = (tapped) => {
      const { message, to, frame } = tapped;
      if (message.kind === 'SnapshotReady' && to === TARGET && message.chunkIndex === 1) {
        frame[2_000]! ^= 1;
        flipped++;
      }
      tapped.pass();
    };
    const handle = world.move();
    await refusal('state-failed', () => handle.wait({ timeout: 8_000 }));
    assert.ok(flipped > 0);
    await eventually('the source goes on', () => world.source.has(world.origin));
    assert.is(world.made.get(TARGET)?.some(({ seen }) => seen.length > 0) ?? false, false);
    await world.publish(1);
    await eventually('it is published', () => world.outputs.length === 2_001);
    world.whole(SOURCE);
  }),
);

weakness('#13 a target’s failure is passed on: a remote source goes on with what it logged', () =>
  inTappedWorld(
    async (world) => {
      await world.publish(3);
      let published: Promise<void> | undefined;
      world.meet = (tapped) => {
        if (tapped.message.kind !== 'MigrationFailed' || published) return tapped.pass();
        published = world.publish(3).then(tapped.pass);
      };
      await refusal('factory-not-found', () => world.move().wait({ timeout: 5_000 }));
      await eventually('the source goes on', () => world.outputs.length === 6);
      world.whole(SOURCE);
      world.meet = ({ pass }) => pass();
      await world.move(SOURCE, ORCHESTRATOR).wait({ timeout: 5_000 });
      assert.is(world.orchestrator.has(world.origin), true, 'and can be moved');
    },
    { bare: [TARGET] },
  ),
);

weakness('#13 a target that is not ready is asked again until it is', () =>
  inTappedWorld(
    async (world) => {
      await world.publish(3);
      let failures = 0;
      world.meet = (tapped) => {
        if (tapped.message.kind === 'MigrationFailed' && tapped.from === TARGET && failures++ === 0)
          setTimeout(() => world.target.start(), 20);
        tapped.pass();
      };
      await world.move().wait({ timeout: 8_000 });
      assert.ok(failures > 0);
      await world.publish(1, TARGET);
      await eventually('all is published', () => world.outputs.length === 4);
      world.whole(TARGET);
    },
    { idle: [TARGET] },
  ),
);

weakness('#13 a source that never hears of the failure has a deadline of its own', () =>
  inTappedWorld(
    async (world) => {
      await world.publish(3);
      world.meet = (tapped) => {
        if (tapped.to !== SOURCE || tapped.message.kind === 'TakeSnapshot') tapped.pass();
      };
      await refusal('factory-not-found', () => world.move().wait({ timeout: 8_000 }));
      await world.publish(2);
      await eventually('it goes on', () => world.outputs.length === 5);
      world.whole(SOURCE);
    },
    {
      bare: [TARGET],
      node: (id) => (id === SOURCE ? { policy: { source: { patienceMs: 600, repeatMs: 100 } } } : {}),
    },
  ),
);

weakness('#13 a source that has no such daemon answers TakeSnapshot with MigrationFailed', () =>
  inTappedWorld(async (world) => {
    const told: string[] = [];
    world.meet = (tapped) => {
      if (tapped.message.kind === 'MigrationFailed') told.push(`${tapped.from} to ${tapped.to}`);
      tapped.pass();
    };
    const handle = world.orchestrator.startMigration(world.origin + 1n, SOURCE, TARGET);
    await refusal('daemon-not-found', () => handle.wait({ timeout: 2_000 }));
    assert.ok(told.includes('1 to 3'));
  }),
);

for (const leader of [TARGET, SOURCE, ORCHESTRATOR]) {
  weakness(`#14 a migration completes, wherever its orchestrator is: on node ${leader} of source 1 and target 2`, () =>
    inTappedWorld(async (world) => {
      const { origin } = world;
      await world.publish(3);
      let published: Promise<void> | undefined;
      world.beforeRestore = () => {
        published ??= world.publish(3);
        return published;
      };
      await world.nodes.get(leader)!.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 });
      await world.publish(1, TARGET);
      await eventually('all is published', () => world.outputs.length === 7);
      world.whole(TARGET);
    }),
  );
}

weakness('#14 source and target on one node are refused', () =>
  inTappedWorld(async (world) => {
    for (const node of world.nodes.values()) {
      const error = await refusal('target-unavailable', () => node.startMigration(world.origin, SOURCE, SOURCE));
      assert.match(error.message, /to itself; name another target/);
    }
    await world.publish(1);
    world.whole(SOURCE);
  }),
);

weakness('#23 a snapshot over what the target takes is told before it starts, and refused at its first chunk', () =>
  inTappedWorld(
    async (world) => {
      const { origin, orchestrator } = world;
      await world.publish(2_000);
      // What a source can tell beforehand is the size of its last snapshot.
      await world.source.snapshot(origin);
      const [obstacle, ...more] = await orchestrator.canMigrate(origin, TARGET);
      assert.equal([obstacle?.kind, obstacle?.where, more], ['snapshot-too-large', 'target', []]);
      const chunks: Tapped[] = [];
      world.meet = (tapped) => {
        // One of them alone: the second never gets there.
        if (tapped.message.kind !== 'SnapshotReady' || tapped.to !== TARGET || chunks.push(tapped) === 1) tapped.pass();
      };
      const error = await refusal('snapshot-too-large', () => world.move().wait({ timeout: 5_000 }));
      assert.match(error.message, /bytes, and this node takes at most 8000/);
      await eventually('the source goes on', () => world.source.has(origin));
      const indices = chunks.map(({ message }) => message.kind === 'SnapshotReady' && message.chunkIndex);
      assert.equal(
        indices,
        indices.map((_, i) => i),
        'none is sent again',
      );
      world.meet = ({ pass }) => pass();
      await world.publish(1);
      await world.move(SOURCE, ORCHESTRATOR).wait({ timeout: 5_000 });
      await eventually('all is published', () => world.outputs.length === 2_001);
      world.whole(ORCHESTRATOR);
    },
    { node: (id) => (id === TARGET ? { policy: { target: { maxSnapshotBytes: 8_000 } } } : {}) },
  ),
);

/** Lets time pass, as far as nothing else goes on, until that is over. */
async function inTime<T>(environment: ManualEnvironment, over: Promise<T>): Promise<T> {
  let isOver = false;
  const end = () => {
    isOver = true;
  };
  over.then(end, end);
  while (!isOver) await environment.advance(10);
  return over;
}

/**
 * Moves the daemon while events come; the frame with that number is lost.
 *
 * @param environment the nodes' own time: what is sent, and so what a number means, depends on no machine
 * @returns the frame's name; undefined where there is none
 */
async function moveWithout(
  world: TappedWorld,
  environment: ManualEnvironment,
  lost: number,
): Promise<string | undefined> {
  await world.source.deliver(world.origin, events(PUBLISHER + 1n, 1, 1_000));
  let name: string | undefined;
  let sent = 0;
  let published: Promise<void> | undefined;
  world.meet = ({ message, from, to, pass }) => {
    if (message.kind === 'CutoverNotify') published ??= world.publish(3);
    if (sent++ === lost) name = `${message.kind} ${from}→${to}`;
    else if (published) void published.then(pass);
    else pass();
  };
  await inTime(environment, world.move().wait({ timeout: 8_000 }));
  await published;
  assert.is(world.target.has(world.origin), true, `the target is live without ${name}`);
  // What was lost behind that is sent again.
  await environment.advance(1_000);
  return name;
}

weakness('#24 any single lost frame delays a migration, and no more', async () => {
  const lost = new Set<string>();
  for (let number = 0, more = true; more; number++) {
    const environment = new ManualEnvironment();
    await inTappedWorld(
      async (world) => {
        const name = await moveWithout(world, environment, number);
        if (name) lost.add(name);
        else more = false;
        assert.is(world.source.has(world.origin), false, name);
        const seen = world.seen(TARGET);
        assert.equal(seen.slice(0, 1_000), numbers(1, 1_000), name);
        assert.equal(seen.slice(1_000), numbers(1, 3), name);
        const sequences = world.outputs.map(({ link }) => link.sequence);
        assert.equal(sequences, numbers(1, seen.length), name);
      },
      { node: () => ({ environment }) },
    );
  }
  assert.equal([...lost].sort(), [
    'ActivateAck 2→3',
    'ActivateTarget 3→2',
    'ActivationConfirmed 2→1',
    'BufferedEvents 1→2',
    'BufferedEvents 3→2',
    'CleanupComplete 1→3',
    'CutoverNotify 3→1',
    'EventAck 2→1',
    'ReplayComplete 2→3',
    'RestoreComplete 2→3',
    'SnapshotReady 1→3',
    'SnapshotReady 3→2',
    'SourceStatus 1→3',
    'TakeSnapshot 3→1',
  ]);
});
