import { DaemonFactoryRegistry } from '../../lib/daemon/factories.js';
import type { LargeEvent } from '../../lib/daemon/host.js';
import { DaemonRegistry } from '../../lib/daemon/registry.js';
import { createCodec } from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import type { DaemonSnapshot, MigrationReport, RequestKind, RequestTypes } from '../../lib/migration/core.js';
import {
  type MigrationHandlerOptions,
  type MigrationServices,
  MigrationSubprotocolHandler,
} from '../../lib/migration/handler.js';
import { MigrationOrchestrator } from '../../lib/migration/orchestrator.js';
import { OutgoingSnapshot } from '../../lib/migration/outgoing-snapshot.js';
import { SnapshotParts } from '../../lib/migration/snapshot-bytes.js';
import { MigrationSourceHandler } from '../../lib/migration/source.js';
import { MigrationTargetHandler } from '../../lib/migration/target.js';
import type { EventLog } from '../../lib/wire/event-log.js';
import { decodeMigrationFrame, type ExtensionMessage, encodeMigrationFrame } from '../../lib/wire/extension.js';
import { readyFrames } from '../../lib/wire/frame-producer.js';
import type { CausalEvent, CausalLink } from '../../lib/wire/link.js';
import type { MigrationMessage } from '../../lib/wire/message.js';
import type { Trailer } from '../../lib/wire/trailer.js';

export const codec = createCodec({ engine: 'typescript' });
/** The node under test, and those around it. */
export const HERE = 10n;
export const SOURCE = 1n;
export const TARGET = 2n;
export const ORCHESTRATOR = 3n;
export const STRANGER = 9n;
export const TRY = 4n;
export const EPOCH = 6n;
const requestId = new Uint8Array(16).fill(1);
/** What another orchestrator asks with. */
export const OTHER_REQUEST_ID = new Uint8Array(16).fill(2);
/** What an orchestrator's TakeSnapshot bears, and with what a migration is started here. */
export const REQUEST: Trailer = { requestId, transportIdentity: 0n };
export const START = { requestId, transportIdentity: false };

const ENTITY = new Uint8Array(32).fill(5);
export const ORIGIN = codec.originHash(ENTITY);
export const HEAD: CausalLink = { originHash: ORIGIN, horizon: 0n, sequence: 12n, parentHash: 3n };

/** A message's frame, as a peer sends it. */
export function frame(message: MigrationMessage | ExtensionMessage, trailer?: Trailer): Uint8Array {
  return encodeMigrationFrame(codec, message, trailer);
}

/** Frames of a snapshot with that much state: chunks as a source writes them. */
export function chunkFrames(stateLength: number, attempt = TRY, request = requestId): Uint8Array[] {
  const trailer: Trailer = { try: attempt, requestId: request, source: SOURCE, daemonKind: 'recorder' };
  const { seqThrough, bytes } = snapshotOf(stateLength);
  return [
    ...readyFrames(
      new OutgoingSnapshot(codec, { origin: ORIGIN, seqThrough, bytes, trailer, target: HERE, sign: () => undefined }),
    ),
  ];
}

function snapshotOf(stateLength: number): DaemonSnapshot {
  const bytes = codec.encodeSnapshot({
    entityId: ENTITY,
    throughSeq: HEAD.sequence,
    chainLink: HEAD,
    createdAt: 0n,
    state: new Uint8Array(stateLength).fill(7),
    bindings: new Uint8Array(0),
    identityEnvelope: undefined,
  });
  return {
    seqThrough: HEAD.sequence,
    bytes: new SnapshotParts([bytes]),
    daemonKind: 'recorder',
    sign: () => undefined,
  };
}

interface Copy {
  readonly head: CausalLink;
  readonly nextParent: bigint;
  readonly log: EventLog;
  readonly largest: LargeEvent | undefined;
}

/** The dispatcher of a node with all three halves; the world around it answers at once, unless `answers` says otherwise. */
export class Node {
  readonly asked: Array<{ readonly kind: RequestKind; readonly ask: unknown }> = [];
  readonly reports: MigrationReport[] = [];
  readonly refused: Error[] = [];
  readonly copies = new Map<bigint, Copy>();
  readonly replayed: CausalEvent[] = [];
  /** In place of a service's own answer. */
  readonly answers: { [K in RequestKind]?: (ask: RequestTypes[K]['ask']) => MaybePromise<RequestTypes[K]['answer']> } =
    {};
  readonly registry = new DaemonRegistry();
  readonly factories = new DaemonFactoryRegistry();
  readonly handler: MigrationSubprotocolHandler;

