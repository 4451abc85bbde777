import { MigrationError } from '../errors.js';
import { MigrationFailureReason } from '../wire/failure.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import { sameBytes, type Trailer } from '../wire/trailer.js';
import type { IdentityTransport, MigrationAnswer, RequestTypes } from './core.js';
import { asMigrationError, errorOf, reasonOf } from './failure.js';
import type { OutgoingSnapshot } from './outgoing-snapshot.js';
import { RoleHandler, type RoleRecord, requirePeer, type TransitionTable } from './role.js';

/** Bytes of one BufferedEvents frame, at the most, unless a single event needs more. */
const EVENT_FRAME_BYTES = 48 * 1024;
const EVENT_FRAME_COUNT = 1_000;
/** Logged events on their way to the target, at the most. */
const EVENTS_IN_FLIGHT = 20_000n;
/** The source stops when no more than this many events are left to replay… */
const CUTOVER_GAP = 1_000n;
/** …or when it has waited this long for that. */
const CUTOVER_PATIENCE_MS = 10_000;

const DEFAULT_PATIENCE_MS = 30_000;

/**
 * Where a migration stands at its source.
 *
 *     authorising → beginning → snapshotting → transferring → streaming → draining → fencing → offering → offered → releasing
 *
 * and from any of them back: `withdrawing` (an offer is out) and `resuming` (the log is processed, and the daemon is live).
 */
export type SourcePhase =
  | 'authorising'
  | 'beginning'
  | 'snapshotting'
  | 'transferring'
  | 'streaming'
  | 'draining'
  | 'fencing'
  | 'offering'
  | 'offered'
  | 'withdrawing'
  | 'releasing'
  | 'resuming';

interface SourceRecord extends RoleRecord<SourcePhase> {
  readonly orchestrator: bigint;
  readonly target: bigint;
  readonly requestId: Uint8Array | undefined;
  readonly identity: IdentityTransport;
  try: bigint;
  epoch: bigint;
  snapshot: OutgoingSnapshot | undefined;
  /** The target has applied every logged event up to this. */
  ackThrough: bigint;
  sentThrough: bigint;
  /** Snapshot bytes that had left when progress was last noted. */
  bytesSeen: number;
  progressAt: number;
  /** Why the migration is to end; acted on as soon as the phase allows. */
  abort: MigrationError | undefined;
}

type Answered<K extends keyof RequestTypes> = RequestTypes[K]['answer'];

interface SourceInputs {
  CutoverNotify: undefined;
  MigrationFailed: { readonly reason: MigrationFailureReason };
  EventAck: { readonly ackThrough: bigint };
  ActivationConfirmed: { readonly epoch: bigint };
  authorize: Answered<'authorize'>;
  beginTry: Answered<'beginTry'>;
  takeSnapshot: Answered<'takeSnapshot'>;
  fence: Answered<'fence'>;
  offer: Answered<'offer'>;
  withdraw: Answered<'withdraw'>;
  resume: Answered<'resume'>;
  release: Answered<'release'>;
  /** A request was refused. */
  refused: MigrationError;
  tick: undefined;
}

type SourceTable = TransitionTable<SourcePhase, SourceInputs, SourceRecord>;

/** The source's half: takes the snapshot, streams it and the log, stops at cutover, and lets go at the confirmation. */
export class MigrationSourceHandler extends RoleHandler<SourcePhase, SourceInputs, SourceRecord> {
  protected readonly table: SourceTable = this.#rules();

  readonly #patienceMs: number;

  /** @param patienceMs how long a phase may make no progress before the migration is given up */
  constructor(patienceMs = DEFAULT_PATIENCE_MS) {
    super();
    this.#patienceMs = patienceMs;
  }

  /** Whether a migration from here is under way for this daemon. */
  has(origin: bigint): boolean {
    return this.records.has(origin);
  }

