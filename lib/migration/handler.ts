import { randomBytes } from 'node:crypto';
import type { DaemonHostOptions, LargeEvent } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import { checkBytes, checkBytesOfLength, checkObject, checkU64, wrongType } from '../wire/arguments.js';
import { forEachFrame } from '../wire/batch.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { FrameColumns } from '../wire/columns.js';
import { createCodec } from '../wire/engine.js';
import type { EventLog } from '../wire/event-log.js';
import { decodeMigrationFrame, type ExtensionMessage, encodeMigrationFrame, isExtension } from '../wire/extension.js';
import { type FrameProducer, readyFrames } from '../wire/frame-producer.js';
import type { CausalEvent, CausalLink } from '../wire/link.js';
import type { MigrationFailed, MigrationMessage } from '../wire/message.js';
import { appendTrailer, decodeTrailer, type Trailer } from '../wire/trailer.js';
import { type CandidateRank, chooseTarget, type MigrationCandidate } from './auto-target.js';
import { ChunkRuns } from './chunk-runs.js';
import type {
  LostOwner,
  MigrationAnswer,
  MigrationMode,
  MigrationReport,
  MigrationRequest,
  MigrationStatus,
  RequestKind,
  RequestTypes,
  RoleContext,
  SourceMigration,
} from './core.js';
import { DaemonServices } from './daemon-services.js';
import { asMigrationError, reasonOf } from './failure.js';
import { allowList, type MigrationHandlerHooks } from './hooks.js';
import type { MigrationObstacle } from './obstacles.js';
import type { MigrationOrchestrator } from './orchestrator.js';
import { UnwitnessedOwnership } from './ownership.js';
import { MigrationProber, type ProbeQuestion } from './probe.js';
import type { MigrationSourceHandler } from './source.js';
import type { MigrationTargetHandler } from './target.js';

const REQUEST_ID_BYTES = 16;
const NO_FRAME = new Uint8Array(0);

/** A message to send (PROTOCOL.md §7). */
export interface OutboundMigrationMessage {
  readonly destNode: bigint;
  /** A forwarded chunk is a view of the frame that was handed in: to be sent, or copied, before those bytes change. */
  readonly payload: Uint8Array;
}

/** Answers what the core asks of the world; a refusal is thrown or rejected, as a MigrationError where possible. */
export type MigrationServices = {
  readonly [K in RequestKind]: (ask: RequestTypes[K]['ask']) => MaybePromise<RequestTypes[K]['answer']>;
};

type Half = MigrationOrchestrator | MigrationSourceHandler | MigrationTargetHandler;

interface SelfMessage {
  /** Which half says so. */
  readonly sender: Half | undefined;
  readonly message: MigrationFailed | ExtensionMessage;
  readonly trailer: Trailer | undefined;
}

/** Where frames go when nobody collects them. */
export interface MigrationTransport {
  /** Takes or copies the frame before it returns. What it throws is reported, and the frame counts as lost. */
  send(destNode: bigint, frame: Uint8Array): void;
  /** Writes the frames whenever it has room. */
  stream(destNode: bigint, frames: FrameProducer): void;
}

/** What the dispatcher reads of the daemons on its node. */
export interface LocalCopies {
  get(origin: bigint):
    | {
        readonly head: CausalLink;
        readonly nextParent: bigint;
        readonly log: EventLog;
        readonly largest: LargeEvent | undefined;
      }
    | undefined;
}

