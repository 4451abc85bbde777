import type { MeshDaemon } from '../daemon/daemon.js';
import type { DaemonFactoryRegistry } from '../daemon/factories.js';
import { DaemonHost, type DaemonHostOptions } from '../daemon/host.js';
import type { DaemonRegistry } from '../daemon/registry.js';
import { MigrationError } from '../errors.js';
import { EntityKeypair } from '../identity/entity-keypair.js';
import type { MigrationIdentityContext } from '../identity/identity-context.js';
import { transportPrerequisites } from '../identity/transport-prerequisites.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import type { Mesh } from '../mesh/mesh.js';
import type { AuthorizationRequest, RequestTypes } from '../migration/core.js';
import type { MigrationServices } from '../migration/handler.js';
import { OutgoingSnapshot } from '../migration/outgoing-snapshot.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { CausalLink } from '../wire/link.js';
import type { Ownership } from './ownership.js';

/** How long a target's key is waited for. */
const KEY_PATIENCE_MS = 500;

/** Whether a daemon may be taken from here, or placed here. */
export type AuthorizeFn = (request: AuthorizationRequest) => MaybePromise<boolean>;

export interface RuntimeServicesOptions {
  readonly codec: MigrationCodec;
  readonly mesh: Mesh;
  readonly registry: DaemonRegistry;
  readonly factories: DaemonFactoryRegistry;
  readonly ownership: Ownership;
  readonly authorize: AuthorizeFn;
  readonly isReady: () => boolean;
  readonly turn: () => Promise<void>;
  readonly nowMs: () => number;
  readonly identity: MigrationIdentityContext;
  readonly host: (keypair: EntityKeypair, kind: string, daemon: MeshDaemon) => DaemonHostOptions;
}

/** What the dispatcher's core asks for, done on the daemons of this node and in the ownership register. */
export class RuntimeServices implements MigrationServices {
  readonly #options: RuntimeServicesOptions;

  constructor(options: RuntimeServicesOptions) {
    this.#options = options;
  }

