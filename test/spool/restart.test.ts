import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { inSpoolWorld, SOURCE, type SpoolWorld, TARGET } from './spool-world.js';

/** Runs a migration until what `holds` says, and lets the source die there. */
async function crashWhen(
  world: SpoolWorld,
  holds: (what: string, world: SpoolWorld) => boolean,
  nodes: readonly bigint[] = [SOURCE],
): Promise<void> {
  let isStruck = false;
  world.point = (node, what) => {
    if (isStruck || node !== SOURCE || !holds(what, world)) return;
    isStruck = true;
    for (const id of nodes) world.crash(id);
  };
  await world.publish(10);
  world.move();
  for (let i = 0; i < 40 && !isStruck; i++) {
    await world.publish(1);
    await world.elapse(20);
  }
  world.point = () => {};
  assert.ok(isStruck, 'the source has crashed');
}

const restart = suite('a source that is started again');

restart('goes on with a daemon that its target has not claimed', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, (what) => what === 'written' && world.entry?.offer !== undefined, [SOURCE, TARGET]);
    await world.elapse(100);
    assert.equal(world.live, []);
    await world.boot(SOURCE);
    assert.equal(world.live, []);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
    await world.publish(3);
    await world.elapse(100);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('hears of the activation, and lets go', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, (what) => what === 'written' && world.entry?.offer !== undefined);
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
    await world.boot(SOURCE);
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
    assert.is(world.disk(SOURCE).contents().size, 0);
  }),
);
