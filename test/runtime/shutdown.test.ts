import * as assert from 'uvu/assert';
import {
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type MigrationError,
  type MigrationHandle,
  type MigrationRole,
} from '../../lib/index.js';
import { encodeMigrationFrame } from '../../lib/wire/extension.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { events, Recorder, refusal, suite } from '../support.js';
import { ManualEnvironment, settled } from './manual-environment.js';
import { inPhase, NEXT, NODE_OF, PHASES, PhaseWorld, ROLES, SOURCE, STOPS, TARGET } from './phase-world.js';

const DEADLINE_MS = 10_000;
/** A tick of the clock, and what is still under way then. */
const SLACK_MS = 100;

/** What becomes of the daemon, of the handle (its error's kind, or `completed`) and of the shutdown (undefined: nothing is left). */
interface End {
  readonly home: bigint | undefined;
  readonly handle: string;
  readonly left?: string;
}

const ENDED_AT_SOURCE: End = { home: undefined, handle: 'target-unavailable' };
const MOVED: End = { home: TARGET, handle: 'completed' };
const CANCELLED: End = { home: SOURCE, handle: 'cancelled' };
const STAYED: End = { home: SOURCE, handle: 'target-unavailable' };

/** By who shuts down, and in which phase of its half; what hangs goes on a moment later. */
const ENDS: Readonly<Record<MigrationRole, Readonly<Record<string, End>>>> = {
  source: {
    authorising: ENDED_AT_SOURCE,
    beginning: ENDED_AT_SOURCE,
    snapshotting: ENDED_AT_SOURCE,
    transferring: ENDED_AT_SOURCE,
    streaming: ENDED_AT_SOURCE,
    draining: ENDED_AT_SOURCE,
    fencing: ENDED_AT_SOURCE,
    offering: MOVED,
    offered: MOVED,
    withdrawing: { home: undefined, handle: 'cancelled' },
    recovering: { home: undefined, handle: 'cancelled' },
    releasing: MOVED,
    resuming: { home: undefined, handle: 'cancelled' },
  },
  target: {
    authorising: STAYED,
    assembling: STAYED,
    restoring: STAYED,
    holding: STAYED,
    // It has taken the daemon, which ends with it.
    claiming: { home: undefined, handle: 'completed' },
    activating: { home: undefined, handle: 'completed' },
    discarding: CANCELLED,
  },
  orchestrator: {
    Snapshot: CANCELLED,
    Transfer: CANCELLED,
    Restore: CANCELLED,
    Replay: CANCELLED,
    Cutover: CANCELLED,
    Complete: MOVED,
    Rollback: CANCELLED,
  },
};

/** Where it never goes on, the others are as above. */
const ENDS_WHILE_IT_HANGS: typeof ENDS = {
  source: {
    // Nobody can tell the register that the daemon has ended.
    beginning: { ...ENDED_AT_SOURCE, left: 'register-unavailable' },
    snapshotting: { ...ENDED_AT_SOURCE, left: 'timed-out' },
    fencing: { ...ENDED_AT_SOURCE, left: 'timed-out' },
    // Its source is gone, and the register knows of no offer.
    offering: { home: undefined, handle: 'ownership-lost', left: 'timed-out' },
    offered: ENDED_AT_SOURCE,
    withdrawing: { home: undefined, handle: 'handed-over', left: 'timed-out' },
    // What was offered stands in the register as long as the recovery does not.
    recovering: { ...MOVED, left: 'timed-out' },
    resuming: { home: undefined, handle: 'cancelled', left: 'timed-out' },
  },
  target: {
    // Its node is gone for certain with what it had claimed: the source has the newest copy that is left.
    claiming: { home: SOURCE, handle: 'target-unavailable', left: 'timed-out' },
  },
  orchestrator: {},
};

const shutdown = suite('a shutdown in the middle of a migration');

shutdown('has an end for each phase that there is', () => {
  for (const role of ROLES) assert.equal(Object.keys(ENDS[role]).sort(), [...PHASES[role]].sort(), role);
});

interface Ending {
  readonly handle: MigrationHandle;
  readonly over: Promise<void>;
  readonly since: number;
}

/** Twice: once is all that counts. From then on nothing new begins there. */
function shutDown(world: PhaseWorld, role: MigrationRole, handle: MigrationHandle): Ending {
  const node = world.nodes.get(NODE_OF[role])!;
  const over = node.shutdown();
  over.catch(() => {});
  assert.is(node.shutdown({ deadlineMs: 1 }), over);
  assert.is(node.isReady, false);
  assert.throws(
    () => node.startMigration(1n, NEXT, NODE_OF[role]),
    (error: MigrationError) => error.kind === 'not-ready',
  );
  return { handle, over, since: world.environment.nowMs() };
}