  constructor(options: MigrationHandlerOptions = {}) {
    this.handler = new MigrationSubprotocolHandler(
      new MigrationOrchestrator(),
      new MigrationSourceHandler(this.registry),
      new MigrationTargetHandler(this.registry, this.factories),
      HERE,
      {
        codec,
        copies: this.copies,
        services: this.#services(),
        onReport: (report) => this.reports.push(report),
        onRefused: (error) => this.refused.push(error),
        ...options,
      },
    );
  }

  /** What the dispatcher answers to a frame. */
  takes(from: bigint, message: MigrationMessage | ExtensionMessage, trailer?: Trailer) {
    return this.takesFrame(from, frame(message, trailer));
  }

  takesFrame(from: bigint, bytes: Uint8Array) {
    return sent(this.handler.handleMessage(bytes, from));
  }

  /** The source's own word that it has stopped, behind so many logged events. */
  hearsOffer(logCount: bigint) {
    const message = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [] } as const;
    return this.takes(SOURCE, message, { try: TRY, logFrom: logCount + 1n, logCount });
  }

  /** What was asked of that kind. */
  asks<K extends RequestKind>(kind: K): Array<RequestTypes[K]['ask']> {
    return this.asked.filter((request) => request.kind === kind).map(({ ask }) => ask as RequestTypes[K]['ask']);
  }

  /** All that a frame can change, as far as it shows. */
  get traces() {
    const { asked, reports, refused, copies } = this;
    return { asked: asked.length, reports: reports.length, refused: refused.length, copies: copies.size };
  }

  /** A daemon lives here. */
  own(): EventLog {
    const log = codec.createEventLog();
    this.copies.set(ORIGIN, { head: HEAD, nextParent: 0n, log, largest: undefined });
    return log;
  }

  #services(): MigrationServices {
    const done = () => undefined;
    return {
      authorize: this.#service('authorize', done),
      admit: this.#service('admit', done),
      examine: this.#service('examine', () => ({ obstacles: [] })),
      setAside: this.#service('setAside', ({ origin }) => void this.copies.delete(origin)),
      dropBackup: this.#service('dropBackup', done),
      recover: this.#service('recover', () => ({ epoch: EPOCH + 1n })),
      beginTry: this.#service('beginTry', () => ({ try: TRY, epoch: EPOCH })),
      takeSnapshot: this.#service('takeSnapshot', () => snapshotOf(100)),
      fence: this.#service('fence', done),
      readAhead: this.#service('readAhead', done),
      offer: this.#service('offer', done),
      withdraw: this.#service('withdraw', () => 'withdrawn'),
      resume: this.#service('resume', done),
      release: this.#service('release', ({ origin }) => void this.copies.delete(origin)),
      restore: this.#service('restore', ({ origin, snapshot }) => {
        const { throughSeq, chainLink } = codec.decodeSnapshot(snapshot.bytes);
        this.copies.set(origin, { head: chainLink, nextParent: 0n, log: codec.createEventLog(), largest: undefined });
        return { restoredSeq: throughSeq };
      }),
      replay: this.#service('replay', ({ events }) => void this.replayed.push(...events)),
      claim: this.#service('claim', () => ({ epoch: EPOCH + 1n })),
      activate: this.#service('activate', done),
      keep: this.#service('keep', () => ({ file: undefined })),
      missing: this.#service('missing', done),
      discard: this.#service('discard', ({ origin }) => void this.copies.delete(origin)),
    };
  }

  #service<K extends RequestKind>(
    kind: K,
    usual: (ask: RequestTypes[K]['ask']) => RequestTypes[K]['answer'],
  ): (ask: RequestTypes[K]['ask']) => MaybePromise<RequestTypes[K]['answer']> {
    return (ask) => {
      this.asked.push({ kind, ask });
      return (this.answers[kind] ?? usual)(ask);
    };
  }
}

/** Frames as what they say. */
export function sent(frames: ReadonlyArray<{ readonly destNode: bigint; readonly payload: Uint8Array }>) {
  return frames.map(({ destNode, payload }) => ({ to: destNode, ...decodeMigrationFrame(codec, payload) }));
}

/** Frames one behind the other, each behind its length. */
export function packed(frames: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(frame.length);
      return [length, frame];
    }),
  );
}

/** Lets what has been answered later go on. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
