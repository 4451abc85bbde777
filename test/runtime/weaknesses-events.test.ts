import * as assert from 'uvu/assert';
import type { CausalEvent } from '../../lib/index.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';
import { inTappedWorld, numbers, PUBLISHER, SOURCE, TARGET, type Tapped, type TappedWorld } from './tapped-world.js';

const weakness = suite('a weakness of the reference that is none here, about events');
const OTHER_PUBLISHER = 78n;

/** The target's next restore waits until what this gives is called. */
function holdRestore(world: TappedWorld): { readonly begun: () => boolean; readonly goOn: () => void } {
  let begun = false;
  let goOn!: () => void;
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  world.beforeRestore = () => {
    begun = true;
    return held;
  };
  return { begun: () => begun, goOn };
}

function bearsEvents({ message }: Tapped): boolean {
  return message.kind === 'BufferedEvents' && message.events.length > 0;
}

/** Moves the daemon; five events come when its orchestrator gives it the word to stop. `meet` gets what is sent from then on. */
async function moveWithLateEvents(world: TappedWorld, meet: (tapped: Tapped) => void): Promise<void> {
  await world.publish(5);
  let isLate = false;
  let published: Promise<void> | undefined;
  world.meet = (tapped) => {
    if (isLate) return meet(tapped);
    if (tapped.message.kind !== 'CutoverNotify') return tapped.pass();
    isLate = true;
    published = world.publish(5).then(tapped.pass);
  };
  await world.move().wait({ timeout: 5_000 });
  await published;
}

weakness('#1 logged events are told by their place in the log, whatever their own sequence: 100–102 arrive', () =>
  inTappedWorld(async (world) => {
    const { source, origin } = world;
    await source.deliver(origin, events(PUBLISHER, 1, 3));
    const { begun, goOn } = holdRestore(world);
    const handle = world.move();
    await eventually('the target restores', begun);
    const { accepted } = await source.deliver(origin, events(PUBLISHER, 100, 3));
    assert.is(accepted, 3);
    goOn();
    await handle.wait({ timeout: 5_000 });
    assert.equal(world.seen(TARGET), [1n, 2n, 3n, 100n, 101n, 102n]);
    assert.is(world.outputs.length, 6);
  }),
);

weakness('#2 publishers with the same sequences, and one that begins low, are told apart', () =>
  inTappedWorld(async (world) => {
    const { source, target, origin } = world;
    await source.deliver(origin, events(PUBLISHER, 50, 2));
    const { begun, goOn } = holdRestore(world);
    const handle = world.move();
    await eventually('the target restores', begun);
    for (const [publisher, first] of [
      [OTHER_PUBLISHER, 50],
      [PUBLISHER, 52],
      [OTHER_PUBLISHER, 52],
      [OTHER_PUBLISHER + 1n, 1],
    ] as const) {
      const { accepted, duplicates } = await source.deliver(origin, events(publisher, first, 2));
      assert.equal([accepted, duplicates], [2, 0]);
    }
    goOn();
    await handle.wait({ timeout: 5_000 });
    await target.deliver(origin, events(OTHER_PUBLISHER + 2n, 1, 1));
    assert.equal(world.seen(TARGET), [50n, 51n, 50n, 51n, 52n, 53n, 52n, 53n, 1n, 2n, 1n]);
  }),
);

weakness('#3 the last events, overtaken by ActivateTarget, are not lost: the target waits for them', () =>
  inTappedWorld(async (world) => {
    const held: Tapped[] = [];
    let hasOvertaken = false;
    await moveWithLateEvents(world, (tapped) => {
      if (bearsEvents(tapped) && !hasOvertaken) return void held.push(tapped);
      tapped.pass();
      if (tapped.message.kind !== 'ActivateTarget' || hasOvertaken) return;
      hasOvertaken = true;
      setTimeout(() => {
        assert.is(world.target.has(world.origin), false, 'it is not live before they are there');
        for (const { pass } of held) pass();
      }, 30);
    });
    assert.ok(hasOvertaken && held.length > 0);
    world.whole(TARGET);
  }),
);

weakness('#4 the last events, lost on their way, are sent again', () =>
  inTappedWorld(async (world) => {
    let lost = 0;
    await moveWithLateEvents(world, (tapped) => {
      if (bearsEvents(tapped) && lost < 2) lost++;
      else tapped.pass();
    });
    assert.is(lost, 2);
    world.whole(TARGET);
  }),
);

weakness('#5 an event over 7,000 bytes moves in its place among the others', () =>
  inTappedWorld(async (world) => {
    const { source, target, origin, outputs } = world;
    const { begun, goOn } = holdRestore(world);
    const handle = world.move();
    await eventually('the target restores', begun);
    const large = { ...events(PUBLISHER, 2, 1)[0]!, payload: new Uint8Array(7_001) };
    await source.deliver(origin, [...events(PUBLISHER, 1, 1), large, ...events(PUBLISHER, 3, 1)]);
    goOn();
    await handle.wait({ timeout: 5_000 });
    await eventually('all are processed', () => outputs.length === 3);
    assert.is(target.has(origin), true);
    assert.equal(world.seen(TARGET), [1n, 0n, 3n], 'the large one holds zeros');
  }),
);

