import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { type CausalEvent, WorkerMesh } from '../../lib/index.js';
import { events, eventually, suite } from '../support.js';
import type { ChannelCommand, ChannelHeard } from './channel-fixture.js';

const threads = suite('channels between threads');
const DAEMON = 5n;

interface World {
  readonly mesh: WorkerMesh;
  readonly ask: <T = ChannelHeard>(command: ChannelCommand) => Promise<T>;
  readonly until: (holds: (heard: ChannelHeard) => boolean) => Promise<ChannelHeard>;
}

/** A mesh whose channels keep 100 events, and a thread in it. */
async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const mesh = new WorkerMesh(1n, { keepEvents: 100 });
  const { worker } = mesh.spawn(new URL('./channel-fixture.js', import.meta.url));
  const ask = async <T>(command: ChannelCommand): Promise<T> => {
    worker.postMessage(command);
    return (await once(worker, 'message'))[0];
  };
  const until = async (holds: (heard: ChannelHeard) => boolean) => {
    for (const end = Date.now() + 10_000; Date.now() < end; ) {
      const heard = await ask<ChannelHeard>({ op: 'heard' });
      if (holds(heard)) return heard;
    }
    throw new Error('not within 10 s');
  };
  try {
    await run({ mesh, ask, until });
  } finally {
    await mesh.close();
  }
}

function numbers(first: number, last: number): bigint[] {
  return Array.from({ length: last - first + 1 }, (_, i) => BigInt(first + i));
}

threads('a thread reads behind a position, and another reader behind the same', () =>
  inWorld(async ({ mesh, ask, until }) => {
    const { position } = await ask<{ position: Uint8Array }>({ op: 'read' });
    mesh.local.publish('out', 1n, events(DAEMON, 1, 30));
    const heard = await until(({ sequences }) => sequences.length === 30);
    mesh.local.publish('out', 1n, events(DAEMON, 31, 10));
    await ask({ op: 'unsubscribe' });
    await ask({ op: 'read', after: heard.position! });
    assert.equal((await until(({ sequences }) => sequences.length >= 10)).sequences, numbers(31, 40));
    const local: bigint[] = [];
    await mesh.local.subscribe('out', { after: position }, (_, batch) => {
      for (const { link } of batch) local.push(link.sequence);
    });
    await eventually('all are here', () => local.length === 40);
    assert.equal(local, numbers(1, 40));
  }),
);

threads('a position that is no longer held is refused, with the range that is left', () =>
  inWorld(async ({ mesh, ask, until }) => {
    const { position } = await ask<{ position: Uint8Array }>({ op: 'read' });
    await ask({ op: 'unsubscribe' });
    mesh.local.publish('out', 1n, events(DAEMON, 1, 150));
    const refused = await ask<object>({ op: 'read', after: position });
    assert.equal(refused, { kind: 'position-expired', oldest: 51n, newest: 150n });
    await ask({ op: 'read', after: new Uint8Array(0) });
    assert.equal((await until(({ sequences }) => sequences.length === 100)).sequences, numbers(51, 150));
  }),
);

threads('a slow thread has one delivery in hand, loses nothing that is kept, and is told what is not', () =>
  inWorld(async ({ mesh, ask, until }) => {
    await ask({ op: 'read', isSlow: true });
    mesh.local.publish('out', 1n, events(DAEMON, 1, 1));
    await until(({ calls }) => calls === 1);
    for (let first = 2; first <= 101; first += 10) mesh.local.publish('out', 1n, events(DAEMON, first, 10));
    assert.is((await ask<ChannelHeard>({ op: 'heard' })).calls, 1);
    await ask({ op: 'goOn' });
    assert.equal((await until(({ calls }) => calls === 2)).sequences, numbers(1, 101));
    mesh.local.publish('out', 1n, events(DAEMON, 102, 101));
    await ask({ op: 'goOn' });
    const { expired, calls } = await until((heard) => heard.expired !== undefined);
    assert.is(expired, 'position-expired 103 202');
    assert.is(calls, 2);
  }),
);

threads('after unsubscribing nothing is heard', () =>
  inWorld(async ({ mesh, ask }) => {
    await ask({ op: 'read' });
    await ask({ op: 'unsubscribe' });
    mesh.local.publish('out', 1n, events(DAEMON, 1, 5));
    for (let n = 0; n < 5; n++) assert.is((await ask<ChannelHeard>({ op: 'heard' })).calls, 0);
  }),
);

threads('who publishes more than is taken is asked to wait, and nothing is cloned but the payloads', () =>
  inWorld(async ({ mesh, ask }) => {
    const heard: CausalEvent[] = [];
    await mesh.local.subscribe('out', {}, (_, batch) => void heard.push(...batch));
    assert.is(await ask({ op: 'publish', first: 1, count: 10, size: 100 }), false);
    assert.is(await ask({ op: 'publish', first: 11, count: 50, size: 100_000 }), true);
    await eventually('all are here', () => heard.length === 60);
    assert.is(heard[0]!.payload.buffer.byteLength, 100);
  }),
);
