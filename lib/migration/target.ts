import type { DaemonFactoryRegistry } from '../daemon/factories.js';
import type { DaemonRegistry } from '../daemon/registry.js';
import { MigrationError } from '../errors.js';
import type { FrameColumns } from '../wire/columns.js';
import { type EventLog, firstEvents } from '../wire/event-log.js';
import type { MigrationFailureReason } from '../wire/failure.js';
import { type BufferedEvents, MAX_SNAPSHOT_CHUNK_SIZE, type SnapshotReady } from '../wire/message.js';
import {
  type AssembledSnapshot,
  MAX_SNAPSHOT_BYTES,
  type ReassemblerOptions,
  type SnapshotFile,
  type SnapshotReassembler,
} from '../wire/reassembler.js';
import { sameBytes, type Trailer } from '../wire/trailer.js';
import type { ArrivedChunks, MigrationAnswer, MigrationStatus, RequestTypes, RoleContext } from './core.js';
import { decodeFragment, type EventFragment, FragmentReceiver } from './event-fragments.js';
import {
  asMigrationError,
  endedByShutdown,
  errorOf,
  extensionsRequired,
  nodeGone,
  type ToldFailure,
  told,
} from './failure.js';
import { BoundedMemory } from './memory.js';
import { encodeMissingChunks } from './missing-chunks.js';
import { NumberedEvents } from './numbered-events.js';
import { type ParticipantPolicy, type ParticipantPolicyOptions, participantPolicy } from './policy.js';
import { RebindTelling } from './rebind-telling.js';
import { alreadyMigrating, noMigration, RoleHandler, requirePeer, type TransitionTable } from './role.js';
import { canBeKept, newTargetRecord, type TargetPhase, type TargetRecord } from './target-record.js';

/** Events replayed by one request: then they are acknowledged, and others get their turn. */
const REPLAY_SLICE = 1_000;
/** Longer than a source's: that one goes back first. */
export const DEFAULT_PATIENCE_MS = 60_000;
/** How many migrations that are over are remembered, so that repeated frames get the same answer. */
const REMEMBERED = 16_384;
/** Runs of missing chunks that one ChunkStatus names. */
const MISSING_RUNS = 512;
/** Frames that wait until their sender is authorised, at the most: of each, so that a stranger's keep out nobody else's. */
const MAX_WAITING_FRAMES = 64;
/** Frames of late events that wait for their sender to be authorised, at the most. */
const MAX_LATE = 1_024;
/** Old tries whose orchestrators are being looked into, at the most. */
const MAX_OUTSIDERS = 256;
/** Bytes of a snapshot that are held until it has its file, at the most: what is copied there in one go. More comes again. */
const HELD_BYTES = 4 * 1024 * 1024;
/** Daemons of which the register is asked at once because somebody says that it has offered them, at the most. */
const MAX_OFFERERS = 256;
/** How often the reassembler is asked to drop what made no progress. */
const SWEEP_MS = 1_000;

/** What is remembered of a migration that is over. */
interface Ended {
  readonly orchestrator: bigint;
  readonly source: bigint | undefined;
  readonly try: bigint | undefined;
  /** Undefined where the copy was dropped. */
  readonly live:
    | {
        readonly epoch: bigint;
        readonly replayedSeq: bigint;
        readonly numbered: NumberedEvents | undefined;
        readonly eventSenders: ReadonlySet<bigint>;
      }
    | undefined;
  readonly failure: ToldFailure | undefined;
}

type Answered<K extends keyof RequestTypes> = RequestTypes[K]['answer'];

interface TargetInputs {
  SnapshotReady: { readonly message: SnapshotReady; readonly trailer: Trailer | undefined };
  BufferedEvents: { readonly message: BufferedEvents; readonly trailer: Trailer | undefined; readonly from: bigint };
  EventFragment: EventFragment;
  ActivateTarget: undefined;
  MigrationFailed: { readonly error: MigrationError };
  admit: Answered<'admit'>;
  authorize: Answered<'authorize'>;
  keep: Answered<'keep'>;
  restore: Answered<'restore'>;
  replay: Answered<'replay'>;
  claim: Answered<'claim'>;
  activate: Answered<'activate'>;
  discard: Answered<'discard'>;
  refused: MigrationError;
  due: undefined;
}

type TargetTable = TransitionTable<TargetPhase, TargetInputs, TargetRecord>;

export interface TargetOptions extends ReassemblerOptions, ParticipantPolicyOptions {
  /** Whether large snapshots are received in files that it is given on request (`keep`). Default: false. */
  readonly keepsFiles?: boolean;
}

/** The target's half: assembles, restores, replays, claims, and only then goes live. */
export class MigrationTargetHandler extends RoleHandler<TargetPhase, TargetInputs, TargetRecord> {
  protected readonly role = 'target';
  protected readonly table: TargetTable = this.#rules();
  /** The daemons of this node. */
  readonly registry: DaemonRegistry;
  /** How daemons are made here; undefined: this node hosts none. */
  readonly factories: DaemonFactoryRegistry | undefined;
  readonly #policy: ParticipantPolicy;
  readonly #reassembly: ReassemblerOptions;
  readonly #keepsFiles: boolean;
  #reassembler: SnapshotReassembler | undefined;
  readonly #ended = new BoundedMemory<Ended>(REMEMBERED);
  /** Events that came after the end from a node that is being authorised, by the request that asks. */
  readonly #late = new Map<number, { readonly message: BufferedEvents; readonly from: bigint }>();
  /** Whoever waits for the word on whether it may place a daemon of which it has an old try, by the request that asks. */
  readonly #outsiders = new Map<number, { readonly origin: bigint; readonly from: bigint; readonly try: bigint }>();
  /** Those that were never let in: apart, so that whoever is refused changes nothing for anybody else. */
  readonly #refusals = new BoundedMemory<Ended>(REMEMBERED);
  /** Who has offered a daemon of which there is no record here, while the register is asked. */
  readonly #offerers = new Map<bigint, { readonly from: bigint; readonly try: bigint }>();
  /** Ended by a higher try, but not gone yet. */
  readonly #leaving = new Map<bigint, TargetRecord>();
  #rebinds: RebindTelling | undefined;
  #sweptAt = 0;

