import { MigrationError } from '../errors.js';
import type { FrameColumns } from '../wire/columns.js';
import type { MigrationFailureReason } from '../wire/failure.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, type SnapshotReady } from '../wire/message.js';
import { sameBytes, type Trailer } from '../wire/trailer.js';
import { checkForwardedChunk } from './chunk-check.js';
import type { MigrationPhase, MigrationProgress, MigrationStatus } from './core.js';
import { errorOf, nodeGone, toItself, told } from './failure.js';
import { BoundedMemory } from './memory.js';
import { type MigrationOrchestratorPolicy, type OrchestratorPolicyOptions, orchestratorPolicy } from './policy.js';
import { noMigration, RoleHandler, type RoleRecord, requirePeer, type TransitionTable } from './role.js';

/** How many migrations that are over are remembered, so that their targets may still tell what came after. */
const REMEMBERED = 16_384;

interface OrchestratorRecord extends RoleRecord<MigrationPhase> {
  readonly source: bigint;
  readonly target: bigint;
  /** What went on TakeSnapshot; its `requestId` names the request until the source has told the try. */
  readonly request: Trailer;
  try: bigint | undefined;
  /** Whether the target has shown that it speaks extensions. */
  targetSpeaks: boolean;
  /** The source has been told to stop: from then on it may have made its offer. */
  isCutOver: boolean;
  /** The source has stopped. */
  isCleaned: boolean;
  bytesDone: number;
  bytesTotal: number;
  eventsWaiting: number;
  /** What the target has applied of the source's log, and bytes of the event that it gets in fragments. */
  ackThrough: bigint;
  eventBytes: bigint;
  /** When, and how often, this phase has asked for what it waits for. */
  askedAt: number;
  asked: number;
  /** Why the migration ends, once it does. */
  failure: MigrationError | undefined;
}

interface OrchestratorInputs {
  SnapshotReady: { readonly message: SnapshotReady; readonly frame: Uint8Array; readonly trailer: Trailer | undefined };
  RestoreComplete: undefined;
  ReplayComplete: undefined;
  CleanupComplete: { readonly trailer: Trailer | undefined };
  ActivateAck: undefined;
  SourceStatus: { readonly trailer: Trailer | undefined };
  MigrationFailed: { readonly from: bigint; readonly error: MigrationError };
}

type OrchestratorTable = TransitionTable<MigrationPhase, OrchestratorInputs, OrchestratorRecord>;

/** The orchestrator's half: leads a migration from TakeSnapshot to ActivateAck (PROTOCOL.md §7). */
export class MigrationOrchestrator extends RoleHandler<MigrationPhase, OrchestratorInputs, OrchestratorRecord> {
  protected readonly role = 'orchestrator';
  protected readonly table: OrchestratorTable = this.#rules();
  readonly policy: MigrationOrchestratorPolicy;
  readonly #completedTries = new BoundedMemory<Pick<OrchestratorRecord, 'target' | 'try'>>(REMEMBERED);
  /** The last try of a daemon that was led from here, however it ended. */
  readonly #ledTries = new BoundedMemory<bigint>(REMEMBERED);

  constructor(policy: OrchestratorPolicyOptions = {}) {
    super();
    this.policy = orchestratorPolicy(policy);
  }

