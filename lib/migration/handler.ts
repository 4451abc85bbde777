import { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { EventLog } from '../wire/event-log.js';
import { decodeMigrationFrame, encodeMigrationFrame, type MigrationFrame } from '../wire/extension.js';
import type { CausalEvent, CausalLink } from '../wire/link.js';
import { appendTrailer, type Trailer } from '../wire/trailer.js';
import type {
  MigrationAnswer,
  MigrationReport,
  MigrationRequest,
  RequestKind,
  RequestTypes,
  RoleContext,
} from './core.js';
import { asMigrationError } from './failure.js';
import type { MigrationOrchestrator } from './orchestrator.js';
import type { OutgoingSnapshot } from './outgoing-snapshot.js';
import type { MigrationSourceHandler } from './source.js';
import type { MigrationTargetHandler } from './target.js';

/** A message to send (PROTOCOL.md §7). */
export interface OutboundMigrationMessage {
  readonly destNode: bigint;
  readonly payload: Uint8Array;
}

/** Answers what the core asks of the world; a refusal is thrown or rejected, as a MigrationError where possible. */
export type MigrationServices = {
  readonly [K in RequestKind]: (ask: RequestTypes[K]['ask']) => MaybePromise<RequestTypes[K]['answer']>;
};

/** Where frames go when nobody collects them. */
export interface MigrationTransport {
  send(destNode: bigint, frame: Uint8Array): void;
  /** Writes the snapshot's chunks whenever it has room. */
  stream(destNode: bigint, snapshot: OutgoingSnapshot): void;
}

/** What the dispatcher reads of the daemons on its node. */
export interface LocalCopies {
  get(
    origin: bigint,
  ): { readonly head: CausalLink; readonly log: EventLog; readonly oversized: CausalEvent | undefined } | undefined;
}

export interface MigrationHandlerOptions {
  readonly codec: MigrationCodec;
  readonly services: MigrationServices;
  readonly copies: LocalCopies;
  /** Without one, frames are kept until `handleMessage` or `takeOutbound` hands them out. */
  readonly transport?: MigrationTransport;
  readonly onReport?: (report: MigrationReport) => void;
  /** A frame was refused, or an answer came at a wrong time. Nothing has changed. */
  readonly onRefused?: (error: MigrationError, fromNode: bigint | undefined) => void;
}

/**
 * The dispatcher of migration subprotocol 0x0500 (PROTOCOL.md §7). A state machine: frames, ticks and answers go in; frames
 * and requests come out. It reads no clock, draws no random number, opens nothing.
 */
export class MigrationSubprotocolHandler {
  readonly #orchestrator: MigrationOrchestrator;
  readonly #source: MigrationSourceHandler;
  readonly #target: MigrationTargetHandler;
  readonly #localNode: bigint;
  readonly #options: MigrationHandlerOptions;
  readonly #requests: MigrationRequest[] = [];
  #outbox: OutboundMigrationMessage[] = [];
  #nextRequest = 1;
  #now = 0;
  #settling = false;

  constructor(
    orchestrator: MigrationOrchestrator,
    source: MigrationSourceHandler,
    target: MigrationTargetHandler,
    localNode: bigint,
    options: MigrationHandlerOptions,
  ) {
    this.#orchestrator = orchestrator;
    this.#source = source;
    this.#target = target;
    this.#localNode = localNode;
    this.#options = options;
    const ctx = this.#context();
    for (const half of [orchestrator, source, target]) half.attach(ctx);
  }

  /**
   * One frame from an authenticated peer.
   *
   * @returns the messages to send, where there is no transport
   * @throws MigrationError where the frame is refused; nothing has changed then
   */
  handleMessage(data: Uint8Array, fromNode: bigint): OutboundMigrationMessage[] {
    try {
      this.#dispatch(decodeMigrationFrame(this.#options.codec, data), data, fromNode);
    } finally {
      this.#settle();
    }
    return this.takeOutbound();
  }

  /** One frame whose refusal is reported, not thrown: for many in a row. */
  receive(data: Uint8Array, fromNode: bigint): void {
    try {
      this.#dispatch(decodeMigrationFrame(this.#options.codec, data), data, fromNode);
    } catch (error) {
      this.#options.onRefused?.(asMigrationError(error), fromNode);
    }
    this.#settle();
  }

  /** What is to be sent, where there is no transport. */
  takeOutbound(): OutboundMigrationMessage[] {
    const outbound = this.#outbox;
    this.#outbox = [];
    return outbound;
  }

  /**
   * Begins a migration that this node leads.
   *
   * @param request what goes on TakeSnapshot: `requestId` (16 random bytes), and what the source is to do
   * @throws MigrationError `already-migrating`, `target-unavailable`
   */
  startMigration(origin: bigint, source: bigint, target: bigint, request: Trailer): void {
    const { sourceIsLocal } = this.#orchestrator.start(origin, source, target, request);
    if (sourceIsLocal) this.#source.takeSnapshot(origin, target, this.#localNode, request);
    this.#settle();
  }

  /** Ends a migration that this node leads. @returns false where there is none */
  cancelMigration(origin: bigint): boolean {
    const cancelled = this.#orchestrator.cancel(origin);
    this.#settle();
    return cancelled;
  }

  /** Events have been logged for a daemon that is moving from here. */
  logged(origin: bigint): void {
    this.#source.logged(origin);
    this.#settle();
  }

  /** A node is gone for certain. */
  peerGone(node: bigint): void {
    this.#orchestrator.peerGone(node);
    this.#source.peerGone(node);
    this.#target.peerGone(node);
    this.#settle();
  }

  /** @param now milliseconds; deadlines and repeats are counted by it */
  tick(now: number): void {
    this.#now = now;
    this.#orchestrator.tick();
    this.#source.tick();
    this.#target.tick();
    this.#settle();
  }

  /** Whether a migration of this daemon is under way in any role here. */
  isMigrating(origin: bigint): boolean {
    return this.#orchestrator.has(origin) || this.#source.has(origin) || this.#target.has(origin);
  }

  dispose(): void {
    this.#target.dispose();
  }

  #dispatch({ message, trailer }: MigrationFrame, frame: Uint8Array, from: bigint): void {
    const origin = message.daemonOrigin;
    switch (message.kind) {
      case 'TakeSnapshot':
        this.#source.takeSnapshot(origin, message.targetNode, from, trailer);
        break;
      case 'SnapshotReady':
        // On a node that is both, the source's frames are the orchestrator's, and its own are the target's.
        if (this.#orchestrator.forwards(origin, from)) this.#orchestrator.snapshotReady(message, frame, trailer);
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
      case 'BufferedEvents':
        this.#target.bufferedEvents(message, from, trailer);
        break;
      case 'CutoverNotify':
        this.#source.cutoverNotify(origin, from, trailer);
        break;
      case 'ActivateTarget':
        this.#target.activateTarget(origin, from, trailer);
        break;
      case 'EventAck':
        this.#source.eventAck(origin, from, trailer);
        break;
      case 'ActivationConfirmed':
        this.#source.activationConfirmed(origin, from, trailer);
        break;
      case 'MigrationFailed': {
        const halves = [this.#orchestrator, this.#source, this.#target];
        const meant = halves.filter((half) => half.migrationFailed(origin, from, message.reason, trailer));
        if (meant.length === 0) {
          throw new MigrationError(
            'wrong-peer',
            `MigrationFailed for daemon ${origin} came from node ${from}, which takes no part in a migration of it`,
            {
              details: { origin, from },
            },
          );
        }
      }
    }
  }

  /** Runs requests until none is left; what answers later goes on when it does. */
  #settle(): void {
    if (this.#settling) return;
    this.#settling = true;
    try {
      for (let request = this.#requests.shift(); request; request = this.#requests.shift()) this.#run(request);
    } finally {
      this.#settling = false;
    }
  }

  #run(request: MigrationRequest): void {
    const { kind, id, role, origin } = request;
    const answer = (outcome: { value?: unknown; error?: MigrationError }) =>
      this.#answer({ kind, id, role, origin, ...outcome } as MigrationAnswer);
    try {
      const value = this.#options.services[kind](request as never) as MaybePromise<unknown>;
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
    try {
      if (answer.role === 'source') this.#source.answer(answer);
      else this.#target.answer(answer);
    } catch (error) {
      this.#options.onRefused?.(asMigrationError(error), undefined);
    }
  }

  #context(): RoleContext {
    const { codec, copies, transport } = this.#options;
    const send = (destNode: bigint, payload: Uint8Array) => {
      if (transport) transport.send(destNode, payload);
      else this.#outbox.push({ destNode, payload });
    };
    const copy = (origin: bigint) => {
      const found = copies.get(origin);
      if (!found)
        throw new MigrationError('daemon-not-found', `daemon ${origin} is not on this node`, { details: { origin } });
      return found;
    };
    const clock = () => this.#now;
    return {
      localNode: this.#localNode,
      get now() {
        return clock();
      },
      send: (destNode, message, trailer) => send(destNode, encodeMigrationFrame(codec, message, trailer)),
      sendEncoded: (destNode, frame, trailer) => send(destNode, appendTrailer(frame, trailer)),
      forward: send,
      stream: (destNode, snapshot) => {
        if (transport) transport.stream(destNode, snapshot);
        else for (const frame of allFrames(snapshot)) send(destNode, frame);
      },
      request: (role, kind, ask) => {
        const id = this.#nextRequest++;
        this.#requests.push({ kind, id, ...ask, role } as unknown as MigrationRequest);
        return id;
      },
      head: (origin) => copy(origin).head,
      log: (origin) => copy(origin).log,
      oversized: (origin) => copy(origin).oversized,
      fault: (error) => this.#options.onRefused?.(error, undefined),
      report: (report) => this.#options.onReport?.(report),
    };
  }
}

function* allFrames(snapshot: OutgoingSnapshot): Iterable<Uint8Array> {
  while (!snapshot.done) {
    const frame = new Uint8Array(snapshot.maxFrameLength);
    yield frame.subarray(0, snapshot.writeNext(frame, 0));
  }
}