  /** @param factories without any, every daemon is refused with ComputeNotSupported */
  constructor(registry: DaemonRegistry, factories?: DaemonFactoryRegistry, options: TargetOptions = {}) {
    super();
    this.#keepsFiles = options.keepsFiles ?? false;
    this.registry = registry;
    this.factories = factories;
    this.#policy = participantPolicy(options, DEFAULT_PATIENCE_MS);
    const { maxSnapshotBytes, maxPendingBytes } = options;
    this.#reassembly = {
      ...(maxSnapshotBytes === undefined ? {} : { maxSnapshotBytes }),
      ...(maxPendingBytes === undefined ? {} : { maxPendingBytes }),
      digest: true,
    };
  }

  override attach(ctx: RoleContext): void {
    super.attach(ctx);
    this.#reassembler = ctx.codec.createReassembler(this.#reassembly);
    this.#rebinds = new RebindTelling(ctx, this.#policy.repeatMs);
  }

  /** Frees what is half assembled. */
  override dispose(): void {
    this.#reassembler?.dispose();
    for (const waiting of [this.#late, this.#outsiders, this.#leaving]) waiting.clear();
    this.#rebinds?.clear();
    for (const record of this.records.values()) this.#free(record);
    super.dispose();
  }

  /** What keeps this half from taking that daemon from that orchestrator now. */
  obstacles(origin: bigint, orchestrator: bigint): MigrationError[] {
    const obstacles = this.inTheWay(origin, [orchestrator], this.#policy);
    if (this.#isBoundElsewhere(origin, orchestrator)) obstacles.push(boundElsewhere(origin, orchestrator));
    return obstacles;
  }

  #isBoundElsewhere(origin: bigint, orchestrator: bigint): boolean {
    const expected = this.ctx.expectedOrchestrator(origin);
    return expected !== undefined && expected !== orchestrator;
  }

  /** What is here of the snapshot of a daemon that is received in a file; undefined where none is, or not any more. */
  arrived(origin: bigint): ArrivedChunks | undefined {
    const record = this.records.get(origin);
    if (record?.file !== 'kept') return undefined;
    return record.snapshot ? 'whole' : this.#reassembler!.received?.(origin);
  }

  /** Bytes of the largest snapshot that is taken here, where nothing else is pending. */
  get snapshotLimit(): number {
    const { maxSnapshotBytes = MAX_SNAPSHOT_BYTES, maxPendingBytes = maxSnapshotBytes } = this.#reassembly;
    // One of a single chunk is never pending.
    return Math.min(maxSnapshotBytes, Math.max(maxPendingBytes, MAX_SNAPSHOT_CHUNK_SIZE));
  }

  snapshotReady(message: SnapshotReady, from: bigint, trailer: Trailer | undefined): void {
    const origin = message.daemonOrigin;
    const standing = this.records.get(origin);
    if (standing) {
      if (from !== standing.orchestrator) this.#refuseRival(standing, message, from, trailer);
      requirePeer(origin, 'SnapshotReady', from, standing.orchestrator);
    }
    if (!standing && this.#isOver(origin, from, trailer)) return;
    const record = standing && !this.#supersedes(standing, trailer) ? standing : this.#open(message, from, trailer);
    if (!record) return;
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

  /**
   * The SnapshotReady rows `from .. to` of a decoded batch, as one run: all of them of the daemon and with the trailer of a
   * chunk that has just been taken from the same node.
   *
   * @returns the row at which it stopped, which is not taken
   */
  takeRun(origin: bigint, batch: Uint8Array, columns: FrameColumns, from: number, to: number): number {
    const record = this.records.get(origin);
    if (!record || (record.phase !== 'authorising' && record.phase !== 'assembling') || record.snapshot) return from;
    // What is held for it is counted one by one.
    if (record.file === 'wanted') return from;
    // A row that is refused is where it stopped: taken by itself, it is refused again, and answered.
    const { next, snapshot } = this.#reassembler!.feedBatch(batch, columns, from, to, this.ctx.now);
    record.chunkAt = this.ctx.now;
    if (snapshot) this.#assembled(record, snapshot);
    return next;
  }

  bufferedEvents(message: BufferedEvents, from: bigint, trailer: Trailer | undefined): void {
    const origin = message.daemonOrigin;
    const ended = this.#ended.get(origin);
    if (!this.records.has(origin) && ended?.live) {
      this.#afterTheEnd(message, from, trailer, ended);
      return;
    }
    // Refused below, but it may be word of an offer: then the register may have the daemon as this node's.
    if (!this.records.has(origin) && trailer?.try !== undefined && trailer.logCount !== undefined)
      this.#askWhetherMissing(origin, from, trailer.try);
    const record = this.#require(origin, 'BufferedEvents');
    if (from !== record.source && from !== record.orchestrator && record.try !== undefined)
      requirePeer(origin, 'BufferedEvents', from, record.orchestrator);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'BufferedEvents', { message, trailer, from });
  }

  eventFragment(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    // Late: what reminds of the offer, behind it, is answered.
    if (!this.records.has(origin) && this.#ended.get(origin)?.live) return;
    const record = this.#require(origin, 'EventFragment');
    requirePeer(origin, 'EventFragment', from, record.source ?? record.orchestrator);
    // None belongs to a migration without trailers.
    if (trailer?.try === undefined || trailer.try !== record.try) return;
    this.apply(record, 'EventFragment', decodeFragment(this.ctx.codec, origin, trailer));
  }

  activateTarget(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const ended = this.#ended.get(origin);
    if (!this.records.has(origin) && ended?.live) {
      requirePeer(origin, 'ActivateTarget', from, ended.orchestrator);
      if (trailer?.try === ended.try) this.#acknowledge(origin, ended);
      return;
    }
    const record = this.#require(origin, 'ActivateTarget');
    requirePeer(origin, 'ActivateTarget', from, record.orchestrator);
    if (trailer?.try !== record.try) return;
    this.apply(record, 'ActivateTarget', undefined);
  }

  /** @returns whether the sender takes part in a migration to here, so that the frame meant this half */
  migrationFailed(origin: bigint, from: bigint, reason: MigrationFailureReason, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (!record) return this.#failedAfterTheEnd(origin, from, trailer);
    if (from !== record.orchestrator && from !== record.source) return false;
    if (record.try !== undefined && trailer?.try !== record.try) return true;
    this.apply(record, 'MigrationFailed', { error: errorOf(origin, reason, trailer?.failureKind) });
    return true;
  }

  /** It says nothing new; but an orchestrator that gives up a migration which is done hears that it is. */
  #failedAfterTheEnd(origin: bigint, from: bigint, trailer: Trailer | undefined): boolean {
    const ended = this.#ended.get(origin);
    const isLed = ended?.orchestrator === from;
    if (isLed && ended.live && ended.try !== undefined && trailer?.try === ended.try) this.#acknowledge(origin, ended);
    return isLed || this.#refusals.get(origin)?.orchestrator === from;
  }

  answer(answer: MigrationAnswer): void {
    if (answer.kind === 'missing') {
      this.#answerMissing(answer);
      return;
    }
    if (this.#late.has(answer.id)) {
      this.#answerLate(answer);
      return;
    }
    if (this.#outsiders.has(answer.id)) {
      this.#answerOutsider(answer);
      return;
    }
    const leaving = this.#leaving.get(answer.origin);
    if (leaving && answer.id === leaving.awaiting) this.guarded(() => this.#answerLeaving(leaving, answer));
    const record = this.records.get(answer.origin);
    if (!record || (answer.id !== record.awaiting && answer.id !== record.replaying)) {
      if (answer.kind === 'keep') answer.value?.file?.dispose();
      return;
    }
    if (answer.id === record.awaiting) record.awaiting = undefined;
    else record.replaying = undefined;
    if (answer.error) this.apply(record, 'refused', answer.error);
    else this.apply(record, answer.kind as keyof TargetInputs & string, answer.value as never);
  }

  /** What is not claimed is refused, and both sides hear it: neither is to wait for the other's word. */
  protected endUnlessDecided(record: TargetRecord): void {
    const { origin, source, orchestrator, phase } = record;
    if (phase === 'claiming' || phase === 'activating' || phase === 'discarding') return;
    const error = endedByShutdown(origin, this.ctx.localNode);
    if (source !== undefined && source !== orchestrator)
      this.tellFailure(source, origin, told(error), this.#trailer(record));
    if (phase === 'restoring') this.#leave(record, error);
    else this.#fail(record, error);
  }

  /** Nobody waits for its restore to end: the copy goes when it does. */
  #leave(record: TargetRecord, error: MigrationError): void {
    const { origin } = record;
    this.tellFailure(record.orchestrator, origin, told(error), this.#trailer(record));
    record.failure = error;
    this.#remember(record, undefined);
    this.#leaving.set(origin, record);
    this.remove(record);
    this.ctx.report({ kind: 'failed', role: 'target', origin, error, begun: true });
  }

  /** A node that takes part is gone for certain: as if it had said that the migration failed. */
  peerGone(node: bigint): void {
    this.#rebinds!.peerGone(node);
    this.forEachRecord((record) => {
      // With its source gone, a copy that holds what was offered is the daemon: the register tells.
      if (record.source === node && record.phase === 'holding') {
        record.isActivationWanted = true;
        record.offered ??= {};
        this.#claimWhenWhole(record);
      } else if (record.orchestrator === node || record.source === node)
        this.apply(record, 'MigrationFailed', { error: nodeGone(record.origin, node) });
    });
  }

  /** Tells the orchestrator what has become of the daemon's subscriptions here: one without extensions is told nothing. */
  tellRebind(origin: bigint, rebind: Uint8Array): void {
    const known = this.records.get(origin) ?? this.#ended.get(origin);
    if (known?.try === undefined) return;
    this.#rebinds!.tell(origin, { orchestrator: known.orchestrator, try: known.try }, rebind);
  }

  /** The orchestrator has heard a report. */
  rebindAck(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    this.#rebinds!.heard(origin, from, trailer);
  }

  override tick(): void {
    if (this.ctx.now - this.#sweptAt >= SWEEP_MS) {
      this.#sweptAt = this.ctx.now;
      this.#reassembler!.sweep(this.ctx.now);
    }
    this.#rebinds!.tick();
    super.tick();
  }

  protected due(record: TargetRecord): number {
    this.apply(record, 'due', undefined);
    if (this.ctx.now - record.progressAt >= this.#policy.patienceMs) this.#outOfPatience(record);
    return this.#policy.repeatMs;
  }

  protected peers({ orchestrator }: TargetRecord): readonly bigint[] {
    return [orchestrator];
  }

  protected status(record: TargetRecord): MigrationStatus {
    const { origin, source, orchestrator, phase, bytesTotal, asked, log } = record;
    const { now, localNode } = this.ctx;
    const pending = this.#reassembler!.progress(origin);
    const isHere = phase !== 'authorising' && phase !== 'assembling';
    return {
      origin,
      role: 'target',
      source,
      target: localNode,
      orchestrator,
      phase,
      ageMs: now - record.startedAt,
      phaseAgeMs: now - record.phaseSince,
      bytesDone: isHere ? bytesTotal : (pending?.receivedBytes ?? 0),
      bytesTotal,
      eventsWaiting: log?.count ?? 0,
      tries: asked,
    };
  }

  protected override enter(record: TargetRecord, phase: TargetPhase, awaiting?: number): void {
    super.enter(record, phase, awaiting);
    record.asked = 0;
    record.askedAt = this.ctx.now;
  }

  #rules(): TargetTable {
    const pass = () => {};
    const fail = (r: TargetRecord, error: MigrationError) => this.#fail(r, error);
    const dropped = (r: TargetRecord, i: TargetInputs['MigrationFailed']) => this.#drop(r, i.error);
    const decided = {
      SnapshotReady: pass,
      BufferedEvents: pass,
      EventFragment: pass,
      ActivateTarget: pass,
      MigrationFailed: pass,
    };
    return {
      authorising: {
        SnapshotReady: (r, i) => this.#feed(r, i),
        admit: (r) => this.#admitted(r),
        MigrationFailed: dropped,
        refused: fail,
        due: pass,
      },
      assembling: {
        SnapshotReady: (r, i) => this.#feed(r, i),
        keep: (r, i) => this.#kept(r, i.file),
        MigrationFailed: dropped,
        refused: fail,
        due: (r) => this.#askForChunks(r),
      },
      restoring: {
        SnapshotReady: pass,
        restore: (r, restored) => this.#restored(r, restored),
        MigrationFailed: (r, i) => {
          r.failure = i.error;
        },
        refused: fail,
        due: pass,
      },
      holding: {
        SnapshotReady: (r, i) => this.#again(r, i),
        BufferedEvents: (r, i) => this.#receive(r, i),
        EventFragment: (r, fragment) => this.#takeFragment(r, fragment),
        authorize: (r) => this.#eventsAllowed(r),
        replay: (r) => this.#replayed(r),
        ActivateTarget: (r) => this.#activationWanted(r),
        MigrationFailed: dropped,
        refused: (r, error) => this.#refused(r, error),
        due: (r) => this.#askForEvents(r),
      },
      // The register alone decides now; a failure that a peer tells changes nothing.
      claiming: {
        ...decided,
        claim: (r, won) => this.#claimed(r, won),
        // Out of reach: the claim may have landed, so the copy stays, and it is asked again when it is due.
        refused: (r, error) => (error.kind === 'register-unavailable' ? this.ctx.fault(error) : fail(r, error)),
        due: (r) => {
          if (r.awaiting === undefined) this.#claim(r);
        },
      },
      activating: {
        ...decided,
        activate: (r) => this.#live(r),
        // The claim is won, so the copy is the daemon, whatever went wrong in telling it.
        refused: (r, error) => {
          this.ctx.fault(error);
          this.#live(r);
        },
        due: pass,
      },
      discarding: {
        ...decided,
        replay: pass,
        authorize: pass,
        discard: (r) => this.#discarded(r),
        refused: (r) => this.#discarded(r),
        due: pass,
      },
    };
  }

  #require(origin: bigint, what: string): TargetRecord {
    const record = this.records.get(origin);
    if (record) return record;
    throw noMigration(origin, what, 'to this node');
  }

  /** Nothing has come for too long. A claim, and what follows it, is the register's alone. */
  #outOfPatience(record: TargetRecord): void {
    const { phase, origin } = record;
    if (phase !== 'assembling' && phase !== 'holding') return;
    const message = `nothing came for daemon ${origin} for ${this.#policy.patienceMs} ms in phase ${phase} at the target`;
    this.#fail(record, new MigrationError('timed-out', message, { details: { origin, phase } }));
  }

  /** Chunks of a migration that is over change nothing; where they are whole again, the answer is the same. */
  #isOver(origin: bigint, from: bigint, trailer: Trailer | undefined): boolean {
    const refusal = this.#refusals.get(origin);
    const ended = refusal?.orchestrator === from && isOf(refusal, trailer) ? refusal : this.#ended.get(origin);
    if (ended?.try === undefined || trailer?.try === undefined || trailer.try > ended.try) return false;
    if (ended.orchestrator !== from) {
      this.#askWhetherItMayKnow(origin, from, trailer);
      return true;
    }
    // Also where a source has lost count of its tries: whoever leads that one must not wait for it.
    if (trailer.try < ended.try)
      this.#refuseAtOnce(origin, from, trailer, told(outdated(origin, trailer.try, ended.try)));
    else if (ended.failure) this.#refuseAtOnce(origin, from, trailer, ended.failure);
    else if (ended.live) this.#confirm(origin, ended);
    return true;
  }

  /** An old try, of one who did not lead the last: it hears so where it may place the daemon, else what any stranger hears. */
  #askWhetherItMayKnow(origin: bigint, from: bigint, { try: attempt, source, daemonKind }: Trailer): void {
    for (const outsider of this.#outsiders.values()) if (outsider.origin === origin && outsider.from === from) return;
    if (this.#outsiders.size === MAX_OUTSIDERS) throw tooManyOutsiders(origin, from);
    const target = this.ctx.localNode;
    const ask = { role: 'target', origin, orchestrator: from, source, target, daemonKind } as const;
    this.#outsiders.set(this.ctx.request('target', 'admit', ask), { origin, from, try: attempt! });
  }

  #answerOutsider({ id, origin, error }: MigrationAnswer): void {
    const { from, try: attempt } = this.#outsiders.get(id)!;
    this.#outsiders.delete(id);
    const newest = this.#ended.get(origin)?.try ?? attempt;
    this.#refuseAtOnce(origin, from, { try: attempt }, told(error ?? outdated(origin, attempt, newest)));
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
    this.remove(record);
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

  /** @returns the new record; undefined where it is refused, which is answered */
  #open(message: SnapshotReady, from: bigint, trailer: Trailer | undefined): TargetRecord | undefined {
    const origin = message.daemonOrigin;
    try {
      if (trailer === undefined && this.ctx.speaks(from) === true)
        throw extensionsRequired('SnapshotReady', origin, from);
      requireSuccessors(origin, trailer);
      this.requireRoom(origin, [from], this.#policy);
      // Told as `authorize` refuses anybody: whom it would not allow does not learn of the binding.
      if (this.#isBoundElsewhere(origin, from)) throw boundElsewhere(origin, from);
    } catch (error) {
      this.#refuseAtOnce(origin, from, trailer, told(error));
      return undefined;
    }
    const record = newTargetRecord(message, from, trailer, this.ctx.now);
    if (this.#keepsFiles && canBeKept(record)) record.file = 'wanted';
    this.add(record, this.#policy.repeatMs);
    // Chunks of an earlier try must not be joined with those of this one.
    this.#reassembler!.forget(origin);
    const { source, daemonKind } = record;
    const target = this.ctx.localNode;
    const ask = { role: 'target', origin, orchestrator: from, source, target, daemonKind } as const;
    record.awaiting = this.ctx.request('target', 'admit', ask);
    return record;
  }

  /** Another node leads a further try while this one is not over here: whoever leads that must not wait in vain. */
  #refuseRival(standing: TargetRecord, message: SnapshotReady, from: bigint, trailer: Trailer | undefined): void {
    const { origin, try: attempt } = standing;
    const isLast = message.chunkIndex === message.totalChunks - 1;
    if (!isLast || !standing.admitted || attempt === undefined || (trailer?.try ?? 0n) <= attempt) return;
    this.#refuseAtOnce(origin, from, trailer, told(alreadyMigrating(origin)));
  }

  #refuseAtOnce(origin: bigint, to: bigint, trailer: Trailer | undefined, failure: ToldFailure): void {
    this.tellFailure(to, origin, failure, trailer?.try === undefined ? undefined : { try: trailer.try });
  }

  #feed(record: TargetRecord, { message, trailer }: TargetInputs['SnapshotReady']): void {
    if (trailer?.snapshotDigest) record.snapshotDigest = trailer.snapshotDigest;
    if (trailer?.snapshotSignature) record.snapshotSignature = trailer.snapshotSignature;
    if (record.snapshot || (record.file === 'wanted' && record.heldBytes >= HELD_BYTES)) return;
    try {
      this.#requireSize(record.origin, trailer);
      const snapshot = this.#reassembler!.feed(
        record.origin,
        message.seqThrough,
        message.chunkIndex,
        message.totalChunks,
        message.snapshotBytes,
        this.ctx.now,
      );
      record.chunkAt = this.ctx.now;
      record.heldBytes += message.snapshotBytes.length;
      if (snapshot) this.#assembled(record, snapshot);
      else this.#askForFile(record);
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      this.#fail(record, error);
    }
  }

  /** A node that may not place daemons here makes no files. */
  #askForFile(record: TargetRecord): void {
    if (record.file !== 'wanted' || record.phase !== 'assembling' || record.awaiting !== undefined) return;
    const { origin, orchestrator, seqThrough, totalChunks, bytesTotal: byteLength } = record;
    const { pendingBytes } = this.#reassembler!;
    const arrival = {
      origin,
      try: record.try!,
      orchestrator,
      source: record.source!,
      seqThrough,
      totalChunks,
      byteLength,
    };
    record.awaiting = this.ctx.request('target', 'keep', { ...arrival, pendingBytes });
  }

  #kept(record: TargetRecord, file: SnapshotFile | undefined): void {
    record.progressAt = this.ctx.now;
    record.file = file ? 'kept' : 'none';
    if (!file) return;
    record.isResumed = file.receivedChunks > 0;
    try {
      const snapshot = this.#reassembler!.keep!(record.origin, file);
      if (snapshot) this.#assembled(record, snapshot);
      else if (record.isResumed) this.#nameMissing(record);
    } catch (error) {
      this.#fail(record, asMigrationError(error));
    }
  }

  /** What was taken up from before a restart is not what came then. Once: what comes now is no longer the disk's. */
  #startOver(record: TargetRecord): void {
    const { origin } = record;
    record.snapshot!.dispose();
    record.snapshot = undefined;
    record.isResumed = false;
    record.file = 'wanted';
    record.heldBytes = 0;
    this.#reassembler!.forget(origin);
    const message = `what had been received of the snapshot of daemon ${origin} before this node was started again is damaged: its digest differs; all of it is asked for again`;
    this.ctx.fault(new MigrationError('spool-damaged', message, { details: { origin } }));
    this.#nameMissing(record);
  }

  /** Any chunk says how much there is: the first is refused, not the one that passes the limit. */
  #requireSize(origin: bigint, trailer: Trailer | undefined): void {
    const [length, max] = [trailer?.snapshotLength ?? 0n, this.snapshotLimit];
    if (length <= max) return;
    throw new MigrationError(
      'snapshot-too-large',
      `the snapshot of daemon ${origin} has ${length} bytes, and this node takes at most ${max}; raise maxSnapshotBytes and maxPendingBytes, or name another target`,
      { details: { origin, buffered: 0, incoming: length, max } },
    );
  }

  #assembled(record: TargetRecord, snapshot: AssembledSnapshot): void {
    record.snapshot = snapshot;
    record.bytesTotal = snapshot.bytes.length;
    if (record.phase === 'assembling') this.#restore(record);
  }

  #admitted(record: TargetRecord): void {
    record.admitted = true;
    this.enter(record, 'assembling');
    if (record.snapshot) this.#restore(record);
    else this.#askForFile(record);
  }

  /** Nothing new has come since the last look: the source is told what is missing. */
  #askForChunks(record: TargetRecord): void {
    const seen = this.#reassembler!.progress(record.origin)?.receivedChunks ?? 0;
    const isStill = seen === record.chunksSeen;
    record.chunksSeen = seen;
    // By what is here, and not by each chunk: one that comes again and again is no progress.
    if (!isStill) record.progressAt = Math.max(record.progressAt, record.chunkAt);
    // While a file is being taken up, nobody knows what is missing.
    if (isStill && !record.snapshot && record.awaiting === undefined) this.#nameMissing(record);
  }

  #nameMissing(record: TargetRecord): void {
    const { origin, source, totalChunks } = record;
    if (source === undefined) return;
    record.asked++;
    const isPending = this.#reassembler!.progress(origin) !== undefined;
    const runs = isPending ? this.#reassembler!.missing(origin, MISSING_RUNS) : Uint32Array.of(0, totalChunks);
    const missingChunks = encodeMissingChunks(runs);
    this.ctx.send(source, { kind: 'ChunkStatus', daemonOrigin: origin }, { ...this.#trailer(record), missingChunks });
  }

  #restore(record: TargetRecord): void {
    if (this.#leaving.has(record.origin)) return;
    const snapshot = record.snapshot!;
    const { origin, daemonKind, source, keyless, try: attempt } = record;
    if (record.snapshotDigest && !sameBytes(record.snapshotDigest, snapshot.digest)) {
      if (record.isResumed) {
        this.#startOver(record);
        return;
      }
      const message = `the snapshot of daemon ${origin} is not the one that its source sent: its digest differs`;
      this.#fail(record, new MigrationError('state-failed', message, { details: { origin } }));
      return;
    }
    const snapshotDigest = snapshot.digest!.slice();
    record.snapshotDigest = snapshotDigest;
    const attestation =
      attempt === undefined
        ? undefined
        : {
            origin,
            try: attempt,
            source: source ?? 0n,
            target: this.ctx.localNode,
            snapshotDigest,
            signature: record.snapshotSignature,
          };
    const ask = { origin, snapshot, daemonKind, source, keyless, attestation };
    this.enter(record, 'restoring', this.ctx.request('target', 'restore', ask));
  }

  #restored(record: TargetRecord, restored: Answered<'restore'>): void {
    record.snapshot?.dispose();
    record.snapshot = undefined;
    record.restoredSeq = restored.restoredSeq;
    if (record.try === undefined) record.numbered = new NumberedEvents(restored.restoredSeq);
    this.enter(record, 'holding');
    if (record.failure) {
      this.#drop(record, record.failure);
      return;
    }
    this.ctx.report({ kind: 'restored', origin: record.origin });
    this.#tellRestored(record);
  }

  /** The whole snapshot again, or its last chunk: the source or the orchestrator has not heard of the restore. */
  #again(record: TargetRecord, { message }: TargetInputs['SnapshotReady']): void {
    if (message.chunkIndex === message.totalChunks - 1) this.#tellRestored(record);
  }

  #tellRestored(record: TargetRecord): void {
    const { origin, restoredSeq } = record;
    record.askedAt = this.ctx.now;
    this.ctx.send(
      record.orchestrator,
      { kind: 'RestoreComplete', daemonOrigin: origin, restoredSeq },
      this.#trailer(record),
    );
    this.#acknowledgeEvents(record);
  }

  /** The orchestrator has not said that it heard of the restore. */
  #askForEvents(record: TargetRecord): void {
    if (record.restoreHeard || this.ctx.now - record.askedAt < this.#policy.repeatMs) return;
    record.asked++;
    this.#tellRestored(record);
  }

  #receive(record: TargetRecord, input: TargetInputs['BufferedEvents']): void {
    const { message, trailer, from } = input;
    if (record.try === undefined && from !== record.orchestrator && !record.eventSenders.has(from)) {
      this.#askWhetherEventsAllowed(record, message, from);
      return;
    }
    const isFromSource = from === record.source;
    if (isFromSource) this.#livesOn(record);
    // Logged events from a node that is both are the source's: its orchestrator may not have heard of the restore yet.
    if (from === record.orchestrator && trailer?.logFrom === undefined) {
      if (!record.restoreHeard) this.#livesOn(record);
      record.restoreHeard = true;
      record.reportReplayed = record.try === undefined || message.events.length === 0;
    }
    const isNew = record.numbered
      ? this.#takeNumbered(record, record.numbered, message)
      : this.#takeLogged(record, message, trailer);
    if (isNew && record.source === undefined) this.#livesOn(record);
    record.hasOthersEvents ||= isNew && record.source !== undefined && !isFromSource;
    // Nothing new: the acknowledgement was lost, or the source asks for it.
    if (!isNew && isFromSource) this.#acknowledgeEvents(record);
    if (isFromSource && trailer?.logCount !== undefined) this.#offerHeard(record, trailer);
    this.#replayNext(record);
    this.#tellReplayedWhenWanted(record);
    this.#claimWhenWhole(record);
  }

  /**
   * Patience begins anew. Where the source is known, by its own frames, reminders too, by the first of each that its orchestrator
   * sends, and by what is done here: an orchestrator that repeats itself, or makes events up, keeps no copy and no key here.
   */
  #livesOn(record: TargetRecord): void {
    record.progressAt = this.ctx.now;
  }

  #offerHeard(record: TargetRecord, offered: Trailer): void {
    const isFirst = record.offered === undefined;
    record.offered = offered;
    // While ActivateTarget is on its way.
    if (isFirst && !record.isActivationWanted) this.ctx.request('target', 'readAhead', { origin: record.origin });
  }

  /** By the source's log: a gap is left for the source to send again; what came before is passed over. */
  #takeLogged(record: TargetRecord, message: BufferedEvents, trailer: Trailer | undefined): boolean {
    const next = record.log?.nextNumber ?? 1n;
    const firstNumber = trailer?.logFrom ?? next;
    const fresh = firstNumber > next ? [] : message.events.slice(Number(next - firstNumber));
    for (const event of fresh) this.#logOf(record).append(event);
    return fresh.length > 0;
  }

  /** A part of the event that comes next; another is passed over, as events are. */
  #takeFragment(record: TargetRecord, fragment: EventFragment): void {
    record.fragments ??= new FragmentReceiver();
    const { fragments } = record;
    const log = this.#logOf(record);
    const before = fragments.offset(fragment.number);
    const event = fragments.take(record.origin, fragment, log);
    // Where the source is known, only it sends any.
    if (record.source !== undefined || event || fragments.offset(fragment.number) > before) this.#livesOn(record);
    if (event) {
      log.append(event);
      this.#replayNext(record);
    } else if (fragments.isTellingDue) this.#acknowledgeEvents(record);
  }

  /** Without extensions: in the order of their sequences, from `seq_through + 1` (PROTOCOL.md §7). */
  #takeNumbered(record: TargetRecord, numbered: NumberedEvents, message: BufferedEvents): boolean {
    numbered.add(message.events);
    const ready = numbered.takeNext();
    for (const event of ready) this.#logOf(record).append(event);
    return ready.length > 0;
  }

  #logOf(record: TargetRecord): EventLog {
    record.log ??= this.ctx.codec.createEventLog();
    return record.log;
  }

  /** The base frames do not tell the source: whether a node may be it, `authorize` says. */
  #askWhetherEventsAllowed(record: TargetRecord, message: BufferedEvents, from: bigint): void {
    if (message.events.length === 0) return;
    if (countFrom(record.eventsWaiting, from) === MAX_WAITING_FRAMES)
      throw tooManyWaiting(record.origin, from, MAX_WAITING_FRAMES);
    record.eventsWaiting.push({ message: kept(message), from });
    if (record.awaiting === undefined) this.#authorizeEvents(record);
  }

  #authorizeEvents(record: TargetRecord): void {
    const { origin, orchestrator, eventsWaiting } = record;
    if (eventsWaiting.length > 0) record.awaiting = this.#askForSender(origin, orchestrator, eventsWaiting[0]!.from);
  }

  #eventsAllowed(record: TargetRecord): void {
    const { from } = record.eventsWaiting[0]!;
    record.eventSenders.add(from);
    const allowed = record.eventsWaiting.filter((waiting) => waiting.from === from);
    record.eventsWaiting = record.eventsWaiting.filter((waiting) => waiting.from !== from);
    for (const { message } of allowed) this.#receive(record, { message, trailer: undefined, from });
    this.#authorizeEvents(record);
    this.#claimWhenWhole(record);
  }

  #refused(record: TargetRecord, error: MigrationError): void {
    const from = record.eventsWaiting[0]?.from;
    // A replay that was refused ends the migration; a sender that was, does not.
    if (from === undefined || record.awaiting !== undefined) {
      this.#fail(record, error);
      return;
    }
    record.eventsWaiting = record.eventsWaiting.filter((waiting) => waiting.from !== from);
    this.ctx.fault(error);
    this.#authorizeEvents(record);
    this.#claimWhenWhole(record);
  }

  /** Applies what has come, one request at a time. */
  #replayNext(record: TargetRecord): void {
    const { log } = record;
    if (record.replaying !== undefined || !log || log.count === 0) return;
    const events = firstEvents(log, REPLAY_SLICE);
    const { firstNumber } = log;
    log.truncate(firstNumber + BigInt(events.length) - 1n);
    record.replaying = this.ctx.request('target', 'replay', { origin: record.origin, events });
  }

  #replayed(record: TargetRecord): void {
    if (!record.hasOthersEvents) this.#livesOn(record);
    record.appliedThrough = record.log!.firstNumber - 1n;
    this.#acknowledgeEvents(record);
    this.#replayNext(record);
    this.#tellReplayedWhenWanted(record);
    this.#claimWhenWhole(record);
  }

  #tellReplayedWhenWanted(record: TargetRecord): void {
    // Between peers with extensions it only says that the copy is there; acknowledgements go to the source.
    const isApplied = record.replaying === undefined && (record.log?.count ?? 0) === 0;
    if (!record.reportReplayed || (record.try === undefined && !isApplied)) return;
    record.reportReplayed = false;
    this.#tellReplayed(record);
  }

  #activationWanted(record: TargetRecord): void {
    if (!record.isActivationWanted) this.#livesOn(record);
    record.isActivationWanted = true;
    if (record.try === undefined) record.offered = {};
    const rest = record.numbered?.takeAll() ?? [];
    if (rest.length > 0) {
      const message = `daemon ${record.origin}: ${rest.length} events came with numbers missing before them; they are applied, and what is missing is lost by a peer without extensions`;
      this.ctx.fault(new MigrationError('sequence-gap', message, { details: { origin: record.origin } }));
      for (const event of rest) this.#logOf(record).append(event);
      this.#replayNext(record);
    }
    this.#claimWhenWhole(record);
  }

  /** Claims only after the source's last event, whatever overtakes what. */
  #claimWhenWhole(record: TargetRecord): void {
    if (record.phase !== 'holding' || !record.isActivationWanted || !record.offered) return;
    if (record.eventsWaiting.length > 0) return;
    if (record.replaying !== undefined || (record.log?.count ?? 0) > 0) return;
    const { logCount } = record.offered;
    if (logCount !== undefined && record.appliedThrough < logCount) return;
    const difference = this.#difference(record, record.offered);
    if (difference === undefined) this.#claim(record);
    else this.#fail(record, new MigrationError('state-failed', difference, { details: { origin: record.origin } }));
  }

  /** How this copy differs from the one that its source offered; the register would not take its claim. */
  #difference(
    record: TargetRecord,
    { logDigest, headLink }: Pick<Trailer, 'logDigest' | 'headLink'>,
  ): string | undefined {
    const { origin, mode } = record;
    if (logDigest && !sameBytes(logDigest, this.#logOf(record).digest()))
      return `the events of daemon ${origin} are not those in its source's log: their digest differs`;
    if (mode === 'live' && headLink && !sameBytes(headLink, this.ctx.chainEnd(record.origin)))
      return `the replay of daemon ${origin} put out something else than its source did: it is not deterministic; move it in pause mode`;
    return undefined;
  }

  #claim(record: TargetRecord): void {
    const offer = {
      try: record.try ?? 0n,
      target: this.ctx.localNode,
      snapshotDigest: record.snapshotDigest!,
      logCount: record.appliedThrough,
      logDigest: this.#logOf(record).digest(),
      head: record.mode === 'live' ? this.ctx.chainEnd(record.origin) : undefined,
    };
    this.enter(
      record,
      'claiming',
      this.ctx.request('target', 'claim', { origin: record.origin, offer, epoch: record.sourceEpoch }),
    );
  }

  #claimed(record: TargetRecord, won: Answered<'claim'>): void {
    record.epoch = won.epoch;
    const { origin, epoch, mode } = record;
    this.enter(record, 'activating', this.ctx.request('target', 'activate', { origin, epoch, mode }));
  }

  #live(record: TargetRecord): void {
    const { origin, epoch, numbered, eventSenders } = record;
    const replayedSeq = record.restoredSeq + record.appliedThrough;
    const ended = this.#end(record, { epoch, replayedSeq, numbered, eventSenders });
    this.#acknowledge(origin, ended);
    this.ctx.report({ kind: 'completed', role: 'target', origin });
  }

  #end(record: TargetRecord, live: Ended['live']): Ended {
    const ended = this.#remember(record, live);
    this.#forget(record);
    return ended;
  }

  #remember(record: TargetRecord, live: Ended['live']): Ended {
    const { origin, orchestrator, source, failure } = record;
    const ended = {
      orchestrator,
      source,
      try: record.try,
      live,
      failure: live ? undefined : told(failure),
    };
    const past = record.admitted ? this.#ended : this.#refusals;
    past.set(origin, ended);
    return ended;
  }

  #acknowledge(origin: bigint, ended: Ended): void {
    const { replayedSeq, epoch } = ended.live!;
    const trailer = ended.try === undefined ? undefined : { try: ended.try, epoch };
    this.ctx.send(ended.orchestrator, { kind: 'ActivateAck', daemonOrigin: origin, replayedSeq }, trailer);
    this.#confirm(origin, ended);
  }

  #confirm(origin: bigint, { source, live, try: attempt }: Ended): void {
    if (source === undefined || attempt === undefined) return;
    const trailer = { try: attempt, epoch: live!.epoch };
    this.ctx.send(source, { kind: 'ActivationConfirmed', daemonOrigin: origin }, trailer);
  }

  #askWhetherMissing(origin: bigint, from: bigint, attempt: bigint): void {
    if (this.#offerers.has(origin) || this.#offerers.size === MAX_OFFERERS) return;
    this.#offerers.set(origin, { from, try: attempt });
    this.ctx.request('target', 'missing', { origin, try: attempt });
  }

  /** Unless a migration to here has begun meanwhile. */
  #answerMissing({ origin, value, error }: MigrationAnswer & { readonly kind: 'missing' }): void {
    const { from, try: attempt } = this.#offerers.get(origin)!;
    this.#offerers.delete(origin);
    if (error) this.ctx.fault(error);
    if (!value || this.records.has(origin)) return;
    this.ctx.send(from, { kind: 'CopyMissing', daemonOrigin: origin }, { try: attempt, epoch: value.epoch });
  }

  /** Events for a daemon that is live here already. */
  #afterTheEnd(message: BufferedEvents, from: bigint, trailer: Trailer | undefined, ended: Ended): void {
    const origin = message.daemonOrigin;
    if (trailer?.try !== undefined) {
      // All of them are here: the source has not heard that the daemon is.
      if (from === ended.source && trailer.try === ended.try) this.#confirm(origin, ended);
      return;
    }
    // From a peer without extensions the last ones may come after ActivateTarget: taken rather than lost.
    const { numbered, eventSenders } = ended.live!;
    if (!numbered) requirePeer(origin, 'BufferedEvents', from, ended.orchestrator);
    else if (from === ended.orchestrator || eventSenders.has(from)) this.#takeLate(message, numbered);
    else if (message.events.length > 0) this.#askWhetherLateAllowed(message, from, ended.orchestrator);
  }

  #askWhetherLateAllowed(message: BufferedEvents, from: bigint, orchestrator: bigint): void {
    const { daemonOrigin: origin } = message;
    if (this.#late.size === MAX_LATE || countFrom(this.#late.values(), from) === MAX_WAITING_FRAMES)
      throw tooManyWaiting(origin, from, MAX_WAITING_FRAMES);
    this.#late.set(this.#askForSender(origin, orchestrator, from), { message: kept(message), from });
  }

  /** Whether events for that daemon may come from there. @returns the request's id */
  #askForSender(origin: bigint, orchestrator: bigint, from: bigint): number {
    const ask = { role: 'target', origin, orchestrator, source: from, target: this.ctx.localNode } as const;
    return this.ctx.request('target', 'authorize', ask);
  }

  #answerLate({ id, origin, error }: MigrationAnswer): void {
    const { message } = this.#late.get(id)!;
    this.#late.delete(id);
    const numbered = this.#ended.get(origin)?.live?.numbered;
    if (error) this.ctx.fault(error);
    else if (numbered && !this.records.has(origin)) this.#takeLate(message, numbered);
  }

  #takeLate({ daemonOrigin: origin, events }: BufferedEvents, numbered: NumberedEvents): void {
    numbered.add(events);
    const next = numbered.takeNext();
    if (next.length > 0) this.ctx.request('target', 'replay', { origin, events: next });
  }

  #acknowledgeEvents(record: TargetRecord): void {
    if (record.source === undefined) return;
    const { origin, source, fragments, appliedThrough: ackThrough } = record;
    const trailer = { ...this.#trailer(record), ackThrough };
    const next = record.log?.nextNumber ?? 1n;
    const place = fragments && { logFrom: next, fragmentOffset: BigInt(fragments.offset(next)) };
    fragments?.told();
    this.ctx.send(source, { kind: 'EventAck', daemonOrigin: origin }, { ...trailer, ...place });
  }

  #tellReplayed(record: TargetRecord): void {
    const targetHead = this.ctx.head(record.origin);
    const replayedSeq = record.restoredSeq + record.appliedThrough;
    this.ctx.send(
      record.orchestrator,
      { kind: 'ReplayComplete', daemonOrigin: record.origin, replayedSeq, targetHead },
      this.#trailer(record),
    );
  }

  #trailer(record: TargetRecord): Trailer | undefined {
    return record.try === undefined ? undefined : { try: record.try };
  }

  #fail(record: TargetRecord, error: MigrationError): void {
    this.tellFailure(record.orchestrator, record.origin, told(error), this.#trailer(record));
    this.#drop(record, error);
  }

  #drop(record: TargetRecord, error: MigrationError): void {
    this.#reassembler!.forget(record.origin);
    this.#discard(record, error);
  }

  #discard(record: TargetRecord, error: MigrationError): void {
    record.failure = error;
    record.replaying = undefined;
    this.enter(record, 'discarding', this.ctx.request('target', 'discard', { origin: record.origin }));
  }

  #discarded(record: TargetRecord): void {
    const { origin } = record;
    const error = record.failure!;
    this.ctx.report({ kind: 'failed', role: 'target', origin, error, begun: record.admitted });
    // A stranger leaves nothing behind, not even in memory.
    if (record.admitted || error.kind !== 'not-authorised') this.#end(record, undefined);
    else this.#forget(record);
  }

  #forget(record: TargetRecord): void {
    this.#free(record);
    this.remove(record);
  }

  #free(record: TargetRecord): void {
    record.snapshot?.dispose();
    record.log?.dispose();
    record.log = undefined;
    record.fragments = undefined;
  }
}

