import type { DaemonHost } from '../daemon/host.js';
import type { DaemonRegistry } from '../daemon/registry.js';
import { MigrationError } from '../errors.js';
import type { EntityKeypair } from '../identity/entity-keypair.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import type { Mesh } from '../mesh/mesh.js';
import type { MigrationStatus } from '../migration/core.js';
import { asMigrationError } from '../migration/failure.js';
import type { MigrationSubprotocolHandler } from '../migration/handler.js';
import { checkOptions } from '../options.js';
import type { Endings } from './endings.js';
import type { Environment } from './environment.js';
import type { Ownership } from './ownership.js';

const DEFAULT_DEADLINE_MS = 10_000;
/** As long as a timer can be set for. */
const MAX_DEADLINE_MS = 2 ** 31 - 1;
/** The share of the deadline after which offers are taken back… */
const WITHDRAW_AT = 0.8;
/** …and after which migrations are waited for no longer: the rest is for the register and the mesh. */
const GIVE_UP_AT = 0.9;
/** Turns of the event loop in which last frames leave. */
const LAST_TURNS = 3;
/** What is left that an error names one by one. */
const NAMED = 10;

export interface ShutdownOptions {
  /**
   * Milliseconds within which everything ends, whatever hangs: 0 to 2^31 - 1. Until eight tenths of it the migrations that are
   * decided are waited for, then offers that nobody has taken up are taken back, and from nine tenths on nothing is waited
   * for but the register, the mesh and daemons that are being disposed of. Default: 10,000.
   */
  readonly deadlineMs?: number;
}

/** What a shutdown needs of its runtime. */
export interface EndingNode {
  readonly mesh: Mesh;
  readonly environment: Environment;
  readonly handler: MigrationSubprotocolHandler;
  readonly registry: DaemonRegistry;
  readonly ownership: Ownership;
  /** Ends what is led from here and has not been begun, or waits to be begun again. */
  readonly cancelWaiting: () => void;
  /** Wipes the key of a copy here, and frees it, at once. @returns a promise while it lets go of its channels */
  readonly dispose: (host: DaemonHost) => MaybePromise<void>;
  /** Daemons that are being told of their end, of these copies and of earlier ones. */
  readonly endings: Endings;
  /** What comes in from here on is lost. */
  readonly stopReceiving: () => void;
  /** Ends everything else that waits or ticks. */
  readonly stop: () => void;
  /** Where copies that stand still outlive this node. */
  readonly spool: EndingSpool | undefined;
}

/** What a shutdown needs of a spool. */
export interface EndingSpool {
  /** Nothing more is taken up from it. @returns a promise while something still is */
  readonly stopTakingUp: () => MaybePromise<void>;
  /** A daemon has ended for good: what is kept of it goes. */
  readonly drop: (origin: bigint) => void;
  /** Resolves when nothing is being written or removed any more; of daemons that still move, nothing more is written. */
  readonly close: () => Promise<void>;
  /** Others may use it. */
  readonly letGo: () => Promise<void>;
}

/** @throws TypeError, RangeError */
export function deadlineOf(options: ShutdownOptions): number {
  checkOptions(options, 'options', { deadlineMs: checkDeadline }, '{ deadlineMs: 5_000 }');
  return options.deadlineMs ?? DEFAULT_DEADLINE_MS;
}

function checkDeadline(value: number, name: string): void {
  if (typeof value === 'number' && value >= 0 && value <= MAX_DEADLINE_MS) return;
  throw new RangeError(`${name} must be a number of milliseconds from 0 to 2^31 - 1, got ${String(value)}`);
}

/** Ends a node: its migrations first, in each role as ARCHITECTURE.md says, and its daemons with it. */
export class Shutdown {
  readonly #node: EndingNode;
  readonly #deadlineMs: number;
  readonly #startedAt: number;
  /** What could not be brought to its end. */
  readonly #left: MigrationError[] = [];
  readonly #takenBack = new Set<bigint>();
  /** Copies that still let go of their channels. */
  readonly #leaving: Array<Promise<void>> = [];
  /** Daemons that lived here, and are being taken out of the register. */
  readonly #removals = new Map<bigint, Promise<void>>();
  #spoolLetGo: Promise<void> | undefined;

