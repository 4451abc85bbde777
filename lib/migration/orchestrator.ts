import { MigrationError } from '../errors.js';
import type { MigrationFailureReason } from '../wire/failure.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, type SnapshotReady } from '../wire/message.js';
import { sameBytes, type Trailer } from '../wire/trailer.js';
import type { MigrationPhase, MigrationProgress } from './core.js';
import { errorOf, reasonOf } from './failure.js';
import { RoleHandler, type RoleRecord, requirePeer, type TransitionTable } from './role.js';

const DEFAULT_PATIENCE_MS = 30_000;
/** How long a source may take to say that it goes on, before the end is reported without it. */
const ROLLBACK_PATIENCE_MS = 5_000;

interface OrchestratorRecord extends RoleRecord<MigrationPhase> {
  readonly source: bigint;
  readonly target: bigint;
  /** Names the request until the source has told the try. */
  readonly requestId: Uint8Array | undefined;
  progressAt: number;
  try: bigint | undefined;
  bytesDone: number;
  bytesTotal: number;
  eventsWaiting: number;
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
  MigrationFailed: { readonly from: bigint; readonly reason: MigrationFailureReason };
}

type OrchestratorTable = TransitionTable<MigrationPhase, OrchestratorInputs, OrchestratorRecord>;

/** The orchestrator's half: leads a migration from TakeSnapshot to ActivateAck (PROTOCOL.md §7). */
export class MigrationOrchestrator extends RoleHandler<MigrationPhase, OrchestratorInputs, OrchestratorRecord> {
  protected readonly table: OrchestratorTable = this.#rules();

  readonly #patienceMs: number;

  /** @param patienceMs how long a phase may make no progress before the migration is given up */
  constructor(patienceMs = DEFAULT_PATIENCE_MS) {
    super();
    this.#patienceMs = patienceMs;
  }

  /**
   * Begins a migration.
   *
   * @param request what goes on TakeSnapshot: `requestId` (16 random bytes, from outside), and what the source is to do
   * @returns whether the source is this node, whose half must then be asked directly
   * @throws MigrationError `already-migrating`, or `target-unavailable` where source and target are one node
   */
  start(origin: bigint, source: bigint, target: bigint, request: Trailer): { readonly sourceIsLocal: boolean } {
    if (source === target) {
      throw new MigrationError(
        'target-unavailable',
        `daemon ${origin} cannot migrate from node ${source} to itself; name another target`,
        {
          details: { origin, source, target },
        },
      );
    }
    if (this.records.has(origin)) {
      throw new MigrationError(
        'already-migrating',
        `daemon ${origin} is already migrating; cancel that first or wait for its end`,
        {
          details: { origin },
        },
      );
    }
    const record: OrchestratorRecord = {
      origin,
      source,
      target,
      phase: 'Snapshot',
      phaseSince: this.ctx.now,
      awaiting: undefined,
      requestId: request.requestId,
      progressAt: this.ctx.now,
      try: undefined,
      bytesDone: 0,
      bytesTotal: 0,
      eventsWaiting: 0,
      failure: undefined,
    };
    this.records.set(origin, record);
    const sourceIsLocal = source === this.ctx.localNode;
    // A source on this node sends its chunks straight to the target, so they never pass here.
    if (sourceIsLocal) this.#goTo(record, 'Transfer');
    else this.ctx.send(source, { kind: 'TakeSnapshot', daemonOrigin: origin, targetNode: target }, request);
    this.#report(record);
    return { sourceIsLocal };
  }

  /** Whether chunks from that node pass through here. */
  forwards(origin: bigint, from: bigint): boolean {
    const record = this.records.get(origin);
    return record !== undefined && record.source === from && from !== this.ctx.localNode;
  }

