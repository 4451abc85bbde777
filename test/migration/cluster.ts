import { DaemonFactoryRegistry } from '../../lib/daemon/factories.js';
import { DaemonHost } from '../../lib/daemon/host.js';
import { DaemonRegistry } from '../../lib/daemon/registry.js';
import { MigrationError } from '../../lib/errors.js';
import {
  createMigrationIdentityContext,
  EntityKeypair,
  type MigrationIdentityContext,
  NodeKeys,
} from '../../lib/identity/index.js';
import { createCodec } from '../../lib/index.js';
import { OwnershipTable } from '../../lib/mesh/register.js';
import type { MigrationMode, MigrationReport } from '../../lib/migration/core.js';
import { DaemonServices } from '../../lib/migration/daemon-services.js';
import {
  type MigrationHandlerOptions,
  MigrationSubprotocolHandler,
  type OutboundMigrationMessage,
  type StartMigration,
} from '../../lib/migration/handler.js';
import { allowList, type MigrationHandlerHooks } from '../../lib/migration/hooks.js';
import { MigrationOrchestrator } from '../../lib/migration/orchestrator.js';
import type { OrchestratorPolicyOptions, ParticipantPolicyOptions } from '../../lib/migration/policy.js';
import { MigrationSourceHandler } from '../../lib/migration/source.js';
import { MigrationTargetHandler } from '../../lib/migration/target.js';
import { Ownership } from '../../lib/runtime/ownership.js';
import type { MigrationCodec } from '../../lib/wire/codec.js';
import { decodeMigrationFrame, type MigrationFrame } from '../../lib/wire/extension.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import type { ReassemblerOptions } from '../../lib/wire/reassembler.js';
import { events, Recorder } from '../support.js';
import { ORCHESTRATOR, SOURCE, STRANGER, TARGET, turns } from './harness.js';

export { ORCHESTRATOR, SOURCE, STRANGER, TARGET };

const PUBLISHER = 77n;
const codecs = new Map<'native' | 'typescript', MigrationCodec>();
/** The same entities in every cluster: what is tested is not how keys are drawn. */
const [DAEMON, BYSTANDER] = [EntityKeypair.generate(), EntityKeypair.generate()];
export const ORIGIN = DAEMON.originHash;
/** Of a second daemon, which moves at the same time. */
export const OTHER = BYSTANDER.originHash;
const KEYPAIRS = new Map([DAEMON, BYSTANDER].map((keypair) => [keypair.originHash, keypair]));

function codecOf(engine: 'native' | 'typescript'): MigrationCodec {
  const codec = codecs.get(engine) ?? createCodec({ engine });
  codecs.set(engine, codec);
  return codec;
}

/** What one node is made with, beside what all have. */
export interface NodeOptions extends Partial<MigrationHandlerOptions> {
  readonly hooks?: MigrationHandlerHooks;
  readonly orchestratorPolicy?: OrchestratorPolicyOptions;
  readonly sourcePolicy?: ParticipantPolicyOptions;
  readonly targetPolicy?: ParticipantPolicyOptions & ReassemblerOptions;
  /** Makes no daemons. */
  readonly bare?: true;
}

export interface ClusterOptions {
  readonly engine?: 'native' | 'typescript';
  /** Where the orchestrator is. Default: on a node of its own. */
  readonly orchestrator?: bigint;
  readonly extensions?: boolean;
  /** The mesh says that every node speaks extensions. */
  readonly known?: boolean;
  /** Who lives is decided by an ownership register, which answers later; default: by nobody. */
  readonly register?: boolean;
  /** The daemon's key travels sealed; default: its target has it. */
  readonly sealed?: boolean;
  /** How the daemon moves. Default: `pause`. */
  readonly mode?: MigrationMode;
  /** Every frame is handed over twice. */
  readonly doubled?: boolean;
  /** Events that the daemon has seen before: 875 fill a chunk. */
  readonly history?: number;
  readonly node?: (id: bigint, identity: MigrationIdentityContext | undefined) => NodeOptions;
}

