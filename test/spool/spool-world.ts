import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  createCodec,
  DaemonRuntime,
  type DaemonRuntimeOptions,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MigrationError,
  type MigrationHandle,
  NodeKeys,
  type StartMigrationOptions,
} from '../../lib/index.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { ManualEnvironment, settled } from '../runtime/manual-environment.js';
import { events, Recorder } from '../support.js';
import { type Fate, MemoryDisk } from './memory-disk.js';

export const [SOURCE, TARGET, ORCHESTRATOR] = [1n, 2n, 3n];
export const PUBLISHER = 77n;
const NODES = [SOURCE, TARGET, ORCHESTRATOR];

/** One life of a node: what it does after its end happens nowhere. */
interface Life {
  readonly runtime: DaemonRuntime;
  readonly seat: Mesh;
  readonly environment: ManualEnvironment;
  readonly made: Recorder[];
  isOver: boolean;
}

export interface SpoolWorldOptions {
  readonly orchestrator?: bigint;
  readonly daemon?: () => Recorder;
  readonly runtime?: Partial<DaemonRuntimeOptions>;
  /** Nodes hear at once when one has crashed. Default: they do. */
  readonly isGoneKnown?: boolean;
  /** Node 2 and the others speak no extensions with each other. */
  readonly isPlain?: boolean;
  /** Nodes without a spool. */
  readonly bare?: readonly bigint[];
}

const PHASE = { deadlineMs: 2_000, tries: 4 };
const PATIENCE = { patienceMs: 1_000, repeatMs: 40 };

/** Three nodes with disks that outlive them, and a recorder on node 1. */
export class SpoolWorld {
  readonly disks = new Map(NODES.map((id) => [id, new MemoryDisk()]));
  readonly keys = new Map(NODES.map((id) => [id, NodeKeys.generate()]));
  readonly lives = new Map<bigint, Life>();
  readonly errors: MigrationError[] = [];
  readonly outputs: CausalEvent[] = [];
  readonly accepted: bigint[] = [];
  readonly keypair = EntityKeypair.generate();
  readonly origin = this.keypair.originHash;
  /** Called at each point at which a node does something that others, its disk or the register see. */
  point: (node: bigint, what: string) => void = () => {};
  /** Whether a frame of a migration is lost. */
  loses: (node: bigint, what: string) => boolean = () => false;
  /** The register answers nobody. */
  isRegisterAway = false;
  readonly #mesh = new InProcessMesh();
  #next = 1;
  #publishing = Promise.resolve();
  readonly options: SpoolWorldOptions;

  constructor(options: SpoolWorldOptions = {}) {
    this.options = options;
  }

  async begin(): Promise<void> {
    for (const id of NODES) {
      this.disks.get(id)!.fault = (operation) => {
        this.point(id, `${operation.kind} ${operation.name.slice(0, 6)}`);
        return undefined;
      };
      await this.boot(id);
    }
    await this.seat(ORCHESTRATOR).subscribe('recorder', {}, (_, published) => void this.outputs.push(...published));
    await this.runtime(SOURCE).spawn('recorder', this.keypair.clone());
  }

  /** A node is started, again. */
  async boot(id: bigint, change: Partial<DaemonRuntimeOptions> = {}, makes = true): Promise<DaemonRuntime> {
    const seat = this.#mesh.join(id);
    const environment = new ManualEnvironment();
    const made: Recorder[] = [];
    const isBare = this.options.bare?.includes(id);
    const life: Life = { seat, environment, made, isOver: false, runtime: undefined as unknown as DaemonRuntime };
    const runtime = new DaemonRuntime({
      orchestrators: NODES,
      environment,
      nodeKeys: this.keys.get(id)!,
      ...(isBare ? {} : { spool: this.disks.get(id)!.storage() }),
      policy: {
        orchestrator: {
          phases: { Snapshot: PHASE, Transfer: PHASE, Restore: PHASE, Replay: PHASE, Cutover: PHASE, Rollback: PHASE },
        },
        source: PATIENCE,
        target: { ...PATIENCE, patienceMs: 2_000 },
      },
      onError: (error) => life.isOver || this.errors.push(error),
      ...this.options.runtime,
      ...change,
      mesh: this.#mortal(life),
    });
    Object.assign(life, { runtime });
    if (makes) {
      runtime.registerFactory('recorder', () => {
        made.push(this.options.daemon?.() ?? new Recorder());
        return made.at(-1)!;
      });
    }
    this.lives.set(id, life);
    await runtime.start();
    return runtime;
  }

