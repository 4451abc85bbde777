import { totalmem } from 'node:os';
import type { DaemonFactory, DaemonHealth } from '../daemon/daemon.js';
import { DaemonFactoryRegistry } from '../daemon/factories.js';
import { type Acceptance, DaemonHost, type DaemonHostOptions, moving } from '../daemon/host.js';
import { DaemonRegistry } from '../daemon/registry.js';
import { MigrationError } from '../errors.js';
import { EntityKeypair } from '../identity/entity-keypair.js';
import { createMigrationIdentityContext } from '../identity/identity-context.js';
import { NodeKeys } from '../identity/node-keys.js';
import type { MaybePromise } from '../maybe-promise.js';
import { whenReady } from '../maybe-promise.js';
import type { FrameBatch, Mesh } from '../mesh/mesh.js';
import type { LostOwner, MigrationReport, MigrationStatus } from '../migration/core.js';
import { asMigrationError } from '../migration/failure.js';
import { MigrationSubprotocolHandler } from '../migration/handler.js';
import { allowList } from '../migration/hooks.js';
import { BoundedMemory } from '../migration/memory.js';
import { type MigrationObstacle, obstacleOf } from '../migration/obstacles.js';
import { MigrationOrchestrator } from '../migration/orchestrator.js';
import { alreadyMigrating } from '../migration/role.js';
import { MigrationSourceHandler } from '../migration/source.js';
import { DEFAULT_PATIENCE_MS, MigrationTargetHandler } from '../migration/target.js';
import { Arrivals } from '../spool/arrivals.js';
import { SpoolFolder } from '../spool/folder.js';
import { spoolError } from '../spool/spool-error.js';
import type { SpoolStorage } from '../spool/storage.js';
import { checkU64 } from '../wire/arguments.js';
import type { MigrationCodec } from '../wire/codec.js';
import { createCodec } from '../wire/engine.js';
import type { EventLogOptions } from '../wire/event-log.js';
import type { SubscriptionBinding } from '../wire/ledger.js';
import type { CausalEvent } from '../wire/link.js';
import { MessageType, SUBPROTOCOL_MIGRATION } from '../wire/message.js';
import { checkEvents } from '../wire/typescript/frame.js';
import { type CanMigrateOptions, livesNowhere, notRunning } from './can-migrate.js';
import {
  checkCanMigrateOptions,
  checkExpectOptions,
  checkForceOptions,
  checkRuntimeOptions,
  checkStartOptions,
  checkSubscribeOptions,
} from './check-options.js';
import { DeliveryEndpoint } from './delivery-endpoint.js';
import { DrainThrottle } from './drain.js';
import { Endings } from './endings.js';
import { type Environment, systemEnvironment } from './environment.js';
import { FencedSpool } from './fenced-spool.js';
import { MigrationHandle } from './handle.js';
import { HeldDeliveries } from './held-deliveries.js';
import { joined } from './joined.js';
import { notRegistered, Ownership } from './ownership.js';
import { Pacer } from './pacer.js';
import { EventPublisher } from './publisher.js';
import { rebindPolicy } from './rebind-policy.js';
import type { RebindReport } from './rebind-report.js';
import { retryBudget } from './retry.js';
import type {
  DaemonRuntimeOptions,
  ExpectMigrationOptions,
  RuntimePolicy,
  StartMigrationOptions,
  SubscribeChannelOptions,
} from './runtime-options.js';
import { RuntimeServices } from './services.js';
import { deadlineOf, type EndingNode, type EndingSpool, Shutdown, type ShutdownOptions } from './shutdown.js';
import { Slots } from './slots.js';
import { Subscriptions } from './subscriptions.js';
import { type Recovery, TakeUp } from './take-up.js';

const TICK_MS = 20;
const DEFAULT_CONCURRENT_MIGRATIONS = 256;
/** Handles that still hear what becomes of subscriptions. */
const REMEMBERED_HANDLES = 1_024;

