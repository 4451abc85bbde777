import * as assert from 'uvu/assert';
import type { StreamedState } from '../../lib/daemon/daemon.js';
import { Recorder, suite } from '../support.js';
import { inSpoolWorld, SOURCE, type SpoolWorld, TARGET } from './spool-world.js';

const PADDING = 3_000_000;

/** Streams what it has seen, and much beside it. */
class Streaming extends Recorder {
  opened = 0;
  readonly #isOnce: boolean;

  constructor(isOnce: boolean) {
    super();
    this.#isOnce = isOnce;
  }

  override snapshot(): never {
    const own = BigUint64Array.from(this.seen);
    const open = () => this.#pieces(new Uint8Array(own.buffer));
    const streamed: StreamedState = { byteLength: PADDING + own.byteLength, chunks: this.#isOnce ? open() : open };
    return streamed as never;
  }

  async *#pieces(own: Uint8Array): AsyncIterable<Uint8Array> {
    this.opened++;
    for (let at = 0; at < PADDING; at += 10_000) yield new Uint8Array(10_000).fill(at / 10_000);
    yield own;
  }

  override restore(state: Uint8Array): void {
    for (let at = 0; at < PADDING; at += 7_777) assert.is(state[at], Math.floor(at / 10_000) & 0xff);
    super.restore(state.slice(PADDING));
  }
}

const written = (what: string, world: SpoolWorld) => what === 'written' && world.entry?.offer !== undefined;
const streamed = suite('a state that is streamed, with a spool');

for (const isOnce of [true, false]) {
  const name = isOnce ? 'that can be read once' : 'that can be read again';
  const options = { daemon: () => new Streaming(isOnce) };

  streamed(`${name} moves, and is read once`, () =>
    inSpoolWorld(options, async (world) => {
      const daemon = world.lives.get(SOURCE)!.made[0] as Streaming;
      await world.publish(10);
      world.move();
      await world.publish(3);
      await world.elapse(3_000);
      assert.is(world.whole(), TARGET);
      assert.is(daemon.opened, 1);
      assert.is(world.disk(SOURCE).contents().size, 0);
    }),
  );

  streamed(`${name} is read from the spool where chunks were lost`, () =>
    inSpoolWorld(options, async (world) => {
      const daemon = world.lives.get(SOURCE)!.made[0] as Streaming;
      const lost = new Set([3, 50, 51, 400]);
      let sent = 0;
      world.loses = (node, what) => node === SOURCE && what === 'send 1' && lost.delete(sent++);
      await world.publish(10);
      world.move();
      await world.publish(3);
      await world.elapse(4_000);
      assert.is(lost.size, 0);
      assert.is(world.whole(), TARGET);
      assert.is(daemon.opened, 1);
    }),
  );

  streamed(`${name} comes back with a source that is started again`, () =>
    inSpoolWorld(options, async (world) => {
      world.point = (node, what) => {
        if (node === SOURCE && written(what, world)) for (const id of [SOURCE, TARGET]) world.crash(id);
      };
      await world.publish(10);
      world.move();
      await world.publish(3);
      await world.elapse(1_000);
      world.point = () => {};
      assert.is(world.lives.has(SOURCE), false);
      await world.boot(SOURCE);
      await world.elapse(3_000);
      assert.is(world.whole(), SOURCE);
    }),
  );

  streamed(`${name} and a migration that is cancelled on the way leave nothing behind, and no error`, () =>
    inSpoolWorld(options, async (world) => {
      let sent = 0;
      let handle: ReturnType<SpoolWorld['move']> | undefined;
      world.point = (node, what) => {
        if (node === SOURCE && what === 'send 1' && ++sent === 100) void handle!.cancel();
      };
      await world.publish(10);
      handle = world.move();
      await world.elapse(3_000);
      assert.ok(sent >= 100);
      assert.is(world.whole(), SOURCE);
      assert.is(world.disk(SOURCE).contents().size, 0);
      assert.equal(
        world.errors.map(({ message }) => message),
        [],
      );
    }),
  );

  streamed(`${name} fails with a disk that does`, () =>
    inSpoolWorld(options, async (world) => {
      let writes = 0;
      world.disk(SOURCE).fault = ({ kind }) => (kind === 'write' && ++writes > 4 ? 'ENOSPC' : undefined);
      await world.publish(10);
      const handle = world.move();
      let failure: unknown;
      handle.wait().catch((error: unknown) => {
        failure = error;
      });
      await world.elapse(3_000);
      assert.match(String(failure), /ENOSPC/);
      assert.is(world.whole(), SOURCE);
      assert.is(world.disk(SOURCE).contents().size, 0);
    }),
  );
}