/** A frame on its way. `number` counts those that were ever sent. */
export interface Flight {
  readonly number: number;
  readonly from: bigint;
  readonly to: bigint;
  readonly payload: Uint8Array;
}

/** A real dispatcher with real daemons, and nothing around it. */
export class ClusterNode {
  readonly registry = new DaemonRegistry();
  readonly factories = new DaemonFactoryRegistry();
  readonly reports: MigrationReport[] = [];
  /** Of frames that were handed in, and of what nobody waits for. */
  readonly refused: MigrationError[] = [];
  readonly orchestrator: MigrationOrchestrator;
  readonly source: MigrationSourceHandler;
  readonly target: MigrationTargetHandler;
  readonly handler: MigrationSubprotocolHandler;
  readonly codec: MigrationCodec;

  constructor(
    readonly id: bigint,
    readonly cluster: Cluster,
    readonly options: NodeOptions,
  ) {
    const { engine = 'typescript', extensions = true, known, register } = cluster.options;
    const { hooks = {}, orchestratorPolicy, sourcePolicy, targetPolicy, bare, ...rest } = options;
    this.codec = codecOf(engine);
    this.orchestrator = new MigrationOrchestrator(orchestratorPolicy);
    this.source = new MigrationSourceHandler(this.registry, sourcePolicy);
    this.target = new MigrationTargetHandler(this.registry, bare ? undefined : this.factories, targetPolicy);
    this.factories.register('recorder', () => new Recorder());
    const allHooks = this.#hooks(hooks);
    this.handler = MigrationSubprotocolHandler.withHooks(this.orchestrator, this.source, this.target, id, allHooks, {
      codec: this.codec,
      extensions,
      speaksExtensions: () => (known && extensions ? true : undefined),
      // Without extensions a target does not know its source, which must be allowed to send events.
      orchestrators: extensions ? [cluster.leader] : [cluster.leader, SOURCE],
      host: { publish: (_, outputs) => void cluster.published.push(...outputs) },
      onReport: (report) => this.reports.push(report),
      onRefused: (error) => this.refused.push(error),
      ...(register ? { services: this.#registeredServices(allHooks) } : {}),
      ...rest,
    });
  }

  /** The daemon may move in, and its key is here unless it travels. */
  expect(origin: bigint): void {
    const known = this.cluster.options.sealed ? {} : { keypair: KEYPAIRS.get(origin)! };
    this.factories.expect('recorder', origin, undefined, known);
  }

  #hooks(hooks: MigrationHandlerHooks): MigrationHandlerHooks {
    const identity = hooks.identity ?? this.cluster.identityOf(this.id);
    return identity ? { ...hooks, identity } : hooks;
  }

  #registeredServices(hooks: MigrationHandlerHooks): DaemonServices {
    const { codec, cluster, id, registry, factories } = this;
    return new DaemonServices({
      localNode: id,
      codec,
      registry,
      factories: this.options.bare ? undefined : factories,
      ownership: new Ownership(cluster.table, id),
      authorize: hooks.authorize ?? allowList(id, [cluster.leader]),
      hooks,
      readsCarriedState: () => cluster.options.known === true,
      host: (keypair, kind, daemon) => ({
        codec,
        keypair,
        kind,
        daemon,
        publish: (o) => void cluster.published.push(...o),
      }),
    });
  }

  /** The copy here, whatever its state. */
  get copy(): DaemonHost | undefined {
    return this.registry.get(ORIGIN);
  }

  /** Whether the copy here takes events. */
  get isLive(): boolean {
    const gate = this.copy?.gate;
    return gate === 'live' || gate === 'logging' || gate === 'mirroring';
  }

  get daemon(): Recorder | undefined {
    return this.copy?.daemon as Recorder | undefined;
  }

  /** How this node's migrations of the daemon ended: role, and of failures the kind. */
  get ends(): string[] {
    return this.reports.flatMap((report) => {
      if ('origin' in report && report.origin !== ORIGIN) return [];
      if (report.kind === 'completed') return [`${report.role} completed`];
      return report.kind === 'failed' ? [`${report.role} ${report.error.kind}`] : [];
    });
  }
}

