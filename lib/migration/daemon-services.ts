import type { MeshDaemon } from '../daemon/daemon.js';
import type { DaemonFactoryRegistry, ExpectedDaemon } from '../daemon/factories.js';
import { DaemonHost, type DaemonHostOptions, type HostSnapshot } from '../daemon/host.js';
import type { DaemonRegistry } from '../daemon/registry.js';
import { MemoryKeep } from '../daemon/state-keep.js';
import { MigrationError, messageOf } from '../errors.js';
import { EntityKeypair } from '../identity/entity-keypair.js';
import { sealSnapshot } from '../identity/identity-context.js';
import { type MissingPrerequisite, transportPrerequisites } from '../identity/transport-prerequisites.js';
import { isPromise, type MaybePromise, whenReady } from '../maybe-promise.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { CausalLink } from '../wire/link.js';
import type { SnapshotFile } from '../wire/reassembler.js';
import type { StateSnapshot } from '../wire/snapshot.js';
import { verifyAttestation } from './attestation.js';
import type { AuthorizationRequest, DaemonSnapshot, Examination, RequestTypes } from './core.js';
import type { MigrationServices } from './handler.js';
import type { AuthorizeFn, MigrationHandlerHooks } from './hooks.js';
import type { DaemonOwnership } from './ownership.js';
import { type SnapshotBytes, SnapshotParts, StreamedSnapshot } from './snapshot-bytes.js';

type Ask<K extends keyof RequestTypes> = RequestTypes[K]['ask'];

export interface DaemonServicesOptions {
  readonly localNode: bigint;
  readonly codec: MigrationCodec;
  readonly registry: DaemonRegistry;
  /** Undefined: this node hosts no daemons that move in. */
  readonly factories: DaemonFactoryRegistry | undefined;
  readonly ownership: DaemonOwnership;
  readonly authorize: AuthorizeFn;
  readonly hooks: Omit<MigrationHandlerHooks, 'authorize'>;
  /** Whether a node can read what our host carries in front of the state (PROTOCOL.md §8). */
  readonly readsCarriedState: (node: bigint) => boolean;
  readonly host: (keypair: EntityKeypair, kind: string, daemon: MeshDaemon) => DaemonHostOptions;
  /** Where snapshots are received that are to outlive this node; without one, in memory. */
  readonly keep?: ((ask: Ask<'keep'>) => MaybePromise<SnapshotFile | undefined>) | undefined;
  /** Resolves in a later turn of the event loop, after a slice of a replay; without it all is done at once. */
  readonly turn?: (() => Promise<void>) | undefined;
}

/** What the dispatcher's core asks for, done on the daemons of this node. At once, where everything it calls is. */
export class DaemonServices implements MigrationServices {
  readonly #options: DaemonServicesOptions;

  constructor(options: DaemonServicesOptions) {
    this.#options = options;
  }

  authorize = (ask: Ask<'authorize'>): MaybePromise<undefined> => {
    // What goes wrong in deciding is nobody else's business: whoever asks hears that it may not.
    const refuse = (cause: unknown): never => {
      throw notAuthorised(ask, cause);
    };
    const decide = (allowed: boolean): undefined => (allowed === true ? undefined : refuse(undefined));
    let allowed: MaybePromise<boolean>;
    try {
      allowed = this.#options.authorize(ask);
    } catch (cause) {
      return refuse(cause);
    }
    return isPromise(allowed) ? allowed.then(decide, refuse) : decide(allowed);
  };

