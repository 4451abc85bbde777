import {
  DaemonFactoryRegistry,
  DaemonHost,
  DaemonRegistry,
  EntityKeypair,
  type MeshDaemon,
  MigrationOrchestrator,
  MigrationSourceHandler,
  MigrationSubprotocolHandler,
  MigrationTargetHandler,
  type MigrationTransport,
} from '../../lib/index.js';
import type { MigrationCodec } from '../../lib/wire/codec.js';

/** The node that is measured, and those around it. */
export const HERE = 10n;
export const SOURCE = 1n;
export const TARGET = 2n;
export const ORCHESTRATOR = 3n;

export const KIND = 'bench';

/** A daemon whose state is given, and whose restore is watched. */
export class StateDaemon implements MeshDaemon {
  readonly name = KIND;
  readonly #state: Uint8Array;
  readonly #onRestore: (state: Uint8Array) => void;

  constructor(state: Uint8Array, onRestore: (state: Uint8Array) => void = () => {}) {
    this.#state = state;
    this.#onRestore = onRestore;
  }

  process(): undefined {}

  snapshot(): Uint8Array {
    return this.#state;
  }

  restore(state: Uint8Array): void {
    this.#onRestore(state);
  }
}

export interface BareNode {
  readonly registry: DaemonRegistry;
  readonly factories: DaemonFactoryRegistry;
  readonly handler: MigrationSubprotocolHandler;
  /** A daemon that lives here. @returns its origin hash */
  own(daemon: MeshDaemon, keypair?: EntityKeypair): bigint;
}

/** A dispatcher without a runtime; frames that it sends are counted, no more, unless a transport is given. */
export function bareNode(codec: MigrationCodec, transport: MigrationTransport, daemon: () => MeshDaemon): BareNode {
  const registry = new DaemonRegistry();
  const factories = new DaemonFactoryRegistry();
  factories.register(KIND, daemon);
  const handler = MigrationSubprotocolHandler.withHooks(
    new MigrationOrchestrator(),
    new MigrationSourceHandler(registry),
    new MigrationTargetHandler(registry, factories, { maxPendingBytes: 2 ** 40 }),
    HERE,
    { authorize: () => true },
    { codec, transport },
  );
  return {
    registry,
    factories,
    handler,
    own: (own, keypair = EntityKeypair.generate().publicOnly()) => {
      const host = new DaemonHost({ codec, keypair, kind: KIND, daemon: own, publish: () => {} });
      registry.add(host);
      return host.origin;
    },
  };
}
