import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  createCodec,
  DaemonFactoryRegistry,
  DaemonRegistry,
  DaemonRuntime,
  type DaemonRuntimeOptions,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MeshDaemon,
  type MigrationError,
  type MigrationHandle,
  MigrationOrchestrator,
  type MigrationRole,
  MigrationSourceHandler,
  MigrationTargetHandler,
  type OwnershipRegister,
  secureMemoryStatus,
} from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import { events, Recorder } from '../support.js';
import { evenPolicy } from './even-policy.js';
import { ManualEnvironment, settled } from './manual-environment.js';
import { numbers, ORCHESTRATOR, PUBLISHER, SOURCE, TARGET, type Tapped, tapped } from './tapped-world.js';

export { ORCHESTRATOR, SOURCE, TARGET };
/** Where the daemon can move afterwards. */
export const NEXT = 4n;
const NODES = [SOURCE, TARGET, ORCHESTRATOR, NEXT];
export const NODE_OF: Readonly<Record<MigrationRole, bigint>> = {
  source: SOURCE,
  target: TARGET,
  orchestrator: ORCHESTRATOR,
};

/** So many events before the migration that the snapshot has three chunks. */
const HISTORY = 2_000;
const PATIENT = evenPolicy({
  phase: { deadlineMs: 60_000, tries: 60 },
  rollback: { deadlineMs: 2_000, tries: 10 },
  sourceMs: 60_000,
  targetMs: 60_000,
  repeatMs: 200,
});

/** A recorder that a test can make wait in `health` too. */
class Patient extends Recorder {
  ask: () => MaybePromise<void> = () => {};

  health(): MaybePromise<{ status: 'healthy' }> {
    const wait = this.ask();
    return wait ? wait.then(() => ({ status: 'healthy' }) as const) : { status: 'healthy' };
  }
}

/**
 * Four nodes on a clock of the test's, a daemon on the first, and named places at which what is under way waits as long as the test
 * holds them: `authorize 1`, `read 1`, `write 1` and `written 1` (the register, and its answer), `snapshot 1`, `restore 2`, `process 1`, `health 1`, each with the node;
 * and frames, as `ActivateTarget 3→2`; `SnapshotReady 3→2 last` is the last chunk.
 */
export class PhaseWorld {
  readonly environment = new ManualEnvironment();
  readonly nodes = new Map<bigint, DaemonRuntime>();
  readonly seats = new Map<bigint, Mesh>();
  readonly daemons = new Map<bigint, Patient[]>();
  readonly outputs: CausalEvent[] = [];
  readonly errors: MigrationError[] = [];
  /** Told in the very moment, from within. */
  onWipe: (() => void) | undefined;
  onPublish: ((node: bigint) => void) | undefined;
  origin = 0n;
  readonly #held = new Map<string, Array<() => void>>();
  #published = 0;

  readonly #secrets = secureMemoryStatus().secrets;

  readonly #mesh = new InProcessMesh();

  private constructor() {
    for (const id of NODES) this.#join(id, this.#mesh.join(id));
  }

  /** For a node more. */
  seat(): Mesh {
    return this.#mesh.join();
  }

  static async run(test: (world: PhaseWorld) => Promise<void>): Promise<void> {
    const world = new PhaseWorld();
    const wipe = EntityKeypair.prototype.wipeSecret;
    EntityKeypair.prototype.wipeSecret = function (this: EntityKeypair) {
      world.onWipe?.();
      wipe.call(this);
    };
    try {
      await world.seats.get(NEXT)!.subscribe('recorder', {}, (_, outputs) => void world.outputs.push(...outputs));
      world.origin = await world.source.spawn('recorder', EntityKeypair.generate());
      await world.publish(HISTORY);
      await test(world);
      await world.end();
    } finally {
      EntityKeypair.prototype.wipeSecret = wipe;
    }
  }

  get source(): DaemonRuntime {
    return this.nodes.get(SOURCE)!;
  }

  get target(): DaemonRuntime {
    return this.nodes.get(TARGET)!;
  }

  get orchestrator(): DaemonRuntime {
    return this.nodes.get(ORCHESTRATOR)!;
  }

  hold(...places: readonly string[]): void {
    for (const place of places) this.#held.set(place, []);
  }