/** Some nodes, the frames between them, and one clock: a test moves each of them by hand. */
export class Cluster {
  readonly nodes = new Map<bigint, ClusterNode>();
  readonly table = new OwnershipTable();
  /** On their way, the next one first. */
  readonly queue: Flight[] = [];
  /** All that were ever sent. */
  readonly sent: Flight[] = [];
  /** What all live copies have published. */
  readonly published: CausalEvent[] = [];
  /** Events that a test has lost for good. */
  readonly lost = new Set<bigint>();
  readonly leader: bigint;
  now = 0;
  readonly #keys = new Map<bigint, NodeKeys>();
  /** Events that no copy has taken yet. */
  readonly #unsent: CausalEvent[] = [];
  #handedOut: number;

  constructor(readonly options: ClusterOptions = {}) {
    this.leader = options.orchestrator ?? ORCHESTRATOR;
    this.#handedOut = options.history ?? 0;
    for (const id of [SOURCE, TARGET, ORCHESTRATOR]) {
      if (options.sealed) this.#keys.set(id, NodeKeys.generate());
    }
    for (const id of [SOURCE, TARGET, ORCHESTRATOR]) this.revive(id);
    this.#spawn(SOURCE, DAEMON.clone(), this.#handedOut);
  }

  get source(): ClusterNode {
    return this.nodes.get(SOURCE)!;
  }

  get target(): ClusterNode {
    return this.nodes.get(TARGET)!;
  }

  get orchestrator(): ClusterNode {
    return this.nodes.get(this.leader)!;
  }

  /** What seals and opens keys on that node; undefined where none travels. */
  identityOf(id: bigint): MigrationIdentityContext | undefined {
    const nodeKeys = this.#keys.get(id);
    const peerStaticLookup = (node: bigint) => this.#keys.get(node)?.staticPublic;
    return nodeKeys && createMigrationIdentityContext({ nodeKeys, peerStaticLookup });
  }

  /** A second copy of the daemon, where there must be none. */
  spawnAt(node: bigint): void {
    this.#spawn(node, DAEMON.clone(), 0);
  }