  /** TakeSnapshot: from an orchestrator, or from this node's own. */
  takeSnapshot(origin: bigint, target: bigint, from: bigint, trailer: Trailer | undefined): void {
    const known = this.records.get(origin);
    if (known) {
      if (!sameRequest(known, from, trailer)) this.#refuseSecond(origin, from, trailer);
      return;
    }
    const record: SourceRecord = {
      origin,
      orchestrator: from,
      target,
      requestId: trailer?.requestId,
      identity: identityTransport(trailer),
      phase: 'authorising',
      phaseSince: this.ctx.now,
      awaiting: undefined,
      try: 0n,
      epoch: 0n,
      snapshot: undefined,
      ackThrough: 0n,
      sentThrough: 0n,
      bytesSeen: 0,
      progressAt: this.ctx.now,
      abort: undefined,
    };
    this.records.set(origin, record);
    const source = this.ctx.localNode;
    record.awaiting = this.ctx.request('source', 'authorize', {
      role: 'source',
      origin,
      orchestrator: from,
      source,
      target,
    });
  }

  cutoverNotify(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'CutoverNotify');
    requirePeer(origin, 'CutoverNotify', from, record.orchestrator);
    if (!meansThis(record, trailer)) return;
    this.apply(record, 'CutoverNotify', undefined);
  }

  eventAck(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'EventAck');
    requirePeer(origin, 'EventAck', from, record.target);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'EventAck', { ackThrough: trailer.ackThrough ?? 0n });
  }

  activationConfirmed(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'ActivationConfirmed');
    requirePeer(origin, 'ActivationConfirmed', from, record.target);
    this.apply(record, 'ActivationConfirmed', { epoch: trailer?.epoch ?? 0n });
  }

  /** @returns whether the sender takes part in a migration from here, so that the frame meant this half */
  migrationFailed(origin: bigint, from: bigint, reason: MigrationFailureReason, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (!record || (from !== record.orchestrator && from !== record.target)) return false;
    if (!meansThis(record, trailer)) return true;
    this.apply(record, 'MigrationFailed', { reason });
    return true;
  }

  answer(answer: MigrationAnswer): void {
    const record = this.awaiting(answer);
    if (!record) return;
    record.awaiting = undefined;
    if (answer.error) this.apply(record, 'refused', answer.error);
    else this.apply(record, answer.kind as keyof SourceInputs & string, answer.value as never);
  }

  /** New events stand in the daemon's log. */
  logged(origin: bigint): void {
    const record = this.records.get(origin);
    if (record && (record.phase === 'streaming' || record.phase === 'draining')) this.guarded(() => this.#pump(record));
  }

  /** A node that takes part is gone for certain: as if it had said that the migration failed. */
  peerGone(node: bigint): void {
    const reason = MigrationFailureReason.stateFailed(`node ${node} is gone`);
    this.forEachRecord((record) => {
      if (record.target === node || record.orchestrator === node) this.apply(record, 'MigrationFailed', { reason });
    });
  }

  tick(): void {
    this.forEachRecord((record) => {
      this.apply(record, 'tick', undefined);
      if (this.ctx.now - record.progressAt > this.#patienceMs && !record.abort) this.#outOfPatience(record);
    });
  }

  #outOfPatience(record: SourceRecord): void {
    record.progressAt = this.ctx.now;
    const reason = MigrationFailureReason.stateFailed(
      `no progress for ${this.#patienceMs} ms in phase ${record.phase} at the source`,
    );
    this.apply(record, 'MigrationFailed', { reason });
  }

  #rules(): SourceTable {
    const pass = () => {};
    const note = (r: SourceRecord, input: { reason: MigrationFailureReason }) => {
      r.abort = errorOf(r.origin, input.reason);
    };
    const waiting = {
      MigrationFailed: note,
      tick: pass,
    };
    const late = {
      ...waiting,
      CutoverNotify: pass,
      EventAck: (r: SourceRecord, i: SourceInputs['EventAck']) => this.#acknowledged(r, i),
    };
    return {
      authorising: { ...waiting, authorize: (r) => this.#begin(r), refused: (r, error) => this.#refuse(r, error) },
      beginning: {
        ...waiting,
        beginTry: (r, begun) => this.#snapshot(r, begun),
        refused: (r, error) => this.#refuse(r, error),
      },
      snapshotting: {
        ...waiting,
        takeSnapshot: (r, snapshot) => this.#transfer(r, snapshot),
        // The log may have begun before it failed.
        refused: (r, error) => this.#goBack(r, error),
      },
      transferring: {
        ...waiting,
        MigrationFailed: (r, i) => this.#goBack(r, errorOf(r.origin, i.reason)),
        EventAck: (r, i) => this.#restored(r, i),
        // The orchestrator has heard of the restore first.
        CutoverNotify: (r) => this.#cutover(r),
        tick: (r) => this.#status(r),
      },
      streaming: {
        ...waiting,
        MigrationFailed: (r, i) => this.#goBack(r, errorOf(r.origin, i.reason)),
        EventAck: (r, i) => this.#acknowledged(r, i),
        CutoverNotify: (r) => this.#cutover(r),
        tick: (r) => this.#status(r),
      },
      draining: {
        ...waiting,
        MigrationFailed: (r, i) => this.#goBack(r, errorOf(r.origin, i.reason)),
        EventAck: (r, i) => this.#drained(r, i),
        CutoverNotify: pass,
        tick: (r) => this.#drainDeadline(r),
      },
      fencing: { ...late, fence: (r) => this.#offer(r), refused: (r, error) => this.#goBack(r, error) },
      offering: { ...late, offer: (r) => this.#offered(r), refused: (r, error) => this.#withdraw(r, error) },
      offered: {
        ...late,
        // A failure only prompts a withdrawal: once stopped, the source listens to the register alone.
        MigrationFailed: (r, i) => this.#withdraw(r, errorOf(r.origin, i.reason)),
        ActivationConfirmed: (r, i) => this.#confirmed(r, i),
        tick: (r) => this.#pump(r),
      },
      withdrawing: {
        ...late,
        ActivationConfirmed: (r, i) => this.#confirmed(r, i),
        withdraw: (r, outcome) => this.#withdrawn(r, outcome),
        // Out of reach: asked again at the next tick.
        refused: pass,
        tick: (r) => this.#withdrawAgain(r),
      },
      releasing: {
        ...late,
        ActivationConfirmed: pass,
        release: (r) => this.#released(r),
        refused: (r) => this.#released(r),
      },
      resuming: {
        ...late,
        resume: (r) => this.#resumed(r),
        // The daemon must go on: asked again at the next tick, where it is still here.
        refused: (r, error) => (error.kind === 'daemon-not-found' ? this.#resumed(r) : this.ctx.fault(error)),
        tick: (r) => this.#resumeAgain(r),
      },
    };
  }

  protected override enter(record: SourceRecord, phase: SourcePhase, awaiting?: number): void {
    record.progressAt = this.ctx.now;
    super.enter(record, phase, awaiting);
  }

  #require(origin: bigint, what: string): SourceRecord {
    const record = this.records.get(origin);
    if (record) return record;
    throw new MigrationError('daemon-not-found', `${what}: no migration of daemon ${origin} from this node`, {
      details: { origin },
    });
  }

  #trailer(record: SourceRecord): Trailer {
    if (record.try === 0n) return record.requestId ? { requestId: record.requestId } : {};
    return { try: record.try };
  }

  /** A refusal is answered, never silent: whoever asks must not wait. */
  #refuseSecond(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const reason = MigrationFailureReason.alreadyMigrating();
    this.ctx.send(
      from,
      { kind: 'MigrationFailed', daemonOrigin: origin, reason },
      trailer?.requestId ? { requestId: trailer.requestId } : {},
    );
  }

  #tell(record: SourceRecord, error: MigrationError): void {
    const message = { kind: 'MigrationFailed', daemonOrigin: record.origin, reason: reasonOf(error) } as const;
    this.ctx.send(record.orchestrator, message, this.#trailer(record));
  }

  #begin(record: SourceRecord): void {
    if (record.abort) this.#refuse(record, record.abort);
    else this.enter(record, 'beginning', this.ctx.request('source', 'beginTry', { origin: record.origin }));
  }

  #snapshot(record: SourceRecord, begun: Answered<'beginTry'>): void {
    record.try = begun.try;
    record.epoch = begun.epoch;
    if (record.abort) {
      this.#refuse(record, record.abort);
      return;
    }
    const { origin, target, identity } = record;
    this.enter(
      record,
      'snapshotting',
      this.ctx.request('source', 'takeSnapshot', { origin, target, try: record.try, identity }),
    );
  }

  #transfer(record: SourceRecord, snapshot: OutgoingSnapshot): void {
    if (record.abort) {
      this.#goBack(record, record.abort);
      return;
    }
    record.snapshot = snapshot;
    this.enter(record, 'transferring');
    // Before the first chunk, so that an orchestrator on this node, through which none passes, knows the try.
    this.#status(record);
    // Without an orchestrator between, the chunks go straight to the target.
    const via = record.orchestrator === this.ctx.localNode ? record.target : record.orchestrator;
    this.ctx.stream(via, snapshot);
  }

  #restored(record: SourceRecord, input: SourceInputs['EventAck']): void {
    this.enter(record, 'streaming');
    this.#acknowledged(record, input);
  }

  #acknowledged(record: SourceRecord, input: SourceInputs['EventAck']): void {
    if (input.ackThrough > record.ackThrough) {
      this.ctx.report({
        kind: 'replayed',
        origin: record.origin,
        events: Number(input.ackThrough - record.ackThrough),
      });
      record.ackThrough = input.ackThrough;
      record.progressAt = this.ctx.now;
    }
    this.#pump(record);
  }

  /** Sends logged events on, as many as may be on their way. */
  #pump(record: SourceRecord): void {
    const log = this.ctx.log(record.origin);
    if (this.#cannotBeCarried(record)) return;
    while (record.sentThrough < log.nextNumber - 1n && record.sentThrough - record.ackThrough < EVENTS_IN_FLIGHT) {
      const from = record.sentThrough + 1n;
      const { frame, next } = log.encodeFrame(record.origin, from, EVENT_FRAME_BYTES, EVENT_FRAME_COUNT);
      this.ctx.sendEncoded(record.target, frame, { ...this.#trailer(record), logFrom: from });
      record.sentThrough = next - 1n;
    }
  }

  /** An event larger than a frame: found before the offer, so that the daemon goes on here. */
  #cannotBeCarried(record: SourceRecord): boolean {
    const event = this.ctx.oversized(record.origin);
    if (!event) return false;
    const { originHash, sequence } = event.link;
    const message = `event ${sequence} of origin ${originHash} has ${event.payload.length} bytes, and a migration carries at most ${MAX_SNAPSHOT_CHUNK_SIZE} per event; move the daemon again after it`;
    this.#goBack(
      record,
      new MigrationError('event-too-large', message, {
        details: { origin: originHash, sequence, size: event.payload.length },
      }),
    );
    return true;
  }

  #status(record: SourceRecord): void {
    if (record.phase === 'streaming' || record.phase === 'draining') this.#pump(record);
    if (record.phase === 'resuming') return;
    const bytesOut = record.snapshot?.bytesWritten ?? 0;
    if (bytesOut > record.bytesSeen) {
      record.bytesSeen = bytesOut;
      record.progressAt = this.ctx.now;
    }
    this.ctx.send(
      record.orchestrator,
      { kind: 'SourceStatus', daemonOrigin: record.origin },
      {
        ...this.#trailer(record),
        logCount: this.ctx.log(record.origin).nextNumber - 1n,
        ackThrough: record.ackThrough,
        snapshotLength: BigInt(record.snapshot?.byteLength ?? 0),
        snapshotSent: BigInt(bytesOut),
      },
    );
  }

  #cutover(record: SourceRecord): void {
    this.enter(record, 'draining');
    this.ctx.report({ kind: 'draining', origin: record.origin });
    this.#fenceWhenSmall(record);
  }

  #drained(record: SourceRecord, input: SourceInputs['EventAck']): void {
    this.#acknowledged(record, input);
    this.#fenceWhenSmall(record);
  }

  #drainDeadline(record: SourceRecord): void {
    this.#status(record);
    this.#fenceWhenSmall(record);
  }

  #fenceWhenSmall(record: SourceRecord): void {
    if (record.phase !== 'draining' || this.#cannotBeCarried(record)) return;
    const gap = this.ctx.log(record.origin).nextNumber - 1n - record.ackThrough;
    if (gap > CUTOVER_GAP && this.ctx.now - record.phaseSince < CUTOVER_PATIENCE_MS) return;
    this.ctx.report({ kind: 'cutover', origin: record.origin });
    const { origin, target } = record;
    this.enter(record, 'fencing', this.ctx.request('source', 'fence', { origin, target }));
  }

  #offer(record: SourceRecord): void {
    if (record.abort) {
      this.#goBack(record, record.abort);
      return;
    }
    if (this.#cannotBeCarried(record)) return;
    this.#pump(record);
    const log = this.ctx.log(record.origin);
    const offer = {
      try: record.try,
      target: record.target,
      snapshotDigest: record.snapshot!.digest!,
      logCount: log.nextNumber - 1n,
      logDigest: log.digest(),
    };
    const { origin, epoch } = record;
    this.enter(record, 'offering', this.ctx.request('source', 'offer', { origin, epoch, offer }));
  }

  #offered(record: SourceRecord): void {
    this.enter(record, 'offered');
    if (record.abort) {
      this.#withdraw(record, record.abort);
      return;
    }
    const log = this.ctx.log(record.origin);
    this.ctx.send(
      record.orchestrator,
      { kind: 'CleanupComplete', daemonOrigin: record.origin },
      { ...this.#trailer(record), logCount: log.nextNumber - 1n, logDigest: log.digest() },
    );
  }

  #withdraw(record: SourceRecord, error: MigrationError): void {
    record.abort = error;
    const { origin, epoch } = record;
    this.enter(record, 'withdrawing', this.ctx.request('source', 'withdraw', { origin, epoch }));
  }

  #withdrawAgain(record: SourceRecord): void {
    if (record.awaiting === undefined) this.#withdraw(record, record.abort!);
  }

  #withdrawn(record: SourceRecord, outcome: 'withdrawn' | 'claimed'): void {
    if (outcome === 'claimed') {
      // Too late to go back: the target has the daemon, and this copy is its backup until the confirmation.
      record.abort = undefined;
      this.enter(record, 'offered');
      return;
    }
    record.epoch += 1n;
    this.#goBack(record, record.abort!);
  }

  #confirmed(record: SourceRecord, input: SourceInputs['ActivationConfirmed']): void {
    if (input.epoch !== record.epoch + 1n) return;
    this.enter(record, 'releasing', this.ctx.request('source', 'release', { origin: record.origin }));
  }

  #released(record: SourceRecord): void {
    this.records.delete(record.origin);
    this.ctx.report({ kind: 'completed', role: 'source', origin: record.origin });
  }

  /** The daemon was never touched: tell, and forget. */
  #refuse(record: SourceRecord, error: MigrationError): void {
    this.records.delete(record.origin);
    this.#tell(record, error);
    this.ctx.report({ kind: 'failed', role: 'source', origin: record.origin, error });
  }

  #goBack(record: SourceRecord, error: MigrationError): void {
    record.abort = error;
    record.snapshot?.cancel();
    const { origin, epoch } = record;
    this.enter(record, 'resuming', this.ctx.request('source', 'resume', { origin, epoch }));
  }

  #resumeAgain(record: SourceRecord): void {
    if (record.awaiting === undefined) this.#goBack(record, record.abort!);
  }

  #resumed(record: SourceRecord): void {
    this.#refuse(record, asMigrationError(record.abort));
  }
}

function identityTransport(trailer: Trailer | undefined): IdentityTransport {
  if (!trailer) return 'where-possible';
  return trailer.transportIdentity === 0n ? 'none' : 'required';
}

/** Whether a frame is of this migration: by its try, or by its request before the orchestrator knows the try. */
function meansThis(record: SourceRecord, trailer: Trailer | undefined): boolean {
  if (!record.requestId) return true;
  if (trailer?.try !== undefined) return trailer.try === record.try;
  return sameBytes(trailer?.requestId, record.requestId);
}

/** Whether a TakeSnapshot is the one that began this migration, once more. */
function sameRequest(record: SourceRecord, from: bigint, trailer: Trailer | undefined): boolean {
  if (from !== record.orchestrator) return false;
  if (!record.requestId && !trailer?.requestId) return true;
  return sameBytes(record.requestId, trailer?.requestId);
}