  /**
   * Begins a migration.
   *
   * @param request what goes on TakeSnapshot: `requestId` (16 random bytes, from outside), and what the source is to do
   * @returns whether the source is this node, whose half must then be asked directly
   * @throws MigrationError `already-migrating`, `too-many-migrations`, or `target-unavailable` where source and target
   * are one node
   */
  start(origin: bigint, source: bigint, target: bigint, request: Trailer): { readonly sourceIsLocal: boolean } {
    this.#requireStartable(origin, source, target);
    const { now, localNode } = this.ctx;
    const record: OrchestratorRecord = {
      origin,
      orchestrator: localNode,
      source,
      target,
      request,
      startedAt: now,
      phase: 'Snapshot',
      phaseSince: now,
      progressAt: now,
      dueAt: 0,
      awaiting: undefined,
      try: undefined,
      targetSpeaks: false,
      isCutOver: false,
      isCleaned: false,
      bytesDone: 0,
      bytesTotal: 0,
      eventsWaiting: 0,
      ackThrough: 0n,
      eventBytes: 0n,
      askedAt: now,
      asked: 0,
      failure: undefined,
    };
    this.add(record, this.#interval('Snapshot'));
    const sourceIsLocal = source === localNode;
    // A source on this node sends its chunks straight to the target, so they never pass here; only by extensions it tells
    // when it has the snapshot.
    this.#goTo(record, sourceIsLocal && !this.ctx.extensions ? 'Transfer' : 'Snapshot');
    return { sourceIsLocal };
  }

  /** What keeps this node from leading a migration of that daemon now. */
  obstacles(origin: bigint, source: bigint, target: bigint): MigrationError[] {
    return this.inTheWay(origin, [source, target], this.policy);
  }

  /** Whether a chunk from that node passes through here. */
  forwards(origin: bigint, from: bigint, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (record === undefined || record.source === this.ctx.localNode) return false;
    if (this.#isOfAnother(record, trailer)) return false;
    // On a node that is orchestrator and target, what comes from itself is the target's.
    return record.source === from || record.target !== this.ctx.localNode;
  }

  snapshotReady(message: SnapshotReady, frame: Uint8Array, from: bigint, trailer: Trailer | undefined): void {
    const record = this.#require(message.daemonOrigin, 'SnapshotReady');
    requirePeer(message.daemonOrigin, 'SnapshotReady', from, record.source);
    this.apply(record, 'SnapshotReady', { message, frame, trailer });
  }

  /**
   * The SnapshotReady rows `from .. to` of a decoded batch, as one run: all of them of the daemon and with this trailer, that of
   * a chunk that has just been taken from the same node. The first and the last chunk of a snapshot are no part of one.
   *
   * @returns the row at which it stopped, which is not forwarded
   */
  takeRun(
    origin: bigint,
    batch: Uint8Array,
    columns: FrameColumns,
    from: number,
    to: number,
    trailer: Trailer | undefined,
  ): number {
    const record = this.records.get(origin);
    if (record?.phase !== 'Transfer') return from;
    if (!this.#fromSourcesTry(record, trailer)) return from;
    const { frameOffset, frameLength, index, total, payloadLength } = columns;
    const frameOf = (row: number) => batch.subarray(frameOffset[row]!, frameOffset[row]! + frameLength[row]!);
    let row = from;
    let bytes = 0;
    for (; row < to && index[row] !== 0 && index[row] !== total[row]! - 1; row++) {
      this.ctx.forward(record.target, frameOf(row));
      bytes += payloadLength[row]!;
    }
    if (row === from) return from;
    countForwarded(record, bytes, total[from]!, trailer);
    this.#moved(record);
    return row;
  }

  /** The frames that only the target may send. */
  fromTarget(
    origin: bigint,
    kind: 'RestoreComplete' | 'ReplayComplete' | 'ActivateAck',
    from: bigint,
    trailer: Trailer | undefined,
  ): void {
    const record = this.#require(origin, kind);
    requirePeer(origin, kind, from, record.target);
    if (this.#fromTargetsTry(record, trailer)) this.apply(record, kind, undefined);
  }

  /** The frames that only the source may send. */
  fromSource(
    origin: bigint,
    kind: 'CleanupComplete' | 'SourceStatus',
    from: bigint,
    trailer: Trailer | undefined,
  ): void {
    // A source that waits for its confirmation goes on telling where it stands, and nobody asks any more.
    if (kind === 'SourceStatus' && !this.records.has(origin) && this.#hasCompleted(origin, trailer)) return;
    const record = this.#require(origin, kind);
    requirePeer(origin, kind, from, record.source);
    if (this.#fromSourcesTry(record, trailer)) this.apply(record, kind, { trailer });
  }

  #hasCompleted(origin: bigint, trailer: Trailer | undefined): boolean {
    const completed = this.#completedTries.get(origin);
    return completed?.try !== undefined && trailer?.try === completed.try;
  }

  /** What has become of a daemon's subscriptions: its target goes on telling it when the migration is over. */
  rebindStatus(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const led = this.records.get(origin) ?? this.#completedTries.get(origin);
    if (!led) throw noMigration(origin, 'RebindStatus', 'was led from this node');
    requirePeer(origin, 'RebindStatus', from, led.target);
    // Of another try too: it is not to be repeated.
    const { try: attempt, reportNumber } = trailer ?? {};
    if (attempt !== undefined && reportNumber !== undefined && from !== this.ctx.localNode)
      this.ctx.send(from, { kind: 'RebindAck', daemonOrigin: origin }, { try: attempt, reportNumber });
    const rebind = trailer?.try === led.try ? trailer?.rebind : undefined;
    if (rebind) this.ctx.report({ kind: 'rebind', origin, rebind });
  }

  /** @returns whether the sender takes part in a migration led from here, so that the frame meant this half */
  migrationFailed(origin: bigint, from: bigint, reason: MigrationFailureReason, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (!record || (from !== record.source && from !== record.target)) return false;
    const meant =
      from === record.source ? this.#fromSourcesTry(record, trailer) : this.#fromTargetsTry(record, trailer);
    if (meant) this.apply(record, 'MigrationFailed', { from, error: errorOf(origin, reason, trailer?.failureKind) });
    return true;
  }

  /**
   * Ends a migration that is not over: both sides are told, and it is reported when the source goes on.
   *
   * @returns false where there is none
   */
  cancel(origin: bigint): boolean {
    const record = this.records.get(origin);
    if (!record) return false;
    if (record.phase !== 'Rollback')
      this.#rollBack(
        record,
        new MigrationError('cancelled', `the migration of daemon ${origin} was cancelled`, { details: { origin } }),
      );
    return true;
  }

  /** What its source may have offered is seen through. One on this node knows, and tells where it ends. */
  protected endUnlessDecided(record: OrchestratorRecord): void {
    const { origin, phase, isCleaned, source } = record;
    if (phase === 'Rollback') return;
    const { localNode: node } = this.ctx;
    if (phase === 'Cutover' && (isCleaned || source === node)) return;
    this.#rollBack(record, leaderEnds(origin, node));
  }

  /** Nobody leads what is left here any more: both sides are told, and settle it by the register. */
  handOver(): void {
    this.forEachRecord((record) => {
      const { localNode } = this.ctx;
      // A source that was never told to stop goes on.
      if (record.isCutOver) record.failure = handedOver(record, localNode);
      else record.failure ??= leaderEnds(record.origin, localNode);
      this.#tell(record, record.target);
      this.#tell(record, record.source);
      this.#end(record);
    });
  }

  /** A node that takes part is gone for certain. */
  peerGone(node: bigint): void {
    this.forEachRecord((record) => {
      if (record.source !== node && record.target !== node) return;
      // A source that has stopped may have made its offer: the target, which tries to claim then, has the word.
      if (record.source === node && record.phase === 'Cutover') return;
      this.#rollBack(record, nodeGone(record.origin, node));
      if (record.source === node) this.#end(record);
    });
  }

  protected due(record: OrchestratorRecord): number {
    if (record.phase === 'Complete') return Number.POSITIVE_INFINITY;
    const { now } = this.ctx;
    const { deadlineMs, tries } = this.policy.phases[record.phase];
    if (now - record.progressAt >= deadlineMs) this.#outOfPatience(record, deadlineMs);
    else if (record.asked < tries && now - record.askedAt >= this.#interval(record.phase)) this.#ask(record);
    return Math.min(this.#interval(record.phase), record.progressAt + deadlineMs - now);
  }

  protected override remove(record: OrchestratorRecord): void {
    super.remove(record);
    if (record.try !== undefined) this.#ledTries.set(record.origin, record.try);
  }

  protected peers({ source, target }: OrchestratorRecord): readonly bigint[] {
    return [source, target];
  }

  protected status(record: OrchestratorRecord): MigrationStatus {
    const { origin, source, target, orchestrator, phase, bytesDone, bytesTotal, eventsWaiting, asked } = record;
    const ages = { ageMs: this.ctx.now - record.startedAt, phaseAgeMs: this.ctx.now - record.phaseSince };
    const done = { bytesDone, bytesTotal, eventsWaiting, tries: asked };
    return { origin, role: 'orchestrator', source, target, orchestrator, phase, ...ages, ...done };
  }

  #requireStartable(origin: bigint, source: bigint, target: bigint): void {
    if (source === target) throw toItself(origin, source);
    const [obstacle] = this.obstacles(origin, source, target);
    if (obstacle) throw obstacle;
  }

  #interval(phase: MigrationPhase): number {
    if (phase === 'Complete') return Number.POSITIVE_INFINITY;
    const { deadlineMs, tries } = this.policy.phases[phase];
    return deadlineMs / tries;
  }

  #outOfPatience(record: OrchestratorRecord, deadlineMs: number): void {
    const { origin, phase } = record;
    if (phase === 'Rollback') {
      // Nobody has said that the daemon goes on at its source, and it may not.
      if (record.isCutOver && record.failure?.kind === 'cancelled')
        record.failure = handedOver(record, this.ctx.localNode);
      this.#end(record);
      return;
    }
    const message = `the migration of daemon ${origin} made no progress for ${deadlineMs} ms in phase ${phase}`;
    this.#rollBack(record, new MigrationError('timed-out', message, { details: { origin, phase } }));
  }

  #rules(): OrchestratorTable {
    const pass = () => {};
    const always = {
      MigrationFailed: (r: OrchestratorRecord, i: OrchestratorInputs['MigrationFailed']) => this.#failed(r, i),
      SourceStatus: (r: OrchestratorRecord, i: OrchestratorInputs['SourceStatus']) => this.#status(r, i),
    };
    const forward = (r: OrchestratorRecord, i: OrchestratorInputs['SnapshotReady']) => this.#forward(r, i);
    return {
      Snapshot: { ...always, SnapshotReady: forward },
      Transfer: { ...always, SnapshotReady: forward, RestoreComplete: (r) => this.#goTo(r, 'Replay') },
      Restore: { ...always, SnapshotReady: forward, RestoreComplete: (r) => this.#goTo(r, 'Replay') },
      Replay: {
        ...always,
        SnapshotReady: forward,
        RestoreComplete: (r) => this.#ask(r),
        ReplayComplete: (r) => this.#goTo(r, 'Cutover'),
      },
      Cutover: {
        ...always,
        SnapshotReady: pass,
        RestoreComplete: pass,
        ReplayComplete: pass,
        CleanupComplete: (r) => this.#cleaned(r),
        ActivateAck: (r) => this.#completed(r),
      },
      Complete: {},
      Rollback: {
        SnapshotReady: pass,
        RestoreComplete: pass,
        ReplayComplete: pass,
        CleanupComplete: pass,
        SourceStatus: pass,
        // The target was faster than the failure: what the register says holds.
        ActivateAck: (r) => this.#completed(r),
        MigrationFailed: (r, i) => {
          if (i.from === r.source) this.#end(r);
        },
      },
    };
  }

  #require(origin: bigint, what: string): OrchestratorRecord {
    const record = this.records.get(origin);
    if (record) return record;
    throw noMigration(origin, what, 'is led from this node');
  }

  /**
   * Whether a chunk is of a migration that another leads, to here: it may be under way while the source's refusal of this one is
   * on its way. One of an earlier try is over, and so is what was led from here.
   */
  #isOfAnother(record: OrchestratorRecord, trailer: Trailer | undefined): boolean {
    if (trailer?.try === undefined || sameBytes(trailer.requestId, record.request.requestId)) return false;
    return trailer.try > (record.try ?? this.#ledTries.get(record.origin) ?? 0n);
  }

  /** Only the source tells the try, beside the request that it answers: what else comes must be of that try. */
  #fromSourcesTry(record: OrchestratorRecord, trailer: Trailer | undefined): boolean {
    if (record.try !== undefined) return trailer?.try === record.try;
    if (trailer === undefined) return this.ctx.speaks(record.source) !== true;
    if (!sameBytes(trailer.requestId, record.request.requestId)) return false;
    record.try = trailer.try;
    return true;
  }

  #fromTargetsTry(record: OrchestratorRecord, trailer: Trailer | undefined): boolean {
    if (trailer?.try !== undefined) {
      if (trailer.try !== record.try) return false;
      record.targetSpeaks = true;
      return true;
    }
    // A target without extensions sends none; one that has shown them is not talked down.
    return record.try === undefined || !(record.targetSpeaks || this.ctx.speaks(record.target) === true);
  }

  #goTo(record: OrchestratorRecord, phase: MigrationPhase): void {
    this.enter(record, phase);
    record.asked = 0;
    this.#ask(record);
    if (phase !== 'Complete') this.lookIn(record, this.#interval(phase));
    this.#report(record);
  }

  /** Asks for what the phase waits for, and again when it is repeated. */
  #ask(record: OrchestratorRecord): void {
    record.askedAt = this.ctx.now;
    record.asked++;
    const { origin, source, target, phase } = record;
    switch (phase) {
      case 'Snapshot':
        if (source === this.ctx.localNode) break;
        this.ctx.send(source, { kind: 'TakeSnapshot', daemonOrigin: origin, targetNode: target }, record.request);
        break;
      case 'Replay':
        this.ctx.send(target, { kind: 'BufferedEvents', daemonOrigin: origin, events: [] }, this.#trailer(record));
        break;
      case 'Cutover':
        if (record.isCleaned)
          this.ctx.send(target, { kind: 'ActivateTarget', daemonOrigin: origin }, this.#trailer(record));
        else this.#notify(record);
        break;
      case 'Rollback':
        this.#tell(record, source);
        // A target that was faster answers again that it is live.
        if (record.isCleaned && record.asked > 1) this.#tell(record, target);
        break;
      default:
      // What is lost on its way from source to target, those two send again.
    }
  }

  #notify(record: OrchestratorRecord): void {
    record.isCutOver = true;
    const { origin, source, target } = record;
    const targetExtensions = record.targetSpeaks ? 1n : 0n;
    this.ctx.send(
      source,
      { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: target },
      { ...this.#trailer(record), targetExtensions },
    );
  }

  #forward(record: OrchestratorRecord, { message, frame, trailer }: OrchestratorInputs['SnapshotReady']): void {
    if (!this.#fromSourcesTry(record, trailer)) return;
    try {
      checkForwardedChunk(this.ctx.codec, message);
    } catch (cause) {
      // Nothing else will come of it, and both sides wait: told at once.
      this.#rollBack(record, cause as MigrationError);
      return;
    }
    this.ctx.forward(record.target, frame);
    const { chunkIndex, totalChunks, snapshotBytes } = message;
    countForwarded(record, snapshotBytes.length, totalChunks, trailer);
    if (record.phase === 'Snapshot') this.#goTo(record, 'Transfer');
    if (record.phase === 'Transfer' && chunkIndex === totalChunks - 1) this.#goTo(record, 'Restore');
    else this.#moved(record);
  }

  #cleaned(record: OrchestratorRecord): void {
    record.isCleaned = true;
    record.asked = 0;
    record.progressAt = this.ctx.now;
    this.#ask(record);
  }

  #completed(record: OrchestratorRecord): void {
    record.eventsWaiting = 0;
    record.bytesDone = record.bytesTotal;
    this.#goTo(record, 'Complete');
    this.remove(record);
    this.#completedTries.set(record.origin, { target: record.target, try: record.try });
    this.ctx.report({ kind: 'completed', role: 'orchestrator', origin: record.origin });
  }

