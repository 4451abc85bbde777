import * as assert from 'uvu/assert';
import { createCodec } from '../../lib/index.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { events, eventually, refusal, suite } from '../support.js';
import {
  inTappedWorld,
  numbers,
  ORCHESTRATOR,
  PUBLISHER,
  SOURCE,
  STRANGER,
  TARGET,
  type Tapped,
  type TappedWorld,
} from './tapped-world.js';

const weakness = suite('a weakness of the reference that is none here, about who says what');
const LINK = (origin: bigint) => ({ originHash: origin, horizon: 0n, sequence: 99n, parentHash: 0n });
const REQUEST = { requestId: new Uint8Array(16).fill(9), transportIdentity: 1n };

/** Moves the daemon while events come; before each frame is handed on, `forge` is called, and what it sent has arrived. */
async function moveUnderForgery(world: TappedWorld, forge: (tapped: Tapped) => void): Promise<Set<string>> {
  const met = new Set<string>();
  await world.publish(3);
  let events = 4;
  world.meet = (tapped) => {
    met.add(tapped.message.kind);
    forge(tapped);
    const isLive = world.source.has(world.origin);
    const published = isLive && events-- > 0 ? world.publish(1) : Promise.resolve();
    // A forged frame needs two turns from the stranger to its receiver.
    void published.then(() => setTimeout(tapped.pass, 2));
  };
  await world.move().wait({ timeout: 8_000 });
  world.meet = ({ pass }) => pass();
  await world.publish(1, TARGET);
  await eventually('all is published', () => world.outputs.length === Number(world.seen(TARGET).length));
  return met;
}

function refusedFrames({ nodes }: TappedWorld): number {
  return [...nodes.values()].reduce((sum, node) => sum + node.refusedFrames, 0);
}

weakness('#15 CutoverNotify from a stranger retires no source and sends it nothing, in any phase', () =>
  inTappedWorld(async (world) => {
    const { origin } = world;
    let forged = 0;
    const met = await moveUnderForgery(world, ({ trailer }) => {
      forged++;
      world.forge(SOURCE, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: STRANGER }, trailer);
      world.forge(SOURCE, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: TARGET }, trailer);
    });
    assert.ok(met.has('ActivateTarget') && forged > 8);
    await eventually('all that was forged is refused', () => refusedFrames(world) >= 2 * forged);
    assert.equal(world.answers, []);
    world.whole(TARGET);
  }),
);

weakness(
  '#15 CutoverNotify from the orchestrator itself counts for the target that the source has recorded alone',
  () =>
    inTappedWorld(async (world) => {
      const { origin } = world;
      const held: Tapped[] = [];
      world.meet = (tapped) => (tapped.message.kind === 'CutoverNotify' ? held.push(tapped) : tapped.pass());
      const handle = world.move();
      await eventually('all waits for the cutover', () => held.length > 0);
      const before = world.source.refusedFrames;
      const message = { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: STRANGER } as const;
      world.meet = ({ pass }) => pass();
      world.sendFrom(ORCHESTRATOR, SOURCE, message, held[0]!.trailer);
      await eventually('it is refused', () => world.source.refusedFrames > before);
      assert.is(world.source.has(origin), true);
      assert.equal(world.answers, []);
      held[0]!.pass();
      await handle.wait({ timeout: 5_000 });
      assert.is(world.target.has(origin), true);
    }),
);

weakness('#15 CutoverNotify for a daemon that was never here is not answered as if it had been handed over', () =>
  inTappedWorld(async (world) => {
    world.forge(SOURCE, { kind: 'CutoverNotify', daemonOrigin: 12_345n, targetNode: STRANGER });
    await eventually('it is refused', () => world.source.refusedFrames > 0);
    assert.ok(world.answers.every(({ kind }) => kind !== 'CleanupComplete'));
  }),
);

weakness('#16 TakeSnapshot from a stranger gets neither state nor key: not authorised', () =>
  inTappedWorld(async (world) => {
    const { origin } = world;
    await world.publish(3);
    world.stranger.announce(new Uint8Array(32).fill(9));
    for (const trailer of [REQUEST, { ...REQUEST, transportIdentity: 0n }]) {
      for (const targetNode of [STRANGER, TARGET]) {
        const before = world.answers.length;
        world.forge(SOURCE, { kind: 'TakeSnapshot', daemonOrigin: origin, targetNode }, trailer);
        await eventually('it is answered', () => world.answers.length > before);
      }
    }
    for (const answer of world.answers) {
      assert.ok(answer.kind === 'MigrationFailed' && answer.reason.kind === 'StateFailed');
      assert.is(answer.reason.message, 'not authorised');
    }
    await world.publish(1);
    world.whole(SOURCE);
  }),
);

weakness('#16 by default a node gives its daemons away to itself alone', () =>
  inTappedWorld(
    async (world) => {
      await world.publish(2);
      const error = await refusal('not-authorised', () => world.move().wait({ timeout: 5_000 }));
      assert.match(error.message, /not authorised/);
      await world.publish(1);
      world.whole(SOURCE);
    },
    { node: (id) => (id === SOURCE ? { orchestrators: [] } : {}) },
  ),
);