/** A node that hosts daemons and moves them: what most users touch. */
export class DaemonRuntime {
  readonly #mesh: Mesh;
  readonly #codec: MigrationCodec;
  readonly #environment: Environment;
  readonly #eventLog: EventLogOptions | undefined;
  readonly #registry = new DaemonRegistry();
  readonly #factories = new DaemonFactoryRegistry();
  readonly #ownership: Ownership;
  readonly #nodeKeys: NodeKeys;
  readonly #ownsNodeKeys: boolean;
  readonly #handler: MigrationSubprotocolHandler;
  readonly #target: MigrationTargetHandler;
  readonly #delivery: DeliveryEndpoint;
  readonly #pacer: Pacer;
  readonly #drains = new DrainThrottle();
  readonly #held: HeldDeliveries;
  readonly #slots: Slots;
  readonly #handles = new Map<bigint, MigrationHandle>();
  readonly #lastHandles = new BoundedMemory<MigrationHandle>(REMEMBERED_HANDLES);
  readonly #subscriptions: Subscriptions;
  readonly #services: RuntimeServices;
  readonly #endings = new Endings();
  readonly #spool: RuntimeSpool | undefined;
  readonly #onError: (error: MigrationError) => void;
  /** Nodes to which chunks have been sent on while the current batch was handled. */
  readonly #sentTo = new Set<bigint>();
  /** Recoveries that somebody has asked for, until they end. */
  readonly #recoveries = new Map<bigint, Promise<Recovery>>();
  /** What ends them where the dispatcher brings the daemon back. */
  readonly #recovered = new Map<bigint, (error: MigrationError | undefined) => void>();
  #ready = false;
  #refusedFrames = 0;
  #stopTicking: (() => void) | undefined;
  #isDeaf = false;
  #started: Promise<void> | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: DaemonRuntimeOptions) {
    checkRuntimeOptions(options);
    const { mesh, environment = systemEnvironment } = options;
    requireFree(mesh);
    const storage = spoolStorage(options);
    this.#mesh = mesh;
    this.#environment = environment;
    this.#slots = new Slots(options.maxConcurrentMigrations ?? DEFAULT_CONCURRENT_MIGRATIONS);
    this.#eventLog = options.eventLog;
    this.#codec = createCodec(options.engine === undefined ? {} : { engine: options.engine });
    this.#onError = options.onError ?? ((error) => process.emitWarning(error.message, { code: error.kind }));
    this.#ownsNodeKeys = options.nodeKeys === undefined;
    this.#nodeKeys = options.nodeKeys ?? NodeKeys.generate();
    this.#ownership = new Ownership(mesh.register, mesh.nodeId);
    const identity = createMigrationIdentityContext({
      nodeKeys: this.#nodeKeys,
      peerStaticLookup: (node) => mesh.peer(node)?.staticKey,
    });
    this.#pacer = new Pacer({
      maxBytesPerSecond: options.maxBytesPerSecond,
      nowMs: () => environment.nowMs(),
      stream: (destNode, snapshot) => mesh.stream(destNode, SUBPROTOCOL_MIGRATION, snapshot),
      isPeer: (node) => mesh.peer(node) !== undefined,
    });
    this.#subscriptions = new Subscriptions({
      mesh,
      environment,
      policy: rebindPolicy(options.rebind),
      deliver:
        ({ origin }) =>
        (events) =>
          this.#deliver(origin, events),
      report: (error) => this.#complain(error),
      tell: (origin, report) => this.#handler.tellRebind(origin, report),
    });
    this.#spool = storage && this.#makeSpool(storage, options.policy?.target);
    this.#services = new RuntimeServices({
      subscriptions: this.#subscriptions,
      spool: this.#spool?.fenced,
      mayComeBack: (origin, epoch) => !this.#ready || this.#spool?.takeUp.mayComeBack(origin, epoch) === true,
      localNode: mesh.nodeId,
      codec: this.#codec,
      mesh,
      registry: this.#registry,
      factories: this.#factories,
      ownership: this.#ownership,
      authorize: options.authorize ?? allowList(mesh.nodeId, options.orchestrators ?? []),
      hooks: { identity, readiness: () => this.#isGoingToBeReady() },
      readsCarriedState: (node) => mesh.peer(node)?.extensions ?? false,
      keep: (arrival) => this.#spool?.arrivals?.keep(arrival),
      turn: () => environment.turn(),
      nowMs: () => environment.nowMs(),
      host: (keypair, kind, daemon) => this.#hostOptions(keypair, kind, daemon),
    });
    this.#target = new MigrationTargetHandler(this.#registry, this.#factories, {
      ...options.policy?.target,
      keepsFiles: this.#spool?.arrivals !== undefined,
    });
    this.#handler = new MigrationSubprotocolHandler(
      new MigrationOrchestrator(options.policy?.orchestrator),
      new MigrationSourceHandler(this.#registry, options.policy?.source),
      this.#target,
      mesh.nodeId,
      {
        codec: this.#codec,
        services: this.#services,
        speaksExtensions: (node) => mesh.peer(node)?.extensions,
        isPeer: (node) => mesh.peer(node) !== undefined,
        transport: {
          send: (destNode, frame) => {
            // Chunks of this node's own go by streams. What is no chunk is not waited for: its sender may be whom it would wait for.
            if (frame[0] === MessageType.SnapshotReady) this.#sentTo.add(destNode);
            this.#send(destNode, frame);
          },
          stream: (destNode, snapshot) => this.#pacer.stream(destNode, snapshot),
        },
        onReport: (report) => this.#reported(report),
        // A peer's frame that is refused has changed nothing, and late ones are part of every end; counted, no more.
        onRefused: (error, fromNode) => (fromNode === undefined ? this.#onError(error) : this.#refusedFrames++),
      },
    );
    // From here on, so that a node which has not started says that it is not ready, also to who would seal a key to it.
    mesh.announce(this.#nodeKeys.staticPublic);
    mesh.listen(SUBPROTOCOL_MIGRATION, (from, batch) => this.#receive(from, batch), { keepsBatches: false });
    this.#held = new HeldDeliveries(environment);
    this.#delivery = new DeliveryEndpoint(
      this.#codec,
      mesh,
      (origin, events) => this.#deliverWhenLive(origin, events),
      () => {
        this.#refusedFrames++;
      },
      () => this.#held.releaseAll(),
      environment,
    );
    taken.add(mesh);
  }

  get nodeId(): bigint {
    return this.#mesh.nodeId;
  }

  /** The engine in use. */
  get engine(): 'native' | 'typescript' {
    return this.#codec.engine;
  }

  /** Who asks while this node starts hears when it has: what a restarted one is sent on must not end for that. */
  #isGoingToBeReady(): MaybePromise<boolean> {
    if (this.#ready || !this.#started || this.#ended) return this.#ready;
    return this.#started.then(
      () => this.#ready,
      () => false,
    );
  }

  get isReady(): boolean {
    return this.#ready;
  }

  /** How daemons of a kind are made here. */
  registerFactory(kind: string, factory: DaemonFactory): void {
    this.#factories.register(kind, factory);
  }

  /**
   * Begins to take part in the mesh. Idempotent. Without a spool all is done when this returns; with one, this node is ready
   * when the promise resolves: it has taken up the daemons that are in there. Register the factories before.
   *
   * @throws MigrationError `spool-in-use`, `spool-unusable`, `spool-failed`; may be called again then. `not-ready` behind `shutdown`
   */
  start(): Promise<void> {
    if (this.#ended && !this.#started) return Promise.reject(hasShutDown(this.nodeId));
    this.#started ??= this.#spool ? this.#startWith(this.#spool) : this.#startNow();
    return this.#started;
  }

  #startNow(): Promise<void> {
    this.#takePart();
    this.#ready = true;
    return Promise.resolve();
  }

  async #startWith({ storage, takeUp, arrivals }: RuntimeSpool): Promise<void> {
    try {
      await storage.take();
      const found = await takeUp.find();
      await arrivals?.find();
      if (this.#ended) {
        // The shutdown may have waited for this no longer.
        await arrivals?.close();
        await storage.letGo();
        return;
      }
      this.#takePart();
      await takeUp.run(found);
      this.#ready = !this.#ended;
    } catch (cause) {
      this.#started = undefined;
      await storage.letGo();
      throw spoolError(storage.label, 'starting', cause);
    }
  }

  #takePart(): void {
    this.#mesh.onPeerGone((nodeId) => {
      this.#handler.peerGone(nodeId);
      this.#delivery.peerGone(nodeId);
    });
    this.#delivery.listen();
    this.#stopTicking = this.#environment.every(TICK_MS, () => this.#tick());
    this.#tick();
  }

  #makeSpool(storage: SpoolStorage, policy: RuntimePolicy['target']): RuntimeSpool {
    const report = (error: MigrationError) => this.#complain(error);
    const common = { storage, codec: this.#codec, localNode: this.nodeId, nodeKeys: this.#nodeKeys, report };
    const fenced = new FencedSpool({
      ...common,
      turn: () => this.#environment.turn(),
      outdate: (origin) => this.#ownership.beginTry(origin),
      onFailure: (origin, attempt, error) => {
        this.#complain(error);
        this.#handler.failSource(origin, attempt, error);
      },
    });
    const takeUp = new TakeUp({
      ...common,
      spool: fenced,
      factories: this.#factories,
      ownership: this.#ownership,
      environment: this.#environment,
      hostOptions: (keypair, kind, daemon) => this.#hostOptions(keypair, kind, daemon),
      isHere: (origin) => this.#registry.get(origin) !== undefined,
      stand: (host) => this.#stand(host),
      adopt: (migration, back) => this.#handler.adopt(migration, back),
      goOn: (host, epoch) => this.#goOn(host, epoch),
    });
    return { storage, fenced, takeUp, arrivals: this.#makeArrivals(storage, policy) };
  }

  /** A copy that comes from the spool is here, fenced; when it goes on, it reads its channels on where it was. */
  #stand(host: DaemonHost): void {
    this.#registry.add(host);
    this.#subscriptions.leave(host);
  }

  async #goOn(host: DaemonHost, epoch: bigint): Promise<void> {
    const { origin } = host;
    try {
      await this.#services.resume({ origin, epoch });
    } catch (error) {
      this.#registry.remove(origin);
      throw error;
    }
  }

  /** Undefined where snapshots are received in memory: nothing here maps files. */
  #makeArrivals(storage: SpoolStorage, policy: RuntimePolicy['target'] = {}): Arrivals | undefined {
    const files = this.#codec.snapshotFiles;
    if (!files || !hasPaths(storage)) return undefined;
    return new Arrivals({
      storage,
      files,
      codec: this.#codec,
      environment: this.#environment,
      localNode: this.nodeId,
      arrived: (origin) => this.#target.arrived(origin),
      maxBytes: policy.maxPendingBytes ?? Math.floor(totalmem() / 2),
      patienceMs: policy.patienceMs ?? DEFAULT_PATIENCE_MS,
      report: (error) => this.#complain(error),
    });
  }

  #tick(): void {
    this.#handler.tick(this.#environment.nowMs());
    this.#pacer.tick();
  }

  /**
   * Stops taking part, and ends every daemon here. What is on its way from here and has not been offered ends with this node; what
   * has been is seen through, and lives on at its target. What comes in is refused, unless it has been claimed. What is led from
   * here is cancelled, unless its source has stopped (docs/migration.md, "Shutting down"). Idempotent: the first call's deadline
   * counts. Never takes longer, whatever hangs, and leaves no key and no timer.
   *
   * @throws MigrationError `timed-out`, `register-unavailable` where something could not be brought to its end: `message` says
   * what, and where it stands; `cause` is an AggregateError with one error for each
   */
  shutdown(options: ShutdownOptions = {}): Promise<void> {
    const deadlineMs = deadlineOf(options);
    this.#ended ??= this.#shutDown(deadlineMs);
    return this.#ended;
  }

  #shutDown(deadlineMs: number): Promise<void> {
    const starting = this.#ready ? undefined : this.#started;
    this.#ready = false;
    const node: EndingNode = {
      mesh: this.#mesh,
      environment: this.#environment,
      handler: this.#handler,
      registry: this.#registry,
      ownership: this.#ownership,
      cancelWaiting: () => {
        for (const handle of [...this.#handles.values()]) handle.cancelWaiting();
      },
      dispose: (host) => {
        const left = this.#subscriptions.leave(host);
        this.#drains.end(host.origin);
        this.#held.release(host.origin);
        this.#disposeOf(host);
        return left;
      },
      endings: this.#endings,
      stopReceiving: () => {
        this.#isDeaf = true;
      },
      stop: () => this.#stop(),
      spool: this.#spool && endingSpool(this.#spool, starting),
    };
    return new Shutdown(node, deadlineMs).run().finally(() => taken.delete(this.#mesh));
  }

  /** Whoever still waits for something of this node gets an answer. */
  #stop(): void {
    const over = new MigrationError('cancelled', `node ${this.nodeId} has shut down`);
    this.#stopTicking?.();
    this.#pacer.stop();
    this.#held.releaseAll();
    this.#delivery.close();
    for (const handle of [...this.#handles.values()]) handle.settle(over);
    for (const recovered of this.#recovered.values()) recovered(over);
    this.#recovered.clear();
    if (this.#ownsNodeKeys) this.#nodeKeys.dispose();
  }

  /** Whatever one key's memory refuses, the others are wiped. */
  #disposeOf(host: DaemonHost): void {
    try {
      void this.#registry.remove(host.origin)?.dispose();
    } catch (error) {
      this.#complain(asMigrationError(error));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /**
   * Brings a daemon to life on this node.
   *
   * @param kind of a registered factory
   * @param keypair who it is; the runtime's from now on: wiped when the daemon has moved away or ends
   * @param config handed to the factory
   * @returns its origin hash
   * @throws MigrationError `factory-not-found`, `already-exists`
   */
  async spawn(kind: string, keypair: EntityKeypair, config?: unknown): Promise<bigint> {
    requireKeypair(keypair);
    this.#requireReady('spawn');
    requireUsable(keypair);
    const daemon = this.#factories.create(kind, config);
    return this.#bringToLife('spawn', new DaemonHost(this.#hostOptions(keypair, kind, daemon)));
  }

  /**
   * Brings a daemon back to life from what `snapshot` gave: with its state, what it has seen (events that come again are
   * dropped), its subscriptions (`rebind` tells what becomes of them), and its chain, which goes on in a new epoch.
   *
   * @param kind of a registered factory
   * @param keypair the snapshot's daemon's; as for `spawn`, and the caller's still where this throws
   * @param snapshot a whole snapshot (PROTOCOL.md §4); its envelope, where it has one, is passed over
   * @param config handed to the factory
   * @returns its origin hash
   * @throws MigrationError `origin-mismatch` where the snapshot is another daemon's, `factory-not-found`, `already-exists`
   * where the daemon lives somewhere, `state-failed` where its `restore` throws, and a codec's kind where the snapshot is
   * damaged
   */
  async spawnFromSnapshot(
    kind: string,
    keypair: EntityKeypair,
    snapshot: Uint8Array,
    config?: unknown,
  ): Promise<bigint> {
    requireKeypair(keypair);
    this.#requireReady('spawnFromSnapshot');
    requireUsable(keypair);
    const decoded = this.#codec.decodeSnapshot(snapshot);
    requireSnapshotOf(keypair, decoded.entityId);
    const daemon = this.#factories.create(kind, config);
    const host = new DaemonHost(this.#hostOptions(keypair, kind, daemon));
    try {
      await host.restore(decoded);
    } catch (error) {
      await host.free();
      throw error;
    }
    return this.#bringToLife('spawnFromSnapshot', host);
  }

  /** In the epoch after the one that the copy comes from. Where it fails, the key stays its owner's. */
  async #bringToLife(call: string, host: DaemonHost): Promise<bigint> {
    const { origin, keypair } = host;
    try {
      const beginning = { epoch: host.epoch + 1n, tries: this.#environment.wallNs() };
      const epoch = await this.#ownership.create(origin, beginning);
      await this.#settleIn(call, host);
      if (keypair.canSign) hosted.add(keypair);
      host.goLive(epoch);
      this.#subscriptions.revived(host);
      return origin;
    } catch (error) {
      await host.free();
      throw error;
    }
  }

  /** A copy that the register names already; where it cannot be here after all, the register is told. */
  async #settleIn(call: string, host: DaemonHost): Promise<void> {
    try {
      this.#requireReady(call);
      this.#registry.add(host);
    } catch (error) {
      await this.#ownership.remove(host.origin);
      throw error;
    }
  }

  /**
   * Ends a daemon that lives here. Resolves when its `[Symbol.asyncDispose]` has, where it has one.
   *
   * @throws MigrationError `daemon-not-found`, `already-migrating`, `ownership-lost` where it lives elsewhere by now;
   * `register-unavailable`: to be called again
   */
  async stop(origin: bigint): Promise<void> {
    const host = this.#registry.require(origin);
    if (this.#handler.isMigrating(origin)) throw alreadyMigrating(origin);
    await this.#end(host);
  }

  /**
   * Brings a daemon back whose copy here waits for a confirmation that will not come: its node is gone for good
   * (ARCHITECTURE.md, promise 2); or one that waits in this node's spool, because nobody but the caller can say that it lives
   * nowhere (docs/spool.md). Resolves when it is live here: with every event that it had accepted here, where `isWhole` says so.
   *
   * @param options `force`: the owner is still in the mesh, and the caller answers for its copy never being live again
   * @throws MigrationError `daemon-not-found` where no copy is here, `already-exists` where its owner is in the mesh,
   * `ownership-lost` where it lives on elsewhere; of one in the spool also `spool-damaged`, `factory-not-found`, `state-failed`
   */
  async recover(origin: bigint, options: { readonly force?: boolean } = {}): Promise<Recovery> {
    checkU64(origin, 'origin');
    checkForceOptions(options);
    this.#requireReady('recover');
    const owner = await this.#ownership.holder(origin);
    if (!options.force) this.#requireGone(origin, owner, 'nothing is recovered');
    // Whoever asks while it is recovered hears what becomes of that.
    const underWay = this.#recoveries.get(origin);
    if (underWay) return underWay;
    const recovery = this.#recover(origin, owner).finally(() => this.#recoveries.delete(origin));
    this.#recoveries.set(origin, recovery);
    return recovery;
  }

  async #recover(origin: bigint, owner: LostOwner | undefined): Promise<Recovery> {
    const recovered = new Promise<void>((resolve, reject) => {
      this.#recovered.set(origin, (error) => (error ? reject(error) : resolve()));
    });
    if (!this.#handler.recover(origin, owner)) {
      this.#recovered.delete(origin);
      if (this.#spool?.takeUp.waits(origin) && !this.#registry.get(origin))
        return this.#spool.takeUp.recover(origin, owner);
      throw new MigrationError('daemon-not-found', `no copy of daemon ${origin} waits on node ${this.nodeId}`, {
        details: { origin },
      });
    }
    await recovered;
    return { epoch: this.#registry.require(origin).epoch, isWhole: true };
  }

  /**
   * Gives a daemon up that lives nowhere any more: its last copy was lost with its node, and the ownership register still names that.
   * From then on it may be spawned anew, from its beginning or from a snapshot. Where any node still has a backup of it, `recover`
   * there is what to call: a backup is let go by this.
   *
   * @param options `force`: the owner is still in the mesh, and the caller answers for its copy never being live again
   * @throws MigrationError `daemon-not-found` where the register does not know it, `already-exists` where a copy is here or its owner
   * is another node in the mesh, `already-migrating`, `ownership-lost` where it has got another owner meanwhile
   */
  async forget(origin: bigint, options: { readonly force?: boolean } = {}): Promise<void> {
    checkU64(origin, 'origin');
    checkForceOptions(options);
    this.#requireReady('forget');
    if (this.#registry.get(origin) || this.#spool?.takeUp.waits(origin)) throw copyIsHere(origin, this.nodeId);
    if (this.#handler.isMigrating(origin)) throw alreadyMigrating(origin);
    const owner = await this.#ownership.holder(origin);
    if (!owner) throw notRegistered(origin);
    if (!options.force) this.#requireGone(origin, owner, 'it is not given up');
    await this.#ownership.removeLost(origin, owner);
    this.#mesh.forget(origin);
  }

  /** @throws MigrationError `already-exists` where the owner is another node in the mesh */
  #requireGone(origin: bigint, owner: LostOwner | undefined, what: string): void {
    if (!owner || owner.node === this.nodeId || !this.#mesh.peer(owner.node)) return;
    throw new MigrationError(
      'already-exists',
      `daemon ${origin} belongs to node ${owner.node}, which is in the mesh; ${what} while it may live there`,
      { details: { origin, owner: owner.node } },
    );
  }

  /** May be repeated where the register could not be told: until then the copy stands here. */
  async #end(host: DaemonHost): Promise<void> {
    const { origin } = host;
    this.#subscriptions.leave(host);
    this.#drains.end(origin);
    await host.fence();
    const refused = await this.#ownership.remove(origin).then(() => undefined, asMigrationError);
    // Told before, and the answer was lost; or it lives elsewhere by now, and this copy has no more to do.
    const isOver = !refused || refused.kind === 'daemon-not-found' || refused.kind === 'ownership-lost';
    if (!isOver) throw refused;
    this.#mesh.forget(origin);
    const ended = this.#registry.remove(origin)?.dispose();
    this.#spool?.fenced.drop(origin);
    await ended;
    if (refused?.kind === 'ownership-lost') throw refused;
  }

  /** Frames of peers that were refused since the start. */
  get refusedFrames(): number {
    return this.#refusedFrames;
  }

  /** The migrations that this node takes part in now, one entry per role; a copy. */
  migrations(): readonly MigrationStatus[] {
    return this.#handler.list();
  }

  /** Whether a live copy is here. */
  has(origin: bigint): boolean {
    checkU64(origin, 'origin');
    const host = this.#registry.get(origin);
    return host?.isLive === true;
  }

  /** Events that the copy here has processed, and at how many of them the daemon threw. */
  counts(origin: bigint): { readonly processed: number; readonly failures: number } {
    const { processed, failures } = this.#registry.require(origin);
    return { processed, failures };
  }

  /**
   * Events of a publisher that a daemon here, live or not, has not been given, though later ones have come: whoever has them
   * sends them again, and they are processed then. Not more than 4,096 later ones are taken (`sequence-gap`).
   *
   * @param publisher the origin hash in the links of its events
   * @returns sequences as [first, last] pairs, ascending
   * @throws MigrationError `daemon-not-found`
   */
  missing(origin: bigint, publisher: bigint): ReadonlyArray<readonly [first: bigint, last: bigint]> {
    return this.#registry.require(origin).missing(publisher);
  }

  /** How a daemon here says that it is; healthy where it says nothing. @throws MigrationError `daemon-not-found`, `state-failed` */
  async health(origin: bigint): Promise<DaemonHealth> {
    return this.#registry.require(origin).health();
  }

  /**
   * Hands a daemon here a message that is no event, in its turn among them.
   *
   * @returns what its `onControl` gave
   * @throws MigrationError `daemon-not-found`, `moving` while it migrates, `no-control` where it takes none, `state-failed`
   */
  async control(origin: bigint, message: unknown): Promise<unknown> {
    return this.#registry.require(origin).control(message);
  }

  /** The key pair of a daemon here, to sign with; public-only where its private half did not travel along. */
  keypair(origin: bigint): EntityKeypair {
    return this.#registry.require(origin).keypair;
  }

  /**
   * A daemon here as it is now, whole: a snapshot (PROTOCOL.md §4) with what the host carries along and without an envelope,
   * so without its key; what `spawnFromSnapshot` takes. A state that the daemon streams is read whole first, and until then the
   * daemon processes nothing.
   *
   * @throws MigrationError `daemon-not-found`, `state-failed`
   */
  async snapshot(origin: bigint): Promise<Uint8Array> {
    const host = this.#registry.require(origin);
    const { fields, carried, own, stateLength } = await host.snapshotInMemory({ carry: true });
    const { head, tail } = this.#codec.encodeSnapshotParts(fields, stateLength);
    return joined([head, ...carried, own, tail], () => this.#environment.turn());
  }

  /** The daemon's own state now, as its `snapshot` gives it; read whole as for `snapshot` here. @throws MigrationError `daemon-not-found`, `state-failed` */
  async state(origin: bigint): Promise<Uint8Array> {
    const { own } = await this.#registry.require(origin).snapshotInMemory({ carry: false });
    return own;
  }

  /**
   * Hands events to a daemon here, in order. During a migration they are logged for its next home.
   *
   * @returns how many were accepted, and why the next was refused: `moving` names the target
   * @throws MigrationError `daemon-not-found`; TypeError where one is no event, and then none is taken
   */
  deliver(origin: bigint, events: readonly CausalEvent[]): MaybePromise<Acceptance> {
    checkEvents(events, 'events');
    return this.#deliver(origin, events);
  }

  /** What a publisher brings that was sent on before the copy here is live waits for that. */
  #deliverWhenLive(origin: bigint, events: readonly CausalEvent[]): MaybePromise<Acceptance> {
    const waited = this.#registry.get(origin)?.gate === 'held' ? this.#held.wait(origin, events) : undefined;
    return whenReady(waited, () => this.#deliver(origin, events));
  }

  #deliver(origin: bigint, events: readonly CausalEvent[]): MaybePromise<Acceptance> {
    const departedTo = this.#registry.departedTo(origin);
    if (departedTo !== undefined) return { accepted: 0, duplicates: 0, refusal: moving(origin, departedTo) };
    return whenReady(this.#registry.require(origin).accept(events), (acceptance) => {
      this.#handler.logged(origin);
      this.#spool?.fenced.logged(origin);
      return whenReady(this.#drains.admit(origin, acceptance.accepted), () => acceptance);
    });
  }

  /**
   * Subscribes a daemon here to a channel: its events are handed to the daemon in order, each once, and the subscription moves
   * with it. Subscribing again replaces the token.
   *
   * @param publisher node id of whom the channel is; with the name it is the subscription's key (PROTOCOL.md §5)
   * @param channel 1 to 255 bytes of `a-z 0-9 - _ . /`
   * @throws MigrationError `daemon-not-found`, `moving`, `channel-name-…`, `token-too-long`, `already-migrating`,
   * `position-expired` (with `oldest` and `newest` of what is left), or what the mesh refuses with
   */
  async subscribeChannel(
    origin: bigint,
    publisher: bigint,
    channel: string,
    options: SubscribeChannelOptions = {},
  ): Promise<void> {
    checkSubscribeOptions(options);
    this.#requireReady('subscribeChannel');
    const { token, after } = options;
    const host = this.#hostHere(origin);
    // What cannot be recorded is refused before the mesh is asked.
    const trial = this.#codec.createLedger();
    try {
      trial.record(publisher, channel, token);
    } finally {
      trial.dispose();
    }
    await this.#subscriptions.of(host).subscribe({ publisher, channel, token: token?.slice() }, after);
  }

  /**
   * Ends a subscription; subscribing again begins with the next event.
   *
   * @returns whether there was one
   * @throws MigrationError `daemon-not-found`, `moving`, `channel-name-…`, `already-migrating`
   */
  unsubscribeChannel(origin: bigint, publisher: bigint, channel: string): boolean {
    return this.#subscriptions.of(this.#hostHere(origin)).unsubscribe(publisher, channel);
  }

  /** What a daemon here is subscribed to, in the order of first subscribing. @throws MigrationError `daemon-not-found`, `moving` */
  subscriptions(origin: bigint): readonly SubscriptionBinding[] {
    return [...this.#hostHere(origin).ledger.entries()];
  }

  /**
   * What has become of the subscriptions of a daemon here when it last moved, or went on after a migration that failed;
   * or was made of a snapshot; undefined where it was none of that. @throws MigrationError `daemon-not-found`, `moving`
   */
  rebind(origin: bigint): RebindReport | undefined {
    return this.#subscriptions.report(this.#hostHere(origin));
  }

  /**
   * A publisher of events to a daemon on any node; it follows the daemon when that moves. What gets no answer is sent again for as
   * long as its node is in the mesh.
   */
  publisher(origin: bigint, node: bigint): EventPublisher {
    checkU64(origin, 'origin');
    checkU64(node, 'node');
    const deliver = this.#delivery.stream(origin);
    const where = async () => (await this.#ownership.holder(origin))?.node;
    return new EventPublisher(node, deliver, this.#environment, where);
  }

  /**
   * This origin may move in, as that kind; without this call it is made as its source calls it, where that kind is registered.
   * For each origin the last call stands, of this and of `registerMigrationTargetIdentity`.
   *
   * @param config handed to the factory
   * @throws TypeError where an argument is none: nothing is bound then, nor expected that was not before
   */
  expectMigration(kind: string, origin: bigint, config?: unknown, options: ExpectMigrationOptions = {}): void {
    checkExpectOptions(options);
    this.#factories.expect(kind, origin, config, options);
  }

  /**
   * A daemon may move in, and this node has its key: for one whose source seals none (a peer without keys, or
   * `transportIdentity: false`). A key that does travel along is taken instead.
   *
   * @param keypair copied when the daemon moves in, so the caller's to dispose, and not before
   * @param config handed to the factory
   */
  registerMigrationTargetIdentity(
    keypair: EntityKeypair,
    kind: string,
    config?: unknown,
    options: ExpectMigrationOptions = {},
  ): void {
    requireKeypair(keypair);
    checkExpectOptions(options);
    this.#factories.expect(kind, keypair.originHash, config, { ...options, keypair });
  }

  /**
   * Moves a daemon from one node to another, led from here.
   *
   * @throws MigrationError `already-migrating`, `target-unavailable`; TypeError or RangeError where an argument is none
   */
  startMigration(origin: bigint, source: bigint, target: bigint, options: StartMigrationOptions = {}): MigrationHandle {
    checkU64(origin, 'origin');
    checkU64(source, 'source');
    checkU64(target, 'target');
    checkStartOptions(options);
    this.#requireReady('startMigration');
    this.#requirePeers(source, target);
    if (this.#handles.has(origin)) throw alreadyMigrating(origin);
    const handle = this.#handle(origin, source, target, options);
    this.#handles.set(origin, handle);
    this.#lastHandles.set(origin, handle);
    try {
      handle.start();
    } catch (error) {
      this.#handles.delete(origin);
      throw error;
    }
    return handle;
  }

  /**
   * Asks what a migration led from here would be refused for, before it is started: the source first, then the target, each by
   * a probe where it is another node. Nothing is begun and no snapshot taken, so the answer is one of this moment, and a
   * snapshot's size is that of the daemon's last one; where it has had none, no limit is compared with it.
   *
   * @returns the reasons; none where it could go
   */
  async canMigrate(
    origin: bigint,
    target: bigint,
    options: CanMigrateOptions = {},
  ): Promise<readonly MigrationObstacle[]> {
    checkU64(origin, 'origin');
    checkU64(target, 'target');
    checkCanMigrateOptions(options);
    const { transportIdentity = true, timeout: deadlineMs } = options;
    if (!this.#ready) return [notRunning(this.nodeId)];
    const source = options.source ?? (await this.#livesOn(origin));
    if (source === undefined) return [livesNowhere(origin)];
    const requestId = this.#environment.randomBytes(16);
    const probe = { requestId, transportIdentity, deadlineMs };
    const obstacles = await new Promise<readonly MigrationObstacle[]>((resolve) => {
      this.#handler.probe(origin, source, target, probe, resolve);
    });
    // Between two attempts the dispatcher knows of none.
    const isKnown = obstacles.some(({ kind, where }) => kind === 'already-migrating' && where === 'orchestrator');
    if (isKnown || !this.#handles.has(origin)) return obstacles;
    return [obstacleOf(alreadyMigrating(origin), 'orchestrator'), ...obstacles];
  }

  async #livesOn(origin: bigint): Promise<bigint | undefined> {
    return this.has(origin) ? this.nodeId : (await this.#ownership.holder(origin))?.node;
  }

  #handle(origin: bigint, source: bigint, target: bigint, options: StartMigrationOptions): MigrationHandle {
    const { transportIdentity = true, retryNotReady = true, mode = 'pause', signal, onProgress } = options;
    const begin = () => {
      this.#requireReady('startMigration');
      // One that was there before may be gone when it is tried again.
      this.#requirePeers(source, target);
      const requestId = this.#environment.randomBytes(16);
      this.#handler.startMigration(origin, source, target, { requestId, transportIdentity, mode });
    };
    return new MigrationHandle({
      origin,
      source,
      target,
      environment: this.#environment,
      begin,
      slots: this.#slots,
      cancel: () => void this.#handler.cancelMigration(origin),
      retryBudgetMs: retryBudget(retryNotReady),
      mode,
      signal,
      onProgress,
      onSettled: () => this.#handles.delete(origin),
    });
  }

  #hostHere(origin: bigint): DaemonHost {
    const departedTo = this.#registry.departedTo(origin);
    if (departedTo !== undefined) throw moving(origin, departedTo);
    return this.#registry.require(origin);
  }

  /** Whoever listens to errors must not become one. */
  #complain(error: MigrationError): void {
    try {
      this.#onError(error);
    } catch (cause) {
      process.emitWarning(`onError threw: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  }

  #requireReady(call: string): void {
    if (this.#ready) return;
    throw new MigrationError(
      'not-ready',
      `${call}: the runtime of node ${this.nodeId} does not run; call start() first, and not after shutdown()`,
    );
  }

  #requirePeers(...nodes: readonly bigint[]): void {
    for (const node of nodes) {
      if (this.#mesh.peer(node)) continue;
      throw new MigrationError('target-unavailable', `node ${node} is not in the mesh of node ${this.nodeId}`, {
        details: { node },
      });
    }
  }

  #receive(from: bigint, batch: FrameBatch): MaybePromise<void> {
    // What comes between the end of the dispatcher and that of the mesh is lost.
    if (this.#isDeaf) return;
    this.#sentTo.clear();
    this.#handler.handleBatch(batch, from);
    // The sender gets room for more when what it made us send on has room too: a slow target slows the source.
    const slow = [...this.#sentTo].map((node) => this.#mesh.ready(node)).filter((ready) => ready !== undefined);
    return slow.length === 0 ? undefined : Promise.all(slow).then(() => {});
  }

  /** A frame to a node that has just gone is lost, as on any network: deadlines and `peerGone` end what waits for it. */
  #send(destNode: bigint, frame: Uint8Array): void {
    if (this.#mesh.peer(destNode)) this.#mesh.send(destNode, SUBPROTOCOL_MIGRATION, frame);
  }

  #reported(report: MigrationReport): void {
    if (report.kind === 'rebind') this.#lastHandles.get(report.origin)?.noteRebind(report.rebind);
    if (report.kind === 'draining') this.#drains.begin(report.origin);
    else if (report.kind === 'replayed') this.#drains.replayed(report.origin, report.events);
    else if (report.kind === 'cutover' || report.kind === 'failed') this.#drains.end(report.origin);
    if (report.kind === 'recovered') {
      this.#recovered.get(report.origin)?.(report.error);
      this.#recovered.delete(report.origin);
    }
    if (report.kind === 'progress') this.#handles.get(report.progress.origin)?.update(report.progress);
    if (report.kind !== 'completed' && report.kind !== 'failed') return;
    if (report.role === 'target') this.#held.release(report.origin);
    if (report.role !== 'orchestrator') return;
    this.#handles.get(report.origin)?.attemptEnded(report.kind === 'failed' ? report.error : undefined);
  }

  #hostOptions(keypair: EntityKeypair, kind: string, daemon: DaemonHostOptions['daemon']): DaemonHostOptions {
    const { originHash: origin } = keypair;
    const channel = daemon.channel ?? `daemon/${origin.toString(16)}`;
    return {
      codec: this.#codec,
      keypair,
      kind,
      daemon,
      eventLog: this.#eventLog,
      clock: () => this.#environment.wallNs(),
      turn: () => this.#environment.turn(),
      publish: (outputs, epoch) => this.#mesh.publish(channel, epoch, outputs),
      onDaemonError: (error, event) => {
        const { originHash, sequence } = event.link;
        const why = asMigrationError(error).message;
        this.#onError(
          new MigrationError(
            'state-failed',
            `daemon "${daemon.name}" threw at event ${sequence} of origin ${originHash}: ${why}`,
            { cause: error },
          ),
        );
      },
      onEndError: (error) => this.#complain(error),
      onEnding: (ended) => this.#endings.add({ origin, name: daemon.name }, ended),
    };
  }
}

/** What a runtime has of its spool. */
interface RuntimeSpool {
  readonly storage: SpoolStorage;
  readonly arrivals: Arrivals | undefined;
  readonly fenced: FencedSpool;
  readonly takeUp: TakeUp;
}

function copyIsHere(origin: bigint, node: bigint): MigrationError {
  return new MigrationError(
    'already-exists',
    `a copy of daemon ${origin} is on node ${node}: stop() ends one that lives, recover() brings one back that waits`,
    { details: { origin } },
  );
}

function endingSpool(
  { storage, fenced, arrivals, takeUp }: RuntimeSpool,
  starting: Promise<void> | undefined,
): EndingSpool {
  return {
    stopTakingUp: () => {
      takeUp.stop();
      return starting?.catch(() => {});
    },
    drop: (origin) => fenced.drop(origin),
    close: () => Promise.all([arrivals?.close(), fenced.close()]).then(() => {}),
    letGo: () => storage.letGo(),
  };
}

function hasShutDown(node: bigint): MigrationError {
  const message = `start: the runtime of node ${node} has shut down, and starts no more; make a new one`;
  return new MigrationError('not-ready', message, { details: { node } });
}

/** @throws TypeError */
function spoolStorage({ spool, nodeKeys }: DaemonRuntimeOptions): SpoolStorage | undefined {
  if (spool === undefined) return undefined;
  if (nodeKeys === undefined) {
    throw new TypeError(
      'nodeKeys must be given where spool is: daemons in there are sealed to them, so they must be the same after a restart (NodeKeys.save, NodeKeys.load)',
    );
  }
  return typeof spool === 'string' ? new SpoolFolder(spool) : spool;
}

/** Places in a mesh that a runtime of this thread is on: a mesh has one listener per subprotocol, so a second one would take its frames. */
const taken = new WeakSet<Mesh>();

/** @throws TypeError */
function requireFree(mesh: Mesh): void {
  if (!taken.has(mesh)) return;
  throw new TypeError(
    `mesh must be of this runtime alone, and another one is node ${mesh.nodeId} on it; join() gives each its own, and shutdown() ends the other`,
  );
}

/** Full key pairs that a daemon of this thread lives by: a runtime wipes its daemons' keys, so none may have two. */
const hosted = new WeakSet<EntityKeypair>();

function requireKeypair(keypair: unknown): void {
  if (keypair instanceof EntityKeypair) return;
  throw new TypeError('keypair must be an EntityKeypair; EntityKeypair.generate() makes one');
}

function requireSnapshotOf(keypair: EntityKeypair, entityId: Uint8Array): void {
  if (keypair.id.equals(entityId)) return;
  throw new MigrationError(
    'origin-mismatch',
    `the snapshot is of another daemon than the key pair, which is that of entity ${keypair.id.hex}; give the key pair of the snapshot's daemon`,
    { details: { origin: keypair.originHash } },
  );
}

/** @throws MigrationError `disposed`, `already-exists` */
function requireUsable(keypair: EntityKeypair): void {
  if (keypair.isDisposed)
    throw new MigrationError('disposed', `the key pair of entity ${keypair.id.hex} was disposed of; make a new one`);
  if (!keypair.canSign || !hosted.has(keypair)) return;
  throw new MigrationError(
    'already-exists',
    `a daemon lives by this very key pair of entity ${keypair.id.hex} already; each runtime wipes its own`,
  );
}

function hasPaths(storage: SpoolStorage): storage is SpoolStorage & Required<Pick<SpoolStorage, 'path'>> {
  return storage.path !== undefined;
}