function kindOf(outcome: PromiseSettledResult<unknown>): string {
  return outcome.status === 'fulfilled' ? 'completed' : (outcome.reason as MigrationError).kind;
}

async function assertEnds(world: PhaseWorld, role: MigrationRole, { handle, over, since }: Ending, end: End) {
  const outcome = await world.outcome('the shutdown is over', over, 2 * DEADLINE_MS);
  assert.ok(world.environment.nowMs() - since <= DEADLINE_MS + SLACK_MS, 'in time');
  assert.is(outcome.status === 'rejected' ? outcome.reason.kind : undefined, end.left, 'left');
  if (outcome.status === 'rejected') assertTells(outcome.reason, world, role);
  const node = world.nodes.get(NODE_OF[role])!;
  assert.equal(node.migrations(), []);
  assert.is(node.has(world.origin), false);
  world.release();
  assert.is(kindOf(await world.outcome('the handle settles', handle.wait())), end.handle, 'handle');
  const isQuiet = () => [...world.nodes.values()].every((other) => other.migrations().length === 0);
  await world.until('nothing is under way', isQuiet, 130_000);
  await settled(20);
  assert.equal(world.homes, end.home === undefined ? [] : [end.home], 'home');
  const entry = await world.seats.get(NEXT)!.register.read(world.origin);
  if (end.home !== undefined) {
    assert.is(entry?.entry.owner, end.home);
    await world.whole();
  } else if (end.left === undefined) assert.is(entry, undefined, 'the register has forgotten it');
}

/** What is left is told one by one, and where it stands. */
function assertTells(error: MigrationError, { origin }: PhaseWorld, role: MigrationRole): void {
  const { errors } = error.cause as AggregateError;
  assert.ok(errors.length > 0);
  for (const one of errors) assert.is((one as MigrationError).details.origin, origin);
  assert.match(error.message, /^node \d has shut down, and could not bring all to its end: /);
  if (error.kind !== 'timed-out') return;
  assert.is((errors[0] as MigrationError).details.role, role);
  assert.match(error.message, new RegExp(`: daemon ${origin}, from node 1 to node 2: the ${role} was still \\w+; `));
}

for (const role of ROLES) {
  for (const phase of PHASES[role]) {
    const end = ENDS[role][phase]!;
    shutdown(`of its ${role} in ${phase}`, () =>
      PhaseWorld.run(async (world) => {
        const ending = await inPhase(world, role, phase, (handle) => shutDown(world, role, handle));
        await world.environment.advance(40);
        world.release();
        await assertEnds(world, role, ending, end);
      }),
    );

    if (STOPS[role][phase]?.passing || phase === 'Complete') continue;
    shutdown(`of its ${role} in ${phase} while that hangs`, () =>
      PhaseWorld.run(async (world) => {
        const ending = await inPhase(world, role, phase, (handle) => shutDown(world, role, handle));
        await assertEnds(world, role, ending, ENDS_WHILE_IT_HANGS[role][phase] ?? end);
      }),
    );
  }
}

shutdown('sees what its source has offered through to the activation, where it leads that', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivateTarget 3→2');
    const handle = world.move();
    await world.until('it is offered', () => world.waiting('ActivateTarget 3→2') > 0);
    const ending = shutDown(world, 'orchestrator', handle);
    await world.environment.advance(5_000);
    assert.is(handle.state, 'running', 'it is not given up');
    world.release();
    await assertEnds(world, 'orchestrator', ending, MOVED);
  }),
);

shutdown('hands what its source has offered over, where it leads that and cannot see it through', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivateTarget 3→2');
    const handle = world.move();
    await world.until('it is offered', () => world.waiting('ActivateTarget 3→2') > 0);
    const ending = shutDown(world, 'orchestrator', handle);
    await assertEnds(world, 'orchestrator', ending, { home: SOURCE, handle: 'handed-over', left: 'timed-out' });
    const error = await refusal('handed-over', () => handle.wait());
    assert.match(error.message, /^node 3 leads the migration of daemon \d+ no longer, in phase Cutover/);
    assert.is(error.details.target, TARGET);
  }),
);

