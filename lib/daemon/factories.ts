import { MigrationError } from '../errors.js';
import type { EntityKeypair } from '../identity/entity-keypair.js';
import type { DaemonFactory, MeshDaemon } from './daemon.js';

/** What a daemon that moves in is made of. */
export interface ExpectedDaemon {
  readonly kind: string;
  readonly config: unknown;
  /**
   * Who it is, where no envelope tells: the caller's to dispose, and copied for each attempt. Without one the envelope
   * must tell.
   */
  readonly keypair?: EntityKeypair | undefined;
  /** The only node that may place it here. */
  readonly orchestrator?: bigint | undefined;
}

export type ExpectedDaemonOptions = Pick<ExpectedDaemon, 'keypair' | 'orchestrator'>;

/** How this node makes daemons: by kind, and which origins it expects to move in. */
export class DaemonFactoryRegistry {
  readonly #kinds = new Map<string, DaemonFactory>();
  readonly #expected = new Map<bigint, ExpectedDaemon>();

  register(kind: string, factory: DaemonFactory): void {
    if (typeof kind !== 'string' || kind === '') throw new TypeError('kind must be a string that is not empty');
    if (typeof factory !== 'function') throw new TypeError('factory must be a function');
    this.#kinds.set(kind, factory);
  }

  has(kind: string): boolean {
    return this.#kinds.has(kind);
  }

  /** @throws MigrationError `factory-not-found` */
  create(kind: string, config: unknown): MeshDaemon {
    const factory = this.#kinds.get(kind);
    if (!factory) {
      throw new MigrationError(
        'factory-not-found',
        `no factory is registered for kind "${kind}" (registered: ${[...this.#kinds.keys()].join(', ') || 'none'}); call registerFactory first`,
        { details: { kind } },
      );
    }
    return factory(config);
  }

  /** This origin may move in, as that kind. */
  expect(kind: string, origin: bigint, config?: unknown, options: ExpectedDaemonOptions = {}): void {
    this.#expected.set(origin, { kind, config, ...options });
  }

  /** From now on only that node may place this daemon here. @returns false where the daemon is not expected */
  bindOrchestrator(origin: bigint, orchestrator: bigint): boolean {
    const expected = this.#expected.get(origin);
    if (expected) this.#expected.set(origin, { ...expected, orchestrator });
    return expected !== undefined;
  }

  /** The node bound to a daemon that is expected, where one was. */
  expectedOrchestrator(origin: bigint): bigint | undefined {
    return this.#expected.get(origin)?.orchestrator;
  }

  /** Whether this very daemon is expected, whatever its source calls it. */
  isExpected(origin: bigint): boolean {
    return this.#expected.has(origin);
  }

  /** What an origin is to be made of when it moves in: what was expected, else the kind that its source named. */
  expected(origin: bigint, namedKind: string | undefined): ExpectedDaemon | undefined {
    const expected = this.#expected.get(origin);
    if (expected) return expected;
    return namedKind !== undefined && this.#kinds.has(namedKind) ? { kind: namedKind, config: undefined } : undefined;
  }

  /** The move is over. */
  fulfil(origin: bigint): void {
    this.#expected.delete(origin);
  }
}
