import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/index.js';
import { Recorder, suite } from '../support.js';
import type { DiskOperation } from './memory-disk.js';
import { inSpoolWorld, SOURCE, type SpoolWorld, TARGET } from './spool-world.js';

/** A migration during which the source's disk refuses what `refuses` says. @returns how it failed, where it did */
async function moveOver(
  world: SpoolWorld,
  refuses: (operation: DiskOperation, index: number) => string | undefined,
): Promise<MigrationError | undefined> {
  let index = 0;
  world.disk(SOURCE).fault = (operation) => {
    if (operation.kind === 'create') void world.publish(3);
    return refuses(operation, index++);
  };
  await world.publish(5);
  const handle = world.move();
  let failure: unknown;
  handle.wait().catch((error: unknown) => {
    failure = error;
  });
  await world.publish(2);
  await world.elapse(5_000);
  world.disk(SOURCE).fault = () => undefined;
  if (failure !== undefined) assert.instance(failure, MigrationError);
  return failure as MigrationError | undefined;
}

const MIB = 1024 * 1024;
const faults = suite('a disk that fails');

for (const [code, kind] of [
  ['ENOSPC', 'spool-full'],
  ['EIO', 'spool-failed'],
] as const) {
  for (const isLasting of [false, true]) {
    faults(
      `with ${code}, ${isLasting ? 'from then on' : 'once'}, at any operation: the daemon goes on with all`,
      async () => {
        const failed: string[] = [];
        for (let point = 0, more = true; more; point++) {
          await inSpoolWorld({}, async (world) => {
            let at: string | undefined;
            const failure = await moveOver(world, ({ kind: what }, index) => {
              if (index !== point && !(isLasting && index > point)) return undefined;
              at ??= what;
              return code;
            });
            more = at !== undefined;
            const node = world.whole();
            assert.is(node, failure ? SOURCE : TARGET, `${point}: ${at}`);
            if (more)
              assert.ok(
                world.errors.some((error) => error.kind === kind),
                `${point}: ${at} is reported`,
              );
            if (failure) {
              assert.is(failure.kind, kind);
              assert.match(failure.message, new RegExp(code));
              failed.push(at!);
              // With a disk that works again it moves.
              world
                .runtime(SOURCE)
                .startMigration(world.origin, SOURCE, TARGET)
                .wait()
                .catch(() => {});
              await world.elapse(3_000);
              assert.is(world.whole(), TARGET);
            }
          });
        }
        assert.ok(
          ['create', 'write', 'sync'].every((what) => failed.includes(what)),
          failed.join(),
        );
      },
    );
  }
}

faults('while a large state is on its way ends that at once', () =>
  inSpoolWorld({ daemon: () => new Large(8) }, async (world) => {
    let sent = 0;
    world.point = (node, what) => {
      if (node === SOURCE && what === 'send 1') sent++;
    };
    let handed = 0;
    const failure = await moveOver(world, ({ kind }) => (kind === 'write' && ++handed > 3 ? 'ENOSPC' : undefined));
    assert.is(failure?.kind, 'spool-full');
    assert.is(world.live[0], SOURCE);
    // What was cut short takes no room any more.
    assert.is(world.disk(SOURCE).contents().size, 0);
    assert.ok(sent < 1_000);
  }),
);

faults('that is slow: the offer waits for it, and nothing is lost', () =>
  inSpoolWorld({}, async (world) => {
    world.disk(SOURCE).delay = ({ kind }) =>
      new Promise((resolve) => (kind === 'sync' ? setTimeout(resolve, 100) : resolve()));
    await world.publish(5);
    world.move();
    await world.elapse(200);
    assert.is(world.entry!.offer, undefined);
    await new Promise((resolve) => setTimeout(resolve, 120));
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
  }),
);

faults('that takes nothing for a while holds a large snapshot back, and the daemon is not stopped for it', () =>
  inSpoolWorld({ daemon: () => new Large(72) }, async (world) => {
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    let writes = 0;
    world.disk(SOURCE).delay = ({ kind }) => (kind === 'write' && ++writes > 3 ? opened : Promise.resolve());
    let sent = 0;
    world.point = (node, what) => {
      if (node === SOURCE && what === 'send 1') sent++;
    };
    await world.publish(5);
    world.move();
    await world.elapse(800);
    assert.ok(sent > 5_000 && sent * 7_000 < 66 * MIB, `${sent} chunks`);
    await world.publish(3);
    assert.is(world.accepted.length, 8);
    open();
    await world.elapse(3_000);
    assert.is(world.whole(), TARGET);
  }),
);

/** So many megabytes beside what it has seen. */
class Large extends Recorder {
  readonly #megabytes: number;

  constructor(megabytes: number) {
    super();
    this.#megabytes = megabytes;
  }

  override snapshot(): Uint8Array {
    const own = super.snapshot() as Uint8Array;
    return Buffer.concat([own, new Uint8Array(this.#megabytes * MIB)]);
  }

  override restore(state: Uint8Array): void | Promise<void> {
    return super.restore(state.subarray(0, state.length - this.#megabytes * MIB));
  }
}