export interface MigrationHandlerOptions {
  /** `native`, or `typescript`; default: native, and typescript where the addon cannot be loaded. */
  readonly engine?: 'native' | 'typescript';
  /** In place of `engine`: one that is there already. */
  readonly codec?: MigrationCodec;
  /** Whether trailers and the messages of PROTOCOL.md §8 are sent and read. Default: true. */
  readonly extensions?: boolean;
  /**
   * Whether a node reads them, where somebody knows. True makes them mandatory in its frames, and lets our host write
   * what it carries in front of a state sent there. Default: nobody knows, and each node shows it.
   */
  readonly speaksExtensions?: (node: bigint) => boolean | undefined;
  /** Whether a node can be reached, where somebody knows. Default: any can. */
  readonly isPeer?: (node: bigint) => boolean;
  /** Nodes that may take daemons from here and place them here, beside this node itself; for the default `authorize`. */
  readonly orchestrators?: readonly bigint[];
  /** Where outputs of daemons on this node go, and what else a copy that moves in needs. */
  readonly host?: Pick<DaemonHostOptions, 'onDaemonError' | 'onEndError' | 'onEnding' | 'clock' | 'turn'> & {
    readonly publish?: (origin: bigint, outputs: readonly CausalEvent[], epoch: bigint) => void;
  };
  /** Default: what the halves' registries hold. */
  readonly services?: MigrationServices;
  /** Default: the source's registry. */
  readonly copies?: LocalCopies;
  /** Without one, frames are kept until `handleMessage` or `takeOutbound` hands them out. */
  readonly transport?: MigrationTransport;
  readonly onReport?: (report: MigrationReport) => void;
  /**
   * A frame was refused, and nothing has changed; or, without `fromNode`, something went wrong that nobody waits for.
   * Default: the latter is a process warning.
   */
  readonly onRefused?: (error: MigrationError, fromNode: bigint | undefined) => void;
  /** For request ids. Default: the system's. */
  readonly randomBytes?: (length: number) => Uint8Array;
}

export interface StartMigration {
  /**
   * Whether the daemon's private key must travel along, sealed to the target; false: it must not. Default: where it can
   * (PROTOCOL.md §7).
   */
  readonly transportIdentity?: boolean;
  /** Default: `pause`. `live` only between nodes with extensions. */
  readonly mode?: MigrationMode;
  /** 16 random bytes, so that a repeated TakeSnapshot begins nothing new. Default: drawn. */
  readonly requestId?: Uint8Array;
}

/**
 * The dispatcher of migration subprotocol 0x0500 (PROTOCOL.md §7). A state machine: frames, ticks and answers go in; frames
 * and requests come out. It reads no clock and opens nothing. Where everything that it asks is answered at once, all that
 * follows from a frame is in the array that `handleMessage` returns.
 */
export class MigrationSubprotocolHandler {
  readonly #orchestrator: MigrationOrchestrator;
  readonly #source: MigrationSourceHandler;
  readonly #target: MigrationTargetHandler;
  readonly #prober: MigrationProber;
  readonly #localNode: bigint;
  readonly #hooks: MigrationHandlerHooks;
  readonly #options: MigrationHandlerOptions;
  readonly #codec: MigrationCodec;
  readonly #extensions: boolean;
  readonly #services: MigrationServices;
  readonly #chunkRuns: ChunkRuns;
  readonly #requests: MigrationRequest[] = [];
  /** How many of them, from the first, have run: many may wait at once, and taking the first out of many is slow. */
  #requestsRun = 0;
  /** What this node's halves tell each other without a frame: all that the reference has no frame for. */
  readonly #toSelf: SelfMessage[] = [];
  /** Daemons of whose migration the failure hook has heard, until no half has a record of it. */
  readonly #failuresTold = new Set<bigint>();
  /** Daemons of which a half has let its record go since the last look at what has been told. */
  #ended: bigint[] = [];
  #outbox: OutboundMigrationMessage[] = [];
  #whenIdle: Array<() => void> = [];
  /** Without a transport: streams of which frames are still to come. */
  #streams: Array<{ readonly destNode: bigint; readonly frames: FrameProducer }> = [];
  #nextRequest = 1;
  #now = 0;
  #settling = false;
  #disposed = false;