  /** What waits at these places goes on; without any: everywhere. */
  release(...places: readonly string[]): void {
    for (const place of places.length > 0 ? places : [...this.#held.keys()]) {
      const waiting = this.#held.get(place) ?? [];
      this.#held.delete(place);
      for (const goOn of waiting) goOn();
    }
  }

  /** What waits at a place never goes on; what comes there later does. */
  lose(place: string): void {
    this.#held.delete(place);
  }

  /** How many wait at a place. */
  waiting(place: string): number {
    return this.#held.get(place)?.length ?? 0;
  }

  #at(place: string): Promise<void> | undefined {
    const waiting = this.#held.get(place);
    return waiting && new Promise((resolve) => waiting.push(resolve));
  }

  #join(id: bigint, seat: Mesh): void {
    this.seats.set(id, seat);
    const options: DaemonRuntimeOptions = {
      mesh: this.#tapped(id, seat),
      environment: this.environment,
      authorize: () => {
        const wait = this.#at(`authorize ${id}`);
        return wait ? wait.then(() => true) : true;
      },
      policy: PATIENT,
      onError: (error) => this.errors.push(error),
    };
    const runtime = new DaemonRuntime(options);
    runtime.registerFactory('recorder', () => this.#daemon(id));
    runtime.start();
    this.nodes.set(id, runtime);
  }

  #tapped(id: bigint, seat: Mesh): Mesh {
    const register = this.#tappedRegister(id, seat.register);
    const publish: Mesh['publish'] = (channel, epoch, outputs) => {
      this.onPublish?.(id);
      return seat.publish(channel, epoch, outputs);
    };
    return new Proxy(
      tapped(seat, (one) => this.#meet(one)),
      {
        get(target, name) {
          if (name === 'register') return register;
          if (name === 'publish') return publish;
          return Reflect.get(target, name, target) as unknown;
        },
      },
    );
  }