for (const role of ['source', 'target'] as const) {
  const leader = NODE_OF[role];
  shutdown(`of a node that leads and is the ${role}, before the offer`, () =>
    PhaseWorld.run(async (world) => {
      world.hold('restore 2');
      const handle = world.move(SOURCE, TARGET, leader);
      await world.until('it restores', () => world.waiting('restore 2') > 0);
      const home = role === 'source' ? undefined : SOURCE;
      await assertEnds(world, role, shutDown(world, role, handle), { home, handle: 'cancelled' });
    }),
  );

  shutdown(`of a node that leads and is the ${role}, behind it`, () =>
    PhaseWorld.run(async (world) => {
      world.hold('restore 2');
      const handle = world.move(SOURCE, TARGET, leader);
      await world.until('it restores', () => world.waiting('restore 2') > 0);
      world.hold(role === 'source' ? 'written 1' : 'written 2');
      world.release('restore 2');
      const phase = role === 'source' ? 'offering' : 'claiming';
      await world.until(`it is ${phase}`, () => world.phase(role) === phase);
      const ending = shutDown(world, role, handle);
      await world.environment.advance(2_000);
      world.release();
      await assertEnds(world, role, ending, { home: role === 'source' ? TARGET : undefined, handle: 'completed' });
    }),
  );
}

shutdown('refuses what comes in meanwhile as not ready, and answers so', () =>
  PhaseWorld.run(async (world) => {
    // Node 1 sees one daemon's offer through, and has another.
    const other = await world.source.spawn('recorder', EntityKeypair.generate());
    world.hold('ActivateTarget 3→2');
    const handle = world.move();
    await world.until('it is offered', () => world.waiting('ActivateTarget 3→2') > 0);
    const over = world.source.shutdown();
    const keypair = EntityKeypair.generate();
    await refusal('not-ready', () => world.source.spawn('recorder', keypair));
    keypair.dispose();
    await refusal('not-ready', () => world.source.recover(world.origin));
    assert.is(world.source.has(other), false, 'what does not move has ended');
    const move = (origin: bigint, from: bigint, to: bigint) =>
      world.orchestrator.startMigration(origin, from, to, { retryNotReady: false }).wait();
    assert.is(kindOf(await world.outcome('a daemon is asked for', move(other, SOURCE, TARGET))), 'not-ready');
    const third = await world.target.spawn('recorder', EntityKeypair.generate());
    assert.is(kindOf(await world.outcome('a daemon is brought', move(third, TARGET, SOURCE))), 'not-ready');
    const asked = await world.outcome('a question', world.orchestrator.canMigrate(third, SOURCE));
    assert.ok(asked.status === 'fulfilled');
    assert.ok(asked.value.some(({ kind, where }) => kind === 'not-ready' && where === 'target'));
    world.release();
    await world.outcome('it is over', over);
    await handle.wait();
    assert.equal(world.homes, [TARGET]);
  }),
);

shutdown('ends what waits to be tried again, and what asks beforehand, at once', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivateTarget 3→2');
    const decided = world.move();
    await world.until('it is offered', () => world.waiting('ActivateTarget 3→2') > 0);
    const other = await world.source.spawn('recorder', EntityKeypair.generate());
    const { environment } = world;
    const idle = new DaemonRuntime({ mesh: world.seat(), environment, orchestrators: [NODE_OF.orchestrator] });
    const retrying = world.orchestrator.startMigration(other, SOURCE, idle.nodeId);
    await world.until('it is to be tried again', () => retrying.state === 'retrying');
    world.hold('Probe 3→1');
    const asking = world.orchestrator.canMigrate(other, TARGET);
    await world.until('it asks', () => world.waiting('Probe 3→1') > 0);
    const over = world.orchestrator.shutdown();
    await refusal('cancelled', () => retrying.wait());
    assert.ok((await asking).some(({ kind, where }) => kind === 'not-ready' && where === 'orchestrator'));
    assert.is(decided.state, 'running', 'and nothing of the rest');
    world.release();
    await world.outcome('it is over', over);
    await decided.wait();
    await idle.shutdown();
  }),
);

shutdown('of a source whose target is live, and whose every word on that is lost: the register tells', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivationConfirmed 2→1');
    const handle = world.move();
    await world.until('it is live', () => world.homes.includes(TARGET));
    await assertEnds(world, 'source', shutDown(world, 'source', handle), MOVED);
  }),
);

