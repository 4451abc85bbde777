import {
  createCodec,
  DaemonRuntime,
  EntityKeypair,
  MigrationError,
  type MigrationHandle,
  NodeKeys,
  secureMemoryStatus,
} from '../../lib/index.js';
import type { FencedName } from '../../lib/spool/fenced-name.js';
import type { MigrationCodec } from '../../lib/wire/codec.js';
import { MessageType, SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { evenPolicy } from '../runtime/even-policy.js';
import { Broker, NO_BROKER_FAULTS } from './broker.js';
import { Chances, Random } from './chance.js';
import {
  type Complain,
  Copies,
  type DiskLeft,
  Epochs,
  History,
  type Observed,
  OutputChain,
  type Violation,
} from './checkers.js';
import { SimulatedEnvironment } from './environment.js';
import { Hindrances, REGISTER } from './hindrances.js';
import { Ledger, type LedgerWitness } from './ledger-daemon.js';
import { type Insight, Liar } from './liar.js';
import { type Flight, Network, NO_NETWORK_FAULTS, READY_BYTES } from './network.js';
import { type Deed, LIAR, type Part, type Plan, type Planned, STRANGER } from './plan.js';
import { eventOf, isThrowing, Publisher } from './publisher.js';
import { Scheduler } from './scheduler.js';
import { SimulatedDisk } from './simulated-disk.js';
import { SimulatedMesh } from './simulated-mesh.js';
import { NO_REGISTER_FAULTS, NodeRegister, type RegisterChange, SimulatedRegister } from './simulated-register.js';
import { Trace } from './trace.js';
import { type HardCase, Watcher } from './watcher.js';

/** Patience in which a run of some seconds can see everything end. */
const POLICY = evenPolicy({
  phase: { deadlineMs: 1_200, tries: 12 },
  rollback: { deadlineMs: 400, tries: 4 },
  sourceMs: 1_500,
  targetMs: 2_500,
  repeatMs: 60,
});
const REBIND = { deadlineMs: 20_000, tryMs: 300, waitMs: 60 };
const LONGEST_PATIENCE_MS = 4_000;
const RETRY_NOT_READY_MS = 1_600;
/** How long each side has for the answer to a question. */
const ANSWER_MS = 500;

/** How long everything may take to settle by itself once faults have stopped; and when somebody has looked after it. */
const SETTLE_MS = 6_000;
const RECOVER_MS = 3_000;
/** What a spool holds of a daemon whose register could not be asked is asked for again within so long. */
const UNDECIDED_MS = 1_300;
const LOOK_AGAIN_MS = 500;
/** Migrations that nothing disturbs, but what is left of earlier ones until a target loses patience. */
const UNDISTURBED_MS = 6_000;
/** What is looked at in the end has been as it is for so long: what is on its way arrives, disks are tidied up. */
const STILL_MS = 100;
const MOST_STEPS = 400_000;
const MOST_TIMERS = 2_000;
/** What partitions held arrives at once, and what is delayed or doubled is on its way for long. */
const MOST_IN_FLIGHT_BYTES = 12 * READY_BYTES;
/** From the stop of one copy to the next one's life: a few frames, two writes into the register, one onto the disk. */
const LONGEST_PAUSE_MS = 60;
/** Steps of a node between two looks at what it tells of its migrations. */
const STEPS_PER_LOOK = 16;
/** Source, target, orchestrator. */
const ROLES = 3;
const WATCH_MS = 25;
const PUBLISHER_MS = 7;
/** How the register calls what `recover` writes: where an offer stood it looks like its end. */
const RECOVERIES: ReadonlySet<RegisterChange> = new Set(['recover', 'claim', 'withdraw']);

/** Who a daemon's key is does not change from run to run: what is tested is not how keys are drawn. */
function keypairOf(daemon: number): EntityKeypair {
  return EntityKeypair.fromSeed(new Uint8Array(32).fill(0x40 + daemon));
}

const nodeKeys = new Map<number, NodeKeys>();
function nodeKeysOf(node: number): NodeKeys {
  let keys = nodeKeys.get(node);
  if (!keys) {
    keys = NodeKeys.fromSeed(new Uint8Array(32).fill(0x80 + node));
    nodeKeys.set(node, keys);
  }
  return keys;
}

const codecs = new Map<Plan['engine'], MigrationCodec>();
function codecOf(engine: Plan['engine']): MigrationCodec {
  const codec = codecs.get(engine) ?? createCodec({ engine });
  codecs.set(engine, codec);
  return codec;
}

/** Of one publisher's numbers for the lives of its daemon, which begins anew when it was given up. */
const NEXT_LIFE = 1_000;

/** Of who sends events to daemons, by their number. */
function senderOrigin(number: number): bigint {
  return 1_000n + BigInt(number);
}

function senderOf(originHash: bigint): number {
  return Number(originHash - 1_000n);
}

function isSnapshot({ subprotocol, frame }: Flight): boolean {
  return subprotocol === SUBPROTOCOL_MIGRATION && frame[0] === MessageType.SnapshotReady;
}

function isRestored({ subprotocol, frame }: Flight): boolean {
  return subprotocol === SUBPROTOCOL_MIGRATION && frame[0] === MessageType.RestoreComplete;
}

/** One run of a node, from its start to its crash. */
interface Life extends Observed {
  readonly mesh: SimulatedMesh;
  readonly environment: SimulatedEnvironment;
  readonly register: NodeRegister;
  /** Files on its disk when it began that may wait for `recover`: the register did not say that their daemons had gone elsewhere. */
  readonly mayWait: ReadonlySet<string>;
  /** Daemons that have been live in it. */
  readonly had: Set<number>;
}

interface Led {
  readonly handle: MigrationHandle;
  readonly daemon: number;
  readonly life: Life;
  isOver: boolean;
}

/** How a run went. */
export interface Outcome {
  readonly seed: number;
  readonly profile: string;
  readonly steps: number;
  /** Simulated milliseconds. */
  readonly ms: number;
  readonly hash: string;
  readonly completed: number;
  readonly rolledBack: number;
  readonly visits: ReadonlyMap<HardCase, number>;
  readonly violation: Violation | undefined;
  /** What has happened by chance or plan, by name. */
  readonly taken: readonly string[];
  readonly lines: readonly string[];
}

export interface WorldOptions {
  /** The only decisions that may go against the world; undefined: all that the seed says. */
  readonly allowed?: ReadonlySet<string>;
  readonly keepsLines?: boolean;
}

/** A cluster, all that happens to it, and who watches. */
export class World {
  readonly plan: Plan;
  readonly trace: Trace;
  readonly scheduler: Scheduler;
  readonly chances: Chances;
  readonly network: Network;
  readonly register: SimulatedRegister;
  readonly broker: Broker;
  readonly watcher: Watcher;
  readonly origins: readonly bigint[];
  readonly lives = new Map<number, Life>();
  violation: Violation | undefined;
  readonly #graves: Life[] = [];
  readonly #incarnations = new Map<number, number>();
  readonly #disks = new Map<number, SimulatedDisk>();
  /** `daemon node`: that node's offer was written, and it has not had the daemon live since. */
  readonly #offered = new Set<string>();
  readonly #copies: Copies;
  readonly #history: History;
  readonly #epochs: Epochs;
  readonly #chains: OutputChain[];
  readonly #publishers: Publisher[];
  readonly #feeds: number[];
  #liar: Liar | undefined;
  readonly #led: Led[] = [];
  /**
   * Daemons whose newest copy had stopped when its node crashed, and what it can have accepted: its target may take over with all
   * of it, or an older one is recovered without.
   */
  readonly #lostIfRecovered = new Map<number, { readonly node: number; readonly sent: ReadonlyMap<number, number> }>();
  /** Feeds to which a daemon is known to be subscribed. */
  readonly #subscribed: Array<Set<number>>;
  /** In which life of a node each was made. */
  readonly #made: Array<{ readonly ledger: Ledger; readonly environment: SimulatedEnvironment }> = [];
  /** Every ledger that was made, by its number. Which of them a node hosts, the node is asked: some are never let in. */
  readonly #ledgers: Ledger[] = [];
  /** Those of live daemons, by their own word, as `daemon * 64 + node`. */
  readonly #liveLedgers = new Map<number, Ledger>();
  /** Where somebody brings a daemon back, as `daemon * 64 + node`. */
  readonly #recovering = new Set<number>();
  readonly #moments = new Map<string, number>();
  readonly #waitingFor = new Map<string, Planned[]>();
  readonly #hindrances: Hindrances;
  /** Secrets of this thread that no daemon of this world has: its nodes' keys, and what former worlds have left to be collected. */
  readonly #otherSecrets: number;
  /** What a node that crashed held in memory is still there, in this process. */
  #isAnySecretLost = false;
  /** When a copy has processed something, last. */
  #lastProcessed = 0;
  /** When the live copy of a daemon stopped, and none has been live since. */
  readonly #stoppedAt = new Map<number, number>();
  /** From when on nothing is in the way of migrations; undefined: not yet. */
  #undisturbedSince: number | undefined;
  #mayBeInFlight = MOST_IN_FLIGHT_BYTES;
  #completed = 0;
  #rolledBack = 0;
  #calls = 0;
  #isOver = false;
  #hasFaults = true;

  constructor(plan: Plan, { allowed, keepsLines = false }: WorldOptions = {}) {
    this.plan = plan;
    this.trace = new Trace(keepsLines);
    this.scheduler = new Scheduler(plan.seed, this.trace);
    this.trace.now = () => this.scheduler.now;
    this.#hindrances = new Hindrances(() => this.scheduler.now);
    this.chances = new Chances(plan.seed, allowed);
    this.network = new Network(this.scheduler, this.chances, plan.network);
    this.register = new SimulatedRegister(this.scheduler, this.chances, plan.register);
    this.broker = new Broker(this.scheduler, this.chances, plan.seed, plan.broker);
    const complain: Complain = (promise, text) => this.complain(promise, text);
    const keypairs = plan.daemons.map((_, daemon) => keypairOf(daemon));
    this.origins = keypairs.map(({ originHash }) => originHash);
    for (const keypair of keypairs) keypair.dispose();
    for (let node = 1; node <= plan.nodes; node++) nodeKeysOf(node);
    this.#otherSecrets = secureMemoryStatus().secrets;
    this.watcher = new Watcher(this.trace, (origin) => this.#nameOf(origin));
    this.#copies = new Copies(this.origins, complain, {
      wentLive: (daemon, node) => this.#wentLive(daemon, node),
      stopped: (daemon) => this.#stoppedAt.set(daemon, this.scheduler.now),
      mayHave: (daemon) => this.#mayHave(daemon),
      owns: (daemon, node) => this.#ownerOf(daemon) === node,
      hasConfirmed: (daemon, node) => {
        const { owner, epoch } = this.register.table.read(this.origins[daemon]!)?.entry ?? {};
        return owner === BigInt(node) && this.watcher.hasConfirmed(this.origins[daemon]!, node, epoch);
      },
      secrets: () => this.#secrets(),
      hasOffered: (daemon, node) => this.#offered.has(`${daemon} ${node}`),
      hasFile: (daemon, node) => this.#onDisks(daemon).some((one) => one.node === node),
      epoch: (daemon) => this.register.table.read(this.origins[daemon]!)?.entry.epoch ?? 0n,
      tookUp: (daemon, node) => {
        // The newest copy is back, whole.
        if (this.#lostIfRecovered.get(daemon)?.node === node) this.#lostIfRecovered.delete(daemon);
        this.trace.note(() => `${node} takes up d${daemon} from its spool`);
        this.watcher.visit('fenced-copy-taken-up');
      },
    });
    this.#history = new History(this.#sendersPerDaemon(), complain);
    this.#epochs = new Epochs(complain);
    this.#chains = this.origins.map((_, daemon) => this.#chain(daemon));
    this.#subscribed = this.origins.map(() => new Set());
    this.#feeds = Array.from({ length: plan.feeds }, () => 0);
    this.#publishers = plan.publishers.map((_, n) => this.#publisher(n));
    this.#observe();
  }

  /** The first broken promise ends the run. */
  complain(promise: string, text: string): void {
    this.violation ??= { promise, text };
    this.trace.note(() => `BROKEN ${promise}: ${text}`);
  }

  async run(): Promise<Outcome> {
    const stackTraceLimit = Error.stackTraceLimit;
    // Refusals are part of every run, and nobody reads where they came from.
    Error.stackTraceLimit = 0;
    const onRejection = (reason: unknown) => this.complain('error', `nobody handled: ${String(reason)}`);
    process.on('unhandledRejection', onRejection);
    try {
      this.#begin();
      await this.scheduler.run(() => this.#isOver || this.violation !== undefined);
      await new Promise((resolve) => setImmediate(resolve));
    } catch (error) {
      this.complain(
        'error',
        `a step threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    } finally {
      this.#bury();
      process.off('unhandledRejection', onRejection);
      Error.stackTraceLimit = stackTraceLimit;
    }
    return this.#outcome();
  }

  #outcome(): Outcome {
    const { plan, scheduler, trace, watcher, violation, chances } = this;
    return {
      seed: plan.seed,
      profile: plan.profile,
      steps: scheduler.steps,
      ms: scheduler.now,
      hash: trace.hash,
      completed: this.#completed,
      rolledBack: this.#rolledBack,
      visits: watcher.visits,
      violation,
      taken: chances.taken,
      lines: trace.lines ?? [],
    };
  }

  #nameOf(origin: bigint): string {
    const daemon = this.origins.indexOf(origin);
    return daemon < 0 ? `daemon ${origin}` : `d${daemon}`;
  }

  #sendersPerDaemon(): number[][] {
    const { publishers, daemons } = this.plan;
    return daemons.map(({ feeds }, daemon) => [
      ...publishers.flatMap((publisher, n) => (publisher.daemon === daemon ? [n] : [])),
      ...feeds.map((feed) => publishers.length + feed),
    ]);
  }

  /**
   * A try whose end a node has not heard of holds a copy there until that node's patience ends. While one that takes part is
   * down, or out of reach, nobody can end it.
   */
  #mayHave(daemon: number): number {
    const tries = this.watcher.tries(this.origins[daemon]!);
    const lasting = tries.filter(({ at, nodes }) => this.#hindrances.freeMs(at, nodes) <= LONGEST_PATIENCE_MS);
    return 1 + Math.max(1, lasting.length);
  }

  /** Private halves of daemons' keys in this process, shown or not; undefined where that cannot be told. */
  #secrets(): number | undefined {
    return this.#isAnySecretLost ? undefined : secureMemoryStatus().secrets - this.#otherSecrets;
  }

  #isChannel = (sender: number): boolean => sender >= this.plan.publishers.length && sender < NEXT_LIFE;

  #chain(daemon: number): OutputChain {
    const complain: Complain = (promise, text) => this.complain(promise, text);
    return new OutputChain(daemon, this.origins[daemon]!, codecOf(this.plan.engine), complain);
  }

  #publisher(number: number): Publisher {
    const { daemon, home } = this.plan.publishers[number]!;
    const daemonOrigin = this.origins[daemon]!;
    return new Publisher({
      number,
      originHash: senderOrigin(number),
      daemonOrigin,
      history: this.#history,
      now: () => this.scheduler.now,
      home: () => this.lives.get(home)?.runtime,
      where: () => this.register.table.read(daemonOrigin)?.entry.owner,
    });
  }

  #observe(): void {
    const { watcher, network, register, broker, scheduler } = this;
    network.observer = {
      sent: (flight) => {
        watcher.sent(flight);
        const isStranger = flight.to === STRANGER || (flight.to === LIAR && this.plan.liar === 'stranger');
        if (isStranger && isSnapshot(flight))
          this.complain('stranger', `node ${flight.from} gives a snapshot to a node that nobody trusts`);
        if (isStranger && isRestored(flight))
          this.complain('stranger', `node ${flight.from} takes a snapshot from a node that nobody trusts`);
      },
      arrived: (flight) => watcher.arrived(flight),
      lost: (flight, why) => watcher.lost(flight, why),
    };
    register.observer = {
      wrote: (node, origin, change, entry, fate) => {
        watcher.wrote(node, origin, change, entry, fate);
        const daemon = this.origins.indexOf(origin);
        if (change === 'offer') this.#offered.add(`${daemon} ${node}`);
        if (entry) this.#copies.owned(daemon, Number(entry.owner), entry.epoch);
        // What was on its way from a node that is gone decides nothing: who is recovered, or goes live, does.
        if (RECOVERIES.has(change) && this.#recovering.has(daemon * 64 + node)) this.#recovered(daemon);
      },
      lostRace: (node, origin, entry) => watcher.lostRace(node, origin, entry),
    };
    broker.observer = {
      published: (mesh, channel, epoch) => {
        const daemon = Number(channel.split('/')[1]);
        if (channel.startsWith('ledger/'))
          this.#epochs.published(daemon, epoch, `${mesh.number} (life ${mesh.incarnation})`);
      },
    };
    watcher.onFalseAck = (text) => this.complain('nothing-twice', text);
    watcher.onClaim = (source) => {
      if (this.#disks.has(source) && !this.lives.has(source)) watcher.visit('claim-landed-while-source-was-down');
    };
    watcher.onMoment = (moment, origin) => this.#moment(moment, origin);
    scheduler.afterStep = (node) => this.#afterStep(node);
  }

  #begin(): void {
    const { plan, scheduler } = this;
    for (let node = 1; node <= plan.nodes; node++) this.broker.members.add(node);
    if (plan.liar !== 'none') this.#startLiar();
    for (const node of plan.spools) this.#disks.set(node, this.#disk(node));
    for (let node = 1; node <= plan.nodes; node++) this.#startNode(node, plan.lateStarts.get(node));
    plan.daemons.forEach((_, daemon) => {
      this.broker.channels.subscribe(`ledger/${daemon}`, { after: new Uint8Array(0) }, (_, events) =>
        this.#chains[daemon]!.read(events),
      );
    });
    plan.daemons.forEach((_, daemon) => void this.#spawn(daemon));
    for (const planned of plan.planned) {
      if (planned.at !== undefined) scheduler.at(planned.at, 0, () => this.#do(planned, undefined));
      else this.#waitingFor.set(planned.when!.seen, [...(this.#waitingFor.get(planned.when!.seen) ?? []), planned]);
    }
    scheduler.at(plan.faultsMs, 0, () => this.#endFaults());
    this.#runPublishers();
  }

  #startLiar(): void {
    const { seed, nodes } = this.plan;
    const visit = (hardCase: HardCase) => this.watcher.visit(hardCase);
    const complain: Complain = (promise, text) => this.complain(promise, text);
    const [mesh, stranger] = [this.#outsider(LIAR), this.#outsider(STRANGER)];
    this.#liar = new Liar({ mesh, stranger, seed, nodes, insight: (daemon) => this.#insight(daemon), visit, complain });
  }

  /** A seat in the mesh that no runtime has. */
  #outsider(number: number): SimulatedMesh {
    this.broker.members.add(number);
    const mesh = new SimulatedMesh(number, 1, this.network, new NodeRegister(number, this.register), this.broker);
    this.network.join(mesh);
    return mesh;
  }

  #insight(daemon: number): Insight | undefined {
    const origin = this.origins[daemon]!;
    const entry = this.register.table.read(origin)?.entry;
    if (!entry) return undefined;
    const owner = Number(entry.owner);
    const { source = owner, target = (owner % this.plan.nodes) + 1 } = this.watcher.course(origin) ?? {};
    const publishers = this.#publishers.filter(({ options }) => options.daemonOrigin === origin);
    const events = publishers.flatMap(({ options, accepted }) =>
      [1, 2].map((further) => eventOf(options.originHash, accepted + further)),
    );
    return { origin, owner, epoch: entry.epoch, try: entry.tries, source, target, events };
  }

  #disk(node: number): SimulatedDisk {
    const { plan, scheduler, chances, watcher } = this;
    return new SimulatedDisk(node, scheduler, chances, plan.disk, {
      crash: () => this.#crash(node, 1 + 300 * chances.measure(node, 91, scheduler.steps)),
      refused: ({ kind, name }, code) => {
        watcher.visit('disk-refused');
        this.trace.note(() => `the disk of ${node} refuses to ${kind} ${name}: ${code}`);
      },
    });
  }

  #startNode(number: number, startsAfter = 0): void {
    const { plan, scheduler } = this;
    const incarnation = (this.#incarnations.get(number) ?? 0) + 1;
    this.#incarnations.set(number, incarnation);
    const register = new NodeRegister(number, this.register);
    const mesh = new SimulatedMesh(number, incarnation, this.network, register, this.broker);
    const environment = new SimulatedEnvironment(scheduler, number, plan.seed + incarnation * 7_919, plan.stretch);
    this.network.join(mesh);
    const runtime = new DaemonRuntime({
      mesh,
      environment,
      engine: plan.engine,
      orchestrators: [...this.broker.members]
        .filter((n) => n < LIAR || (n === LIAR && plan.liar === 'trusted'))
        .map(BigInt),
      nodeKeys: nodeKeysOf(number),
      ...(this.#disks.has(number) && { spool: this.#disks.get(number)!.storage() }),
      policy: POLICY,
      rebind: REBIND,
      ...(plan.maxBytesPerSecond > 0 && { maxBytesPerSecond: plan.maxBytesPerSecond }),
      ...(plan.maxLogEvents > 0 && { eventLog: { maxEvents: plan.maxLogEvents } }),
      onError: (error) => this.#heard(number, error),
    });
    plan.daemons.forEach((_, daemon) => {
      runtime.registerFactory(`ledger-${daemon}`, () => this.#makeLedger(daemon, number, incarnation, environment));
    });
    const mayWait = new Set(this.#waitingFiles(number));
    const life: Life = { number, incarnation, runtime, mesh, environment, register, mayWait, had: new Set() };
    this.lives.set(number, life);
    const start = () => void runtime.start().catch((error) => this.complain('error', `node ${number}: ${error}`));
    if (startsAfter > 0) environment.after(startsAfter, start);
    else start();
    this.#hindrances.cameUp(number);
    for (const other of this.lives.values()) other.mesh.peerBack(number);
    this.trace.note(() => `${number} starts${incarnation > 1 ? ' again' : ''}`);
  }

  #waitingFiles(node: number): string[] {
    const files = this.#disks.get(node)?.copies() ?? [];
    const isElsewhere = ({ origin, epoch, resumedIn }: FencedName) => {
      const entry = this.register.table.read(origin)?.entry;
      return entry !== undefined && entry.owner !== BigInt(node) && entry.epoch > (resumedIn ?? epoch + 1n);
    };
    return files.filter((file) => !isElsewhere(file)).map(({ name }) => name);
  }

  /** What nobody waits for is part of bad times; a mistake of ours is not. */
  #heard(node: number, error: MigrationError): void {
    this.trace.note(() => `${node} reports ${error.kind}: ${error.message}`);
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof TypeError || cause instanceof RangeError || cause instanceof ReferenceError)
        this.complain('error', `node ${node}: ${cause.message}`);
    }
  }

  #makeLedger(daemon: number, node: number, incarnation: number, environment: SimulatedEnvironment): Ledger {
    const { plan } = this;
    const traits = plan.daemons[daemon]!;
    const witness: LedgerWitness = {
      publisherNumber: senderOf,
      processed: (ledger, _, throws) => {
        if (environment.isOver) return;
        if (throws && this.#isMoving(daemon)) this.watcher.visit('daemon-throws');
        this.#lastProcessed = this.scheduler.now;
        this.#history.processed(ledger);
      },
      wrongly: (text) => this.complain('disposal', `daemon ${daemon} on node ${node}: ${text}`),
      wait: (call) => {
        if (!traits.isAsync) return undefined;
        if (call === 'process' && this.#isMoving(daemon)) this.watcher.visit('slow-daemon');
        const ms = 3 * this.chances.measure(node, 90 + daemon, ++this.#calls);
        return new Promise((resolve) => environment.after(ms, resolve));
      },
      throws: (call) => {
        const throws =
          this.chances.strikes(`${call}-throws`, this.plan.throws, node, daemon, ++this.#calls) && this.#hasFaults;
        if (throws) this.watcher.visit('daemon-throws');
        return throws;
      },
    };
    const ledger = new Ledger(daemon, node, this.#ledgers.length, traits, witness);
    this.#ledgers.push(ledger);
    this.#made.push({ ledger, environment });
    this.trace.note(() => `${node} makes d${daemon}`);
    this.#copies.made(daemon, { number: node, incarnation });
    return ledger;
  }

  async #spawn(daemon: number): Promise<void> {
    const { home, feeds } = this.plan.daemons[daemon]!;
    const life = this.lives.get(home);
    const again = () => this.scheduler.in(40, 0, () => void this.#spawn(daemon));
    if (!life?.runtime.isReady) {
      again();
      return;
    }
    const keypair = keypairOf(daemon);
    try {
      await life.runtime.spawn(`ledger-${daemon}`, keypair);
    } catch (error) {
      keypair.dispose();
      const kind = error instanceof MigrationError ? error.kind : 'error';
      if (kind === 'register-unavailable') again();
      // It had been spawned before its home crashed, and went with that.
      else if (kind === 'already-exists' && life.incarnation > 1) this.#copies.neverBorn(daemon);
      else this.complain('error', `daemon ${daemon} cannot be spawned, ${kind}: ${String(error)}`);
      return;
    }
    this.trace.note(() => `${home} spawns d${daemon}`);
    this.#copies.born(daemon);
    for (const feed of feeds) await this.#subscribe(life, daemon, feed);
  }

  /** Tried while the daemon lives there and does not move. */
  async #subscribe(life: Life, daemon: number, feed: number): Promise<void> {
    const options = { after: new Uint8Array(0) };
    for (let round = 0; round < 10 && !life.mesh.isCut; round++) {
      try {
        await life.runtime.subscribeChannel(this.origins[daemon]!, 1n, `feed/${feed}`, options);
        this.#subscribed[daemon]!.add(feed);
        return;
      } catch {
        await new Promise<void>((resolve) => this.scheduler.in(20, 0, resolve));
      }
    }
  }

  #afterStep(node: number): void {
    this.network.flush();
    if (node === 0) for (const life of this.lives.values()) this.#copies.look(life);
    else {
      const life = this.lives.get(node);
      if (life) this.#copies.look(life);
    }
    if (this.scheduler.steps > MOST_STEPS) this.complain('it-ends', `${MOST_STEPS} steps, and it goes on`);
    if (this.network.mostInFlightBytes > this.#mayBeInFlight)
      this.complain('bounded', `${this.network.mostInFlightBytes} bytes are on their way between two nodes`);
    if (this.scheduler.steps % STEPS_PER_LOOK === 0)
      for (const life of this.lives.values()) this.#lookAtMigrations(life);
  }

  /** What a node says of its migrations: no more of them than roles, and each within its limits. */
  #lookAtMigrations({ number, runtime }: Life): void {
    const { daemons, maxLogEvents } = this.plan;
    const all = runtime.migrations();
    if (all.length > ROLES * daemons.length)
      this.complain('bounded', `node ${number} takes part in ${all.length} migrations`);
    for (const { origin, role, bytesDone, bytesTotal, eventsWaiting } of all) {
      const where = `node ${number}, ${role} of ${this.#nameOf(origin)}`;
      if (role === 'source' && maxLogEvents > 0 && eventsWaiting > maxLogEvents)
        this.complain('bounded', `${where}, keeps ${eventsWaiting} events, and may keep ${maxLogEvents}`);
      if (bytesTotal > 0 && bytesDone > bytesTotal)
        this.complain('bounded', `${where}, has ${bytesDone} bytes of a snapshot of ${bytesTotal}`);
    }
  }

  #wentLive(daemon: number, node: number): void {
    this.trace.note(() => `${node} has d${daemon} live`);
    this.#offered.delete(`${daemon} ${node}`);
    // Whoever was not recovered must have all that the one had that had stopped.
    this.#lostIfRecovered.delete(daemon);
    const gaveBack = this.register.table.read(this.origins[daemon]!)?.entry.owner === BigInt(node);
    if (!gaveBack)
      this.complain('never-two', `daemon ${daemon} is live on node ${node}, which the register does not name`);
    this.lives.get(node)!.had.add(daemon);
    this.#endPause(daemon);
    const owed = this.#history.owed(daemon, this.#isChannel);
    const seat = daemon * 64 + node;
    this.#liveLedgers.delete(seat);
    void this.#hosted(daemon, node).then((ledger) => {
      if (!ledger) return;
      this.#liveLedgers.set(seat, ledger);
      this.#history.wentLive(ledger, owed);
    });
  }

  #endPause(daemon: number): void {
    const stoppedAt = this.#stoppedAt.get(daemon);
    this.#stoppedAt.delete(daemon);
    if (stoppedAt === undefined || this.#undisturbedSince === undefined || stoppedAt < this.#undisturbedSince) return;
    // A liar that is trusted can delay a daemon.
    if (this.plan.liar === 'trusted') return;
    // An earlier try may have stopped it only now, whose leader is gone.
    if ((this.watcher.tries(this.origins[daemon]!).at(-1)?.at ?? 0) < this.#undisturbedSince) return;
    const pause = this.scheduler.now - stoppedAt;
    const isHindered = this.#hindrances.freeMs(stoppedAt, new Set([...this.lives.keys(), REGISTER])) < pause;
    if (pause > LONGEST_PAUSE_MS && !isHindered)
      this.complain('bounded', `with nothing in the way, daemon ${daemon} was live nowhere for ${pause} ms`);
  }

  /**
   * The ledger that is the copy on a node, by that one's own word: which it gives in its turn, when it has processed what it
   * had logged.
   *
   * @returns undefined where the node crashed meanwhile
   */
  async #hosted(daemon: number, node: number): Promise<Ledger | undefined> {
    const life = this.lives.get(node)!;
    try {
      const health = await life.runtime.health(this.origins[daemon]!);
      return life.environment.isOver ? undefined : this.#ledgers[Number((health as { reason: string }).reason)]!;
    } catch (error) {
      this.complain('error', `daemon ${daemon} on node ${node} does not say which it is: ${String(error)}`);
      return undefined;
    }
  }

  #moment(moment: string, origin: bigint): void {
    const waiting = this.#waitingFor.get(moment);
    if (!waiting) return;
    const nth = (this.#moments.get(moment) ?? 0) + 1;
    this.#moments.set(moment, nth);
    for (const planned of waiting)
      if (planned.when!.nth === nth) this.scheduler.in(planned.when!.thenMs, 0, () => this.#do(planned, origin));
  }

  /** @param origin of the daemon about which something was seen */
  #do({ name, deed }: Planned, origin: bigint | undefined): void {
    if (!this.#hasFaults || !this.chances.allows(name)) return;
    switch (deed.do) {
      case 'migrate':
        this.#migrate(deed.daemon, deed.by, deed.to);
        break;
      case 'cancel':
        this.#cancel(deed.daemon);
        break;
      case 'ask':
        this.#ask(deed.daemon, deed.by, deed.to);
        break;
      case 'burst':
        this.#publishers[deed.publisher]!.add(deed.events);
        break;
      case 'feed':
        this.#feed(deed.feed, deed.events);
        break;
      case 'crash':
        this.#crash(this.#resolve(deed.node, origin ?? this.origins[deed.daemon]!), deed.downMs, deed.againMs);
        break;
      case 'part':
        this.#part(deed, origin ?? this.origins[deed.daemon]!);
        break;
      case 'lose-register':
        this.#loseRegister(this.#resolve(deed.node, origin ?? this.origins[deed.daemon]!), deed.forMs);
        break;
      case 'lie':
        this.#liar?.lie(deed.daemon);
        break;
    }
  }

  #resolve(who: number | Part, origin: bigint): number {
    return typeof who === 'number' ? who : (this.watcher.course(origin)?.[who] ?? 1);
  }

  #ownerOf(daemon: number): number | undefined {
    const owner = this.register.table.read(this.origins[daemon]!)?.entry.owner;
    return owner === undefined ? undefined : Number(owner);
  }

  #migrate(daemon: number, by: number, to: number, mode = this.plan.daemons[daemon]!.mode): Led | undefined {
    const life = this.lives.get(by);
    const source = this.#ownerOf(daemon);
    if (!life?.runtime.isReady || source === undefined) return undefined;
    const target = to === source ? (to % this.plan.nodes) + 1 : to;
    const origin = this.origins[daemon]!;
    const { transportIdentity } = this.plan.daemons[daemon]!;
    const isOverlapping = this.#isMoving(daemon);
    try {
      const handle = life.runtime.startMigration(origin, BigInt(source), BigInt(target), {
        mode,
        transportIdentity,
        retryNotReady: RETRY_NOT_READY_MS,
      });
      this.trace.note(() => `${by} moves d${daemon} from ${source} to ${target}, ${mode}`);
      this.watcher.started({ origin, source, target, orchestrator: by });
      if (isOverlapping) this.watcher.visit('overlapping-tries');
      const led: Led = { handle, daemon, life, isOver: false };
      this.#led.push(led);
      void this.#follow(led);
      return led;
    } catch (error) {
      this.trace.note(() => `${by} cannot move d${daemon}: ${String(error)}`);
      return undefined;
    }
  }

  #isMoving(daemon: number): boolean {
    return this.#led.some((led) => led.daemon === daemon && !led.isOver);
  }

  async #follow(led: Led): Promise<void> {
    try {
      await led.handle.wait();
      this.#completed++;
      this.trace.note(() => `${led.life.number} has moved d${led.daemon}`);
    } catch (error) {
      this.#rolledBack++;
      this.trace.note(() => `${led.life.number} has not moved d${led.daemon}: ${String(error)}`);
    }
    led.isOver = true;
  }

  /** Whether a daemon could be moved: the question must change nothing, and be answered. */
  #ask(daemon: number, by: number, to: number): void {
    const life = this.lives.get(by);
    if (!life) return;
    const asked = this.scheduler.now;
    life.runtime.canMigrate(this.origins[daemon]!, BigInt(to), { timeout: ANSWER_MS }).then(
      (obstacles) => {
        const names = obstacles.map(({ kind }) => kind).join(', ');
        this.trace.note(() => `${by} asks whether d${daemon} could go to ${to}: ${names || 'yes'}`);
        // The register's answer, and one of each side, each with its node's slow timers.
        if (this.scheduler.now - asked > 6 * ANSWER_MS)
          this.complain('it-ends', `node ${by} had its answer after ${this.scheduler.now - asked} ms`);
      },
      () => {},
    );
  }

  #cancel(daemon: number): void {
    const led = this.#led.findLast((one) => one.daemon === daemon && !one.isOver);
    if (!led) return;
    const { handle } = led;
    this.trace.note(() => `${led.life.number} cancels d${daemon} in phase ${handle.phase}`);
    if (handle.phase === 'Replay') this.watcher.visit('cancel-during-replay');
    if (this.watcher.offers.has(handle.origin)) this.watcher.visit('cancel-after-offer');
    void handle.cancel();
  }

  #feed(feed: number, events: number): void {
    const sender = this.plan.publishers.length + feed;
    for (let n = 0; n < events; n++) {
      const sequence = ++this.#feeds[feed]!;
      this.#history.sent(sender, sequence, isThrowing(sequence));
      this.broker.channels.publish(`feed/${feed}`, 1n, [eventOf(senderOrigin(sender), sequence)]);
    }
  }

  #crash(number: number, downMs: number, againMs?: number): void {
    const life = this.lives.get(number);
    if (!life) return;
    this.trace.note(() => `${number} CRASHES`);
    this.#hindrances.wentDown(number);
    this.#isAnySecretLost = true;
    this.trace.digest(number, 13);
    this.watcher.crashed(
      number,
      this.#led.some((led) => led.life === life && !led.isOver),
    );
    for (const [daemon, { feeds }] of this.plan.daemons.entries()) {
      const origin = this.origins[daemon]!;
      const isHeld = this.#copies.all(daemon).includes(number) && !this.#copies.live(daemon).includes(number);
      if (feeds.length > 0 && isHeld && this.watcher.course(origin)?.target === number)
        this.watcher.visit('rebind-over-crash');
    }
    life.environment.end();
    life.mesh.cutOff();
    this.network.leave(life.mesh);
    this.lives.delete(number);
    this.#graves.push(life);
    for (const led of this.#led) if (led.life === life) led.isOver = true;
    for (const [daemon, { home }] of this.plan.daemons.entries()) if (home === number) this.#copies.neverBorn(daemon);
    const disk = this.#disks.get(number);
    for (const { daemon, wasLive } of this.#copies.crashed(number, disk ? this.#crashDisk(disk) : 'none')) {
      if (wasLive) this.#lose(daemon);
      else this.#lostIfRecovered.set(daemon, { node: number, sent: this.#history.sentTo(daemon, this.#isChannel) });
    }
    if (this.plan.knowsDeath) for (const other of this.lives.keys()) this.#tellOfDeath(other, number);
    this.scheduler.in(downMs, 0, () => {
      if (this.lives.has(number)) return;
      this.#startNode(number);
      if (againMs !== undefined)
        this.scheduler.in(againMs, 0, () => {
          if (this.#hasFaults) this.#crash(number, downMs);
        });
    });
  }

  #crashDisk(disk: SimulatedDisk): DiskLeft {
    if (disk.isWriting) this.watcher.visit('crash-while-writing');
    const hadCopies = disk.copies().length > 0;
    if (disk.crash()) return 'kept';
    if (hadCopies) this.watcher.visit('spool-lost');
    this.trace.note(() => 'with its disk');
    return 'lost';
  }

  /** What only the copy that is gone had accepted and published may be missing, or be otherwise, from here on. */
  #lose(daemon: number): void {
    this.#history.lost(this.#history.sentTo(daemon, this.#isChannel));
    this.#chains[daemon]!.crashed();
  }

  /** Somebody brings a copy back. Where a newer one is gone, what that one alone had accepted is lost; since then nobody accepted. */
  #recovered(daemon: number): void {
    const newest = this.#lostIfRecovered.get(daemon);
    if (!newest) return;
    this.#lostIfRecovered.delete(daemon);
    this.#history.lost(newest.sent);
    this.#chains[daemon]!.crashed();
  }

  #tellOfDeath(listener: number, number: number): void {
    const life = this.lives.get(listener)!;
    this.scheduler.in(1 + 30 * this.chances.measure(listener, number, this.scheduler.steps), listener, () => {
      if (life.mesh.isCut) return;
      life.mesh.peerGone(number);
      if (this.lives.has(number)) life.mesh.peerBack(number);
    });
  }

  #part(deed: Extract<Deed, { do: 'part' }>, origin: bigint): void {
    const from = this.#resolve(deed.from, origin);
    const others = deed.to === 'all' ? [...this.broker.members] : [this.#resolve(deed.to, origin)];
    const ways = others
      .filter((to) => to !== from)
      .flatMap((to) => (deed.bothWays ? [[from, to] as const, [to, from] as const] : [[from, to] as const]));
    this.trace.note(() => `cut for ${deed.forMs} ms: ${ways.map(([a, b]) => `${a} → ${b}`).join(', ')}`);
    for (const [a, b] of ways) {
      this.network.cut(a, b);
      this.#hindrances.cut(a, b);
    }
    for (const { source, target } of this.watcher.offers.values())
      if (this.network.isCut(source, target) || this.network.isCut(target, source))
        this.watcher.visit('partition-over-offer');
    this.scheduler.in(deed.forMs, 0, () => {
      for (const [a, b] of ways) {
        this.network.heal(a, b);
        this.#hindrances.healed(a, b);
      }
    });
  }

  #loseRegister(number: number, forMs: number): void {
    this.trace.note(() => `${number} cannot reach the register for ${forMs} ms`);
    this.register.goAway(number);
    this.#hindrances.cut(number, REGISTER);
    this.scheduler.in(forMs, 0, () => {
      this.register.comeBack(number);
      this.#hindrances.healed(number, REGISTER);
    });
  }

  #runPublishers(): void {
    this.#publishers.forEach((publisher, n) => {
      const { daemon, home } = this.plan.publishers[n]!;
      const step = () => {
        if (publisher.step()) {
          const [live] = this.#copies.live(daemon);
          if (live !== undefined) this.watcher.tookEvents(this.origins[daemon]!, live);
        }
        this.scheduler.in(PUBLISHER_MS, home, step);
      };
      this.scheduler.in(n, home, step);
    });
  }

  /** From here on nothing goes wrong any more. */
  #endFaults(): void {
    this.trace.note(() => 'from here on nothing goes wrong');
    this.#hasFaults = false;
    this.chances.isOver = true;
    this.network.faults = { ...NO_NETWORK_FAULTS, batches: this.plan.network.batches };
    this.register.faults = NO_REGISTER_FAULTS;
    this.broker.faults = NO_BROKER_FAULTS;
    const since = this.scheduler.now;
    const lookAfter = () => {
      const tooLate = () =>
        this.complain('it-ends', `${this.scheduler.now - since} ms after the last fault, ${this.#unsettled()}`);
      this.plan.daemons.forEach((_, daemon) => void this.#lookAfter(daemon));
      const isWell = () => this.#isSettled() && !this.#isAnyGone();
      this.#watch('settle when it was looked after', isWell, RECOVER_MS + SETTLE_MS, () => this.#lastMoves(), tooLate);
    };
    const settled = () => {
      if (this.#isAnyGone()) this.scheduler.in(UNDECIDED_MS, 0, lookAfter);
      else this.#lastMoves();
    };
    this.#watch('settle', () => this.#isSettled(), SETTLE_MS - RECOVER_MS, settled, lookAfter);
  }

  /** Goes on when a condition holds, and does something else when that takes too long. */
  #watch(what: string, holds: () => boolean, forMs: number, goOn: () => void, tooLate: () => void): void {
    const until = this.scheduler.now + forMs;
    const look = () => {
      if (holds()) {
        this.trace.note(() => `done: ${what}`);
        goOn();
      } else if (this.scheduler.now >= until) tooLate();
      else this.scheduler.in(WATCH_MS, 0, look);
    };
    look();
  }

  #isAnyGone(): boolean {
    return this.plan.daemons.some((_, daemon) => this.#copies.isGone(daemon));
  }

  #unsettled(): string {
    const reasons = this.plan.daemons.flatMap((_, daemon) => {
      if (this.#copies.isGone(daemon)) return [];
      const [live, all] = [this.#copies.live(daemon), this.#copies.all(daemon)];
      if (live.length === 1 && all.length === 1) return this.#unread(daemon, live[0]!);
      return [`daemon ${daemon} is live on nodes [${live}] and copies are on [${all}]`];
    });
    for (const { handle, daemon, isOver } of this.#led)
      if (!isOver) reasons.push(`a migration of daemon ${daemon} is still ${handle.state} in phase ${handle.phase}`);
    this.#publishers.forEach((publisher, n) => {
      if (!publisher.isDone && !this.#copies.isGone(this.plan.publishers[n]!.daemon))
        reasons.push(`publisher ${n} has ${publisher.accepted} of ${publisher.made} events accepted`);
    });
    return reasons.join('; ');
  }

  /** Channels that a live daemon is subscribed to, and has not read to their ends. */
  #unread(daemon: number, node: number): string[] {
    const ledger = this.#liveLedgers.get(daemon * 64 + node);
    if (!ledger) return [`daemon ${daemon} on node ${node} has not processed what it had logged`];
    const { runtime } = this.lives.get(node)!;
    const channels = new Set(runtime.subscriptions(this.origins[daemon]!).map(({ channel }) => channel));
    return this.#feeds.flatMap((through, feed) => {
      if (!channels.has(`feed/${feed}`)) return [];
      const last = ledger.lastOf(this.plan.publishers.length + feed);
      return last >= through ? [] : [`daemon ${daemon} has read feed/${feed} up to ${last} of ${through}`];
    });
  }

  #isSettled(): boolean {
    if (this.lives.size < this.plan.nodes) return false;
    for (const { runtime } of this.lives.values()) if (!runtime.isReady) return false;
    return this.#unsettled() === '';
  }

  /** Migrations that a node still takes part in, by its own word. */
  #leftOver(): string[] {
    return [...this.lives.values()].flatMap(({ number, runtime }) =>
      runtime
        .migrations()
        .map(
          ({ role, origin, phase }) => `node ${number} is still ${role} of ${this.#nameOf(origin)}, in phase ${phase}`,
        ),
    );
  }

  /**
   * What somebody does who looks after the cluster: a backup whose owner is gone becomes the daemon; else the newest copy that
   * waits on a disk; and what is nowhere is given up, and begins anew.
   */
  async #lookAfter(daemon: number, isLastLook = false): Promise<void> {
    const all = this.#copies.all(daemon);
    if (this.#copies.live(daemon).length > 0) return;
    const owner = this.#ownerOf(daemon)!;
    const asked = all.filter((node) => node === owner || !all.includes(owner));
    const recovered = await Promise.all(asked.map((node) => this.#recover(daemon, node)));
    if (all.length > 0) {
      // What is there may be half of a migration that its node has not given up yet.
      if (recovered.every((isWhole) => isWhole === undefined))
        this.scheduler.in(LOOK_AGAIN_MS, 0, () => void this.#lookAfter(daemon));
      return;
    }
    const onDisks = this.#onDisks(daemon);
    for (const { node, name } of onDisks) {
      const isWhole = await this.#recover(daemon, node);
      if (isWhole === undefined) continue;
      if (name.resumedIn !== undefined) this.watcher.visit('marked-copy-recovered');
      return;
    }
    // A node that could not decide about its file, since a copy was moving in, decides by then.
    if (onDisks.length > 0 && !isLastLook) this.scheduler.in(UNDECIDED_MS, 0, () => void this.#lookAfter(daemon, true));
    else if (this.#copies.isGone(daemon)) await this.#spawnAnew(daemon);
  }

  /** Copies of a daemon on disks, the newest first. */
  #onDisks(daemon: number): Array<{ readonly node: number; readonly name: FencedName }> {
    const newest = ({ resumedIn, epoch }: FencedName) => Number(resumedIn ?? epoch);
    return [...this.#disks]
      .flatMap(([node, disk]) => disk.copies().map((name) => ({ node, name })))
      .filter(({ name }) => name.origin === this.origins[daemon])
      .sort((a, b) => newest(b.name) - newest(a.name));
  }

  /** @returns whether the copy is whole, by its node's word; undefined where none was brought back */
  async #recover(daemon: number, node: number): Promise<boolean | undefined> {
    this.trace.note(() => `somebody recovers d${daemon} on ${node}`);
    const isOlder = this.#copies.isOlderAt(daemon, node);
    this.#recovering.add(daemon * 64 + node);
    try {
      const { isWhole } = await this.lives.get(node)!.runtime.recover(this.origins[daemon]!, { force: true });
      this.trace.note(() => `${node} has recovered d${daemon}${isWhole ? '' : ', which is older than it was'}`);
      if (isOlder && isWhole)
        this.complain('nothing-lost', `node ${node} had daemon ${daemon} live, and says that an older copy is whole`);
      return isWhole;
    } catch (error) {
      this.trace.note(() => `${node} does not recover d${daemon}: ${String(error)}`);
      return undefined;
    }
  }

  /** A daemon that is nowhere begins again from nothing, and so does whoever sends to it. */
  async #spawnAnew(daemon: number): Promise<void> {
    const origin = this.origins[daemon]!;
    const { home } = this.plan.daemons[daemon]!;
    try {
      await this.lives.get(home)!.runtime.forget(origin, { force: true });
    } catch (error) {
      const kind = error instanceof MigrationError ? error.kind : 'error';
      if (kind === 'already-migrating') {
        this.scheduler.in(150, 0, () => void this.#spawnAnew(daemon));
        return;
      }
      // It was lost with its home before it was spawned.
      if (kind !== 'daemon-not-found') this.complain('error', `daemon ${daemon} is not given up: ${String(error)}`);
    }
    this.trace.note(() => `d${daemon} is given up`);
    this.watcher.visit('spawned-anew');
    this.#copies.forgotten(daemon);
    this.#epochs.anew(daemon);
    this.#lostIfRecovered.delete(daemon);
    this.#subscribed[daemon]!.clear();
    // What its former life was sent may still arrive.
    this.#lose(daemon);
    this.#chains[daemon] = this.#chain(daemon);
    const senders = this.plan.daemons[daemon]!.feeds.map((feed) => this.plan.publishers.length + feed);
    this.#publishers.forEach((publisher, n) => {
      if (this.plan.publishers[n]!.daemon !== daemon) return;
      const number = NEXT_LIFE + n;
      publisher.beginAnew(number, senderOrigin(number));
      senders.push(number);
    });
    this.#history.anew(daemon, senders);
    await this.#spawn(daemon);
  }

  /** With nothing in the way, every daemon can be moved, while more events come. */
  #lastMoves(): void {
    const random = new Random(this.plan.seed, 99);
    this.#undisturbedSince = this.scheduler.now;
    // Who sends on takes as much from each source as their ways hold, and sends that on whatever its own way holds; and some comes again.
    if (!this.network.isAnyCut) {
      this.#mayBeInFlight = (3 + this.plan.daemons.length) * READY_BYTES;
      this.network.mostInFlightBytes = 0;
    }
    const moving = new Set<number>();
    this.plan.daemons.forEach((_, daemon) => {
      if (this.#copies.isGone(daemon)) return;
      moving.add(daemon);
      const [by, to] = [random.between(1, this.plan.nodes), random.between(1, this.plan.nodes)];
      this.#moveUndisturbed(daemon, by, to, moving);
    });
    this.#publishers.forEach((publisher, n) => {
      if (!this.#copies.isGone(this.plan.publishers[n]!.daemon)) publisher.add(2);
    });
    for (let feed = 0; feed < this.plan.feeds; feed++) this.#feed(feed, 2);
    this.#watch(
      'last moves',
      () => moving.size === 0 && this.#isSettled() && this.#leftOver().length === 0,
      UNDISTURBED_MS,
      () => this.#end(),
      () =>
        this.complain(
          'it-ends',
          `with nothing in the way, daemons [${[...moving]}] were not moved; ${this.#unsettled()} ${this.#leftOver()}`,
        ),
    );
  }

  /** Again while something of earlier tries is still being given up. */
  #moveUndisturbed(daemon: number, by: number, to: number, moving: Set<number>): void {
    const led = this.#migrate(daemon, by, to, 'pause');
    const again = () => this.scheduler.in(150, 0, () => this.#moveUndisturbed(daemon, by, to, moving));
    if (led) void led.handle.wait().then(() => moving.delete(daemon), again);
    else again();
  }

  /** What is on its way arrives, and all is still for some time; then everybody's account must be right. */
  #end(): void {
    const until = this.scheduler.now + UNDISTURBED_MS;
    let stillSince = this.scheduler.now;
    const look = () => {
      const { now } = this.scheduler;
      // A frame that took long has begun something: that ends too.
      if (!this.#isSettled() || this.#leftOver().length > 0) stillSince = now;
      stillSince = Math.max(stillSince, this.#lastProcessed);
      if (now - stillSince >= STILL_MS) this.#closeAll();
      else if (now < until) this.scheduler.in(WATCH_MS, 0, look);
      else
        this.complain(
          'it-ends',
          `nothing is in the way, and it is never still: ${this.#unsettled()} ${this.#leftOver()}`,
        );
    };
    this.scheduler.in(400, 0, look);
  }

  #closeAll(): void {
    for (const { environment, number } of this.lives.values()) {
      if (environment.timers > MOST_TIMERS) this.complain('bounded', `node ${number} has ${environment.timers} timers`);
    }
    this.#closeDisks();
    const shown = this.plan.daemons.reduce((sum, _, daemon) => sum + this.#copies.keys(daemon).length, 0);
    const secrets = this.#secrets() ?? shown;
    if (secrets > shown)
      this.complain(
        'custody',
        `nodes show the private halves of ${shown} daemons' keys, and the process holds ${secrets}`,
      );
    void Promise.all(this.plan.daemons.map((_, daemon) => this.#close(daemon))).then(() => {
      this.#isOver = true;
    });
  }

  /**
   * Of a daemon that lives elsewhere no disk has a copy, but one that was there when its node was started, and may have waited
   * for `recover` since: nobody told that node that the daemon went on otherwise. Nothing is arriving any more.
   */
  #closeDisks(): void {
    for (const [node, disk] of this.#disks) {
      const life = this.lives.get(node)!;
      for (const { name, origin } of disk.copies()) {
        const daemon = this.origins.indexOf(origin);
        if (this.#copies.isGone(daemon) || this.#copies.live(daemon).includes(node)) continue;
        const mayBeThere = (life.mayWait.has(name) && !life.had.has(daemon)) || disk.unremovable.has(name);
        if (!mayBeThere)
          this.complain('custody', `the disk of node ${node} still has ${name}, a copy of daemon ${daemon}`);
      }
      for (const name of disk.arrivals()) this.complain('custody', `the disk of node ${node} still has ${name}`);
    }
  }

  /** Each of a daemon's ledgers on a node that runs has been told of its end, but the one that lives. */
  #checkDisposal(daemon: number, hosted: Ledger | undefined): void {
    for (const { ledger, environment } of this.#made) {
      if (ledger.daemon !== daemon || ledger === hosted || ledger.isOver || environment.isOver) continue;
      this.complain(
        'disposal',
        `ledger ${ledger.number} of daemon ${daemon} on node ${ledger.node} was not told of its end`,
      );
    }
    if (hosted?.isOver) this.complain('disposal', `daemon ${daemon} is live, and was told of its end`);
  }

  /** The last account of a daemon. */
  async #close(daemon: number): Promise<void> {
    if (this.#copies.isGone(daemon)) return;
    const [live] = this.#copies.live(daemon);
    const keys = this.#copies.keys(daemon);
    if (this.plan.daemons[daemon]!.transportIdentity && (keys.length !== 1 || keys[0] !== live))
      this.complain('custody', `daemon ${daemon} is live on node ${live}, and its key is on nodes [${keys}]`);
    const ledger = await this.#hosted(daemon, live!);
    this.#checkDisposal(daemon, ledger);
    if (!ledger) return;
    this.#history.end(ledger, this.#sendersNow(daemon, this.lives.get(live!)!));
    this.#chains[daemon]!.end(ledger, (entry) => this.#history.throwsAt(entry));
  }

  /** Who must have been heard by a daemon: its publishers, and the channels that it is subscribed to. */
  #sendersNow(daemon: number, { runtime }: Life): number[] {
    const { publishers } = this.plan;
    const ledger = new Set(runtime.subscriptions(this.origins[daemon]!).map(({ channel }) => channel));
    for (const feed of this.#subscribed[daemon]!) {
      // A backup from before the subscription does not know of it.
      if (!ledger.has(`feed/${feed}`) && !this.#chains[daemon]!.hasForked)
        this.complain('nothing-lost', `daemon ${daemon} is no longer subscribed to feed/${feed}`);
    }
    const direct = publishers.flatMap((publisher, n) =>
      publisher.daemon === daemon ? [this.#publishers[n]!.options.number] : [],
    );
    const feeds = this.#feeds.flatMap((_, feed) => (ledger.has(`feed/${feed}`) ? [publishers.length + feed] : []));
    return [...direct, ...feeds];
  }

  /** The world is over: what its nodes hold outside the heap is given back. */
  #bury(): void {
    for (const life of [...this.#graves, ...this.lives.values()]) {
      life.environment.end();
      life.mesh.cutOff();
      life.register.isOver = true;
      void life.runtime.shutdown().catch(() => {});
    }
  }
}
