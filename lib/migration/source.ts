import type { DaemonRegistry } from '../daemon/registry.js';
import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import type { EventLog } from '../wire/event-log.js';
import type { MigrationFailureReason } from '../wire/failure.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import type { CausalEvent } from '../wire/link.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import { sameBytes, type Trailer } from '../wire/trailer.js';
import { checkEvents } from '../wire/typescript/frame.js';
import type {
  IdentityTransport,
  LostOwner,
  MigrationAnswer,
  MigrationStatus,
  RequestTypes,
  SourceMigration,
} from './core.js';
import { type EventFragment, encodeFragment, FragmentSender, MAX_EVENT_BYTES } from './event-fragments.js';
import {
  asMigrationError,
  endedByShutdown,
  errorOf,
  extensionsRequired,
  nodeGone,
  type ToldFailure,
  toItself,
  told,
} from './failure.js';
import { BoundedMemory } from './memory.js';
import { countChunks, decodeMissingChunks } from './missing-chunks.js';
import { OutgoingSnapshot } from './outgoing-snapshot.js';
import { type ParticipantPolicy, type ParticipantPolicyOptions, participantPolicy } from './policy.js';
import { alreadyMigrating, noMigration, RoleHandler, requirePeer, type TransitionTable } from './role.js';
import {
  isAwaited,
  isBeforeOffer,
  isMoving,
  isStopped,
  newSourceRecord,
  type SourcePhase,
  type SourceRecord,
} from './source-record.js';

/** Bytes of one BufferedEvents frame, at the most, unless a single event needs more. */
const EVENT_FRAME_BYTES = 48 * 1024;
const EVENT_FRAME_COUNT = 1_000;
/** Logged events on their way to the target, at the most. */
const EVENTS_IN_FLIGHT = 20_000n;
/** The source stops when no more than this many events are left to replay… */
export const CUTOVER_GAP = 1_000;
/** …or when it has waited this long for that. */
const CUTOVER_PATIENCE_MS = 10_000;
/** How often the orchestrator is told how far things are. */
const STATUS_MS = 100;
const DEFAULT_PATIENCE_MS = 30_000;
/** How long a copy that was let go to a peer without extensions is kept frozen, for `recover`. */
export const BACKUP_MS = 600_000;
/** Nodes whose TakeSnapshot waits, per daemon, until another's is authorised. */
const MAX_RIVALS = 64;
/** Migrations that are over and still answered for. */
const REMEMBERED = 16_384;

/** A TakeSnapshot that came while another node's was being authorised. */
interface Rival {
  readonly target: bigint;
  readonly from: bigint;
  readonly trailer: Trailer | undefined;
}

/** What is remembered of a migration that is over: repeated frames get the same answer. */
interface Ended {
  readonly orchestrator: bigint;
  readonly requestId: Uint8Array | undefined;
  readonly try: bigint;
  /** Undefined where the daemon has moved. */
  readonly failure: ToldFailure | undefined;
}

/** What the target says that it has of the log. */
interface EventAck {
  readonly ackThrough: bigint;
  /** The event that is to come next, and bytes of it that are here; undefined where no fragments have come. */
  readonly next: bigint | undefined;
  readonly offset: bigint;
}

type Answered<K extends keyof RequestTypes> = RequestTypes[K]['answer'];

interface SourceInputs {
  CutoverNotify: { readonly trailer: Trailer | undefined };
  MigrationFailed: { readonly error: MigrationError };
  ChunkStatus: { readonly missing: Uint32Array };
  EventAck: EventAck;
  ActivationConfirmed: { readonly epoch: bigint };
  CopyMissing: { readonly epoch: bigint };
  authorize: Answered<'authorize'>;
  beginTry: Answered<'beginTry'>;
  takeSnapshot: Answered<'takeSnapshot'>;
  fence: Answered<'fence'>;
  offer: Answered<'offer'>;
  withdraw: Answered<'withdraw'>;
  recover: Answered<'recover'>;
  resume: Answered<'resume'>;
  release: Answered<'release'>;
  setAside: Answered<'setAside'>;
  /** A request was refused. */
  refused: MigrationError;
  /** The snapshot's bytes cannot be read. */
  unreadable: MigrationError;
  /** Time has passed. */
  due: undefined;
}

type SourceTable = TransitionTable<SourcePhase, SourceInputs, SourceRecord>;

/** The source's half: takes the snapshot, streams it and the log, stops at cutover, and lets go at the confirmation. */
export class MigrationSourceHandler extends RoleHandler<SourcePhase, SourceInputs, SourceRecord> {
  protected readonly role = 'source';
  protected readonly table: SourceTable = this.#rules();
  /** The daemons of this node. */
  readonly registry: DaemonRegistry;
  readonly #policy: ParticipantPolicy;
  readonly #ended = new BoundedMemory<Ended>(REMEMBERED);
  #keepsBackups = false;
  /** By daemon and sender. */
  readonly #rivals = new Map<bigint, Map<bigint, Rival>>();
  /** Copies kept for `recover`, and until when. Until the same time after each began, so the oldest is first. */
  readonly #backups = new Map<bigint, number>();

  constructor(registry: DaemonRegistry, policy: ParticipantPolicyOptions = {}) {
    super();
    this.registry = registry;
    this.#policy = participantPolicy(policy, DEFAULT_PATIENCE_MS);
  }

  /**
   * Hands an event to a daemon here: into its log while it moves, else to the daemon.
   *
   * @returns whether it was logged
   * @throws MigrationError `daemon-not-found`, or why the daemon takes none: `moving`, `buffer-full`; TypeError where it is no event
   */
  bufferEvent(origin: bigint, event: CausalEvent): MaybePromise<boolean> {
    checkEvents([event], 'event');
    const host = this.registry.require(origin);
    const before = host.log.nextNumber;
    return whenReady(host.accept([event]), ({ refusal }) => {
      if (refusal) throw refusal;
      this.logged(origin);
      return host.log.nextNumber > before;
    });
  }