  constructor(
    orchestrator: MigrationOrchestrator,
    source: MigrationSourceHandler,
    target: MigrationTargetHandler,
    localNode: bigint,
    options: MigrationHandlerOptions = {},
    hooks: MigrationHandlerHooks = {},
  ) {
    checkU64(localNode, 'localNode');
    checkObject(options, 'options');
    checkHooks(hooks);
    for (const node of options.orchestrators ?? []) checkU64(node, 'each of orchestrators');
    this.#orchestrator = orchestrator;
    this.#source = source;
    this.#target = target;
    this.#localNode = localNode;
    this.#options = options;
    this.#hooks = hooks;
    this.#codec = options.codec ?? createCodec(options.engine === undefined ? {} : { engine: options.engine });
    this.#extensions = options.extensions ?? true;
    this.#services = options.services ?? this.#daemonServices();
    this.#chunkRuns = new ChunkRuns(this.#codec);
    orchestrator.attach(this.#context(orchestrator));
    source.attach(this.#context(source));
    target.attach(this.#context(target));
    this.#prober = new MigrationProber(this.#context(undefined), { orchestrator, source, target });
  }

  /** The same with hooks, each of which works alone. */
  static withHooks(
    orchestrator: MigrationOrchestrator,
    source: MigrationSourceHandler,
    target: MigrationTargetHandler,
    localNode: bigint,
    hooks: MigrationHandlerHooks,
    options: MigrationHandlerOptions = {},
  ): MigrationSubprotocolHandler {
    return new MigrationSubprotocolHandler(orchestrator, source, target, localNode, options, hooks);
  }

  /** The engine in use. */
  get engine(): 'native' | 'typescript' {
    return this.#codec.engine;
  }

  /**
   * One frame from an authenticated peer.
   *
   * @returns the messages to send, where there is no transport
   * @throws MigrationError where the frame is refused; nothing has changed then
   */
  handleMessage(data: Uint8Array, fromNode: bigint): OutboundMigrationMessage[] {
    this.#requireUsable();
    checkBytes(data, 'data');
    checkU64(fromNode, 'fromNode');
    try {
      this.#receive(data, fromNode);
    } finally {
      this.#settle();
    }
    return this.takeOutbound();
  }

  /**
   * Many frames in one call, each behind its length (u32 LE). A frame that is refused is reported to `onRefused` and keeps
   * no other from its turn; half a frame at the end is passed over.
   *
   * @returns the messages to send, where there is no transport
   */
  handleBatch(batch: Uint8Array, fromNode: bigint): OutboundMigrationMessage[] {
    this.#requireUsable();
    checkBytes(batch, 'batch');
    checkU64(fromNode, 'fromNode');
    const each = (frame: Uint8Array) => this.#receiveGuarded(frame, fromNode);
    if (this.#chunkRuns.isWorthWhile(batch)) {
      this.#chunkRuns.forEach(batch, {
        each,
        run: (origin, columns, from, to) => {
          const trailer = this.#extensions ? rowTrailer(batch, columns, from) : undefined;
          const next = this.#orchestrator.forwards(origin, fromNode, trailer)
            ? this.#orchestrator.takeRun(origin, batch, columns, from, to, trailer)
            : this.#target.takeRun(origin, batch, columns, from, to);
          this.#settle();
          return next;
        },
      });
    } else forEachFrame(batch, each);
    this.#settle();
    return this.takeOutbound();
  }

  /**
   * What is to be sent, where there is no transport. Of a snapshot that a daemon streams asynchronously each call gives what is
   * here by then: to be called again, or `tick`, until `list` has all of its bytes as done.
   */
  takeOutbound(): OutboundMigrationMessage[] {
    this.#collect();
    const outbound = this.#outbox;
    this.#outbox = [];
    return outbound;
  }

  /**
   * Begins a migration that this node leads.
   *
   * @returns the messages to send, where there is no transport
   * @throws MigrationError `already-migrating`, `target-unavailable`, `too-many-migrations`
   */
  startMigration(
    origin: bigint,
    source: bigint,
    target: bigint,
    options: StartMigration = {},
  ): OutboundMigrationMessage[] {
    this.#requireUsable();
    checkU64(origin, 'origin');
    checkU64(source, 'source');
    checkU64(target, 'target');
    const request = this.#request(options);
    const { sourceIsLocal } = this.#orchestrator.start(origin, source, target, request);
    const trailer = this.#extensions ? request : undefined;
    if (sourceIsLocal) this.#source.takeSnapshot(origin, target, this.#localNode, trailer);
    this.#settle();
    return this.takeOutbound();
  }

  /**
   * Begins a migration to the best of some nodes.
   *
   * @param candidates those that do not advertise `subprotocol:0x0500` are passed over
   * @throws MigrationError `no-target-available`, and as `startMigration`
   */
  startMigrationAuto(
    origin: bigint,
    source: bigint,
    candidates: Iterable<MigrationCandidate>,
    rank: CandidateRank,
    options: StartMigration = {},
  ): { readonly target: bigint; readonly outbound: OutboundMigrationMessage[] } {
    checkU64(origin, 'origin');
    checkU64(source, 'source');
    const target = chooseTarget(origin, source, candidates, rank);
    return { target, outbound: this.startMigration(origin, source, target, options) };
  }

  /**
   * Asks what a migration led from here would be refused for. Nothing is begun, and no snapshot taken.
   *
   * @param done called once with the reasons, none where it could go: from within a later call of this dispatcher, or from
   * this one where nothing must be waited for
   * @returns the messages to send, where there is no transport
   */
  probe(
    origin: bigint,
    source: bigint,
    target: bigint,
    options: StartMigration & Pick<ProbeQuestion, 'deadlineMs'>,
    done: (obstacles: readonly MigrationObstacle[]) => void,
  ): OutboundMigrationMessage[] {
    checkU64(origin, 'origin');
    checkU64(source, 'source');
    checkU64(target, 'target');
    const { requestId, transportIdentity } = this.#request(options);
    const { deadlineMs } = options;
    const question = { origin, source, target, requestId: requestId!, transportIdentity, deadlineMs };
    this.#prober.check(question, (obstacles) => this.#guarded(() => done(obstacles)));
    this.#settle();
    return this.takeOutbound();
  }

  /** Ends a migration that this node leads. @returns false where there is none */
  cancelMigration(origin: bigint): boolean {
    checkU64(origin, 'origin');
    const cancelled = this.#orchestrator.cancel(origin);
    this.#settle();
    return cancelled;
  }

  /**
   * Brings a daemon back that was handed to a node which will never be live. Without an ownership register whoever calls
   * this answers for that: else there are two.
   *
   * @returns false where nothing is here to be brought back
   */
  recover(origin: bigint, lost?: LostOwner): boolean {
    checkU64(origin, 'origin');
    const found = this.#source.recover(origin, lost);
    this.#settle();
    return found;
  }

  /**
   * A daemon that was offered from this node before that was started again: its copy is here, fenced, and the migration goes
   * on where it was.
   *
   * @param back why it is not to go on: it is taken back instead
   */
  adopt(migration: SourceMigration, back?: MigrationError): void {
    this.#source.adopt(migration, back);
    this.#settle();
  }

  /** What this node needs for a migration from here has failed: it ends as if a peer had said so. */
  failSource(origin: bigint, attempt: bigint, error: MigrationError): void {
    this.#source.fail(origin, attempt, error);
    this.#settle();
  }

  /** Events have been logged for a daemon that is moving from here. */
  logged(origin: bigint): void {
    checkU64(origin, 'origin');
    this.#source.logged(origin);
    this.#settle();
  }

  /** Tells whoever led a daemon here what has become of its subscriptions. */
  tellRebind(origin: bigint, rebind: Uint8Array): void {
    this.#target.tellRebind(origin, rebind);
    this.#settle();
  }

  /** A node is gone for certain. */
  peerGone(node: bigint): void {
    checkU64(node, 'node');
    this.#orchestrator.peerGone(node);
    this.#source.peerGone(node);
    this.#target.peerGone(node);
    this.#prober.peerGone(node);
    this.#settle();
  }

  /**
   * Time has passed: what is overdue is asked for again, or given up.
   *
   * @param now milliseconds on a clock that never goes back, at most 2^53 - 1; one that does go back counts as standing still
   * @returns the messages to send, where there is no transport; none once disposed
   */
  tick(now: number): OutboundMigrationMessage[] {
    // A number to which a millisecond cannot be added would make every deadline due again at once, for ever.
    if (typeof now !== 'number' || !(now <= Number.MAX_SAFE_INTEGER))
      throw wrongType('now', 'a number of at most 2^53 - 1', now);
    if (this.#disposed) return [];
    this.#now = Math.max(this.#now, now);
    this.#orchestrator.tick();
    this.#source.tick();
    this.#target.tick();
    this.#prober.tick();
    this.#settle();
    return this.takeOutbound();
  }

  /** Whether a migration of this daemon is under way in any role here. */
  isMigrating(origin: bigint): boolean {
    return this.#orchestrator.has(origin) || this.#source.has(origin) || this.#target.has(origin);
  }

  /** All migrations that this node takes part in, one entry per role; a copy. */
  list(): MigrationStatus[] {
    return [...this.#orchestrator.statuses(), ...this.#source.statuses(), ...this.#target.statuses()];
  }

  /**
   * This node is about to end. Nothing new is taken on: whoever asks is answered `not-ready`. What may be ended ends: a source
   * goes back unless it has made its offer, a target drops its copy unless it is claiming, an orchestrator cancels unless the
   * source has stopped; the peers are told. What is decided is seen through, as time passes. Idempotent.
   *
   * @returns the messages to send, where there is no transport
   */
  windDown(options: { readonly keepsBackups?: boolean } = {}): OutboundMigrationMessage[] {
    this.#prober.windDown();
    if (options.keepsBackups) this.#source.keepBackups();
    this.#source.windDown();
    this.#target.windDown();
    this.#orchestrator.windDown();
    this.#settle();
    return this.takeOutbound();
  }

  /** Sources take back what they have offered, where the target has not taken it. */
  withdrawOffers(): void {
    this.#source.withdrawOffers();
    this.#settle();
  }

  /** What is left is led from here no longer, and goes back nowhere: the peers are told. `dispose` follows. */
  handOver(): void {
    this.#source.handOver();
    this.#orchestrator.handOver();
    this.#settle();
  }

  /** Resolves when no migration is under way here, in any role. */
  whenIdle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  #isIdle(): boolean {
    return this.#orchestrator.size + this.#source.size + this.#target.size === 0;
  }

  /**
   * Frees what is half assembled, and closes what is streamed. Nothing is taken or begun any more (`disposed`), and neither time nor
   * an answer counts. Idempotent.
   */
  dispose(): void {
    this.#disposed = true;
    this.#prober.dispose();
    for (const half of [this.#orchestrator, this.#source, this.#target]) half.dispose();
  }

  /** Frames that streams have ready; what their failing leads to is settled too. */
  #collect(): void {
    const streams = this.#streams;
    this.#streams = [];
    for (const { destNode, frames } of streams) this.#drain(destNode, frames);
  }

  #drain(destNode: bigint, frames: FrameProducer): void {
    for (const payload of readyFrames(frames)) this.#outbox.push({ destNode, payload });
    if (!frames.done) this.#streams.push({ destNode, frames });
  }

  #requireUsable(): void {
    if (this.#disposed)
      throw new MigrationError('disposed', 'this migration dispatcher was disposed of: make a new one');
  }

  #request(options: StartMigration): Trailer {
    checkObject(options, 'options');
    const { requestId, transportIdentity, mode } = options;
    if (transportIdentity !== undefined && typeof transportIdentity !== 'boolean')
      throw wrongType('transportIdentity', 'a boolean', transportIdentity);
    if (mode !== undefined && mode !== 'pause' && mode !== 'live') throw wrongType('mode', "'pause' or 'live'", mode);
    const drawn = requestId ?? (this.#options.randomBytes ?? randomBytes)(REQUEST_ID_BYTES);
    checkBytesOfLength(drawn, 'requestId', REQUEST_ID_BYTES);
    return {
      requestId: drawn,
      ...(transportIdentity === undefined ? {} : { transportIdentity: transportIdentity ? 1n : 0n }),
      ...(mode === 'live' ? { mode: 1n } : {}),
    };
  }

  #receive(bytes: Uint8Array, from: bigint): void {
    // What is kept of a frame is copied by `slice`, which of a Buffer is a view.
    const data = Buffer.isBuffer(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : bytes;
    const { message, trailer } = decodeMigrationFrame(this.#codec, data);
    if (this.#extensions) this.#dispatch(message, trailer, data, from);
    else if (!isExtension(message)) this.#dispatch(message, undefined, data, from);
    else {
      throw new MigrationError(
        'unknown-type',
        `${message.kind} for daemon ${message.daemonOrigin}: this node speaks no extensions`,
        { details: { offset: 0 } },
      );
    }
  }

  /** @returns whether it was not refused */
  #receiveGuarded(data: Uint8Array, from: bigint): boolean {
    let isTaken = true;
    try {
      this.#receive(data, from);
    } catch (error) {
      isTaken = false;
      this.#tellRefused(asMigrationError(error), from);
    }
    this.#settle();
    return isTaken;
  }

  #dispatch(
    message: MigrationMessage | ExtensionMessage,
    trailer: Trailer | undefined,
    frame: Uint8Array,
    from: bigint,
  ): void {
    const origin = message.daemonOrigin;
    switch (message.kind) {
      case 'TakeSnapshot':
        this.#source.takeSnapshot(origin, message.targetNode, from, trailer);
        break;
      case 'SnapshotReady':
        if (this.#orchestrator.forwards(origin, from, trailer))
          this.#orchestrator.snapshotReady(message, frame, from, trailer);
        else this.#target.snapshotReady(message, from, trailer);
        break;
      case 'RestoreComplete':
      case 'ReplayComplete':
      case 'ActivateAck':
        this.#orchestrator.fromTarget(origin, message.kind, from, trailer);
        break;
      case 'CleanupComplete':
      case 'SourceStatus':
        this.#orchestrator.fromSource(origin, message.kind, from, trailer);
        break;
      case 'RebindStatus':
        this.#orchestrator.rebindStatus(origin, from, trailer);
        break;
      case 'RebindAck':
        this.#target.rebindAck(origin, from, trailer);
        break;
      case 'BufferedEvents':
        this.#target.bufferedEvents(message, from, trailer);
        break;
      case 'EventFragment':
        this.#target.eventFragment(origin, from, trailer);
        break;
      case 'CutoverNotify':
        this.#source.cutoverNotify(origin, message.targetNode, from, trailer);
        break;
      case 'ActivateTarget':
        this.#target.activateTarget(origin, from, trailer);
        break;
      case 'Probe':
        this.#prober.probe(origin, from, trailer);
        break;
      case 'ProbeAnswer':
        this.#prober.probeAnswer(origin, from, trailer);
        break;
      case 'ChunkStatus':
        this.#source.chunkStatus(origin, from, trailer);
        break;
      case 'EventAck':
        this.#source.eventAck(origin, from, trailer);
        break;
      case 'CopyMissing':
        this.#source.copyMissing(origin, from, trailer);
        break;
      case 'ActivationConfirmed':
        this.#source.activationConfirmed(origin, from, trailer);
        break;
      case 'MigrationFailed':
        if (!this.#failed(message, from, trailer)) throw noPart(origin, from);
    }
  }

  /**
   * @param sender the half of this node that says so, and does not mean itself
   * @returns whether one of the halves was meant
   */
  #failed(message: MigrationFailed, from: bigint, trailer: Trailer | undefined, sender?: Half): boolean {
    const { daemonOrigin: origin, reason } = message;
    const halves: readonly Half[] = [this.#orchestrator, this.#source, this.#target];
    return halves.filter((half) => half !== sender && half.migrationFailed(origin, from, reason, trailer)).length > 0;
  }

  /** Runs requests until none is left; what answers later goes on when it does. */
  #settle(): void {
    if (this.#settling || this.#disposed) return;
    this.#settling = true;
    try {
      while (this.#step());
    } finally {
      this.#settling = false;
    }
    const ended = this.#ended;
    this.#ended = [];
    for (const origin of ended) if (!this.isMigrating(origin)) this.#failuresTold.delete(origin);
    if (this.#whenIdle.length > 0 && this.#isIdle()) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #step(): boolean {
    const request = this.#requests[this.#requestsRun];
    if (request) {
      this.#requestsRun++;
      this.#run(request);
      return true;
    }
    this.#requests.length = 0;
    this.#requestsRun = 0;
    const told = this.#toSelf.shift();
    if (told) this.#tellSelf(told);
    return told !== undefined;
  }

  #tellSelf({ sender, message, trailer }: SelfMessage): void {
    this.#guarded(() => {
      if (!this.#extensions && isExtension(message)) return;
      // The other half may be through with that migration already.
      if (message.kind === 'MigrationFailed') this.#failed(message, this.#localNode, trailer, sender);
      else if (message.kind === 'RebindStatus' || this.isMigrating(message.daemonOrigin))
        this.#dispatch(message, trailer, NO_FRAME, this.#localNode);
    });
  }

  #run(request: MigrationRequest): void {
    const { kind, id, role, origin } = request;
    const answer = (outcome: { value?: unknown; error?: MigrationError }) =>
      this.#answer({ kind, id, role, origin, ...outcome } as MigrationAnswer);
    try {
      const value = this.#services[kind](request as never) as MaybePromise<unknown>;
      if (!isPromise(value)) {
        answer({ value });
        return;
      }
      void value
        .then(
          (later) => answer({ value: later }),
          (error) => answer({ error: asMigrationError(error) }),
        )
        .then(() => this.#settle());
    } catch (error) {
      answer({ error: asMigrationError(error) });
    }
  }

  #answer(answer: MigrationAnswer): void {
    this.#guarded(() => {
      if (answer.role === 'probe') this.#prober.answer(answer);
      else if (answer.role === 'source') this.#source.answer(answer);
      else this.#target.answer(answer);
    });
  }

  #guarded(run: () => unknown): void {
    contained(run, (error) => this.#fault(asMigrationError(error)));
  }

  #fault(error: MigrationError): void {
    if (this.#options.onRefused) this.#tellRefused(error, undefined);
    else process.emitWarning(error.message, { code: error.kind });
  }

  #tellRefused(error: MigrationError, from: bigint | undefined): void {
    contained(
      () => this.#options.onRefused?.(error, from),
      (cause) => process.emitWarning(`onRefused failed: ${asMigrationError(cause).message}`),
    );
  }