/** A message for later: its payloads are views of the frame, which is the sender's again after this call. */
function kept(message: BufferedEvents): BufferedEvents {
  return { ...message, events: message.events.map((event) => ({ ...event, payload: event.payload.slice() })) };
}

function tooManyWaiting(origin: bigint, from: bigint, limit: number): MigrationError {
  const text = `BufferedEvents for daemon ${origin} from node ${from}: ${limit} frames wait for authorize already`;
  return new MigrationError('buffer-full', text, { details: { origin, from } });
}

function tooManyOutsiders(origin: bigint, from: bigint): MigrationError {
  const text = `SnapshotReady for daemon ${origin} from node ${from} is of an old try, and ${MAX_OUTSIDERS} of those are being looked into already`;
  return new MigrationError('too-many-migrations', text, { details: { origin, from } });
}

function countFrom(waiting: Iterable<{ readonly from: bigint }>, node: bigint): number {
  let count = 0;
  for (const { from } of waiting) if (from === node) count++;
  return count;
}

const U64_MAX = 2n ** 64n - 1n;

/** @throws MigrationError `sequence-overflow` where no try, or no epoch, could follow: the daemon could never move again */
function requireSuccessors(origin: bigint, trailer: Trailer | undefined): void {
  if (trailer?.try !== U64_MAX && trailer?.epoch !== U64_MAX) return;
  const message = `daemon ${origin} cannot be placed here: its try or its epoch is 2^64 - 1, and none could follow`;
  throw new MigrationError('sequence-overflow', message, { details: { origin } });
}

function outdated(origin: bigint, attempt: bigint, newest: bigint): MigrationError {
  const message = `try ${attempt} of daemon ${origin} is over: try ${newest} has been here; migrate again with a higher one`;
  return new MigrationError('state-failed', message, { details: { origin } });
}

/** Whether a frame is of that migration, or of an earlier one. */
function isOf(ended: Ended, trailer: Trailer | undefined): boolean {
  return ended.try !== undefined && trailer?.try !== undefined && trailer.try <= ended.try;
}

function boundElsewhere(origin: bigint, orchestrator: bigint): MigrationError {
  return new MigrationError(
    'not-authorised',
    `node ${orchestrator} may not place daemon ${origin} here: another orchestrator is bound to it by expectMigration`,
    { details: { origin, orchestrator } },
  );
}

function superseded(record: TargetRecord): MigrationError {
  return new MigrationError('cancelled', `try ${record.try} of daemon ${record.origin} was ended by a higher one`, {
    details: { origin: record.origin },
  });
}