  /** TakeSnapshot: from an orchestrator, or from this node's own. */
  takeSnapshot(origin: bigint, target: bigint, from: bigint, trailer: Trailer | undefined): void {
    if (trailer === undefined && this.ctx.speaks(from) === true) {
      this.#refuseAtOnce(origin, from, trailer, extensionsRequired('TakeSnapshot', origin, from));
      return;
    }
    const known = this.records.get(origin) ?? this.#ended.get(origin);
    if (known && sameRequest(known, from, trailer)) {
      if (!this.records.has(origin)) this.#answerAgain(origin, known as Ended);
      return;
    }
    if (this.records.has(origin)) {
      if (!this.#mayWait(origin, { target, from, trailer }))
        this.#refuseAtOnce(origin, from, trailer, alreadyMigrating(origin));
      return;
    }
    try {
      if (target === this.ctx.localNode) throw toItself(origin, target);
      this.requireRoom(origin, [from], this.#policy);
    } catch (error) {
      this.#refuseAtOnce(origin, from, trailer, error);
      return;
    }
    this.#open(origin, target, from, trailer);
  }

  /** What keeps this half from beginning a migration of that daemon for that orchestrator now. */
  obstacles(origin: bigint, orchestrator: bigint): MigrationError[] {
    return this.inTheWay(origin, [orchestrator], this.#policy);
  }

  /** Whoever has not been let in yet must not keep others out: they wait for the word on it. @returns whether one does */
  #mayWait(origin: bigint, rival: Rival): boolean {
    const record = this.records.get(origin);
    if (record?.phase !== 'authorising' || rival.from === record.orchestrator) return false;
    const rivals = this.#rivals.get(origin) ?? new Map<bigint, Rival>();
    if (rivals.size === MAX_RIVALS && !rivals.has(rival.from)) return false;
    this.#rivals.set(origin, rivals.set(rival.from, rival));
    return true;
  }

  /** The word has come: the next one begins, or all are refused. */
  #rivalsAgain(origin: bigint): void {
    const rivals = this.#rivals.get(origin);
    this.#rivals.delete(origin);
    for (const { target, from, trailer } of rivals?.values() ?? []) this.takeSnapshot(origin, target, from, trailer);
  }

  cutoverNotify(origin: bigint, target: bigint, from: bigint, trailer: Trailer | undefined): void {
    const ended = this.#ended.get(origin);
    if (!this.records.has(origin) && ended && ended.orchestrator === from && meansThis(ended, trailer)) {
      this.#answerAgain(origin, ended);
      return;
    }
    const record = this.#require(origin, 'CutoverNotify');
    requirePeer(origin, 'CutoverNotify', from, record.orchestrator);
    if (!meansThis(record, trailer)) return;
    if (target !== record.target) throw otherTarget(origin, from, target, record.target);
    this.apply(record, 'CutoverNotify', { trailer });
  }

  chunkStatus(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'ChunkStatus');
    requirePeer(origin, 'ChunkStatus', from, record.target);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'ChunkStatus', { missing: decodeMissingChunks(trailer.missingChunks) });
  }

  eventAck(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'EventAck');
    requirePeer(origin, 'EventAck', from, record.target);
    if (trailer?.try !== record.try) return;
    const { ackThrough = 0n, logFrom: next, fragmentOffset: offset = 0n } = trailer;
    // Of the event behind the last that has left whole some fragments may have.
    const named = next !== undefined && next - 1n > ackThrough ? next - 1n : ackThrough;
    if (named > record.sentMost) {
      const message = `EventAck for daemon ${origin} names event ${named} of its log, and node ${from} was sent ${record.sentMost}`;
      throw new MigrationError('state-failed', message, { details: { origin, from, got: named } });
    }
    this.apply(record, 'EventAck', { ackThrough, next, offset });
  }

  activationConfirmed(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'ActivationConfirmed');
    requirePeer(origin, 'ActivationConfirmed', from, record.target);
    this.apply(record, 'ActivationConfirmed', { epoch: trailer?.epoch ?? 0n });
  }

  /** The target has the daemon, as the register says, and has no copy of it: it never goes live in that epoch. */
  copyMissing(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(origin, 'CopyMissing');
    requirePeer(origin, 'CopyMissing', from, record.target);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'CopyMissing', { epoch: trailer.epoch ?? 0n });
  }

  /** Copies that stand still outlive this node: none of them is let go before its target has confirmed. */
  keepBackups(): void {
    this.#keepsBackups = true;
  }

  /** What this node needs for that try has failed. */
  fail(origin: bigint, attempt: bigint, error: MigrationError): void {
    const record = this.records.get(origin);
    if (record?.try === attempt) this.apply(record, 'MigrationFailed', { error });
  }

  /** Goes on with a migration whose offer may be out; the daemon's copy is here, fenced. */
  adopt(migration: SourceMigration, back: MigrationError | undefined): void {
    const { origin } = migration;
    const record = newSourceRecord({ ...migration, identity: 'where-possible', phase: 'offered' }, this.ctx.now);
    // The target may acknowledge any of them: all may have been sent.
    record.sentThrough = this.ctx.log(origin).nextNumber - 1n;
    record.sentMost = record.sentThrough;
    this.add(record, this.#policy.repeatMs);
    record.abort = back;
    this.#enterOffered(record);
  }

  /** @returns whether the sender takes part in a migration from here, so that the frame meant this half */
  migrationFailed(origin: bigint, from: bigint, reason: MigrationFailureReason, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (!record) return this.#failedBefore(origin, from, trailer);
    if (from !== record.orchestrator && from !== record.target) return false;
    if (!meansThis(record, trailer)) return true;
    this.apply(record, 'MigrationFailed', { error: errorOf(origin, reason, trailer?.failureKind) });
    return true;
  }

  answer(answer: MigrationAnswer): void {
    const record = this.awaiting(answer);
    if (!record) {
      // The dispatcher has ended meanwhile: nobody sends it.
      if (answer.kind === 'takeSnapshot') answer.value?.bytes.close();
      // Of a backup that is recovered there is no record.
      if (answer.kind === 'recover') {
        if (answer.error) this.#backupStays(answer.origin, answer.error);
        this.ctx.report({ kind: 'recovered', origin: answer.origin, error: answer.error });
      } else if (answer.error && answer.kind === 'dropBackup') this.ctx.fault(answer.error);
      return;
    }
    record.awaiting = undefined;
    if (answer.error) this.apply(record, 'refused', answer.error);
    else this.apply(record, answer.kind as keyof SourceInputs & string, answer.value as never);
  }

  /** One that could not be recovered, since the register was out of reach, may be asked for again. */
  #backupStays(origin: bigint, error: MigrationError): void {
    if (error.kind !== 'daemon-not-found' && !this.registry.get(origin))
      this.#backups.set(origin, this.ctx.now + BACKUP_MS);
  }

  /** New events stand in the daemon's log. */
  logged(origin: bigint): void {
    const record = this.records.get(origin);
    if (record && (record.phase === 'streaming' || record.phase === 'draining')) this.guarded(() => this.#pump(record));
  }

  /** Closes what is streamed. */
  override dispose(): void {
    for (const { snapshot } of this.records.values()) snapshot?.cancel();
    super.dispose();
  }

  /** What is offered is the target's to take; what goes back goes back. */
  protected endUnlessDecided(record: SourceRecord): void {
    if (!isBeforeOffer(record.phase)) return;
    this.apply(record, 'MigrationFailed', { error: endedByShutdown(record.origin, this.ctx.localNode) });
  }

  /** Takes back what is offered, where the target has not taken it. */
  withdrawOffers(): void {
    this.forEachRecord((record) => {
      if (record.phase !== 'offering' && record.phase !== 'offered') return;
      this.apply(record, 'MigrationFailed', { error: endedByShutdown(record.origin, this.ctx.localNode) });
    });
  }

  /** This copy will do nothing more: where nobody else can have the daemon, nobody is to wait for it. */
  handOver(): void {
    this.forEachRecord((record) => {
      if (isBeforeOffer(record.phase) || record.phase === 'resuming')
        this.#refuse(record, record.abort ?? endedByShutdown(record.origin, this.ctx.localNode));
    });
  }

  /** A node that takes part is gone for certain: as if it had said that the migration failed. */
  peerGone(node: bigint): void {
    this.forEachRecord((record) => {
      record.isTargetGone ||= record.target === node;
      if (record.target === node || record.orchestrator === node)
        this.apply(record, 'MigrationFailed', { error: nodeGone(record.origin, node) });
    });
  }

  /**
   * Brings a daemon back whose target will never be live: whoever calls this answers for that (ARCHITECTURE.md).
   *
   * @param lost who is known to be gone; undefined: whoever has it
   * @returns false where nothing is here to be brought back
   */
  recover(origin: bigint, lost?: LostOwner): boolean {
    const record = this.records.get(origin);
    if (record) {
      // By itself already, where the mesh knew: what is reported of that is the answer.
      if (record.isRecovering) return true;
      if (record.phase !== 'offered' && record.phase !== 'withdrawing') return false;
      this.#recover(record, lost);
      return true;
    }
    // One that has come home since lives here, and its backup is gone.
    if (!this.#backups.delete(origin) || this.registry.get(origin)) return false;
    this.#ended.delete(origin);
    this.ctx.request('source', 'recover', { origin, lost });
    return true;
  }

  override tick(): void {
    super.tick();
    for (const [origin, until] of this.#backups) {
      if (until > this.ctx.now) break;
      this.#backups.delete(origin);
      this.ctx.request('source', 'dropBackup', { origin });
    }
  }

  protected due(record: SourceRecord): number {
    this.apply(record, 'due', undefined);
    if (this.ctx.now - record.progressAt >= this.#policy.patienceMs && !record.abort) this.#outOfPatience(record);
    if (!isMoving(record.phase)) return this.#policy.repeatMs;
    // Where nothing moves, it is looked at less and less often: thousands may wait at once.
    return Math.min(Math.max(STATUS_MS, this.ctx.now - record.progressAt), this.#policy.repeatMs);
  }

  protected peers({ orchestrator }: SourceRecord): readonly bigint[] {
    return [orchestrator];
  }

  protected status(record: SourceRecord): MigrationStatus {
    const { origin, target, orchestrator, phase, snapshot, sends } = record;
    const { now, localNode } = this.ctx;
    const logged = isMoving(phase) || phase === 'offered' ? this.ctx.log(origin).nextNumber - 1n : record.ackThrough;
    return {
      origin,
      role: 'source',
      source: localNode,
      target,
      orchestrator,
      phase,
      ageMs: now - record.startedAt,
      phaseAgeMs: now - record.phaseSince,
      bytesDone: snapshot?.bytesWritten ?? 0,
      bytesTotal: snapshot?.byteLength ?? 0,
      eventsWaiting: Number(logged - record.ackThrough),
      tries: sends,
    };
  }

  protected override enter(record: SourceRecord, phase: SourcePhase, awaiting?: number): void {
    super.enter(record, phase, awaiting);
    record.sentAt = this.ctx.now;
    record.sends = 1;
    this.lookIn(record, isMoving(phase) ? STATUS_MS : this.#policy.repeatMs);
  }

  #rules(): SourceTable {
    const pass = () => {};
    const note = (r: SourceRecord, { error }: SourceInputs['MigrationFailed']) => {
      r.abort = error;
    };
    const goBack = (r: SourceRecord, { error }: SourceInputs['MigrationFailed']) => this.#goBack(r, error);
    const waiting = { MigrationFailed: note, ChunkStatus: pass, due: pass };
    // Nothing has been done yet that would have to be undone, so whoever decides is not waited for.
    const untouched = {
      ...waiting,
      MigrationFailed: (r: SourceRecord, { error }: SourceInputs['MigrationFailed']) => this.#refuse(r, error),
    };
    const late = {
      ...waiting,
      CutoverNotify: pass,
      EventAck: (r: SourceRecord, i: SourceInputs['EventAck']) => this.#acknowledged(r, i),
    };
    return {
      authorising: { ...untouched, authorize: (r) => this.#begin(r), refused: (r, error) => this.#refuse(r, error) },
      beginning: {
        ...untouched,
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
        MigrationFailed: goBack,
        ChunkStatus: (r, i) => this.#sendAgain(r, i),
        EventAck: (r, i) => this.#restored(r, i),
        // The orchestrator has heard of the restore first.
        CutoverNotify: (r, i) => this.#cutover(r, i),
        unreadable: (r, error) => this.#goBack(r, error),
        due: (r) => this.#poke(r),
      },
      streaming: {
        ...waiting,
        MigrationFailed: goBack,
        EventAck: (r, i) => this.#acknowledged(r, i),
        CutoverNotify: (r, i) => this.#cutover(r, i),
        due: (r) => this.#repeatEvents(r),
      },
      draining: {
        ...waiting,
        MigrationFailed: goBack,
        EventAck: (r, i) => this.#drained(r, i),
        CutoverNotify: pass,
        due: (r) => this.#drainDeadline(r),
      },
      fencing: { ...late, fence: (r) => this.#stopped(r), refused: (r, error) => this.#goBack(r, error) },
      offering: { ...late, offer: (r) => this.#enterOffered(r), refused: (r, error) => this.#withdraw(r, error) },
      offered: {
        ...late,
        CutoverNotify: (r) => this.#tellCleanup(r),
        // A failure only prompts a withdrawal: once stopped, the source listens to the register alone.
        MigrationFailed: (r, { error }) => this.#withdraw(r, error),
        ActivationConfirmed: (r, i) => this.#confirmed(r, i),
        CopyMissing: (r, i) => this.#takeBack(r, i),
        due: (r) => this.#remindTarget(r),
      },
      withdrawing: {
        ...late,
        ActivationConfirmed: (r, i) => this.#confirmed(r, i),
        // It is heard again where the withdrawal comes too late.
        CopyMissing: pass,
        withdraw: (r, outcome) => this.#withdrawn(r, outcome),
        // Out of reach: asked again when it is due.
        refused: pass,
        due: (r) => this.#withdrawAgain(r),
      },
      recovering: {
        ...late,
        ActivationConfirmed: pass,
        CopyMissing: pass,
        recover: (r, recovered) => this.#recovered(r, recovered),
        refused: (r, error) => this.#notRecovered(r, error),
      },
      releasing: {
        ...late,
        ActivationConfirmed: pass,
        CopyMissing: pass,
        release: (r) => this.#released(r),
        setAside: (r) => this.#handedOver(r),
        refused: (r, error) => this.#notReleased(r, error),
      },
      resuming: {
        ...late,
        resume: (r) => this.#resumed(r),
        // The daemon must go on: asked again when it is due, where it is still here.
        refused: (r, error) => (error.kind === 'daemon-not-found' ? this.#resumed(r) : this.ctx.fault(error)),
        due: (r) => this.#resumeAgain(r),
      },
    };
  }

  #require(origin: bigint, what: string): SourceRecord {
    const record = this.records.get(origin);
    if (record) return record;
    throw noMigration(origin, what, 'from this node');
  }

  #trailer(record: SourceRecord): Trailer | undefined {
    if (!record.requestId) return undefined;
    return record.try === 0n ? { requestId: record.requestId } : { try: record.try, requestId: record.requestId };
  }

  #open(origin: bigint, target: bigint, from: bigint, trailer: Trailer | undefined): void {
    const record = newSourceRecord(
      {
        origin,
        orchestrator: from,
        target,
        requestId: trailer?.requestId,
        identity: identityTransport(trailer?.transportIdentity),
        // A target that holds no outputs back would publish all of them again.
        mode: trailer?.mode === 1n && this.ctx.speaks(target) === true ? 'live' : 'pause',
        try: 0n,
        epoch: 0n,
        phase: 'authorising',
      },
      this.ctx.now,
    );
    this.add(record, this.#policy.repeatMs);
    const ask = { role: 'source', origin, orchestrator: from, source: this.ctx.localNode, target } as const;
    record.awaiting = this.ctx.request('source', 'authorize', ask);
  }

  /** Written out, because it is kept per migration. */
  /** A refusal is answered, never silent: whoever asks must not wait. */
  #refuseAtOnce(origin: bigint, from: bigint, trailer: Trailer | undefined, error: unknown): void {
    const answer = trailer?.requestId ? { requestId: trailer.requestId } : undefined;
    this.tellFailure(from, origin, told(error), answer);
  }

  #answerAgain(origin: bigint, ended: Ended): void {
    const { orchestrator, requestId, failure } = ended;
    const trailer = requestId ? { requestId, ...(ended.try === 0n ? {} : { try: ended.try }) } : undefined;
    if (failure) this.tellFailure(orchestrator, origin, failure, trailer);
    else this.ctx.send(orchestrator, { kind: 'CleanupComplete', daemonOrigin: origin }, trailer);
  }

  /** A repeated MigrationFailed from an orchestrator that has not heard that the daemon goes on. */
  #failedBefore(origin: bigint, from: bigint, trailer: Trailer | undefined): boolean {
    const ended = this.#ended.get(origin);
    if (!ended?.failure || ended.orchestrator !== from || from === this.ctx.localNode) return false;
    if (!ended.requestId || !meansThis(ended, trailer)) return false;
    this.#answerAgain(origin, ended);
    return true;
  }

  #outOfPatience(record: SourceRecord): void {
    record.progressAt = this.ctx.now;
    const { origin, phase } = record;
    const message = `no progress for ${this.#policy.patienceMs} ms in phase ${phase} at the source of daemon ${origin}`;
    const error = new MigrationError('timed-out', message, { details: { origin, phase } });
    this.apply(record, 'MigrationFailed', { error });
  }

  #begin(record: SourceRecord): void {
    this.enter(record, 'beginning', this.ctx.request('source', 'beginTry', { origin: record.origin }));
    this.#rivalsAgain(record.origin);
  }

  #snapshot(record: SourceRecord, begun: Answered<'beginTry'>): void {
    record.try = begun.try;
    record.epoch = begun.epoch;
    const { origin, epoch, target, orchestrator, requestId, identity, mode } = record;
    // It has come home since it was let go: what is kept of it from here on is this migration's.
    this.#backups.delete(origin);
    const ask = { origin, try: begun.try, epoch, target, orchestrator, requestId, identity, mode };
    this.enter(record, 'snapshotting', this.ctx.request('source', 'takeSnapshot', ask));
  }

  #transfer(record: SourceRecord, taken: Answered<'takeSnapshot'>): void {
    if (record.abort) {
      taken.bytes.close();
      this.#goBack(record, record.abort);
      return;
    }
    record.snapshot = this.#outgoing(record, taken);
    this.enter(record, 'transferring');
    // Before the first chunk, so that an orchestrator on this node, through which none passes, knows the try.
    this.#status(record);
    this.ctx.stream(this.#chunksTo(record), record.snapshot);
  }

  #outgoing(record: SourceRecord, taken: Answered<'takeSnapshot'>): OutgoingSnapshot {
    const { origin, target } = record;
    const { seqThrough, bytes, sign } = taken;
    const trailer = record.requestId && this.#chunkTrailer(record, record.requestId, taken.daemonKind);
    const onFailed = this.#unreadable;
    return new OutgoingSnapshot(this.ctx.codec, { origin, seqThrough, bytes, trailer, target, sign, onFailed });
  }

  /** Found by a transport that wants more of a streamed state: not within any call of the dispatcher. */
  readonly #unreadable = (snapshot: OutgoingSnapshot, error: MigrationError): void => {
    const record = this.records.get(snapshot.origin);
    if (record?.snapshot === snapshot) this.ctx.run(() => this.apply(record, 'unreadable', error));
  };

  /** Written out, because it is kept per migration: an object that is put together by spreading takes more. */
  #chunkTrailer(record: SourceRecord, requestId: Uint8Array, daemonKind: string): Trailer {
    const { try: attempt, epoch, identity } = record;
    const source = this.ctx.localNode;
    const mode = record.mode === 'live' ? 1n : 0n;
    if (identity === 'none') return { try: attempt, requestId, source, daemonKind, epoch, mode, transportIdentity: 0n };
    return { try: attempt, requestId, source, daemonKind, epoch, mode };
  }

  /** Without an orchestrator between, the chunks go straight to the target. */
  #chunksTo(record: SourceRecord): bigint {
    return record.orchestrator === this.ctx.localNode ? record.target : record.orchestrator;
  }

  /** All chunks have left and the target says nothing: the last one again, so that it says what it has. */
  #poke(record: SourceRecord): void {
    this.#status(record);
    const snapshot = record.snapshot!;
    if (!record.requestId || !snapshot.done || !this.#isOverdue(record)) return;
    this.#sentAgain(record);
    this.#streamAgain(record, () => snapshot.lastAgain());
  }

  /** Where chunks leave slowly, more of them would only stand before those that the target waits for. */
  #streamAgain(record: SourceRecord, chunks: () => FrameProducer | undefined): void {
    if (record.again?.done === false) return;
    record.again = chunks();
    if (record.again) this.ctx.stream(this.#chunksTo(record), record.again);
  }

  #sendAgain(record: SourceRecord, { missing }: SourceInputs['ChunkStatus']): void {
    // What has not left yet is on its way.
    if (!record.snapshot!.done) return;
    const count = countChunks(missing);
    if (count < record.missingSeen) record.progressAt = this.ctx.now;
    record.missingSeen = count;
    this.#sentAgain(record);
    this.#streamAgain(record, () => record.snapshot!.again(missing));
  }

  #isOverdue(record: SourceRecord): boolean {
    return this.ctx.now - record.sentAt >= this.#policy.repeatMs;
  }

  #sentAgain(record: SourceRecord): void {
    record.sentAt = this.ctx.now;
    record.sends++;
  }

  #restored(record: SourceRecord, input: SourceInputs['EventAck']): void {
    this.#arrived(record, 'EventAck');
    this.enter(record, 'streaming');
    if (record.byOffer) this.ctx.request('source', 'readAhead', { origin: record.origin });
    this.#acknowledged(record, input);
  }

  /** The target has all of the snapshot: none of it is needed here any more. @throws MigrationError `wrong-phase` where it cannot */
  #arrived({ origin, snapshot }: SourceRecord, what: string): void {
    if (!snapshot!.digest) {
      const text = `${what} for daemon ${origin} says that its snapshot was restored, and not all of that has left`;
      throw new MigrationError('wrong-phase', text, { details: { origin, got: what } });
    }
    snapshot!.cancel();
  }

  #acknowledged(record: SourceRecord, input: SourceInputs['EventAck']): void {
    if (input.next !== undefined && record.fragments?.heard(input.next, Number(input.offset))) {
      record.progressAt = this.ctx.now;
      record.sentAt = this.ctx.now;
    }
    if (input.ackThrough > record.ackThrough) {
      this.ctx.report({
        kind: 'replayed',
        origin: record.origin,
        events: Number(input.ackThrough - record.ackThrough),
      });
      record.ackThrough = input.ackThrough;
      if (record.sentThrough < input.ackThrough) record.sentThrough = input.ackThrough;
      record.progressAt = this.ctx.now;
      record.sentAt = this.ctx.now;
    }
    this.#pump(record);
  }

  /** Sends logged events on, as many as may be on their way. */
  #pump(record: SourceRecord): void {
    if (isStopped(record.phase) ? !record.byOffer : this.#cannotBeCarried(record)) return;
    const log = this.ctx.log(record.origin);
    if (!isAwaited(record)) record.sentAt = this.ctx.now;
    while (record.sentThrough < log.nextNumber - 1n && record.sentThrough - record.ackThrough < EVENTS_IN_FLIGHT) {
      const next = this.#sendFrom(record, log, record.sentThrough + 1n);
      if (next === undefined) return;
      record.sentThrough = next - 1n;
      if (record.sentMost < record.sentThrough) record.sentMost = record.sentThrough;
    }
  }

  /** Sends as many events as go into one frame, or one that goes into none. @returns the next number; undefined where that must wait */
  #sendFrom(record: SourceRecord, log: EventLog, from: bigint): bigint | undefined {
    if (record.fragments?.isSending(from)) return this.#sendFragments(record, log, from);
    try {
      const { frame, next } = log.encodeFrame(record.origin, from, EVENT_FRAME_BYTES, EVENT_FRAME_COUNT);
      this.ctx.sendEncoded(record.target, frame, { try: record.try, logFrom: from });
      return next;
    } catch (error) {
      if (!(error instanceof MigrationError) || error.kind !== 'event-too-large') throw error;
      return this.#sendFragments(record, log, from);
    }
  }

  #sendFragments(record: SourceRecord, log: EventLog, number: bigint): bigint | undefined {
    record.fragments ??= new FragmentSender();
    const { origin, target, try: attempt } = record;
    const emit = (fragment: EventFragment) =>
      this.ctx.send(
        target,
        { kind: 'EventFragment', daemonOrigin: origin },
        { try: attempt, ...encodeFragment(this.ctx.codec, fragment) },
      );
    return record.fragments.send(number, () => log.get(number)!, emit) ? number + 1n : undefined;
  }

  /** What is on its way counts as lost: from where the target has everything, it is sent again. */
  #rewind(record: SourceRecord): void {
    this.#sentAgain(record);
    const here = (record.fragments?.rewind() ?? 0n) - 1n;
    record.sentThrough = here > record.ackThrough ? here : record.ackThrough;
  }

  #repeatEvents(record: SourceRecord): void {
    this.#status(record);
    if (isAwaited(record) && this.#isOverdue(record)) this.#rewind(record);
    this.#pump(record);
  }

  /** An event that the target cannot be given: found before the stop, so that the daemon goes on here. */
  #cannotBeCarried(record: SourceRecord): boolean {
    const event = this.ctx.largest(record.origin);
    const [limit, where] = record.byOffer
      ? [MAX_EVENT_BYTES, 'a log']
      : [MAX_SNAPSHOT_CHUNK_SIZE, 'a target without extensions'];
    if (!event || event.length <= limit) return false;
    const { originHash, sequence } = event.link;
    const { length: size } = event;
    const message = `event ${sequence} of origin ${originHash} has ${size} bytes, and ${where} takes at most ${limit} per event; move the daemon again after it`;
    const details = { origin: originHash, sequence, size, limit };
    this.#goBack(record, new MigrationError('event-too-large', message, { details }));
    return true;
  }

  /** Tells the orchestrator how far things are, where that has changed. */
  #status(record: SourceRecord): void {
    const bytesOut = record.snapshot?.bytesWritten ?? 0;
    if (bytesOut > record.bytesSeen) {
      record.bytesSeen = bytesOut;
      record.progressAt = this.ctx.now;
      record.sentAt = this.ctx.now;
    }
    if (!record.requestId) return;
    const logCount = this.ctx.log(record.origin).nextNumber - 1n;
    const eventBytes = record.fragments?.arrivedBytes ?? 0;
    const seen = `${logCount} ${record.ackThrough} ${bytesOut + eventBytes}`;
    if (seen === record.statusSeen && this.ctx.now - record.statusAt < this.#policy.repeatMs) return;
    record.statusSeen = seen;
    record.statusAt = this.ctx.now;
    this.ctx.send(
      record.orchestrator,
      { kind: 'SourceStatus', daemonOrigin: record.origin },
      {
        ...this.#trailer(record),
        logCount,
        ackThrough: record.ackThrough,
        snapshotLength: BigInt(record.snapshot?.byteLength ?? 0),
        snapshotSent: BigInt(bytesOut),
        ...(eventBytes === 0 ? {} : { fragmentOffset: BigInt(eventBytes) }),
      },
    );
  }

  #cutover(record: SourceRecord, { trailer }: SourceInputs['CutoverNotify']): void {
    this.#arrived(record, 'CutoverNotify');
    const { target } = record;
    record.byOffer &&= this.ctx.speaks(target) ?? trailer?.targetExtensions !== 0n;
    this.enter(record, 'draining');
    this.ctx.report({ kind: 'draining', origin: record.origin });
    this.#fenceWhenSmall(record);
  }

  #drained(record: SourceRecord, input: SourceInputs['EventAck']): void {
    this.#acknowledged(record, input);
    this.#fenceWhenSmall(record);
  }

  #drainDeadline(record: SourceRecord): void {
    this.#repeatEvents(record);
    this.#fenceWhenSmall(record);
  }

  #fenceWhenSmall(record: SourceRecord): void {
    if (record.phase !== 'draining' || this.#cannotBeCarried(record)) return;
    const gap = this.ctx.log(record.origin).nextNumber - 1n - record.ackThrough;
    // A target without extensions acknowledges nothing: all goes to it at the end.
    const isLarge = gap > BigInt(CUTOVER_GAP) || record.fragments?.isSending(record.sentThrough + 1n);
    if (record.byOffer && isLarge && this.ctx.now - record.phaseSince < CUTOVER_PATIENCE_MS) return;
    this.ctx.report({ kind: 'cutover', origin: record.origin });
    const { origin, target } = record;
    this.enter(record, 'fencing', this.ctx.request('source', 'fence', { origin, target }));
  }

  #stopped(record: SourceRecord): void {
    if (record.abort) this.#goBack(record, record.abort);
    else if (this.#cannotBeCarried(record)) return;
    else if (record.byOffer) this.#offer(record);
    else this.#letGo(record);
  }

  #offer(record: SourceRecord): void {
    this.#pump(record);
    const { logCount, logDigest, headLink } = this.#offered(record);
    const { try: attempt, target, snapshot } = record;
    const snapshotDigest = snapshot!.digest!;
    const offer = { try: attempt, target, snapshotDigest, logCount, logDigest, head: headLink };
    const { origin, epoch } = record;
    this.enter(record, 'offering', this.ctx.request('source', 'offer', { origin, epoch, offer }));
  }

  /** As the reference does, and as a peer without extensions expects; but the copy stays, frozen. */
  #letGo(record: SourceRecord): void {
    const { origin, epoch, target } = record;
    const log = this.ctx.log(origin);
    for (let from = 1n; from < log.nextNumber; ) {
      const renumbered = record.snapshot!.seqThrough + from;
      const { frame, next } = log.encodeFrame(origin, from, EVENT_FRAME_BYTES, EVENT_FRAME_COUNT, renumbered);
      this.ctx.sendEncoded(target, frame, undefined);
      from = next;
    }
    this.enter(record, 'releasing', this.ctx.request('source', 'setAside', { origin, epoch, target }));
  }

  #enterOffered(record: SourceRecord): void {
    this.enter(record, 'offered');
    if (record.abort) this.#withdraw(record, record.abort);
    else {
      this.#tellOffer(record);
      this.#tellCleanup(record);
    }
  }

  #tellCleanup(record: SourceRecord): void {
    const message = { kind: 'CleanupComplete', daemonOrigin: record.origin } as const;
    this.ctx.send(record.orchestrator, message, this.#trailer(record));
  }

  /** Unheard events again, and what was offered, which a target that is live answers too. */
  #remindTarget(record: SourceRecord): void {
    this.#status(record);
    if (!this.#isOverdue(record)) return;
    this.#rewind(record);
    this.#pump(record);
    this.#tellOffer(record);
  }

  /** The source's own word that it has stopped, and behind which event: without it the target claims nothing. */
  #tellOffer(record: SourceRecord): void {
    const message = { kind: 'BufferedEvents', daemonOrigin: record.origin, events: [] } as const;
    const { headLink, ...logged } = this.#offered(record);
    const trailer = { try: record.try, logFrom: logged.logCount + 1n, ...logged, ...(headLink && { headLink }) };
    this.ctx.send(record.target, message, trailer);
  }

  /** Behind which event it has stopped. */
  #offered({ origin, mode }: SourceRecord) {
    const log = this.ctx.log(origin);
    const headLink = mode === 'live' ? this.ctx.chainEnd(origin) : undefined;
    return { logCount: log.nextNumber - 1n, logDigest: log.digest(), headLink };
  }

  #withdraw(record: SourceRecord, error: MigrationError): void {
    record.abort = error;
    const { origin, epoch } = record;
    this.enter(record, 'withdrawing', this.ctx.request('source', 'withdraw', { origin, epoch, try: record.try }));
  }

  #withdrawAgain(record: SourceRecord): void {
    if (record.awaiting === undefined) this.#withdraw(record, record.abort!);
  }

  #withdrawn(record: SourceRecord, outcome: Answered<'withdraw'>): void {
    if (outcome === 'withdrawn') {
      record.epoch += 1n;
      this.#goBack(record, record.abort!);
      return;
    }
    if (typeof outcome === 'object') {
      record.epoch = outcome.epoch;
      this.#goBack(record, record.abort!);
      return;
    }
    if (outcome === 'superseded') {
      this.#release(record);
      return;
    }
    // A node that has come back may be live by that very claim: it says so, or that it has no copy.
    record.isTargetGone &&= this.ctx.isPeer(record.target) !== true;
    if (outcome === 'claimed' && record.isTargetGone) {
      // A live daemon that crashed with its node: this copy is the newest that is left. Of one that has lived on somebody must say so.
      this.#recover(record, { node: record.target, epoch: record.epoch + 1n });
      return;
    }
    // A node that is about to end, and keeps nothing, is nobody's backup: the daemon is where the register has it.
    const hasTarget = outcome === 'claimed' || outcome === 'lived-on';
    if (hasTarget && this.notReady && !this.#keepsBackups) {
      this.#release(record);
      return;
    }
    if (outcome === 'undecided') this.#reportStanding(record);
    // Too late to go back, or nobody can say: this copy is the backup until the confirmation.
    record.abort = undefined;
    this.enter(record, 'offered');
  }

  #reportStanding(record: SourceRecord): void {
    const { origin, target, abort } = record;
    const message = `daemon ${origin} has been offered to node ${target}, and without an ownership register only node ${target} can say whether it is live there (${abort?.message}); it stays stopped here until that node confirms, or until recover(${origin}n) is called by somebody who knows that it will not`;
    this.ctx.fault(new MigrationError('register-unavailable', message, { details: { origin, target }, cause: abort }));
  }

  /** Its claim landed when it was gone already, or it has lost the copy since: this one is the newest that is left. */
  #takeBack(record: SourceRecord, { epoch }: SourceInputs['CopyMissing']): void {
    if (epoch === record.epoch + 1n) this.#recover(record, { node: record.target, epoch });
  }

  #recover(record: SourceRecord, lost: LostOwner | undefined): void {
    const { origin } = record;
    record.isRecovering = true;
    record.abort ??= new MigrationError('cancelled', `daemon ${origin} was recovered on node ${this.ctx.localNode}`);
    this.enter(record, 'recovering', this.ctx.request('source', 'recover', { origin, lost }));
  }

  #recovered(record: SourceRecord, { epoch }: Answered<'recover'>): void {
    record.epoch = epoch;
    this.#goBack(record, record.abort!);
  }

  #confirmed(record: SourceRecord, input: SourceInputs['ActivationConfirmed']): void {
    if (input.epoch === record.epoch + 1n) this.#release(record);
  }

  #release(record: SourceRecord): void {
    this.enter(record, 'releasing', this.ctx.request('source', 'release', { origin: record.origin }));
  }

  /** A live target has the daemon, whatever went wrong here; what was to be let go may be taken back. */
  #notReleased(record: SourceRecord, error: MigrationError): void {
    if (!record.byOffer) {
      this.#withdraw(record, error);
      return;
    }
    this.ctx.fault(error);
    this.#released(record);
  }

  /** Told only now: in a register the target may claim what stands there. */
  #handedOver(record: SourceRecord): void {
    this.#tellCleanup(record);
    this.#released(record);
  }

  #released(record: SourceRecord): void {
    const { origin } = record;
    if (!record.byOffer) this.#backups.set(origin, this.ctx.now + BACKUP_MS);
    this.#end(record, undefined);
    this.ctx.report({ kind: 'completed', role: 'source', origin });
  }

  /** Tells why it ends, and forgets; where it had not begun, the daemon was never touched. */
  #refuse(record: SourceRecord, error: MigrationError): void {
    const { origin } = record;
    const failure = told(error);
    this.tellFailure(record.orchestrator, origin, failure, this.#trailer(record));
    // A target that has chunks already must not wait for more, whether the orchestrator tells it or not.
    if (record.snapshot && record.requestId) this.tellFailure(record.target, origin, failure, this.#trailer(record));
    const begun = record.phase !== 'authorising' && record.phase !== 'beginning';
    this.ctx.report({ kind: 'failed', role: 'source', origin, error, begun });
    // A stranger must not push out of memory what somebody else still asks for.
    if (error.kind === 'not-authorised') this.remove(record);
    else this.#end(record, failure);
    this.#rivalsAgain(origin);
  }

  #end(record: SourceRecord, failure: ToldFailure | undefined): void {
    const { orchestrator, requestId, try: attempt, origin } = record;
    this.#ended.set(origin, { orchestrator, requestId, try: attempt, failure });
    this.remove(record);
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
    if (record.isRecovering) this.#tellRecovered(record, undefined);
  }

  #notRecovered(record: SourceRecord, error: MigrationError): void {
    this.#tellRecovered(record, error);
    // It lives on elsewhere, in a further epoch: this copy is no longer the backup of anything.
    if (error.kind === 'ownership-lost') this.#release(record);
    else {
      // Else it would never take its offer back by its own clock.
      record.abort = undefined;
      this.enter(record, 'offered');
    }
  }

  #tellRecovered(record: SourceRecord, error: MigrationError | undefined): void {
    record.isRecovering = false;
    this.ctx.report({ kind: 'recovered', origin: record.origin, error });
  }
}

