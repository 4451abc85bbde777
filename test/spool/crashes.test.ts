import * as assert from 'uvu/assert';
import { MigrationError, type MigrationMode } from '../../lib/index.js';
import { suite } from '../support.js';
import type { Fate } from './memory-disk.js';
import { inSpoolWorld, SOURCE, type SpoolWorld, type SpoolWorldOptions, TARGET } from './spool-world.js';

interface Struck {
  /** What the source was about to do; undefined where the migration had no such point any more. */
  readonly at: string | undefined;
  /** Whether an offer, or more, stood in the register then. */
  readonly wasOffered: boolean;
}

/** A migration whose source dies at one of the points at which others, its disk or the register see it do something. */
async function dieAt(world: SpoolWorld, point: number, mode: MigrationMode, fate: Fate): Promise<Struck> {
  await world.publish(5);
  let points = 0;
  let struck: Struck | undefined;
  world.point = (node, what) => {
    if (node !== SOURCE || struck) return;
    // While it moves: into its log.
    if (what.startsWith('create') || what === 'send 1' || what === 'send 7') void world.publish(2);
    if (points++ !== point) return;
    struck = { at: what, wasOffered: world.entry?.offer !== undefined || world.entry?.owner !== SOURCE };
    world.crash(SOURCE, fate, seeded(point));
  };
  world.move({ mode });
  for (let i = 0; i < 15 && !struck; i++) {
    await world.publish(2);
    await world.elapse(20);
  }
  world.point = () => {};
  return struck ?? { at: undefined, wasOffered: false };
}

/** After the source has been started again: one copy, with all; or none, where it was live when its node died. */
async function look(world: SpoolWorld, { at, wasOffered }: Struck): Promise<'back' | 'lost' | 'recovered'> {
  assert.equal(
    world.errors.filter(({ kind }) => kind === 'spool-damaged').map(({ message }) => message),
    [],
  );
  if (world.live.length > 0) {
    const node = world.whole();
    await world.publish(2);
    await world.elapse(100);
    assert.is(world.whole(), node);
    const [from, to] = node === SOURCE ? [SOURCE, TARGET] : [TARGET, SOURCE];
    const handle = world.runtime(from!).startMigration(world.origin, from!, to!);
    handle.wait().catch(() => {});
    await world.elapse(4_000);
    assert.is(world.whole(), to, 'it moves on');
    return 'back';
  }
  assert.not(wasOffered, `what was offered must not be lost (${at})`);
  try {
    const { isWhole } = await world.runtime(SOURCE).recover(world.origin);
    assert.is(isWhole, false);
    const seen = world.seen(SOURCE);
    assert.equal(seen, world.accepted.slice(0, seen.length), 'no more than was accepted, in order');
    assert.equal(world.live, [SOURCE]);
    return 'recovered';
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    assert.is(error.kind, 'daemon-not-found');
    return 'lost';
  }
}

const crashes = suite('a source that dies at any point of a migration');
const WORLDS: Readonly<Record<string, { options: SpoolWorldOptions; mode: MigrationMode; fate: Fate }>> = {
  'nothing survives but what was synced': { options: {}, mode: 'pause', fate: 'lost' },
  'all survives': { options: {}, mode: 'pause', fate: 'kept' },
  'some survives, torn': { options: { isGoneKnown: false }, mode: 'pause', fate: 'torn' },
  'live mode': { options: {}, mode: 'live', fate: 'lost' },
  'nobody hears of it': { options: { isGoneKnown: false }, mode: 'pause', fate: 'lost' },
  'it leads': { options: { orchestrator: SOURCE, isGoneKnown: false }, mode: 'live', fate: 'kept' },
};

for (const [name, { options, mode, fate }] of Object.entries(WORLDS)) {
  crashes(`and is started again: ${name}`, async () => {
    const outcomes = new Set<string>();
    for (let point = 0, more = true; more; point++) {
      await inSpoolWorld(options, async (world) => {
        const struck = await dieAt(world, point, mode, fate);
        more = struck.at !== undefined;
        try {
          if (more) {
            await world.elapse(60);
            await world.boot(SOURCE);
          }
          await world.elapse(5_000);
          outcomes.add(await look(world, struck));
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error);
          const { entry } = world;
          throw new Error(
            `point ${point} (${struck.at}): ${why}; owner ${entry?.owner} in ${entry?.epoch}; ${world.errors.map(({ message }) => message).join('; ')}`,
            { cause: error },
          );
        }
      });
    }
    assert.ok(outcomes.has('back') && outcomes.has('lost'), [...outcomes].join());
    // What was not synced can only be recovered where it survives all the same.
    if (fate !== 'torn') assert.is(outcomes.has('recovered'), fate === 'kept');
  });
}

/** The same numbers for the same seed: a linear congruential generator (Numerical Recipes). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const again = suite('a source that dies again while it takes up what it finds');
for (const isTargetThere of [true, false]) {
  again(`${isTargetThere ? 'and has a target that claims' : 'and goes on itself'}: at any point`, async () => {
    const homes = new Set<bigint>();
    for (let point = 0, more = true; more; point++) {
      await inSpoolWorld({ isGoneKnown: false }, async (world) => {
        await world.publish(5);
        world.point = (node, what) => {
          if (node !== SOURCE) return;
          if (what.startsWith('create')) void world.publish(3);
          if (what !== 'written' || world.entry?.offer === undefined) return;
          for (const id of isTargetThere ? [SOURCE] : [SOURCE, TARGET]) world.crash(id);
        };
        world.move();
        await world.elapse(200);
        let points = 0;
        let at: string | undefined;
        world.point = (node, what) => {
          if (node !== SOURCE || at !== undefined || points++ !== point) return;
          at = what;
          world.crash(SOURCE, 'kept');
        };
        // Where the node dies in it, its start never ends.
        await Promise.race([world.boot(SOURCE), world.elapse(100)]);
        await world.elapse(3_000);
        more = at !== undefined;
        world.point = () => {};
        if (more) await world.boot(SOURCE);
        await world.elapse(5_000);
        try {
          if (world.live.length > 0) homes.add(world.whole());
          else {
            // It was live when it died again, and said so first.
            assert.is((await world.runtime(SOURCE).recover(world.origin)).isWhole, false);
            assert.equal(world.seen(SOURCE), world.accepted);
            homes.add(0n);
          }
        } catch (error) {
          throw new Error(`point ${point} (${at}): ${error instanceof Error ? error.message : error}`, {
            cause: error,
          });
        }
      });
    }
    const expected = isTargetThere ? [TARGET, SOURCE] : [SOURCE, 0n];
    assert.equal([...homes].sort(), expected.sort(), [...homes].join());
  });
}
