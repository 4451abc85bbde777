import { MigrationError } from '../errors.js';
import type { DaemonFactory, MeshDaemon } from './daemon.js';

interface Expected {
  readonly kind: string;
  readonly config: unknown;
}

/** How this node makes daemons: by kind, and which origins it expects to move in. */
export class DaemonFactoryRegistry {
  readonly #kinds = new Map<string, DaemonFactory>();
  readonly #expected = new Map<bigint, Expected>();

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
  expect(kind: string, origin: bigint, config: unknown): void {
    this.#expected.set(origin, { kind, config });
  }

  /** What an origin is to be made of when it moves in: what was expected, else the kind that its source named. */
  expected(origin: bigint, namedKind: string | undefined): Expected | undefined {
    const expected = this.#expected.get(origin);
    if (expected) return expected;
    return namedKind !== undefined && this.#kinds.has(namedKind) ? { kind: namedKind, config: undefined } : undefined;
  }

  /** The move is over. */
  fulfil(origin: bigint): void {
    this.#expected.delete(origin);
  }
}
