import { MigrationError } from '../errors.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { EventLog } from '../wire/event-log.js';
import { MigrationFailureReason } from '../wire/failure.js';
import type { BufferedEvents, SnapshotReady } from '../wire/message.js';
import type { AssembledSnapshot, ReassemblerOptions, SnapshotReassembler } from '../wire/reassembler.js';
import type { Trailer } from '../wire/trailer.js';
import type { MigrationAnswer, RequestTypes } from './core.js';
import { errorOf, reasonOf } from './failure.js';
import { RoleHandler, type RoleRecord, requirePeer, type TransitionTable } from './role.js';

/** Events replayed by one request: then they are acknowledged, and others get their turn. */
const REPLAY_SLICE = 1_000;
/** Longer than a source's: that one goes back first. */
const DEFAULT_PATIENCE_MS = 60_000;
/** How many finished migrations are remembered, so that a repeated ActivateTarget gets the same answer. */
const REMEMBERED = 1_024;

/**
 * Where a migration stands at its target.
 *
 *     authorising → assembling → restoring → holding → claiming → activating
 *
 * and from any of them `discarding`, until the claim is won.
 */
export type TargetPhase =
  | 'authorising'
  | 'assembling'
  | 'restoring'
  | 'holding'
  | 'claiming'
  | 'activating'
  | 'discarding';

interface TargetRecord extends RoleRecord<TargetPhase> {
  readonly orchestrator: bigint;
  readonly source: bigint | undefined;
  readonly try: bigint | undefined;
  readonly seqThrough: bigint;
  readonly daemonKind: string | undefined;
  snapshot: AssembledSnapshot | undefined;
  snapshotDigest: Uint8Array | undefined;
  restoredSeq: bigint;
  /** Logged events in order, kept until they are applied; counts and digests all that ever came. */
  log: EventLog;
  appliedThrough: bigint;
  /** When something last came. */
  progressAt: number;
  replaying: number | undefined;
  /** ActivateTarget has come; what the source's log must hold, where the frame said so. */
  activation: { readonly logCount: bigint | undefined } | undefined;
  epoch: bigint;
  failure: MigrationError | undefined;
}

interface Finished {
  readonly orchestrator: bigint;
  readonly source: bigint | undefined;
  readonly try: bigint | undefined;
  readonly epoch: bigint;
  readonly replayedSeq: bigint;
}

type Answered<K extends keyof RequestTypes> = RequestTypes[K]['answer'];

interface TargetInputs {
  SnapshotReady: { readonly message: SnapshotReady; readonly trailer: Trailer | undefined };
  BufferedEvents: { readonly message: BufferedEvents; readonly trailer: Trailer | undefined; readonly from: bigint };
  ActivateTarget: { readonly logCount: bigint | undefined };
  MigrationFailed: { readonly reason: MigrationFailureReason };
  authorize: Answered<'authorize'>;
  restore: Answered<'restore'>;
  replay: Answered<'replay'>;
  claim: Answered<'claim'>;
  activate: Answered<'activate'>;
  discard: Answered<'discard'>;
  refused: MigrationError;
}

type TargetTable = TransitionTable<TargetPhase, TargetInputs, TargetRecord>;

/** The target's half: assembles, restores, replays, claims, and only then goes live. */
export class MigrationTargetHandler extends RoleHandler<TargetPhase, TargetInputs, TargetRecord> {
  protected readonly table: TargetTable = this.#rules();
  readonly #codec: MigrationCodec;
  readonly #reassembler: SnapshotReassembler;
  readonly #finished = new Map<bigint, Finished>();
  /** Ended by a higher try, but not gone yet. */
  readonly #leaving = new Map<bigint, TargetRecord>();

  readonly #patienceMs: number;

  /** @param patienceMs how long nothing may come before the copy is dropped */
  constructor(codec: MigrationCodec, options: ReassemblerOptions = {}, patienceMs = DEFAULT_PATIENCE_MS) {
    super();
    this.#patienceMs = patienceMs;
    this.#codec = codec;
    this.#reassembler = codec.createReassembler({ ...options, digest: true });
  }

  has(origin: bigint): boolean {
    return this.records.has(origin);
  }