weakness('#17 what a stranger says of a target’s progress drives nothing on, in any phase', () =>
  inTappedWorld(async (world) => {
    const { origin } = world;
    let forged = 0;
    const met = await moveUnderForgery(world, ({ trailer }) => {
      for (const to of [SOURCE, TARGET, ORCHESTRATOR]) {
        for (const own of [undefined, trailer]) {
          forged += 5;
          const said = { daemonOrigin: origin, replayedSeq: 99n, restoredSeq: 99n, targetHead: LINK(origin) };
          for (const kind of ['RestoreComplete', 'ReplayComplete', 'ActivateAck'] as const)
            world.forge(to, { ...said, kind }, own);
          for (const kind of ['CleanupComplete', 'ActivateTarget'] as const)
            world.forge(to, { kind, daemonOrigin: origin }, own);
        }
      }
    });
    assert.ok(met.has('ActivateAck'));
    await eventually(`${forged} frames are refused`, () => refusedFrames(world) >= forged);
    world.whole(TARGET);
  }),
);

weakness('#17 the target’s own words in a phase where they are not due, or of another try, drive nothing on', () =>
  inTappedWorld(async (world) => {
    const { origin } = world;
    const held: Tapped[] = [];
    world.meet = (tapped) =>
      tapped.message.kind === 'SnapshotReady' && tapped.to === TARGET ? held.push(tapped) : tapped.pass();
    const handle = world.move();
    await eventually('the snapshot is on its way', () => held.length > 0);
    const { phase } = handle;
    const attempt = held[0]!.trailer?.try ?? 0n;
    for (const trailer of [{ try: attempt }, { try: attempt + 1n }]) {
      const message = { kind: 'ActivateAck', daemonOrigin: origin, replayedSeq: 0n } as const;
      world.sendFrom(TARGET, ORCHESTRATOR, message, trailer);
    }
    await eventually('the one of this try is refused', () => world.orchestrator.refusedFrames > 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.is(handle.phase, phase);
    assert.is(world.target.has(origin), false);
    world.meet = ({ pass }) => pass();
    for (const { pass } of held) pass();
    await handle.wait({ timeout: 5_000 });
    world.whole(TARGET);
  }),
);

weakness('#18 BufferedEvents from a stranger is not processed, and the genuine event is no duplicate of it', () =>
  inTappedWorld(async (world) => {
    const { origin } = world;
    const forgery: CausalEvent[] = events(PUBLISHER, 1, 9).map((event) => ({
      ...event,
      payload: new Uint8Array(8).fill(66),
    }));
    const met = await moveUnderForgery(world, ({ trailer }) => {
      for (const own of [undefined, trailer, { ...trailer, logFrom: 1n }])
        world.forge(TARGET, { kind: 'BufferedEvents', daemonOrigin: origin, events: forgery }, own);
    });
    assert.ok(met.has('BufferedEvents'));
    assert.equal(world.seen(TARGET), numbers(1, world.seen(TARGET).length));
    world.whole(TARGET);
  }),
);

weakness('#21 late duplicates of an old snapshot revive nothing, beside the live copy or after it has moved on', () =>
  inTappedWorld(async (world) => {
    const { origin, target } = world;
    const chunks: Tapped[] = [];
    world.meet = (tapped) => {
      if (tapped.message.kind === 'SnapshotReady' && tapped.to === TARGET) chunks.push(tapped);
      tapped.pass();
    };
    await world.publish(3);
    await world.move().wait({ timeout: 5_000 });
    assert.ok(chunks.length > 0);
    const again = async () => {
      for (const { pass } of [...chunks]) pass();
      await new Promise((resolve) => setTimeout(resolve, 100));
    };
    await again();
    await world.publish(1, TARGET);
    world.whole(TARGET);
    await world.move(TARGET, ORCHESTRATOR).wait({ timeout: 5_000 });
    await again();
    assert.is(target.has(origin), false);
    assert.is((await world.seats.get(TARGET)!.register.read(origin))!.entry.owner, ORCHESTRATOR);
    const { accepted } = await tryDeliver(world);
    assert.is(accepted, 0);
    await world.publish(1, ORCHESTRATOR);
    await eventually('it is published', () => world.outputs.length === 5);
    world.whole(ORCHESTRATOR);
  }),
);

/** What node 2 accepts. */
async function tryDeliver({ target, origin }: TappedWorld): Promise<{ readonly accepted: number }> {
  return target.deliver(origin, events(PUBLISHER, 5, 1));
}

for (const engine of ['native', 'typescript'] as const) {
  weakness(`#22 a subscription’s token over 65,535 bytes is refused when it is recorded: ${engine}`, async () => {
    const ledger = createCodec({ engine }).createLedger();
    ledger.record(1n, 'sensors', new Uint8Array(65_535));
    const before = ledger.encode();
    const error = await refusal('token-too-long', () => ledger.record(2n, 'sensors', new Uint8Array(65_536)));
    assert.match(error.message, /65536 bytes/);
    await refusal('token-too-long', () => ledger.record(1n, 'sensors', new Uint8Array(65_536)));
    assert.equal(ledger.encode(), before, 'and nothing has changed');
  });
}