  constructor(node: EndingNode, deadlineMs: number) {
    this.#node = node;
    this.#deadlineMs = deadlineMs;
    this.#startedAt = node.environment.nowMs();
  }

  /** @throws MigrationError `timed-out` or `register-unavailable`, when all is over, where something was left */
  async run(): Promise<void> {
    const { handler, stop } = this.#node;
    const steps = [
      () => this.#endWhatIsFree(),
      () => this.#stopTakingUp(),
      () => this.#seeThrough(),
      () => this.#noteTakenBack(),
      () => handler.handOver(),
      () => this.#endDispatcher(),
      () => this.#endTheRest(),
      () => this.#letGoOfSpool(),
      stop,
      () => this.#lastFrames(),
      () => this.#leaveRegister(),
      () => this.#leaveMesh(),
      () => this.#leaveSpool(),
      // Last, so that one that hangs takes nothing else's time.
      () => this.#endDaemons(),
    ];
    // What goes wrong in one keeps no other from its turn. The first begins before this call returns.
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        this.#left.push(asMigrationError(error));
      }
    }
    if (this.#left.length > 0) throw unsettled(this.#node.mesh.nodeId, this.#left);
  }

  /** Without waiting for anything: whatever hangs or fails later, no secret of these stays. */
  #endWhatIsFree(): void {
    const { cancelWaiting, handler, registry, spool } = this.#node;
    cancelWaiting();
    handler.windDown({ keepsBackups: spool !== undefined });
    for (const host of registry.close()) if (!handler.isMigrating(host.origin)) this.#end(host, host.isLive);
  }

  /** What comes from the spool too late for that stays there for the next start. */
  async #stopTakingUp(): Promise<void> {
    const stopped = this.#node.spool?.stopTakingUp();
    if (isPromise(stopped)) await this.#settles(stopped, GIVE_UP_AT);
  }

  async #seeThrough(): Promise<void> {
    const { handler } = this.#node;
    if (await this.#settles(handler.whenIdle(), WITHDRAW_AT)) return;
    handler.withdrawOffers();
    if (await this.#settles(handler.whenIdle(), GIVE_UP_AT)) return;
    for (const status of handler.list()) this.#left.push(unfinished(status, this.#node.spool !== undefined));
  }

  /** A copy that has not gone on yet, and will not, is still this node's: the register must not name it for ever. */
  #noteTakenBack(): void {
    for (const { role, phase, origin } of this.#node.handler.list())
      if (role === 'source' && phase === 'resuming') this.#takenBack.add(origin);
  }

  /** The spool may still write of copies; but their keys go first, whatever hangs. */
  async #endDispatcher(): Promise<void> {
    const { handler, registry, spool, stopReceiving } = this.#node;
    const closed = spool?.close();
    stopReceiving();
    handler.dispose();
    if (!closed) return;
    for (const { keypair } of registry.close()) this.#wipe(keypair);
    await this.#settles(closed, GIVE_UP_AT);
  }

  #wipe(keypair: EntityKeypair): void {
    try {
      keypair.wipeSecret();
    } catch (error) {
      this.#left.push(asMigrationError(error));
    }
  }

  #endTheRest(): void {
    for (const host of this.#node.registry.close()) this.#end(host, host.isLive || this.#takenBack.has(host.origin));
  }

  /** @param owned this node owns it: the register keeps only what may live elsewhere */
  #end(host: DaemonHost, owned: boolean): void {
    const { origin } = host;
    const { dispose, ownership } = this.#node;
    const left = dispose(host);
    if (isPromise(left)) this.#leaving.push(left.catch(() => {}));
    if (!owned) return;
    this.#node.spool?.drop(origin);
    const removal = ownership.remove(origin);
    removal.catch(() => {});
    this.#removals.set(origin, removal);
  }

  /** Begins here, so that it hangs on its disk alone. */
  #letGoOfSpool(): void {
    const { spool } = this.#node;
    this.#spoolLetGo = spool?.close().then(() => spool.letGo());
    this.#spoolLetGo?.catch(() => {});
  }

  async #lastFrames(): Promise<void> {
    for (let i = 0; i < LAST_TURNS; i++) await this.#node.environment.turn();
  }

  async #leaveRegister(): Promise<void> {
    const { mesh } = this.#node;
    const removals = [...this.#removals];
    const answers = new Map<bigint, MigrationError | undefined>();
    const all = removals.map(([origin, removal]) =>
      removal.then(
        () => answers.set(origin, undefined),
        (error) => answers.set(origin, asMigrationError(error)),
      ),
    );
    await this.#settles(Promise.all(all), 1);
    for (const [origin] of removals) {
      const error = answers.has(origin) ? answers.get(origin) : noAnswer(origin);
      // Somebody has ended it meanwhile.
      if (error && error.kind !== 'daemon-not-found') this.#left.push(error);
      mesh.forget(origin);
    }
  }

  async #leaveMesh(): Promise<void> {
    const { mesh } = this.#node;
    await this.#settles(Promise.all(this.#leaving), 1);
    if (await this.#settles(Promise.resolve(mesh.close()), 1)) return;
    throw new MigrationError('timed-out', `the mesh of node ${mesh.nodeId} did not close in time`);
  }

  async #leaveSpool(): Promise<void> {
    if (this.#spoolLetGo && !(await this.#settles(this.#spoolLetGo, 1))) throw spoolHangs(this.#node.mesh.nodeId);
  }

  async #endDaemons(): Promise<void> {
    const { endings } = this.#node;
    if (!(await this.#settles(endings.whenOver(), 1))) this.#left.push(...endings.unfinished());
  }

  /**
   * Waits until something settles, or a share of the deadline has passed; no timer outlives that.
   *
   * @returns whether it did
   */
  async #settles(what: Promise<unknown>, share: number): Promise<boolean> {
    const { environment } = this.#node;
    const leftMs = this.#startedAt + share * this.#deadlineMs - environment.nowMs();
    let stop = () => {};
    const late = new Promise<false>((resolve) => {
      stop = environment.after(Math.max(0, leftMs), () => resolve(false));
    });
    try {
      return await Promise.race([what.then(() => true as const), late]);
    } finally {
      stop();
    }
  }
}

