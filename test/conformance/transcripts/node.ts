import { DaemonFactoryRegistry } from '../../../lib/daemon/factories.js';
import { DaemonHost } from '../../../lib/daemon/host.js';
import { DaemonRegistry } from '../../../lib/daemon/registry.js';
import type { MigrationError } from '../../../lib/errors.js';
import {
  createMigrationIdentityContext,
  EntityKeypair,
  type MigrationIdentityContext,
  StaticKeypair,
} from '../../../lib/identity/index.js';
import type { MigrationRole } from '../../../lib/migration/core.js';
import { MigrationSubprotocolHandler } from '../../../lib/migration/handler.js';
import { MigrationOrchestrator } from '../../../lib/migration/orchestrator.js';
import { MigrationSourceHandler } from '../../../lib/migration/source.js';
import { MigrationTargetHandler } from '../../../lib/migration/target.js';
import type { MigrationCodec } from '../../../lib/wire/codec.js';
import type { CausalEvent } from '../../../lib/wire/link.js';
import { encodeLink } from '../../../lib/wire/typescript/chain.js';
import { hex } from '../vector-json.js';
import { type DaemonKind, makeDaemon, type TranscriptDaemon } from './daemons.js';
import type { Hints } from './recording.js';
import type { FinalNode, Setup } from './transcript.js';

/** How a transcript is run. */
export interface Mode {
  readonly codec: MigrationCodec;
  readonly extensions: boolean;
}

const SHOWN_STATE = 16;

/** A bare node of ours, as a transcript's setup describes it. */
export class TranscriptNode {
  readonly id: bigint;
  readonly handler: MigrationSubprotocolHandler;
  readonly registry = new DaemonRegistry();
  readonly factories = new DaemonFactoryRegistry();
  readonly hooksCalled: string[] = [];
  /** What went wrong that no peer was told of. */
  readonly faults: MigrationError[] = [];
  readonly published: CausalEvent[] = [];
  ready: boolean;
  /** The wall clock, in nanoseconds. */
  clock: bigint;
  readonly #setup: Setup;
  readonly #mode: Mode;
  readonly #source: MigrationSourceHandler;
  readonly #secrets: Array<{ dispose(): void }> = [];

  constructor(id: bigint, setup: Setup, hints: Hints, mode: Mode) {
    this.id = id;
    this.#setup = setup;
    this.#mode = mode;
    this.clock = hints.createdAt;
    this.ready = !hints.unready.has(id);
    this.#source = new MigrationSourceHandler(this.registry);
    const { codec, extensions } = mode;
    const identity = this.#identity(hints);
    const participants = [setup.source, setup.orchestrator, setup.target];
    this.handler = MigrationSubprotocolHandler.withHooks(
      new MigrationOrchestrator(),
      this.#source,
      new MigrationTargetHandler(this.registry, this.factories),
      id,
      {
        ...(identity && { identity }),
        postRestore: () => this.#called('post_restore'),
        preCleanup: () => this.#called('pre_cleanup'),
        readiness: () => this.ready,
        failure: () => this.#called('failure'),
        authorize: ({ orchestrator }) => participants.includes(orchestrator),
      },
      {
        codec,
        extensions,
        speaksExtensions: () => (extensions ? true : undefined),
        host: { publish: (_, outputs) => this.published.push(...outputs), clock: () => this.clock },
        onRefused: (error) => this.faults.push(error),
      },
    );
    if (id === setup.target) this.#expect();
  }

  #called(hook: string): void {
    this.hooksCalled.push(hook);
  }

  /** What the side that this node is has of keys; a source knows the key that the recorded envelope is sealed to. */
  #identity(hints: Hints): MigrationIdentityContext | undefined {
    const { source, target, sourceIdentity, targetIdentity } = this.#setup;
    const own = this.id === source ? sourceIdentity : this.id === target ? targetIdentity : undefined;
    if (!own) return undefined;
    const nodeKeys = this.#secret(StaticKeypair.fromPrivate(own));
    const others = targetIdentity && this.#secret(StaticKeypair.fromPrivate(targetIdentity)).publicKey;
    const peerStaticLookup = (node: bigint) => (node === target ? (hints.sealedTo ?? others) : undefined);
    return createMigrationIdentityContext({ nodeKeys, peerStaticLookup });
  }

  #secret<T extends { dispose(): void }>(secret: T): T {
    this.#secrets.push(secret);
    return secret;
  }

  #expect(): void {
    const { factory, origin, seed } = this.#setup;
    if (!factory) return;
    const { kind, placeholder } = factory;
    this.factories.register(kind, () => makeDaemon(kind));
    const keypair = placeholder ? undefined : this.#secret(EntityKeypair.fromSeed(seed));
    this.factories.expect(kind, origin, undefined, { keypair });
  }

  /** A daemon lives here from now on. */
  host(kind: DaemonKind, state: Uint8Array, bindings?: Uint8Array): DaemonHost {
    const { codec } = this.#mode;
    const host = new DaemonHost({
      codec,
      keypair: EntityKeypair.fromSeed(this.#setup.seed),
      kind,
      daemon: makeDaemon(kind, state),
      clock: () => this.clock,
      publish: (outputs) => void this.published.push(...outputs),
    });
    if (bindings) {
      const ledger = codec.createLedger(bindings);
      for (const { publisher, channel, token } of ledger.entries()) host.ledger.record(publisher, channel, token);
      ledger.dispose();
    }
    this.registry.add(host);
    return host;
  }

  /** Hands an event to the source's half. @returns whether it was taken, by the daemon or for its log */
  buffer(event: CausalEvent): boolean {
    try {
      this.#source.bufferEvent(this.#setup.origin, event);
      return true;
    } catch {
      return false;
    }
  }

  /** The copy of the transcript's daemon on this node, reachable or not. */
  get copy(): { readonly host: DaemonHost; readonly daemon: TranscriptDaemon } | undefined {
    const host = this.registry.get(this.#setup.origin);
    return host && { host, daemon: host.daemon as TranscriptDaemon };
  }

  /** Whether a copy here answers for events. */
  get isLive(): boolean {
    const gate = this.copy?.host.gate;
    return gate === 'live' || gate === 'logging';
  }

  /** Of which halves there is a record. */
  get records(): ReadonlySet<MigrationRole> {
    return new Set(this.handler.list().map(({ role }) => role));
  }

  /** What is compared with the reference's node. */
  get final(): FinalNode {
    const { copy } = this;
    return {
      daemonRegistered: copy !== undefined,
      daemonState: shown(copy?.daemon.state ?? null),
      chainHead: copy ? encodeLink(copy.host.head) : null,
      canSign: copy ? copy.host.keypair.canSign : null,
      subscriptions: copy ? copy.host.ledger.size : null,
      factoryRegistered: this.factories.isExpected(this.#setup.origin),
      records: this.records,
      hooksCalled: this.hooksCalled,
    };
  }

  dispose(): void {
    this.handler.dispose();
    for (const host of this.registry.close()) host.dispose();
    for (const secret of this.#secrets) secret.dispose();
  }
}

/** A state as the vectors show it: a large one by its length and its beginning. */
function shown(state: Uint8Array | null): string | null {
  if (state === null || state.length <= 8 * SHOWN_STATE) return state && hex(state);
  return `len=${state.length} first16=${hex(state.subarray(0, SHOWN_STATE))}`;
}