  /** Frees what is half assembled. */
  dispose(): void {
    this.#reassembler.dispose();
    for (const record of this.records.values()) this.#free(record);
    this.records.clear();
  }

  snapshotReady(message: SnapshotReady, from: bigint, trailer: Trailer | undefined): void {
    const origin = message.daemonOrigin;
    const standing = this.records.get(origin);
    if (standing) requirePeer(origin, 'SnapshotReady', from, standing.orchestrator);
    const record = standing && !this.#supersedes(standing, trailer) ? standing : this.#open(message, from, trailer);
    if (trailer?.try !== record.try) {
      throw new MigrationError(
        'already-migrating',
        `SnapshotReady of try ${trailer?.try} for daemon ${origin}: try ${record.try} is under way`,
        {
          details: { origin },
        },
      );
    }
    this.apply(record, 'SnapshotReady', { message, trailer });
  }

  bufferedEvents(message: BufferedEvents, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(message.daemonOrigin, 'BufferedEvents');
    if (from !== record.source) requirePeer(record.origin, 'BufferedEvents', from, record.orchestrator);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'BufferedEvents', { message, trailer, from });
  }

  activateTarget(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const finished = this.#finished.get(origin);
    if (!this.records.has(origin) && finished) {
      requirePeer(origin, 'ActivateTarget', from, finished.orchestrator);
      this.#acknowledge(origin, finished);
      return;
    }
    const record = this.#require(origin, 'ActivateTarget');
    requirePeer(origin, 'ActivateTarget', from, record.orchestrator);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'ActivateTarget', { logCount: trailer?.logCount });
  }

  /** @returns whether the sender takes part in a migration to here, so that the frame meant this half */
  migrationFailed(origin: bigint, from: bigint, reason: MigrationFailureReason, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (!record || (from !== record.orchestrator && from !== record.source)) return false;
    if (record.try !== undefined && trailer?.try !== record.try) return true;
    this.apply(record, 'MigrationFailed', { reason });
    return true;
  }

  answer(answer: MigrationAnswer): void {
    const leaving = this.#leaving.get(answer.origin);
    if (leaving && answer.id === leaving.awaiting) this.guarded(() => this.#answerLeaving(leaving, answer));
    const record = this.records.get(answer.origin);
    if (!record || (answer.id !== record.awaiting && answer.id !== record.replaying)) return;
    if (answer.id === record.awaiting) record.awaiting = undefined;
    else record.replaying = undefined;
    if (answer.error) this.apply(record, 'refused', answer.error);
    else this.apply(record, answer.kind as keyof TargetInputs & string, answer.value as never);
  }

  /** A node that takes part is gone for certain: as if it had said that the migration failed. */
  peerGone(node: bigint): void {
    const reason = MigrationFailureReason.stateFailed(`node ${node} is gone`);
    this.forEachRecord((record) => {
      // With its source gone, a copy that holds what was offered is the daemon: the register tells.
      if (record.source === node && record.phase === 'holding') record.activation = { logCount: undefined };
      if (record.source === node && record.phase === 'holding') this.#claimWhenWhole(record);
      else if (record.orchestrator === node || record.source === node)
        this.apply(record, 'MigrationFailed', { reason });
    });
  }

  tick(): void {
    this.#reassembler.sweep(this.ctx.now);
    this.forEachRecord((record) => {
      if (record.phase === 'claiming' && record.awaiting === undefined) this.#claim(record);
      else if (this.ctx.now - record.progressAt > this.#patienceMs) this.#outOfPatience(record);
    });
  }

  /** Nothing has come for too long. A claim, and what follows it, is the register's alone. */
  #outOfPatience(record: TargetRecord): void {
    const { phase, origin } = record;
    if (phase !== 'assembling' && phase !== 'holding') return;
    const message = `nothing came for daemon ${origin} for ${this.#patienceMs} ms in phase ${phase} at the target`;
    this.#fail(record, new MigrationError('timed-out', message, { details: { origin, phase } }));
  }

  #rules(): TargetTable {
    const pass = () => {};
    const fail = (r: TargetRecord, error: MigrationError) => this.#fail(r, error);
    const dropped = (r: TargetRecord, i: TargetInputs['MigrationFailed']) => this.#drop(r, errorOf(r.origin, i.reason));
    return {
      authorising: {
        SnapshotReady: (r, i) => this.#feed(r, i),
        authorize: (r) => this.#authorized(r),
        MigrationFailed: dropped,
        refused: fail,
      },
      assembling: { SnapshotReady: (r, i) => this.#feed(r, i), MigrationFailed: dropped },
      restoring: {
        SnapshotReady: pass,
        restore: (r, restored) => this.#restored(r, restored),
        MigrationFailed: (r, i) => {
          r.failure = errorOf(r.origin, i.reason);
        },
        refused: fail,
      },
      holding: {
        SnapshotReady: (r) => this.#tellRestored(r),
        BufferedEvents: (r, i) => this.#receive(r, i),
        replay: (r) => this.#replayed(r),
        ActivateTarget: (r, i) => this.#activationWanted(r, i),
        MigrationFailed: dropped,
        refused: fail,
      },
      // The register alone decides now; a failure that a peer tells changes nothing.
      claiming: {
        SnapshotReady: pass,
        BufferedEvents: pass,
        ActivateTarget: pass,
        MigrationFailed: pass,
        claim: (r, won) => this.#claimed(r, won),
        // Out of reach: the claim may have landed, so the copy stays, and it is asked again at the next tick.
        refused: (r, error) => (error.kind === 'register-unavailable' ? this.ctx.fault(error) : fail(r, error)),
      },
      activating: {
        SnapshotReady: pass,
        BufferedEvents: pass,
        ActivateTarget: pass,
        MigrationFailed: pass,
        activate: (r) => this.#live(r),
        // The claim is won, so the copy is the daemon, whatever went wrong in telling it.
        refused: (r, error) => {
          this.ctx.fault(error);
          this.#live(r);
        },
      },
      discarding: {
        SnapshotReady: pass,
        BufferedEvents: pass,
        ActivateTarget: pass,
        MigrationFailed: pass,
        replay: pass,
        discard: (r) => this.#discarded(r),
        refused: (r) => this.#discarded(r),
      },
    };
  }

  #require(origin: bigint, what: string): TargetRecord {
    const record = this.records.get(origin);
    if (record) return record;
    throw new MigrationError('daemon-not-found', `${what}: no migration of daemon ${origin} to this node`, {
      details: { origin },
    });
  }

  /** A higher try ends a lower one, unless the register has the word already. Its copy is dropped first. */
  #supersedes(record: TargetRecord, trailer: Trailer | undefined): boolean {
    if (record.try === undefined || trailer?.try === undefined || trailer.try <= record.try) return false;
    if (record.phase === 'claiming' || record.phase === 'activating') return false;
    if (record.phase === 'restoring' || record.phase === 'discarding') this.#leaving.set(record.origin, record);
    else if (record.phase === 'holding') {
      this.#discard(record, superseded(record));
      this.#leaving.set(record.origin, record);
    } else this.#free(record);
    this.records.delete(record.origin);
    return true;
  }

  /** An answer for a record that a higher try has ended: its copy goes, then the new one may be restored. */
  #answerLeaving(record: TargetRecord, answer: MigrationAnswer): void {
    record.awaiting = undefined;
    if (answer.kind === 'restore' && !answer.error) {
      this.#discard(record, superseded(record));
      return;
    }
    this.#leaving.delete(record.origin);
    this.#free(record);
    const next = this.records.get(record.origin);
    if (next?.phase === 'assembling' && next.snapshot) this.#restore(next);
  }

  #open(message: SnapshotReady, from: bigint, trailer: Trailer | undefined): TargetRecord {
    const origin = message.daemonOrigin;
    const record: TargetRecord = {
      origin,
      orchestrator: from,
      source: trailer?.source,
      try: trailer?.try,
      seqThrough: message.seqThrough,
      daemonKind: trailer?.daemonKind,
      phase: 'authorising',
      phaseSince: this.ctx.now,
      awaiting: undefined,
      snapshot: undefined,
      snapshotDigest: undefined,
      restoredSeq: 0n,
      log: this.#codec.createEventLog(),
      appliedThrough: 0n,
      progressAt: this.ctx.now,
      replaying: undefined,
      activation: undefined,
      epoch: 0n,
      failure: undefined,
    };
    this.records.set(origin, record);
    // Chunks of an earlier try must not be joined with those of this one.
    this.#reassembler.forget(origin);
    const target = this.ctx.localNode;
    record.awaiting = this.ctx.request('target', 'authorize', {
      role: 'target',
      origin,
      orchestrator: from,
      source: record.source,
      target,
    });
    return record;
  }

  #feed(record: TargetRecord, { message, trailer }: TargetInputs['SnapshotReady']): void {
    record.progressAt = this.ctx.now;
    if (trailer?.snapshotDigest) record.snapshotDigest = trailer.snapshotDigest;
    const { daemonOrigin, seqThrough, chunkIndex, totalChunks, snapshotBytes } = message;
    try {
      const snapshot = this.#reassembler.feed(
        daemonOrigin,
        seqThrough,
        chunkIndex,
        totalChunks,
        snapshotBytes,
        this.ctx.now,
      );
      if (!snapshot) return;
      record.snapshot = snapshot;
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      this.#fail(record, error);
      return;
    }
    if (record.phase === 'assembling') this.#restore(record);
  }

  #authorized(record: TargetRecord): void {
    this.enter(record, 'assembling');
    if (record.snapshot) this.#restore(record);
  }

  #restore(record: TargetRecord): void {
    if (this.#leaving.has(record.origin)) return;
    const snapshot = record.snapshot!;
    if (record.snapshotDigest && Buffer.compare(record.snapshotDigest, snapshot.digest!) !== 0) {
      this.#fail(
        record,
        new MigrationError(
          'state-failed',
          `the snapshot of daemon ${record.origin} is not the one that its source sent: its digest differs`,
        ),
      );
      return;
    }
    record.snapshotDigest = snapshot.digest!.slice();
    const { origin, daemonKind, source } = record;
    this.enter(record, 'restoring', this.ctx.request('target', 'restore', { origin, snapshot, daemonKind, source }));
  }

  #restored(record: TargetRecord, restored: Answered<'restore'>): void {
    record.snapshot?.dispose();
    record.snapshot = undefined;
    record.restoredSeq = restored.restoredSeq;
    this.enter(record, 'holding');
    if (record.failure) {
      this.#drop(record, record.failure);
      return;
    }
    this.ctx.report({ kind: 'restored', origin: record.origin });
    this.#tellRestored(record);
  }

  #tellRestored(record: TargetRecord): void {
    const { origin, restoredSeq } = record;
    this.ctx.send(
      record.orchestrator,
      { kind: 'RestoreComplete', daemonOrigin: origin, restoredSeq },
      this.#trailer(record),
    );
    this.#acknowledgeEvents(record);
  }

  #receive(record: TargetRecord, { message, trailer, from }: TargetInputs['BufferedEvents']): void {
    record.progressAt = this.ctx.now;
    const firstNumber = trailer?.logFrom ?? record.log.nextNumber;
    // A gap is left for the source to send again; what came before is passed over.
    if (firstNumber <= record.log.nextNumber) {
      for (const event of message.events.slice(Number(record.log.nextNumber - firstNumber))) record.log.append(event);
    }
    this.#replayNext(record);
    if (from === record.orchestrator && message.events.length === 0) this.#tellReplayed(record);
  }

  /** Applies what has come, one request at a time. */
  #replayNext(record: TargetRecord): void {
    if (record.replaying !== undefined || record.log.count === 0) return;
    const events = [];
    const { firstNumber, nextNumber } = record.log;
    for (let n = firstNumber; n < nextNumber && events.length < REPLAY_SLICE; n++) events.push(record.log.get(n)!);
    record.log.truncate(firstNumber + BigInt(events.length) - 1n);
    record.replaying = this.ctx.request('target', 'replay', { origin: record.origin, events });
  }

  #replayed(record: TargetRecord): void {
    record.progressAt = this.ctx.now;
    record.appliedThrough = record.log.firstNumber - 1n;
    this.#acknowledgeEvents(record);
    this.#replayNext(record);
    this.#claimWhenWhole(record);
  }

  #activationWanted(record: TargetRecord, input: TargetInputs['ActivateTarget']): void {
    record.activation = input;
    this.#claimWhenWhole(record);
  }

  /** Claims only after the source's last event, whatever overtakes what. */
  #claimWhenWhole(record: TargetRecord): void {
    if (!record.activation || record.replaying !== undefined || record.log.count > 0) return;
    if (record.activation.logCount !== undefined && record.appliedThrough < record.activation.logCount) return;
    this.#claim(record);
  }

  #claim(record: TargetRecord): void {
    const offer = {
      try: record.try ?? 0n,
      target: this.ctx.localNode,
      snapshotDigest: record.snapshotDigest!,
      logCount: record.appliedThrough,
      logDigest: record.log.digest(),
    };
    this.enter(record, 'claiming', this.ctx.request('target', 'claim', { origin: record.origin, offer }));
  }

  #claimed(record: TargetRecord, won: Answered<'claim'>): void {
    record.epoch = won.epoch;
    const { origin, epoch } = record;
    this.enter(record, 'activating', this.ctx.request('target', 'activate', { origin, epoch }));
  }

  #live(record: TargetRecord): void {
    const { origin, orchestrator, source, epoch } = record;
    this.#free(record);
    this.records.delete(origin);
    const finished = { orchestrator, source, try: record.try, epoch, replayedSeq: this.ctx.head(origin).sequence };
    this.#remember(origin, finished);
    this.#acknowledge(origin, finished);
    this.ctx.report({ kind: 'completed', role: 'target', origin });
  }

  #remember(origin: bigint, finished: Finished): void {
    this.#finished.delete(origin);
    this.#finished.set(origin, finished);
    if (this.#finished.size > REMEMBERED) this.#finished.delete(this.#finished.keys().next().value!);
  }

  #acknowledge(origin: bigint, finished: Finished): void {
    const { replayedSeq, epoch } = finished;
    const trailer = finished.try === undefined ? undefined : { try: finished.try, epoch };
    this.ctx.send(finished.orchestrator, { kind: 'ActivateAck', daemonOrigin: origin, replayedSeq }, trailer);
    if (finished.source !== undefined)
      this.ctx.send(finished.source, { kind: 'ActivationConfirmed', daemonOrigin: origin }, trailer);
  }

  #acknowledgeEvents(record: TargetRecord): void {
    if (record.source === undefined) return;
    const trailer = { ...this.#trailer(record), ackThrough: record.appliedThrough };
    this.ctx.send(record.source, { kind: 'EventAck', daemonOrigin: record.origin }, trailer);
  }

  #tellReplayed(record: TargetRecord): void {
    const targetHead = this.ctx.head(record.origin);
    this.ctx.send(
      record.orchestrator,
      { kind: 'ReplayComplete', daemonOrigin: record.origin, replayedSeq: targetHead.sequence, targetHead },
      this.#trailer(record),
    );
  }

  #trailer(record: TargetRecord): Trailer {
    return record.try === undefined ? {} : { try: record.try };
  }

  #fail(record: TargetRecord, error: MigrationError): void {
    const message = { kind: 'MigrationFailed', daemonOrigin: record.origin, reason: reasonOf(error) } as const;
    this.ctx.send(record.orchestrator, message, this.#trailer(record));
    this.#drop(record, error);
  }

  #drop(record: TargetRecord, error: MigrationError): void {
    this.#reassembler.forget(record.origin);
    this.#discard(record, error);
  }

  #discard(record: TargetRecord, error: MigrationError): void {
    record.failure = error;
    record.replaying = undefined;
    this.enter(record, 'discarding', this.ctx.request('target', 'discard', { origin: record.origin }));
  }

  #discarded(record: TargetRecord): void {
    this.#free(record);
    this.records.delete(record.origin);
    this.ctx.report({ kind: 'failed', role: 'target', origin: record.origin, error: record.failure! });
  }

  #free(record: TargetRecord): void {
    record.snapshot?.dispose();
    record.log.dispose();
  }
}

function superseded(record: TargetRecord): MigrationError {
  return new MigrationError('cancelled', `try ${record.try} of daemon ${record.origin} was ended by a higher one`, {
    details: { origin: record.origin },
  });
}