  admit = (ask: Ask<'admit'>): MaybePromise<undefined> =>
    // First who asks: a stranger learns nothing of this node.
    whenReady(this.authorize(ask), () =>
      whenReady(this.#placing(ask), ([obstacle]) => {
        if (obstacle) throw obstacle;
        return undefined;
      }),
    );

  beginTry = ({ origin }: Ask<'beginTry'>) => {
    const [obstacle] = taking(this.#options.registry.require(origin));
    if (obstacle) throw obstacle;
    return this.#options.ownership.beginTry(origin);
  };

  examine = (ask: Ask<'examine'>): MaybePromise<Examination> => {
    const { side: role, origin, orchestrator, source, target } = ask;
    return whenReady(this.authorize({ role, origin, orchestrator, source, target }), () =>
      role === 'source' ? this.examineTaking(ask) : this.#examinePlacing(ask),
    );
  };

  protected examineTaking({ origin, target, identity }: Ask<'examine'>): MaybePromise<Examination> {
    const host = this.#options.registry.get(origin);
    if (!host) return { obstacles: [this.#isElsewhere(origin)] };
    const obstacles = taking(host);
    const missing = identity === 'required' ? this.#missingForKey(host, target) : [];
    if (missing.length > 0) obstacles.push(keyCannotTravel(origin, target, missing));
    return { obstacles, daemonKind: host.kind, snapshotLength: host.snapshotLength };
  }

  #isElsewhere(origin: bigint): MigrationError {
    const departedTo = this.#options.registry.departedTo(origin);
    const hint = departedTo === undefined ? '' : `; it went to node ${departedTo}`;
    return new MigrationError('daemon-not-found', `daemon ${origin} is not on this node${hint}`, {
      details: { origin },
    });
  }

  #examinePlacing(ask: Ask<'examine'>): MaybePromise<Examination> {
    const { factories, hooks, localNode: target } = this.#options;
    const { origin, daemonKind, identity } = ask;
    return whenReady(this.#placing(ask), (placing) => {
      const isKnown = daemonKind !== undefined || factories?.isExpected(origin) === true;
      // Of which kind it is nobody could tell: then nobody can say that nothing here makes it.
      const obstacles = placing.filter(({ kind }) => isKnown || kind !== 'factory-not-found');
      const hasKey = factories?.expected(origin, daemonKind)?.keypair !== undefined;
      if (identity === 'required' && !hooks.identity && !hasKey) obstacles.push(cannotUnseal(origin, target));
      return { obstacles };
    });
  }

  /** What keeps a daemon from being placed here. */
  #placing(ask: Pick<Ask<'admit'>, 'origin' | 'daemonKind'>): MaybePromise<MigrationError[]> {
    const { factories, hooks, localNode: node } = this.#options;
    if (!factories)
      return [new MigrationError('compute-not-supported', `node ${node} hosts no daemons`, { details: { node } })];
    return whenReady(hooks.readiness ? hooks.readiness() : true, (isReady) => {
      const room = this.#noRoomFor(ask, factories);
      if (isReady === true) return room;
      return [new MigrationError('not-ready', `node ${node} is not ready yet`, { details: { node } }), ...room];
    });
  }

  #noRoomFor(
    { origin, daemonKind }: Pick<Ask<'admit'>, 'origin' | 'daemonKind'>,
    factories: DaemonFactoryRegistry,
  ): MigrationError[] {
    const obstacles = this.#options.registry.get(origin) ? [isHereAlready(origin)] : [];
    const kind = factories.expected(origin, daemonKind)?.kind;
    if (kind === undefined || !factories.has(kind)) obstacles.push(noFactory(origin, kind ?? daemonKind));
    return obstacles;
  }

  takeSnapshot(ask: Ask<'takeSnapshot'>): MaybePromise<DaemonSnapshot> {
    const { registry, readsCarriedState } = this.#options;
    const host = registry.require(ask.origin);
    const carry = readsCarriedState(ask.target);
    const intake = ask.mode === 'live' ? 'mirroring' : 'logging';
    return whenReady(host.snapshot({ carry, intake, seal: this.#seal(host, ask) }), (snapshot) => {
      const { throughSeq } = snapshot.fields;
      const { keypair, kind: daemonKind } = host;
      // Where the private half is gone when the last chunk leaves, nothing is signed, and the target refuses.
      const sign = (message: Uint8Array) => (keypair.canSign ? keypair.sign(message) : undefined);
      return { seqThrough: throughSeq, bytes: this.#bytes(host.origin, snapshot), daemonKind, sign };
    });
  }

  #bytes(origin: bigint, { fields, carried, own, stateLength }: HostSnapshot): SnapshotBytes {
    const { codec } = this.#options;
    if (own instanceof Uint8Array) {
      const { head, tail } = codec.encodeSnapshotParts(fields, stateLength);
      return new SnapshotParts([head, ...carried, own, tail]);
    }
    const { head, tail } = own.orClose(() => codec.encodeSnapshotParts(fields, stateLength));
    const keepState = () => new MemoryKeep();
    return new StreamedSnapshot({ origin, before: [head, ...carried], state: own, behind: [tail], keepState });
  }

  /** How the daemon's key goes along; refused here, before anything has been touched, where it must and cannot. */
  #seal(host: DaemonHost, { target, identity }: Ask<'takeSnapshot'>) {
    if (identity === 'none') return undefined;
    const missing = this.#missingForKey(host, target);
    if (missing.length === 0) {
      const context = this.#options.hooks.identity!;
      const targetPublic = context.peerStaticLookup(target)!;
      const { entityId } = host.keypair;
      const seal = context.sealSnapshot ?? sealSnapshot;
      return (chainLink: CausalLink) => {
        // The daemon's own snapshot() may have disposed of it meanwhile.
        if (identity === 'where-possible' && !host.keypair.canSign) return undefined;
        return seal({ entityId, chainLink }, host.keypair, targetPublic);
      };
    }
    if (identity === 'where-possible') return undefined;
    throw keyCannotTravel(host.origin, target, missing);
  }

  /** What the daemon's key cannot travel without. */
  #missingForKey(host: DaemonHost, target: bigint): readonly MissingPrerequisite[] {
    const context = this.#options.hooks.identity;
    const targetPublic = context?.peerStaticLookup(target);
    return transportPrerequisites({ context, daemon: host.keypair, targetPublic, target });
  }

  fence({ origin, target }: Ask<'fence'>): MaybePromise<undefined> {
    const host = this.#options.registry.require(origin);
    return whenReady(this.#options.hooks.preCleanup?.(origin), () => {
      host.movingTo = target;
      return whenReady(host.fence(), () => undefined);
    });
  }

  offer({ origin, epoch, offer }: Ask<'offer'>): MaybePromise<undefined> {
    return whenReady(this.#options.ownership.offer(origin, epoch, offer), () => undefined);
  }

  readAhead = ({ origin }: Ask<'readAhead'>): MaybePromise<undefined> =>
    whenReady(this.#options.ownership.readAhead(origin), () => undefined);

  withdraw = ({ origin, epoch, try: attempt }: Ask<'withdraw'>) =>
    this.#options.ownership.withdraw(origin, epoch, attempt);

  resume({ origin, epoch }: Ask<'resume'>): MaybePromise<undefined> {
    return this.#goOn(this.#options.registry.require(origin), epoch);
  }

  #goOn(host: DaemonHost, epoch: bigint): MaybePromise<undefined> {
    return whenReady(this.beforeGoingOn(host, epoch), () => {
      host.epoch = epoch;
      return whenReady(host.resume(), () => undefined);
    });
  }

  /** A copy that was fenced is about to be live again. Where this fails, it stays as it is. */
  protected beforeGoingOn(_host: DaemonHost, _epoch: bigint): MaybePromise<void> {}

  release({ origin }: Ask<'release'>): undefined {
    const { registry } = this.#options;
    const host = registry.remove(origin);
    if (host?.movingTo !== undefined) registry.noteDeparture(origin, host.movingTo);
    host?.dispose();
  }

  setAside({ origin, epoch, target }: Ask<'setAside'>): MaybePromise<undefined> {
    const { registry, ownership } = this.#options;
    registry.require(origin);
    return whenReady(ownership.letGo(origin, epoch, target), () => {
      registry.setAside(origin);
      registry.noteDeparture(origin, target);
      return undefined;
    });
  }

  dropBackup({ origin }: Ask<'dropBackup'>): undefined {
    this.#options.registry.dropBackup(origin);
  }

  /** A fenced copy stays where it is, for `resume`; one that was set aside comes back here and goes on. */
  recover({ origin, lost }: Ask<'recover'>): MaybePromise<{ readonly epoch: bigint }> {
    const { registry, ownership } = this.#options;
    return whenReady(ownership.recover(origin, lost), (owned) => {
      if (registry.get(origin)) return owned;
      const host = registry.takeBackup(origin);
      registry.add(host);
      return whenReady(this.#goOn(host, owned.epoch), () => owned);
    });
  }

  keep = (ask: Ask<'keep'>) => whenReady(this.#options.keep?.(ask), (file) => ({ file }));

  restore(ask: Ask<'restore'>): MaybePromise<{ readonly restoredSeq: bigint }> {
    const { codec, factories, registry } = this.#options;
    const { origin, daemonKind, source } = ask;
    const snapshot = codec.decodeSnapshot(ask.snapshot.bytes);
    requireSnapshotOf(snapshot, origin);
    if (registry.get(origin)) throw isHereAlready(origin);
    const expected = factories?.expected(origin, daemonKind);
    if (!factories || !expected) throw noFactory(origin, daemonKind);
    const isSealed = snapshot.identityEnvelope !== undefined;
    if (ask.attestation) verifyAttestation(snapshot.entityId, ask.attestation, isSealed);
    const keypair = this.#keypair(snapshot, expected, ask.keyless);
    const host = this.#arrival(keypair, expected, factories);
    host.cameFrom = source;
    const abandon = (error: unknown): never => {
      registry.abandon(host);
      throw error;
    };
    const done = () => {
      registry.add(host);
      return { restoredSeq: snapshot.throughSeq };
    };
    try {
      const restored = whenReady(host.restore(snapshot), () =>
        whenReady(this.#options.hooks.postRestore?.(origin), done),
      );
      return isPromise(restored) ? restored.catch(abandon) : restored;
    } catch (error) {
      return abandon(error);
    }
  }

  /** By the envelope, which must open where it is there; without one by what this node was told. */
  #keypair(snapshot: StateSnapshot, expected: ExpectedDaemon, keyless: boolean): EntityKeypair {
    const unsealed = this.#options.hooks.identity?.unsealSnapshot(snapshot);
    if (unsealed) return unsealed;
    const { originHash } = snapshot.chainLink;
    if (expected.keypair) {
      if (expected.keypair.id.equals(snapshot.entityId)) return expected.keypair.clone();
      throw new MigrationError(
        'identity-transport-failed',
        `the key pair that this node has for daemon ${originHash} is that of entity ${expected.keypair.id.hex}, the snapshot is of another`,
        { details: { origin: originHash } },
      );
    }
    if (keyless) return EntityKeypair.fromEntityId(snapshot.entityId.slice());
    throw new MigrationError(
      'identity-transport-failed',
      `the snapshot of daemon ${originHash} holds no key that opens here, and this node has none for it; seal it to this node, or migrate with transportIdentity: false`,
      { details: { origin: originHash } },
    );
  }

  /** A copy to be restored; where that cannot be made, the key that was opened for it is wiped. */
  #arrival(keypair: EntityKeypair, { kind, config }: ExpectedDaemon, factories: DaemonFactoryRegistry): DaemonHost {
    let host: DaemonHost | undefined;
    try {
      // Behind the key, so that no daemon is made where that does not open.
      host = new DaemonHost(this.#options.host(keypair, kind, factories.create(kind, config)));
      this.#options.registry.arrive(host);
      return host;
    } catch (error) {
      void host?.free();
      keypair.dispose();
      throw error;
    }
  }

  replay({ origin, events }: Ask<'replay'>): MaybePromise<undefined> {
    const { registry, turn } = this.#options;
    // A slice in a turn of its own: the event loop stays free however much there is to replay.
    return whenReady(registry.require(origin).replay(events), () => turn?.().then(() => undefined));
  }

  claim = ({ origin, offer, epoch }: Ask<'claim'>) => this.#options.ownership.claim(origin, offer, epoch);

  activate({ origin, epoch, mode }: Ask<'activate'>): undefined {
    const host = this.#options.registry.require(origin);
    if (mode === 'live') host.dropHeldOutputs();
    host.goLive(epoch);
    this.#options.factories?.fulfil(origin);
  }

  /** Where a copy of that epoch may be, or may come to be, nothing is missing. */
  missing({ origin, try: attempt }: Ask<'missing'>): MaybePromise<{ readonly epoch: bigint } | undefined> {
    const { registry, ownership } = this.#options;
    return whenReady(ownership.claimedIn(origin, attempt), (epoch) =>
      epoch === undefined || registry.mayBeIn(origin, epoch) ? undefined : { epoch },
    );
  }

  discard({ origin }: Ask<'discard'>): undefined {
    const { registry } = this.#options;
    // Only a copy that was made for this migration is dropped, never one that lives here.
    const host = registry.get(origin);
    if (host?.gate !== 'held') return;
    registry.remove(origin);
    // A publisher that was sent here too early goes back to where the daemon lives.
    if (host.cameFrom !== undefined) registry.noteDeparture(origin, host.cameFrom);
    host.dispose();
  }
}

function requireSnapshotOf({ chainLink }: StateSnapshot, origin: bigint): void {
  if (chainLink.originHash === origin) return;
  throw new MigrationError(
    'origin-mismatch',
    `the snapshot for daemon ${origin} is one of daemon ${chainLink.originHash}`,
    { details: { origin } },
  );
}

function notAuthorised({ role, orchestrator, origin }: AuthorizationRequest, cause: unknown): MigrationError {
  const what = `node ${orchestrator} may not ${role === 'source' ? 'take' : 'place'} daemon ${origin} here`;
  const advice =
    cause === undefined
      ? "add it to this node's orchestrators, or give an authorize function that allows it"
      : `authorize failed: ${messageOf(cause)}`;
  return new MigrationError('not-authorised', `${what}; ${advice}`, { details: { origin, orchestrator }, cause });
}

/** What keeps a daemon from being taken from here. */
function taking({ origin, daemon, gate }: DaemonHost): MigrationError[] {
  const obstacles: MigrationError[] = [];
  if (daemon.movable === false) obstacles.push(pinned(origin));
  if (gate !== 'live') {
    const message = `daemon ${origin} cannot be moved now: its copy here is ${gate}`;
    obstacles.push(new MigrationError('already-migrating', message, { details: { origin } }));
  }
  return obstacles;
}

function keyCannotTravel(origin: bigint, target: bigint, missing: readonly MissingPrerequisite[]): MigrationError {
  return new MigrationError(
    'identity-transport-failed',
    `daemon ${origin} cannot move with its key: ${missing.map(({ message }) => message).join('; ')}; or start the migration with transportIdentity: false`,
    { details: { origin, target, missing: missing.map(({ kind }) => kind).join(', ') } },
  );
}

function cannotUnseal(origin: bigint, target: bigint): MigrationError {
  return new MigrationError(
    'identity-transport-failed',
    `node ${target} opens no envelopes and has no key of its own for daemon ${origin}: give its dispatcher an identity context or the factory a key pair, or start the migration with transportIdentity: false`,
    { details: { origin, target } },
  );
}

function pinned(origin: bigint): MigrationError {
  return new MigrationError('pinned', `daemon ${origin} is pinned to this node: it says movable: false`, {
    details: { origin },
  });
}

function isHereAlready(origin: bigint): MigrationError {
  return new MigrationError('already-exists', `daemon ${origin} is on this node already`, { details: { origin } });
}

function noFactory(origin: bigint, daemonKind: string | undefined): MigrationError {
  return new MigrationError(
    'factory-not-found',
    `nothing here makes daemon ${origin}${daemonKind ? ` of kind "${daemonKind}"` : ''}; call registerFactory or expectMigration`,
    { details: { origin, daemonKind } },
  );
}