  #tappedRegister(id: bigint, register: OwnershipRegister): OwnershipRegister {
    const { read, compareAndSet } = register;
    return {
      read: async (origin) => {
        await this.#at(`read ${id}`);
        return read.call(register, origin);
      },
      compareAndSet: async (...change) => {
        await this.#at(`write ${id}`);
        const isWritten = await compareAndSet.apply(register, change);
        await this.#at(`written ${id}`);
        return isWritten;
      },
    };
  }

  #meet({ from, to, message, pass }: Tapped): void {
    const isLast = message.kind === 'SnapshotReady' && message.chunkIndex === message.totalChunks - 1;
    const place = `${message.kind} ${from}→${to}`;
    const waiting = (isLast ? this.#held.get(`${place} last`) : undefined) ?? this.#held.get(place);
    if (waiting) waiting.push(pass);
    else pass();
  }

  #daemon(id: bigint): MeshDaemon {
    const daemon = new Patient();
    daemon.before = (call) => this.#at(`${call} ${id}`);
    daemon.ask = () => this.#at(`health ${id}`);
    this.daemons.set(id, [...(this.daemons.get(id) ?? []), daemon]);
    return daemon;
  }

  /** Begins to move the daemon from its source to its target, led by the orchestrator. */
  move(source = SOURCE, target = TARGET, leader = ORCHESTRATOR) {
    return this.nodes.get(leader)!.startMigration(this.origin, source, target);
  }

  /** The publisher's next events, which whoever has the daemon must take. */
  async publish(count: number, node = SOURCE): Promise<void> {
    const next = events(PUBLISHER, this.#published + 1, count);
    this.#published += count;
    const { accepted } = await this.nodes.get(node)!.deliver(this.origin, next);
    assert.is(accepted, count, `node ${node} takes events`);
  }

  /** In which phase a role is; undefined where it has no part in the migration. */
  phase(role: MigrationRole): string | undefined {
    const all = this.nodes.get(NODE_OF[role])!.migrations();
    return all.find((status) => status.role === role && status.origin === this.origin)?.phase;
  }

  /** Moves the clock on until something holds. */
  async until(what: string, holds: () => boolean, ms = 10_000): Promise<void> {
    await settled();
    for (let passed = 0; passed < ms; passed += 20) {
      if (holds()) return;
      await this.environment.advance(20);
      this.assertOne();
    }
    throw new Error(`after ${ms} ms, still not: ${what} (${this.describe()})`);
  }

  /** Moves the clock on until a promise has settled. */
  async outcome<T>(what: string, promise: Promise<T>, ms?: number): Promise<PromiseSettledResult<T>> {
    let outcome: PromiseSettledResult<T> | undefined;
    const settledNow = Promise.allSettled([promise]).then(([result]) => {
      outcome = result;
    });
    await this.until(what, () => outcome !== undefined, ms);
    await settledNow;
    return outcome!;
  }

  describe(): string {
    return [...this.nodes]
      .map(([id, node]) => {
        const records = node.migrations().map(({ role, phase }) => `${role} ${phase}`);
        return `node ${id}${node.has(this.origin) ? ' live' : ''}: ${records.join(', ') || 'nothing'}`;
      })
      .join('; ');
  }

  /** The nodes on which the daemon is live. */
  get homes(): bigint[] {
    return [...this.nodes].filter(([, node]) => node.has(this.origin)).map(([id]) => id);
  }

  assertOne(): void {
    assert.ok(this.homes.length <= 1, `live on nodes ${this.homes.join(' and ')}`);
  }

  /** The daemon is live on one node, can move on, and has seen and published each event once, in order. */
  async whole(): Promise<void> {
    const [home] = this.homes;
    assert.ok(home !== undefined, `live nowhere: ${this.describe()}`);
    await this.publish(3, home);
    const moved = await this.outcome('it moves on', this.move(home, home === NEXT ? TARGET : NEXT, NEXT).wait());
    if (moved.status === 'rejected') throw moved.reason;
    const [end] = this.homes;
    await this.publish(3, end!);
    const all = numbers(1, this.#published);
    await this.until('all is published', () => this.outputs.length >= all.length);
    assert.equal(this.daemons.get(end!)!.at(-1)!.seen, all, 'seen');
    const payloads = this.outputs.map(({ payload }) => Buffer.from(payload).readBigUInt64LE());
    assert.equal(payloads, all, 'published');
    const genesis = { originHash: this.origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    assert.is(createCodec().verifyChain(genesis, new Uint8Array(0), this.outputs), all.length, 'one chain');
  }

  /** All nodes end; no timer is left, and no key. */
  async end(): Promise<void> {
    this.release();
    const ends = Promise.allSettled([...this.nodes.values()].map((node) => node.shutdown()));
    await this.outcome('all nodes have ended', ends, 20_000);
    await settled(20);
    assert.is(this.environment.timers, 0, 'timers left behind');
    assert.is(secureMemoryStatus().secrets, this.#secrets, 'keys left behind');
  }
}

/** How a migration is brought to a phase, and kept there. */
export interface Stop {
  /** Before the migration begins. */
  readonly before?: (world: PhaseWorld) => void | Promise<void>;
  /** Once it has begun. */
  readonly after?: (world: PhaseWorld) => void | Promise<void>;
  /** Over when a half has done what it was told: it is there only from within. */
  readonly passing?: 'wipe' | 'publish';
  /** Entered only when the migration is cancelled: then. */
  readonly cancelWhen?: (world: PhaseWorld) => boolean;
}

const holding = (...places: readonly string[]): Stop => ({ before: (world) => world.hold(...places) });

/** Until CutoverNotify is on its way; then something else happens before it arrives. */
function atCutover(then: (world: PhaseWorld) => void): Stop {
  return {
    before: (world) => world.hold('CutoverNotify 3→1'),
    after: async (world) => {
      await world.until('cutover is near', () => world.waiting('CutoverNotify 3→1') > 0);
      then(world);
      world.release('CutoverNotify 3→1');
    },
  };
}

/** The daemon logs events while its first chunk is on its way. */
const withLog = (count: number, ...places: readonly string[]): Stop => ({
  before: (world) => world.hold('SnapshotReady 1→3', ...places),
  after: async (world) => {
    await world.until('it logs', () => world.phase('source') === 'transferring');
    await world.publish(count);
    world.release('SnapshotReady 1→3');
  },
});

/** Ways to stop in each phase of each half, by its name. */
export const STOPS: Readonly<Record<MigrationRole, Readonly<Record<string, Stop>>>> = {
  source: {
    authorising: holding('authorize 1'),
    beginning: holding('read 1'),
    snapshotting: holding('snapshot 1'),
    transferring: withLog(5, 'SnapshotReady 3→2'),
    streaming: withLog(5, 'CutoverNotify 3→1'),
    // More is left to replay than the source stops at.
    draining: withLog(1_500, 'BufferedEvents 1→2'),
    fencing: atCutover((world) => {
      world.hold('health 1');
      void world.source.health(world.origin);
    }),
    offering: atCutover((world) => world.hold('write 1')),
    offered: withLog(5, 'ActivateTarget 3→2'),
    withdrawing: {
      ...withLog(5, 'ActivateTarget 3→2'),
      cancelWhen: (world) => world.phase('source') === 'offered',
      after: async (world) => {
        await withLog(5).after!(world);
        await world.until('it is offered', () => world.phase('source') === 'offered');
        world.hold('write 1');
      },
    },
    recovering: {
      before: (world) => world.hold('ActivateTarget 3→2'),
      after: async (world) => {
        await world.until('it is offered', () => world.phase('source') === 'offered');
        world.hold('write 1');
        void world.source.recover(world.origin, { force: true }).catch(() => {});
      },
    },
    releasing: { passing: 'wipe' },
    resuming: {
      cancelWhen: (world) => world.phase('source') === 'transferring',
      before: (world) => world.hold('SnapshotReady 3→2'),
      after: async (world) => {
        await world.until('it logs', () => world.phase('source') === 'transferring');
        await world.publish(5);
        world.hold('process 1');
      },
    },
  },
  target: {
    authorising: holding('authorize 2'),
    assembling: holding('SnapshotReady 3→2 last'),
    restoring: holding('restore 2'),
    holding: withLog(5, 'ReplayComplete 2→3'),
    // It has been written, and the target does not know it yet.
    claiming: withLog(5, 'written 2'),
    activating: { ...withLog(5), passing: 'publish' },
    discarding: {
      ...withLog(5, 'ReplayComplete 2→3'),
      cancelWhen: (world) => world.waiting('ReplayComplete 2→3') > 0,
      passing: 'wipe',
    },
  },
  orchestrator: {
    Snapshot: holding('TakeSnapshot 3→1'),
    Transfer: holding('SnapshotReady 1→3 last'),
    Restore: holding('restore 2'),
    Replay: withLog(5, 'ReplayComplete 2→3'),
    Cutover: withLog(5, 'CutoverNotify 3→1'),
    Complete: {},
    Rollback: {
      ...holding('restore 2', 'MigrationFailed 3→1'),
      cancelWhen: (world) => world.waiting('restore 2') > 0,
    },
  },
};

/** The phases of a half as its own table of transitions has them. */
function phasesOf(half: unknown): string[] {
  return Object.keys((half as { readonly table: object }).table);
}

export const PHASES: Readonly<Record<MigrationRole, readonly string[]>> = {
  source: phasesOf(new MigrationSourceHandler(new DaemonRegistry())),
  target: phasesOf(new MigrationTargetHandler(new DaemonRegistry(), new DaemonFactoryRegistry())),
  orchestrator: phasesOf(new MigrationOrchestrator()),
};
export const ROLES = Object.keys(PHASES) as MigrationRole[];

/** Brings a migration to a phase and does something there: from within, where that phase takes no time. */
export async function inPhase<T>(
  world: PhaseWorld,
  role: MigrationRole,
  phase: string,
  act: (handle: MigrationHandle) => T,
): Promise<T> {
  const stop = STOPS[role][phase]!;
  await stop.before?.(world);
  const handle = world.move();
  let done: { readonly result: T } | undefined;
  const within = () => {
    if (world.phase(role) === phase) done ??= { result: act(handle) };
  };
  if (stop.passing === 'publish') world.onPublish = within;
  if (stop.passing === 'wipe') world.onWipe = within;
  await stop.after?.(world);
  const { cancelWhen } = stop;
  if (cancelWhen) {
    await world.until('it can be cancelled there', () => cancelWhen(world));
    void handle.cancel();
  }
  if (stop.passing) await world.until(`${role} passes ${phase}`, () => done !== undefined);
  else {
    const isThere = () => world.phase(role) === phase || (phase === 'Complete' && handle.phase === phase);
    await world.until(`${role} is ${phase}`, isThere);
  }
  return (done ?? { result: act(handle) }).result;
}