weakness('#5 many large events go in as many batches as their frames take', () =>
  inTappedWorld(async (world) => {
    const { source, target, origin } = world;
    const sizes: number[] = [];
    world.meet = (tapped) => {
      if (bearsEvents(tapped)) sizes.push(tapped.frame.length);
      tapped.pass();
    };
    const { begun, goOn } = holdRestore(world);
    const handle = world.move();
    await eventually('the target restores', begun);
    const large = events(PUBLISHER, 1, 20).map((event) => ({ ...event, payload: paddedTo(7_000, event) }));
    await source.deliver(origin, large);
    goOn();
    await handle.wait({ timeout: 5_000 });
    assert.is(target.has(origin), true);
    assert.equal(world.seen(TARGET), numbers(1, 20));
    assert.ok(sizes.length >= 4 && Math.max(...sizes) <= 48 * 1_024, `${sizes}`);
  }),
);

function paddedTo(length: number, { payload }: CausalEvent): Uint8Array {
  const padded = new Uint8Array(length);
  padded.set(payload);
  return padded;
}

weakness(
  '#6 deliveries during a migration are logged, not processed by the copy that goes; each is published once',
  () =>
    inTappedWorld(async (world) => {
      await world.publish(3);
      const { begun, goOn } = holdRestore(world);
      const handle = world.move();
      await eventually('the target restores', begun);
      await world.publish(7);
      assert.equal(world.seen(SOURCE), numbers(1, 3), 'the old copy leaves them alone');
      assert.is(world.outputs.length, 3);
      goOn();
      await handle.wait({ timeout: 5_000 });
      await world.publish(2, TARGET);
      world.whole(TARGET);
    }),
);

weakness('#7 the restored copy cannot be reached before it is activated', () =>
  inTappedWorld(async (world) => {
    const { target, origin } = world;
    await world.publish(3);
    const held: Tapped[] = [];
    world.meet = (tapped) => (tapped.message.kind === 'ActivateTarget' ? held.push(tapped) : tapped.pass());
    const handle = world.move();
    await eventually('all that is missing is the activation', () => held.length > 0);
    assert.equal(world.seen(TARGET), numbers(1, 3), 'it is restored');
    assert.is(target.has(origin), false);
    const { accepted, refusal } = await target.deliver(origin, events(PUBLISHER, 4, 1));
    assert.equal([accepted, refusal?.kind], [0, 'moving']);
    assert.equal(world.seen(TARGET), numbers(1, 3));
    assert.is(world.outputs.length, 3);
    world.meet = ({ pass }) => pass();
    for (const { pass } of held) pass();
    await handle.wait({ timeout: 5_000 });
    await world.publish(1, TARGET);
    world.whole(TARGET);
  }),
);

weakness('#10 an abort gives the logged events to the daemon at its source, in order, before it goes on', () =>
  inTappedWorld(async (world) => {
    await world.publish(3);
    const { begun, goOn } = holdRestore(world);
    const handle = world.move();
    await eventually('the target restores', begun);
    await world.publish(5);
    assert.is(world.outputs.length, 3);
    handle.cancel();
    await refusal('cancelled', () => handle.wait({ timeout: 5_000 }));
    await world.publish(2);
    goOn();
    await eventually('all are published', () => world.outputs.length === 10);
    world.whole(SOURCE);
  }),
);

weakness(
  '#19 the first output after a migration goes on from the last one’s payload, and the horizon has come along',
  () =>
    inTappedWorld(async (world) => {
      const { target, origin, outputs } = world;
      await world.publish(4);
      await world.move().wait({ timeout: 5_000 });
      const again = await target.deliver(origin, events(PUBLISHER, 1, 4));
      assert.equal([again.accepted, again.duplicates], [4, 4], 'what the source has seen, the target knows');
      await world.publish(1, TARGET);
      await eventually('it is published', () => outputs.length === 5);
      // `whole` verifies each parent hash, which is over the payload before.
      world.whole(TARGET);
      assert.is.not(outputs[4]!.link.horizon, 0n);
    }),
);

/** Throws at 5. */
class Picky extends Recorder {
  override process(event: CausalEvent) {
    if (event.link.sequence === 5n) throw new Error('not that one');
    return super.process(event);
  }
}

weakness('#20 an event that the daemon rejects on replay is counted, reported and passed over', () =>
  inTappedWorld(
    async (world) => {
      await world.publish(3);
      const { begun, goOn } = holdRestore(world);
      const handle = world.move();
      await eventually('the target restores', begun);
      await world.publish(4);
      goOn();
      await handle.wait({ timeout: 5_000 });
      assert.equal(world.seen(TARGET), [1n, 2n, 3n, 4n, 6n, 7n]);
      assert.is(world.target.counts(world.origin).failures, 1);
      assert.is(world.errors.length, 1);
      assert.match(world.errors[0]!.message, /threw at event 5 of origin 77: not that one/);
    },
    { daemon: () => new Picky() },
  ),
);