  snapshotReady(message: SnapshotReady, frame: Uint8Array, trailer: Trailer | undefined): void {
    this.apply(this.#require(message.daemonOrigin, 'SnapshotReady'), 'SnapshotReady', { message, frame, trailer });
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
    if (this.#sameTry(record, trailer)) this.apply(record, kind, undefined);
  }

  /** The frames that only the source may send. */
  fromSource(
    origin: bigint,
    kind: 'CleanupComplete' | 'SourceStatus',
    from: bigint,
    trailer: Trailer | undefined,
  ): void {
    const record = this.#require(origin, kind);
    requirePeer(origin, kind, from, record.source);
    if (this.#fromSourcesTry(record, trailer)) this.apply(record, kind, { trailer });
  }

  /** @returns whether the sender takes part in a migration led from here, so that the frame meant this half */
  migrationFailed(origin: bigint, from: bigint, reason: MigrationFailureReason, trailer: Trailer | undefined): boolean {
    const record = this.records.get(origin);
    if (!record || (from !== record.source && from !== record.target)) return false;
    const meant = from === record.source ? this.#fromSourcesTry(record, trailer) : this.#sameTry(record, trailer);
    if (meant) this.apply(record, 'MigrationFailed', { from, reason });
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

  has(origin: bigint): boolean {
    return this.records.has(origin);
  }

  /** A node that takes part is gone for certain. */
  peerGone(node: bigint): void {
    this.forEachRecord((record) => {
      if (record.source !== node && record.target !== node) return;
      // A source that has stopped may have made its offer: the target, which tries to claim then, has the word.
      if (record.source === node && record.phase === 'Cutover') return;
      const { origin } = record;
      const error = new MigrationError(
        'target-unavailable',
        `the migration of daemon ${origin} ended: node ${node} is gone`,
        {
          details: { origin, node },
        },
      );
      this.#rollBack(record, error);
      if (record.source === node) this.#end(record);
    });
  }

  tick(): void {
    this.forEachRecord((record) => {
      const idleMs = this.ctx.now - record.progressAt;
      if (record.phase === 'Rollback') {
        if (idleMs > ROLLBACK_PATIENCE_MS) this.#end(record);
      } else if (idleMs > this.#patienceMs) this.#outOfPatience(record);
    });
  }

  #outOfPatience(record: OrchestratorRecord): void {
    const { origin, phase } = record;
    const message = `the migration of daemon ${origin} made no progress for ${this.#patienceMs} ms in phase ${phase}`;
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
      Transfer: { ...always, SnapshotReady: forward, RestoreComplete: (r) => this.#restored(r) },
      Restore: { ...always, SnapshotReady: forward, RestoreComplete: (r) => this.#restored(r) },
      Replay: {
        ...always,
        SnapshotReady: forward,
        RestoreComplete: (r) => this.#sendEvents(r),
        ReplayComplete: (r) => this.#replayed(r),
      },
      Cutover: {
        ...always,
        SnapshotReady: pass,
        RestoreComplete: pass,
        ReplayComplete: pass,
        CleanupComplete: (r, i) => this.#activate(r, i),
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
    throw new MigrationError('daemon-not-found', `${what}: no migration of daemon ${origin} is led from this node`, {
      details: { origin },
    });
  }

  /** Only the source tells the try, by a frame that its phase takes: what else comes must be of that try. */
  #sameTry(record: OrchestratorRecord, trailer: Trailer | undefined): boolean {
    // A peer without extensions sends no trailer; one that has shown them is not talked down.
    if (record.try !== undefined) return trailer?.try === record.try;
    return trailer === undefined || sameBytes(trailer.requestId, record.requestId);
  }

  #fromSourcesTry(record: OrchestratorRecord, trailer: Trailer | undefined): boolean {
    record.try ??= trailer?.try;
    return this.#sameTry(record, trailer);
  }

  #goTo(record: OrchestratorRecord, phase: MigrationPhase): void {
    this.enter(record, phase);
    this.#report(record);
  }

  #forward(record: OrchestratorRecord, { message, frame, trailer }: OrchestratorInputs['SnapshotReady']): void {
    if (!this.#fromSourcesTry(record, trailer)) return;
    this.ctx.forward(record.target, frame);
    record.bytesDone += message.snapshotBytes.length;
    record.bytesTotal = Number(trailer?.snapshotLength ?? BigInt(message.totalChunks * MAX_SNAPSHOT_CHUNK_SIZE));
    if (record.phase === 'Snapshot') this.#goTo(record, 'Transfer');
    if (record.phase === 'Transfer' && record.bytesDone >= record.bytesTotal) this.#goTo(record, 'Restore');
    else this.#report(record);
  }

  #restored(record: OrchestratorRecord): void {
    this.#goTo(record, 'Replay');
    this.#sendEvents(record);
  }

  #sendEvents(record: OrchestratorRecord): void {
    this.ctx.send(
      record.target,
      { kind: 'BufferedEvents', daemonOrigin: record.origin, events: [] },
      this.#trailer(record),
    );
  }

  #replayed(record: OrchestratorRecord): void {
    this.#goTo(record, 'Cutover');
    const { origin, source, target } = record;
    this.ctx.send(source, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: target }, this.#trailer(record));
  }

  #activate(record: OrchestratorRecord, { trailer }: OrchestratorInputs['CleanupComplete']): void {
    const logged = trailer?.logCount === undefined ? {} : { logCount: trailer.logCount };
    this.ctx.send(
      record.target,
      { kind: 'ActivateTarget', daemonOrigin: record.origin },
      { ...this.#trailer(record), ...logged },
    );
  }

  #completed(record: OrchestratorRecord): void {
    record.eventsWaiting = 0;
    record.bytesDone = record.bytesTotal;
    this.#goTo(record, 'Complete');
    this.records.delete(record.origin);
    this.ctx.report({ kind: 'completed', role: 'orchestrator', origin: record.origin });
  }