shutdown('of a target that is live, and of which its source has not heard: that one lets go too', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivationConfirmed 2→1');
    const handle = world.move();
    await world.until('it is live', () => world.homes.includes(TARGET));
    await world.outcome('it is completed', handle.wait());
    assert.is(world.phase('source'), 'offered');
    const over = world.target.shutdown();
    await world.outcome('it is over', over);
    world.lose('ActivationConfirmed 2→1');
    await world.until('the source lets go', () => world.phase('source') === undefined);
    assert.equal(world.homes, []);
    await refusal('daemon-not-found', () => world.source.keypair(world.origin));
  }),
);

shutdown('of a source that has taken its offer back, and cannot go on: the register forgets the daemon', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivateTarget 3→2');
    const handle = world.move();
    await world.until('it is offered', () => world.phase('source') === 'offered');
    world.hold('health 1');
    void world.source.health(world.origin);
    await assertEnds(world, 'source', shutDown(world, 'source', handle), { ...ENDED_AT_SOURCE, left: 'timed-out' });
    assert.is(await world.seats.get(NEXT)!.register.read(world.origin), undefined);
  }),
);

const ending = suite('a shutdown');

/** A node alone, with a daemon. */
async function alone() {
  const environment = new ManualEnvironment();
  const seats = new InProcessMesh();
  const mesh = seats.join();
  const node = new DaemonRuntime({ mesh, environment, onError: () => {} });
  const daemon = new Recorder();
  node.registerFactory('recorder', () => daemon);
  node.start();
  const keypair = EntityKeypair.generate();
  const origin = await node.spawn('recorder', keypair);
  return { environment, seats, mesh, node, daemon, keypair, origin };
}

const never = () => new Promise<never>(() => {});

for (const deadlineMs of [undefined, 500, 0]) {
  const named = deadlineMs === undefined ? 'the default' : `${deadlineMs} ms`;
  ending(`takes no longer than its deadline where register and mesh say nothing: ${named}`, async () => {
    const { environment, mesh, node, keypair } = await alone();
    mesh.register.read = never;
    mesh.close = never;
    const refused = refusal('timed-out', () => node.shutdown(deadlineMs === undefined ? {} : { deadlineMs }));
    assert.is(keypair.canSign, false, 'the key is wiped at once');
    await settled();
    await environment.advance(deadlineMs ?? DEADLINE_MS);
    // Each has a turn at least.
    await environment.advance(0);
    const error = await refused;
    const kinds = (error.cause as AggregateError).errors.map(({ kind }: MigrationError) => kind);
    assert.equal(kinds, ['register-unavailable', 'timed-out']);
    assert.match(error.message, /may still name this node .*; the mesh of node 1 did not close in time/);
    assert.is(environment.timers, 0);
  });
}

ending('takes no deadline that is none', async () => {
  const { node, origin } = await alone();
  for (const deadlineMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, '5', null] as number[])
    assert.throws(() => node.shutdown({ deadlineMs }), /^deadlineMs must be a number of milliseconds/);
  assert.ok(node.has(origin), 'nothing has ended');
  await node.shutdown({ deadlineMs: 2 ** 31 - 1 });
});

ending('is waited for where the node goes out of scope, and leaves nothing of a daemon that hangs', async () => {
  const { environment, mesh, node, daemon, keypair, origin } = await alone();
  daemon.before = () => never();
  void node.deliver(origin, events(77n, 1, 1));
  {
    await using scoped = node;
    assert.ok(scoped.has(origin));
  }
  assert.is(keypair.canSign, false);
  assert.is(environment.timers, 0);
  assert.is(mesh.register.read(origin), undefined);
});

ending('answers whoever waits for an answer of a node that says nothing', async () => {
  const { seats, node } = await alone();
  const silent = seats.join();
  const publisher = node.publisher(7n, silent.nodeId);
  await publisher.send(events(77n, 1, 1));
  const flushed = refusal('target-unavailable', () => publisher.flush());
  await node.shutdown();
  await flushed;
});

ending('survives frames that come while the register is asked', async () => {
  const { seats, mesh, node, origin } = await alone();
  const peer = seats.join();
  let goOn = () => {};
  const { read } = mesh.register;
  mesh.register.read = async (of) => {
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
    return read.call(mesh.register, of);
  };
  const over = node.shutdown();
  await settled();
  const message = { kind: 'TakeSnapshot', daemonOrigin: origin, targetNode: peer.nodeId } as const;
  peer.send(node.nodeId, SUBPROTOCOL_MIGRATION, encodeMigrationFrame(typescriptCodec, message, undefined));
  await settled();
  goOn();
  await over;
});