  #status(record: OrchestratorRecord, { trailer }: OrchestratorInputs['SourceStatus']): void {
    const { bytesDone, eventsWaiting, ackThrough, eventBytes } = record;
    record.bytesTotal = Math.max(record.bytesTotal, Number(trailer?.snapshotLength ?? 0n));
    // What has left the source; chunks that pass through here are counted as they do.
    if (record.source === this.ctx.localNode) record.bytesDone = Number(trailer?.snapshotSent ?? 0n);
    record.ackThrough = trailer?.ackThrough ?? 0n;
    record.eventBytes = trailer?.fragmentOffset ?? 0n;
    record.eventsWaiting = Number((trailer?.logCount ?? 0n) - record.ackThrough);
    const isApplied = record.ackThrough !== ackThrough || record.eventBytes !== eventBytes;
    if (record.phase === 'Snapshot' && record.source === this.ctx.localNode) this.#goTo(record, 'Transfer');
    else if (record.bytesDone !== bytesDone || record.eventsWaiting !== eventsWaiting || isApplied) this.#moved(record);
  }

  #failed(record: OrchestratorRecord, { from, error }: OrchestratorInputs['MigrationFailed']): void {
    this.#rollBack(record, error, from);
    // A source that says so has gone back already.
    if (from === record.source) this.#end(record);
  }

  /** @param from who said that it failed, and need not be told */
  #rollBack(record: OrchestratorRecord, error: MigrationError, from?: bigint): void {
    record.failure = error;
    if (from !== record.target) this.#tell(record, record.target);
    if (from === record.source) {
      this.enter(record, 'Rollback');
      this.#report(record);
    } else this.#goTo(record, 'Rollback');
  }

  #tell(record: OrchestratorRecord, to: bigint): void {
    this.tellFailure(to, record.origin, told(record.failure), this.#trailer(record));
  }

  #end(record: OrchestratorRecord): void {
    this.ctx.report({
      kind: 'failed',
      role: 'orchestrator',
      origin: record.origin,
      error: record.failure!,
      begun: true,
    });
    this.remove(record);
  }

  #trailer(record: OrchestratorRecord): Trailer {
    if (record.try !== undefined) return { try: record.try };
    return record.request.requestId ? { requestId: record.request.requestId } : {};
  }

  #moved(record: OrchestratorRecord): void {
    record.progressAt = this.ctx.now;
    this.#report(record);
  }

  #report(record: OrchestratorRecord): void {
    const { origin, source, target, phase, bytesDone, bytesTotal, eventsWaiting } = record;
    const progress: MigrationProgress = { origin, source, target, phase, bytesDone, bytesTotal, eventsWaiting };
    this.ctx.report({ kind: 'progress', role: 'orchestrator', progress });
  }
}

/** The daemon goes on at its source, since nobody leads it any more. */
function leaderEnds(origin: bigint, node: bigint): MigrationError {
  const message = `the migration of daemon ${origin} was cancelled: node ${node}, which leads it, shuts down`;
  return new MigrationError('cancelled', message, { details: { origin, node } });
}

/** Where a migration stands that its orchestrator leaves to the two sides. */
function handedOver({ origin, source, target, phase, failure }: OrchestratorRecord, node: bigint): MigrationError {
  const stands = phase === 'Cutover' ? 'its source was told to stop' : 'its source has not said that it goes on';
  const message = `node ${node} leads the migration of daemon ${origin} no longer, in phase ${phase}: ${stands}; nodes ${source} and ${target} settle it, and the ownership register says who has the daemon`;
  return new MigrationError('handed-over', message, { details: { origin, source, target, phase }, cause: failure });
}

function countForwarded(
  record: OrchestratorRecord,
  bytes: number,
  totalChunks: number,
  trailer: Trailer | undefined,
): void {
  record.bytesTotal = Number(trailer?.snapshotLength ?? BigInt(totalChunks * MAX_SNAPSHOT_CHUNK_SIZE));
  record.bytesDone = Math.min(record.bytesDone + bytes, record.bytesTotal);
}
