import { MigrationError } from '../errors.js';
import { EntityKeypair } from '../identity/entity-keypair.js';
import { isPromise } from '../maybe-promise.js';
import { type Checks, checkOptions } from '../options.js';
import { checkU64, describe, wrongType } from '../wire/arguments.js';
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

const EXPECTED: Checks<ExpectedDaemonOptions> = {
  keypair: (value: unknown, name: string) => {
    if (!(value instanceof EntityKeypair)) throw wrongType(name, 'an EntityKeypair', value);
  },
  orchestrator: checkU64,
};

/** How this node makes daemons: by kind, and which origins it expects to move in. */
export class DaemonFactoryRegistry {
  readonly #kinds = new Map<string, DaemonFactory>();
  readonly #expected = new Map<bigint, ExpectedDaemon>();

  register(kind: string, factory: DaemonFactory): void {
    checkKind(kind);
    if (typeof factory !== 'function') throw new TypeError('factory must be a function');
    this.#kinds.set(kind, factory);
  }

  has(kind: string): boolean {
    return this.#kinds.has(kind);
  }

  /** @throws MigrationError `factory-not-found`, `state-failed` where it gives no daemon; what the factory throws */
  create(kind: string, config: unknown): MeshDaemon {
    const factory = this.#kinds.get(kind);
    if (!factory) {
      throw new MigrationError(
        'factory-not-found',
        `no factory is registered for kind "${kind}" (registered: ${[...this.#kinds.keys()].join(', ') || 'none'}); call registerFactory first`,
        { details: { kind } },
      );
    }
    const daemon = factory(config);
    requireDaemon(daemon, kind);
    return daemon;
  }

  /** This origin may move in, as that kind. @throws TypeError, and then nothing is expected that was not before */
  expect(kind: string, origin: bigint, config?: unknown, options: ExpectedDaemonOptions = {}): void {
    checkKind(kind);
    checkU64(origin, 'origin');
    checkOptions(options, 'options', EXPECTED);
    this.#expected.set(origin, { kind, config, ...options });
  }

  /** From now on only that node may place this daemon here. @returns false where the daemon is not expected */
  bindOrchestrator(origin: bigint, orchestrator: bigint): boolean {
    checkU64(orchestrator, 'orchestrator');
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

function checkKind(kind: unknown): void {
  if (typeof kind !== 'string') throw wrongType('kind', 'a string that is not empty', kind);
  if (kind === '') throw new TypeError('kind must be a string that is not empty');
}

/** What no event could be handed to must not come to life. */
function requireDaemon(made: unknown, kind: string): void {
  const isAsync = isPromise(made);
  // Whatever becomes of it, nobody waits for it.
  if (isAsync) made.catch(() => {});
  const process = (made as MeshDaemon | null | undefined)?.process;
  if (!isAsync && typeof process === 'function') return;
  const isObject = typeof made === 'object' && made !== null;
  const gave = isAsync
    ? 'a promise: what it waits for belongs before registerFactory, or into restore and process'
    : isObject
      ? `an object whose process is ${describe(process)}`
      : describe(made);
  const message = `the factory of kind "${kind}" must give a daemon, an object with process(), snapshot() and restore(); it gave ${gave}`;
  throw new MigrationError('state-failed', message, { details: { kind } });
}