  #report(report: MigrationReport): void {
    this.#guarded(() => this.#options.onReport?.(report));
    if (report.kind !== 'failed' || !report.begun || this.#failuresTold.has(report.origin)) return;
    this.#failuresTold.add(report.origin);
    this.#guarded(() => this.#hooks.failure?.(report.origin, reasonOf(report.error)));
  }

  /** Everything that the core asks for, answered by the daemons of this node alone. */
  #daemonServices(): MigrationServices {
    const { orchestrators = [], host = {}, speaksExtensions } = this.#options;
    const { publish, ...rest } = host;
    return new DaemonServices({
      localNode: this.#localNode,
      codec: this.#codec,
      registry: this.#target.registry,
      factories: this.#target.factories,
      ownership: new UnwitnessedOwnership(),
      authorize: this.#hooks.authorize ?? allowList(this.#localNode, orchestrators),
      hooks: this.#hooks,
      readsCarriedState: (node) => this.#extensions && speaksExtensions?.(node) === true,
      host: (keypair, kind, daemon) => ({
        ...rest,
        codec: this.#codec,
        keypair,
        kind,
        daemon,
        publish: (outputs, epoch) => publish?.(keypair.originHash, outputs, epoch),
      }),
      turn: host.turn,
    });
  }

  /** @param half undefined for what belongs to none of them */
  #context(half: Half | undefined): RoleContext {
    const { transport, speaksExtensions, isPeer } = this.#options;
    // A frame that a transport does not take is a lost one, which is sent again: no step is left half done for it.
    const send = (destNode: bigint, payload: Uint8Array) => {
      if (transport) this.#guarded(() => transport.send(destNode, payload));
      else this.#outbox.push({ destNode, payload });
    };
    const copies = this.#options.copies ?? this.#source.registry;
    const copy = (origin: bigint) => {
      const found = copies.get(origin);
      if (!found)
        throw new MigrationError('daemon-not-found', `daemon ${origin} is not on this node`, { details: { origin } });
      return found;
    };
    const withTrailer = (trailer: Trailer | undefined) => (this.#extensions ? trailer : undefined);
    const clock = () => this.#now;
    return {
      localNode: this.#localNode,
      codec: this.#codec,
      extensions: this.#extensions,
      get now() {
        return clock();
      },
      speaks: (node) => (this.#extensions ? speaksExtensions?.(node) : false),
      isPeer: (node) => isPeer?.(node),
      send: (destNode, message, trailer) => {
        if (destNode === this.#localNode && (message.kind === 'MigrationFailed' || isExtension(message))) {
          this.#toSelf.push({ sender: half, message, trailer: withTrailer(trailer) });
        } else if (this.#extensions || !isExtension(message)) {
          send(destNode, encodeMigrationFrame(this.#codec, message, withTrailer(trailer)));
        }
      },
      sendEncoded: (destNode, frame, trailer) => send(destNode, appendTrailer(frame, withTrailer(trailer))),
      forward: send,
      stream: (destNode, frames) => {
        if (transport) this.#guarded(() => transport.stream(destNode, frames));
        else this.#drain(destNode, frames);
      },
      request: (role, kind, ask) => {
        const id = this.#nextRequest++;
        this.#requests.push({ ...ask, kind, id, role } as unknown as MigrationRequest);
        return id;
      },
      head: (origin) => copy(origin).head,
      chainEnd: (origin) => {
        const { head, nextParent } = copy(origin);
        return this.#codec.encodeLink({ ...head, parentHash: nextParent });
      },
      log: (origin) => copy(origin).log,
      largest: (origin) => copy(origin).largest,
      expectedOrchestrator: (origin) => this.#target.factories?.expectedOrchestrator(origin),
      fault: (error) => this.#fault(error),
      report: (report) => this.#report(report),
      ended: (origin) => {
        if (this.#failuresTold.has(origin)) this.#ended.push(origin);
      },
      run: (brought) => {
        this.#guarded(brought);
        this.#settle();
      },
    };
  }
}

function rowTrailer(batch: Uint8Array, columns: FrameColumns, row: number): Trailer | undefined {
  const start = columns.frameOffset[row]!;
  return decodeTrailer(batch.subarray(start, start + columns.frameLength[row]!), columns.baseLength[row]!);
}

/** @throws TypeError where one is there and cannot be called */
function checkHooks(hooks: MigrationHandlerHooks): void {
  checkObject(hooks, 'hooks');
  for (const name of ['authorize', 'readiness', 'postRestore', 'preCleanup', 'failure'] as const) {
    if (hooks[name] !== undefined && typeof hooks[name] !== 'function')
      throw wrongType(`hooks.${name}`, 'a function', hooks[name]);
  }
  if (hooks.identity !== undefined) checkObject(hooks.identity, 'hooks.identity');
}

/** Calls what is not ours: neither an error nor a rejected promise of it goes any further. */
function contained(run: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = run();
    if (isPromise(result)) void Promise.resolve(result).catch(failed);
  } catch (error) {
    failed(error);
  }
}

function noPart(origin: bigint, from: bigint): MigrationError {
  return new MigrationError(
    'wrong-peer',
    `MigrationFailed for daemon ${origin} came from node ${from}, which takes no part in a migration of it`,
    { details: { origin, from } },
  );
}