  authorize = (ask: AuthorizationRequest): MaybePromise<undefined> => {
    if (ask.role === 'target' && !this.#options.isReady()) {
      throw new MigrationError('not-ready', `node ${ask.target} is not ready yet`, { details: { node: ask.target } });
    }
    return whenReady(this.#options.authorize(ask), (allowed) => {
      if (allowed) return undefined;
      throw new MigrationError(
        'not-authorised',
        `node ${ask.orchestrator} may not ${ask.role === 'source' ? 'take' : 'place'} daemon ${ask.origin} here; add it to this runtime's orchestrators, or pass an authorize function`,
        { details: { origin: ask.origin, orchestrator: ask.orchestrator } },
      );
    });
  };

  beginTry = ({ origin }: RequestTypes['beginTry']['ask']) => {
    const host = this.#options.registry.require(origin);
    if (host.gate !== 'live') {
      throw new MigrationError(
        'already-migrating',
        `daemon ${origin} cannot be moved now: its copy here is ${host.gate}`,
        { details: { origin } },
      );
    }
    return this.#options.ownership.beginTry(origin);
  };

  takeSnapshot = (ask: RequestTypes['takeSnapshot']['ask']): MaybePromise<OutgoingSnapshot> =>
    whenReady(this.#awaitKey(ask), () => this.#takeSnapshot(ask));

  /** A node that has just joined may be known before its key is: what must be sealed to it waits a moment for that. */
  #awaitKey({ target, identity }: RequestTypes['takeSnapshot']['ask']): MaybePromise<void> {
    const { mesh, nowMs, turn } = this.#options;
    const isMissing = () =>
      identity === 'required' && mesh.peer(target) !== undefined && mesh.peer(target)?.staticKey === undefined;
    const until = nowMs() + KEY_PATIENCE_MS;
    const wait = (): Promise<void> => turn().then(() => (isMissing() && nowMs() < until ? wait() : undefined));
    return isMissing() ? wait() : undefined;
  }

  #takeSnapshot(ask: RequestTypes['takeSnapshot']['ask']): MaybePromise<OutgoingSnapshot> {
    const { codec, mesh, registry } = this.#options;
    const { origin, target } = ask;
    const host = registry.require(origin);
    const carry = mesh.peer(target)?.extensions ?? false;
    return whenReady(host.snapshot({ carry, thenLog: true, seal: this.#seal(host, ask) }), ({ fields, state }) => {
      const stateLength = state.reduce((sum, part) => sum + part.length, 0);
      const { head, tail } = codec.encodeSnapshotParts(fields, stateLength);
      const trailer = { try: ask.try, source: mesh.nodeId, daemonKind: host.kind };
      return new OutgoingSnapshot(codec, origin, fields.throughSeq, [head, ...state, tail], trailer);
    });
  }

  /** How the daemon's key goes along; refused here, before anything has been touched, where it must and cannot. */
  #seal(host: DaemonHost, { target, identity }: RequestTypes['takeSnapshot']['ask']) {
    if (identity === 'none') return undefined;
    const context = this.#options.identity;
    const targetPublic = context.peerStaticLookup(target);
    const missing = transportPrerequisites({ context, daemon: host.keypair, targetPublic, target });
    if (missing.length === 0) {
      const { entityId } = host.keypair;
      return (chainLink: CausalLink) => context.sealSnapshot({ entityId, chainLink }, host.keypair, targetPublic!);
    }
    if (identity === 'where-possible') return undefined;
    throw new MigrationError(
      'identity-transport-failed',
      `daemon ${host.origin} cannot move with its key: ${missing.map(({ message }) => message).join('; ')}; or start the migration with transportIdentity: false`,
      { details: { origin: host.origin, target, missing: missing.map(({ kind }) => kind).join(', ') } },
    );
  }

  fence = ({ origin, target }: RequestTypes['fence']['ask']): MaybePromise<undefined> => {
    const host = this.#options.registry.require(origin);
    host.movingTo = target;
    return whenReady(host.fence(), () => undefined);
  };

  offer = ({ origin, epoch, offer }: RequestTypes['offer']['ask']): Promise<undefined> =>
    this.#options.ownership.offer(origin, epoch, offer).then(() => undefined);

  withdraw = ({ origin, epoch }: RequestTypes['withdraw']['ask']) => this.#options.ownership.withdraw(origin, epoch);

  resume = ({ origin, epoch }: RequestTypes['resume']['ask']): MaybePromise<undefined> => {
    const host = this.#options.registry.require(origin);
    host.epoch = epoch;
    return whenReady(host.resume(), () => undefined);
  };

  release = ({ origin }: RequestTypes['release']['ask']): undefined => {
    const { registry } = this.#options;
    const host = registry.remove(origin);
    if (host?.movingTo !== undefined) registry.noteDeparture(origin, host.movingTo);
    host?.dispose();
  };

  restore = ({ origin, snapshot: assembled, daemonKind: named, source }: RequestTypes['restore']['ask']) => {
    const { codec, factories, registry } = this.#options;
    const snapshot = codec.decodeSnapshot(assembled.bytes);
    if (snapshot.chainLink.originHash !== origin) {
      throw new MigrationError(
        'origin-mismatch',
        `the snapshot for daemon ${origin} is one of daemon ${snapshot.chainLink.originHash}`,
        {
          details: { origin },
        },
      );
    }
    if (registry.get(origin)) {
      throw new MigrationError('state-failed', `daemon ${origin} is on this node already`, { details: { origin } });
    }
    const expected = factories.expected(origin, named);
    if (!expected) {
      throw new MigrationError(
        'factory-not-found',
        `nothing here makes daemon ${origin}${named ? ` of kind "${named}"` : ''}; call registerFactory or expectMigration`,
        {
          details: { origin, daemonKind: named },
        },
      );
    }
    const daemon = factories.create(expected.kind, expected.config);
    // An envelope that is there must open: there is no other key to fall back on.
    const keypair =
      this.#options.identity.unsealSnapshot(snapshot) ?? EntityKeypair.fromEntityId(snapshot.entityId.slice());
    const host = this.#arrival(keypair, expected.kind, daemon);
    const abandon = (error: unknown): never => {
      registry.abandon(host);
      throw error;
    };
    const done = () => {
      host.cameFrom = source;
      registry.add(host);
      return { restoredSeq: snapshot.throughSeq };
    };
    try {
      const restored = host.restore(snapshot);
      return restored instanceof Promise ? restored.then(done).catch(abandon) : done();
    } catch (error) {
      return abandon(error);
    }
  };

  /** A copy to be restored; where that cannot be made, the key that was opened for it is wiped. */
  #arrival(keypair: EntityKeypair, kind: string, daemon: MeshDaemon): DaemonHost {
    try {
      const host = new DaemonHost(this.#options.host(keypair, kind, daemon));
      this.#options.registry.arrive(host);
      return host;
    } catch (error) {
      keypair.dispose();
      throw error;
    }
  }

  replay = ({ origin, events }: RequestTypes['replay']['ask']): MaybePromise<undefined> =>
    // A slice in a turn of its own: the event loop stays free however much there is to replay.
    whenReady(this.#options.registry.require(origin).replay(events), () => this.#options.turn().then(() => undefined));

  claim = ({ origin, offer }: RequestTypes['claim']['ask']) => this.#options.ownership.claim(origin, offer);

  activate = ({ origin, epoch }: RequestTypes['activate']['ask']): undefined => {
    this.#options.registry.require(origin).goLive(epoch);
    this.#options.factories.fulfil(origin);
  };

  discard = ({ origin }: RequestTypes['discard']['ask']): undefined => {
    const { registry } = this.#options;
    // Only a copy that was made for this migration is dropped, never one that lives here.
    const host = registry.get(origin);
    if (host?.gate !== 'held') return;
    registry.remove(origin);
    // A publisher that was sent here too early goes back to where the daemon lives.
    if (host.cameFrom !== undefined) registry.noteDeparture(origin, host.cameFrom);
    host.dispose();
  };
}