  #status(record: OrchestratorRecord, { trailer }: OrchestratorInputs['SourceStatus']): void {
    record.bytesTotal = Math.max(record.bytesTotal, Number(trailer?.snapshotLength ?? 0n));
    // What has left the source; chunks that pass through here are counted as they do.
    if (record.source === this.ctx.localNode) record.bytesDone = Number(trailer?.snapshotSent ?? 0n);
    record.eventsWaiting = Number((trailer?.logCount ?? 0n) - (trailer?.ackThrough ?? 0n));
    this.#report(record);
  }

  #failed(record: OrchestratorRecord, { from, reason }: OrchestratorInputs['MigrationFailed']): void {
    this.#rollBack(record, errorOf(record.origin, reason));
    // A source that says so has gone back already.
    if (from === record.source) this.#end(record);
  }

  #rollBack(record: OrchestratorRecord, error: MigrationError): void {
    record.failure = error;
    this.#tell(record, record.source, error);
    this.#tell(record, record.target, error);
    this.#goTo(record, 'Rollback');
  }

  #tell(record: OrchestratorRecord, to: bigint, error: MigrationError): void {
    this.ctx.send(
      to,
      { kind: 'MigrationFailed', daemonOrigin: record.origin, reason: reasonOf(error) },
      this.#trailer(record),
    );
  }

  #end(record: OrchestratorRecord): void {
    this.records.delete(record.origin);
    this.ctx.report({ kind: 'failed', role: 'orchestrator', origin: record.origin, error: record.failure! });
  }

  #trailer(record: OrchestratorRecord): Trailer {
    if (record.try !== undefined) return { try: record.try };
    return record.requestId ? { requestId: record.requestId } : {};
  }

  #report(record: OrchestratorRecord): void {
    record.progressAt = this.ctx.now;
    const { origin, source, target, phase, bytesDone, bytesTotal, eventsWaiting } = record;
    const progress: MigrationProgress = { origin, source, target, phase, bytesDone, bytesTotal, eventsWaiting };
    this.ctx.report({ kind: 'progress', role: 'orchestrator', progress });
  }
}