/** What a trailer's `transportIdentity` says. */
export function identityTransport(transportIdentity: bigint | undefined): IdentityTransport {
  if (transportIdentity === undefined) return 'where-possible';
  return transportIdentity === 0n ? 'none' : 'required';
}

/** Whether a frame is of this migration: by its try, or by its request before the orchestrator knows the try. */
function meansThis(known: SourceRecord | Ended, trailer: Trailer | undefined): boolean {
  if (!known.requestId) return true;
  if (trailer?.try !== undefined) return trailer.try === known.try;
  return sameBytes(trailer?.requestId, known.requestId);
}

/** Whether a TakeSnapshot is the one that began this migration, once more. */
function sameRequest(known: SourceRecord | Ended, from: bigint, trailer: Trailer | undefined): boolean {
  if (from !== known.orchestrator) return false;
  // Without a request id nothing tells a second request from a repeated one, once the first is over.
  if (!known.requestId && !trailer?.requestId) return 'phase' in known;
  return sameBytes(known.requestId, trailer?.requestId);
}

/** A cutover to another node than the one that the snapshot went to. */
function otherTarget(origin: bigint, from: bigint, target: bigint, expected: bigint): MigrationError {
  return new MigrationError(
    'wrong-peer',
    `CutoverNotify for daemon ${origin} from node ${from} names node ${target} as the target; this migration goes to node ${expected}`,
    { details: { origin, from, target, expected } },
  );
}