  #spawn(node: bigint, keypair: EntityKeypair, history: number): void {
    const { codec, registry } = this.nodes.get(node)!;
    const daemon = new Recorder();
    daemon.seen = range(1, history);
    const publish = (outputs: readonly CausalEvent[]) => void this.published.push(...outputs);
    const host = new DaemonHost({ codec, keypair, kind: 'recorder', daemon, publish });
    host.epoch = 1n;
    registry.add(host);
    this.table.compareAndSet(host.origin, 0n, { epoch: 1n, owner: SOURCE, tries: 0n });
  }

  /** The second daemon begins to live at the source, and to move. */
  startOther(history = 0): void {
    this.#spawn(SOURCE, BYSTANDER.clone(), history);
    this.start({}, SOURCE, TARGET, OTHER);
  }

  /** Begins to move the daemon from the source to the target, or elsewhere. */
  start(options: StartMigration = {}, source = SOURCE, target = TARGET, origin = ORIGIN): void {
    const node = this.orchestrator;
    this.nodes.get(target)!.expect(origin);
    const { mode = 'pause' } = this.options;
    this.#collect(node, node.handler.startMigration(origin, source, target, { mode, ...options }));
  }

  /** Frames that a node gave to whoever called it. */
  take(node: bigint, outbound: readonly OutboundMigrationMessage[]): void {
    this.#collect(this.nodes.get(node)!, outbound);
  }

  /** What the orchestrator does when it is told to give up. */
  cancel(): void {
    this.orchestrator.handler.cancelMigration(ORIGIN);
    this.#collectAll();
  }

  /** Brings the daemon back to its source: the other copy is gone for certain. @returns whether there was one */
  recover(): boolean {
    const found = this.source.handler.recover(ORIGIN);
    this.#collectAll();
    return found;
  }

  /** A node is gone with all that it had, and with what was on its way to and from it. */
  crash(id: bigint): void {
    const node = this.nodes.get(id)!;
    this.nodes.delete(id);
    end(node);
    for (const flight of this.queue.filter(({ from, to }) => from === id || to === id))
      this.queue.splice(this.queue.indexOf(flight), 1);
  }

  /** It begins again, with nothing. */
  revive(id: bigint): void {
    this.nodes.set(id, new ClusterNode(id, this, this.options.node?.(id, this.identityOf(id)) ?? {}));
  }

  /** New events for the daemon, handed to whichever copy takes them; else kept for later. */
  publish(count: number): void {
    this.#unsent.push(...events(PUBLISHER, this.#handedOut + 1, count));
    this.#handedOut += count;
    this.#handIn();
  }

  #handIn(): void {
    for (const node of this.nodes.values()) {
      while (this.#unsent.length > 0 && node.isLive) {
        void node.source.bufferEvent(ORIGIN, this.#unsent[0]!);
        this.#unsent.shift();
      }
    }
    this.#collectAll();
  }

  /** Takes the next frame, or that one, from the queue and hands it over. */
  deliver(flight: Flight = this.queue[0]!): void {
    const at = this.queue.indexOf(flight);
    if (at >= 0) this.queue.splice(at, 1);
    this.hand(flight);
    if (this.options.doubled) this.hand(flight);
  }

  /** Hands a frame over, whether it is in the queue or not. Its bytes are the transport's again after that. */
  hand({ from, to, payload }: Pick<Flight, 'from' | 'to' | 'payload'>): void {
    const node = this.nodes.get(to);
    if (!node) return;
    // As a transport has it: a Buffer, of which a slice is a view.
    const bytes = Buffer.from(payload);
    try {
      this.#collect(node, node.handler.handleMessage(bytes, from));
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      node.refused.push(error);
    }
    bytes.fill(0xee);
    this.live();
  }

  /** Time passes on every node. */
  pass(ms: number): void {
    this.now += ms;
    for (const node of this.nodes.values()) this.#collect(node, node.handler.tick(this.now));
    this.live();
  }

  /** Delivers what is on its way, and what follows from it. */
  drain(): void {
    while (this.queue.length > 0) this.deliver();
    this.#handIn();
  }

  /** Whether anybody still holds a record of a migration. */
  get isBusy(): boolean {
    return [...this.nodes.values()].some((node) => node.handler.list().length > 0);
  }

  /** No frame is lost any more: until nobody has a record of a migration. */
  quiet(): void {
    this.drain();
    for (let round = 0; this.isBusy && round < 2_000; round++) {
      this.pass(500);
      this.drain();
    }
    if (this.isBusy) throw new Error(`still under way: ${this.describe()}`);
  }

  /** Time passes, and all that is sent arrives. */
  elapse(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.drain();
      this.pass(500);
    }
    this.drain();
  }

  /** The same as `quiet` where some answers come later. */
  async later(): Promise<void> {
    for (let idle = 0, round = 0; idle < 2 || this.isBusy; round++) {
      if (round > 4_000) throw new Error(`still under way: ${this.describe()}`);
      await this.breathe();
      idle = this.queue.length === 0 ? idle + 1 : 0;
      this.drain();
      if (idle > 2) this.pass(500);
    }
  }

  /** The same as `elapse` where some answers come later. */
  async elapseLater(ms: number): Promise<void> {
    for (const end = this.now + ms; this.now < end; ) {
      await this.breathe();
      this.drain();
      if (this.queue.length === 0) this.pass(2_500);
    }
    await this.breathe();
    this.drain();
  }

  /** What has been answered later goes on. */
  async breathe(): Promise<void> {
    await turns();
    this.#collectAll();
    this.live();
  }

  /** Who has the daemon, as the register says. */
  ownerOf(): bigint | undefined {
    return this.table.read(ORIGIN)?.entry.owner;
  }

  /** The node with the live copy. @throws where more than one is */
  live(): ClusterNode | undefined {
    const [node, ...more] = [...this.nodes.values()].filter(({ isLive }) => isLive);
    if (more.length > 0) throw new Error(`${more.length + 1} live copies: ${this.describe()}`);
    return node;
  }

  /**
   * One copy is live, it has seen every event once and in order, and so have all that heard it.
   *
   * @returns the node where it is
   */
  whole(): bigint {
    const id = this.seenAll();
    const { history = 0 } = this.options;
    const published = this.#expected().slice(history);
    requireSame('published', this.published.map(numberOf), published);
    const sequences = this.published.map(({ link }) => link.sequence);
    requireSame('published as', sequences, range(1, published.length));
    return id;
  }

  /** The same of what the copy has seen alone: one that crashed may have published. */
  seenAll(): bigint {
    this.#handIn();
    const node = this.live();
    if (!node) throw new Error(`no live copy: ${this.describe()}`);
    const { id, copy, daemon } = node;
    if (copy!.gate !== 'live') throw new Error(`the copy on node ${id} is ${copy!.gate}`);
    requireSame('seen', daemon!.seen, this.#expected());
    return id;
  }

  #expected(): bigint[] {
    return range(1, this.#handedOut).filter((number) => !this.lost.has(number));
  }

  /** Where things stand: for the message of a test that fails. */
  describe(): string {
    const nodes = [...this.nodes.values()].map(({ id, copy, handler, ends, refused }) => {
      const records = handler.list().map(({ role, phase }) => `${role} ${phase}`);
      const refusals = refused.map(({ message }) => message);
      return [`node ${id}: copy ${copy?.gate ?? 'none'}`, ...records, ...ends, ...refusals].join(', ');
    });
    return nodes.join('; ');
  }

  decode(flight: Flight): MigrationFrame {
    return decodeMigrationFrame(codecOf('typescript'), flight.payload);
  }

  /** A frame as what it says, for the name of a case. */
  name(flight: Flight): string {
    return `#${flight.number} ${this.decode(flight).message.kind} ${flight.from}→${flight.to}`;
  }

  dispose(): void {
    for (const node of this.nodes.values()) end(node);
    for (const keys of this.#keys.values()) keys.dispose();
  }

  #collectAll(): void {
    for (const node of this.nodes.values()) this.#collect(node, node.handler.takeOutbound());
  }

  #collect(node: ClusterNode, outbound: readonly OutboundMigrationMessage[]): void {
    for (const { destNode, payload } of outbound) {
      const flight = { number: this.sent.length, from: node.id, to: destNode, payload: payload.slice() };
      this.sent.push(flight);
      this.queue.push(flight);
    }
  }
}

function end({ handler, registry }: ClusterNode): void {
  handler.dispose();
  for (const host of registry.close()) host.dispose();
}

/** What an event of `publish` is: 1, 2, 3 … */
export function numberOf({ payload }: CausalEvent): bigint {
  return new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true);
}

function range(first: number, last: number): bigint[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => BigInt(first + i));
}

function requireSame(what: string, actual: readonly bigint[], expected: readonly bigint[]): void {
  const length = Math.max(actual.length, expected.length);
  for (let i = 0; i < length; i++) {
    if (actual[i] === expected[i]) continue;
    const around = actual.slice(Math.max(0, i - 3), i + 4).join(', ');
    throw new Error(`${what}: ${actual.length} instead of ${expected.length}, first wrong at ${i}: … ${around} …`);
  }
}

/** Runs a test in a cluster, and cleans up behind it. */
export function inCluster<T>(options: ClusterOptions, run: (cluster: Cluster) => T): T {
  const cluster = new Cluster(options);
  let result: T;
  try {
    result = run(cluster);
  } catch (error) {
    cluster.dispose();
    throw error;
  }
  if (!(result instanceof Promise)) {
    cluster.dispose();
    return result;
  }
  return result.finally(() => cluster.dispose()) as T;
}