/** Where a migration stood when it was waited for no longer. */
function unfinished({ origin, role, phase, source, target }: MigrationStatus, isSpooled: boolean): MigrationError {
  const what = WHAT_NOW[role](phase, isSpooled);
  const message = `daemon ${origin}, from node ${source ?? 'unknown'} to node ${target}: the ${role} was still ${phase}; ${what}`;
  return new MigrationError('timed-out', message, { details: { origin, role, phase, source, target } });
}

const WHAT_NOW = {
  source: (phase: string, isSpooled: boolean) => {
    const isOut = phase === 'offering' || phase === 'offered' || phase === 'withdrawing' || phase === 'recovering';
    if (!isOut) return 'it has ended with this node';
    const kept = isSpooled ? ', and the copy here stays in the spool for the next start' : '';
    return `its target may have taken it up: the ownership register says who has it${kept}`;
  },
  target: () =>
    'if its claim has reached the ownership register, its source brings it back once this node is known to be gone',
  orchestrator: () => 'source and target settle it between them',
} as const;

function spoolHangs(node: bigint): MigrationError {
  return new MigrationError(
    'timed-out',
    `the spool of node ${node} did not answer in time; its files stay as they are`,
  );
}

function noAnswer(origin: bigint): MigrationError {
  return new MigrationError(
    'register-unavailable',
    `the ownership register gave no answer, and may still name this node as the owner of daemon ${origin}`,
    { details: { origin } },
  );
}

/** One error for all that was left; its cause has them one by one. */
function unsettled(node: bigint, left: readonly MigrationError[]): MigrationError {
  const kind = left.some((error) => error.kind === 'timed-out') ? 'timed-out' : left[0]!.kind;
  const named = left.slice(0, NAMED).map(({ message }) => message);
  const more = left.length > NAMED ? `; and ${left.length - NAMED} more` : '';
  const message = `node ${node} has shut down, and could not bring all to its end: ${named.join('; ')}${more}`;
  return new MigrationError(kind, message, { details: { node, left: left.length }, cause: new AggregateError(left) });
}