  runtime(id: bigint): DaemonRuntime {
    return this.lives.get(id)!.runtime;
  }

  seat(id: bigint): Mesh {
    return this.lives.get(id)!.seat;
  }

  disk(id: bigint): MemoryDisk {
    return this.disks.get(id)!;
  }

  /** A node dies where it is. */
  crash(id: bigint, fate: Fate = 'lost', random?: () => number): void {
    const life = this.lives.get(id)!;
    if (life.isOver) return;
    life.isOver = true;
    this.disk(id).crash(fate, random);
    this.lives.delete(id);
    void life.seat.close();
  }

  move(options: StartMigrationOptions = {}): MigrationHandle {
    const leader = this.options.orchestrator ?? ORCHESTRATOR;
    const handle = this.runtime(leader).startMigration(this.origin, SOURCE, TARGET, options);
    handle.wait().catch(() => {});
    return handle;
  }

  /** Offers the publisher's next events to whoever takes them, one after the other. */
  publish(count: number): Promise<void> {
    this.#publishing = this.#publishing.then(() => this.#publish(count));
    return this.#publishing;
  }

  async #publish(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const [event] = events(PUBLISHER, this.#next, 1);
      for (const life of [...this.lives.values()]) {
        const accepted = await this.#offer(life, event!);
        if (accepted !== 1) continue;
        this.accepted.push(BigInt(this.#next++));
        break;
      }
    }
  }

  /** @returns how many it took; undefined where it died or has no such daemon */
  async #offer(life: Life, event: CausalEvent): Promise<number | undefined> {
    let outcome: number | undefined;
    let isDone = false;
    void (async () => {
      outcome = (await life.runtime.deliver(this.origin, [event])).accepted;
    })()
      .catch(() => {})
      .then(() => {
        isDone = true;
      });
    await settled(1);
    // A source that is about to stop takes its time to say yes.
    for (let i = 0; i < 50 && !isDone && !life.isOver; i++) await this.elapse(20);
    return outcome;
  }

  /** Lets time pass everywhere. */
  async elapse(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 20) {
      for (const { environment, isOver } of [...this.lives.values()]) if (!isOver) await environment.advance(20);
    }
    await settled();
  }

  /** Nodes on which it is live. */
  get live(): bigint[] {
    return [...this.lives].filter(([, { runtime }]) => runtime.has(this.origin)).map(([id]) => id);
  }

  get entry() {
    const any = [...this.lives.values()][0]!.seat.register.read(this.origin) as
      | { entry: { epoch: bigint; owner: bigint; tries: bigint; offer?: unknown } }
      | undefined;
    return any?.entry;
  }

  /** What the copy on a node has seen. */
  seen(id: bigint): readonly bigint[] {
    return this.lives.get(id)!.made.at(-1)?.seen ?? [];
  }

  /** It is live once, has seen all that was accepted, once and in order, and has published that once, as one chain. */
  whole(): bigint {
    const { live } = this;
    assert.is(live.length, 1, `live on ${live.join(', ') || 'no node'}`);
    assert.equal(this.seen(live[0]!), this.accepted, 'seen');
    const published = this.outputs.map(({ payload }) => Buffer.from(payload).readBigUInt64LE());
    assert.equal(published, this.accepted, 'published');
    const genesis = { originHash: this.origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    assert.is(createCodec().verifyChain(genesis, new Uint8Array(0), this.outputs), this.accepted.length, 'one chain');
    return live[0]!;
  }

  async end(): Promise<void> {
    this.isRegisterAway = false;
    this.point = () => {};
    await this.outcome(Promise.allSettled([...this.lives.values()].map(({ runtime }) => runtime.shutdown())));
  }

  /** Lets time pass until something settles. */
  async outcome<T>(what: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = () => {
      isSettled = true;
    };
    what.then(settle, settle);
    for (let passed = 0; !isSettled && passed < 20_000; passed += 20) await this.elapse(20);
    if (!isSettled) throw new Error('still not settled after 20 s');
    return what;
  }

  /** The mesh as a node sees it that may die. */
  #mortal(life: Life): Mesh {
    const { seat } = life;
    const id = seat.nodeId;
    const never = () => new Promise<never>(() => {});
    const seen = (what: string) => {
      if (!life.isOver) this.point(id, what);
      return !life.isOver;
    };
    const register: Mesh['register'] = {
      read: async (origin) => {
        if (!seen('read')) return never();
        if (this.isRegisterAway) throw new Error('out of reach');
        const standing = await seat.register.read(origin);
        return life.isOver ? never() : standing;
      },
      compareAndSet: async (origin, expected, entry) => {
        if (!seen('write')) return never();
        if (this.isRegisterAway) throw new Error('out of reach');
        const written = await seat.register.compareAndSet(origin, expected, entry);
        // Written, and the node dies before it hears so.
        return seen('written') ? written : never();
      },
    };
    const send: Mesh['send'] = (to, subprotocol, frame) => {
      if (subprotocol === SUBPROTOCOL_MIGRATION && !seen(`send ${frame[0]}`)) return;
      if (!life.isOver && seat.peer(to)) seat.send(to, subprotocol, frame);
    };
    const stream: Mesh['stream'] = (to, subprotocol, frames) => {
      if (life.isOver || !seat.peer(to)) return;
      const isDone = () => life.isOver || frames.done;
      seat.stream(to, subprotocol, {
        maxFrameLength: frames.maxFrameLength,
        get done() {
          return isDone();
        },
        writeNext: (target, at) => {
          if (!seen('send 1')) return 0;
          const length = frames.writeNext(target, at);
          // The next one in its place.
          return length > 0 && this.loses(id, 'send 1') ? frames.writeNext(target, at) : length;
        },
        onReady: (wake: () => void) => frames.onReady?.(wake),
      });
    };
    const listen: Mesh['listen'] = (subprotocol, listener) =>
      seat.listen(subprotocol, (from, batch) => {
        if (subprotocol === SUBPROTOCOL_MIGRATION && !seen('receive')) return;
        return life.isOver ? undefined : listener(from, batch);
      });
    const publish: Mesh['publish'] = (channel, epoch, outputs) =>
      life.isOver ? undefined : seat.publish(channel, epoch, outputs);
    const onPeerGone: Mesh['onPeerGone'] = (listener) => {
      if (this.options.isGoneKnown ?? true) seat.onPeerGone((node) => life.isOver || listener(node));
    };
    const peer: Mesh['peer'] = (node) => {
      const info = seat.peer(node);
      return info && this.options.isPlain && (node === TARGET || id === TARGET) ? { ...info, extensions: false } : info;
    };
    const overrides: Record<string | symbol, unknown> = { peer, register, send, stream, listen, publish, onPeerGone };
    return new Proxy(seat, {
      get(target, name) {
        if (name in overrides) return overrides[name];
        const value = Reflect.get(target, name, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }
}

/** Runs a test in a world, and ends that. */
export async function inSpoolWorld(
  options: SpoolWorldOptions,
  run: (world: SpoolWorld) => Promise<void>,
): Promise<void> {
  const world = new SpoolWorld(options);
  await world.begin();
  try {
    await run(world);
  } finally {
    await world.end();
  }
}
