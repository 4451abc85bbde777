import type { MigrationError } from '../errors.js';
import type { EventLog } from '../wire/event-log.js';
import type { BufferedEvents, SnapshotReady } from '../wire/message.js';
import type { AssembledSnapshot } from '../wire/reassembler.js';
import type { Trailer } from '../wire/trailer.js';
import type { MigrationMode } from './core.js';
import type { FragmentReceiver } from './event-fragments.js';
import type { NumberedEvents } from './numbered-events.js';
import type { RoleRecord } from './role.js';

/** Snapshots of at most so many chunks get no file: they are in no mapping either, and come again soon. */
const CHUNKS_WITHOUT_FILE = 37;
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

export interface TargetRecord extends RoleRecord<TargetPhase> {
  readonly source: bigint | undefined;
  /** Undefined where no frame of this migration bears a trailer. */
  readonly try: bigint | undefined;
  readonly daemonKind: string | undefined;
  readonly keyless: boolean;
  readonly mode: MigrationMode;
  /** In which the source has the daemon, as it says. */
  readonly sourceEpoch: bigint | undefined;
  admitted: boolean;
  bytesTotal: number;
  readonly seqThrough: bigint;
  readonly totalChunks: number;
  /** `wanted`: it goes on in a file as soon as it may. */
  file: 'none' | 'wanted' | 'kept';
  /** Bytes held for it meanwhile. */
  heldBytes: number;
  /** Some of its chunks stood in that file from before this node was started again. */
  isResumed: boolean;
  snapshot: AssembledSnapshot | undefined;
  snapshotDigest: Uint8Array | undefined;
  snapshotSignature: Uint8Array | undefined;
  restoredSeq: bigint;
  /** Logged events in order, kept until they are applied; counts and digests all that ever came. */
  log: EventLog | undefined;
  /** Once an event has come that is larger than a frame. */
  fragments: FragmentReceiver | undefined;
  /** Without extensions: events that wait for one of a lower number. */
  numbered: NumberedEvents | undefined;
  /** Events came from another than the known source: that they are replayed is no sign of life. */
  hasOthersEvents: boolean;
  /** Without extensions: who else than the orchestrator may send events, and what waits for the word on its sender. */
  readonly eventSenders: Set<bigint>;
  eventsWaiting: Array<{ readonly message: BufferedEvents; readonly from: bigint }>;
  appliedThrough: bigint;
  replaying: number | undefined;
  /** The orchestrator wants to hear when what has come is applied. */
  reportReplayed: boolean;
  /** The orchestrator has heard that the restore is done. */
  restoreHeard: boolean;
  /** How often this phase has said again what it waits for, and when. */
  asked: number;
  askedAt: number;
  chunksSeen: number;
  /** When a chunk came, new or not. */
  chunkAt: number;
  /** ActivateTarget has come. */
  isActivationWanted: boolean;
  /** What the source itself says that it has offered: it has stopped. A peer without extensions says nothing. */
  offered: Pick<Trailer, 'logCount' | 'logDigest' | 'headLink'> | undefined;
  epoch: bigint;
  failure: MigrationError | undefined;
}

/** A migration of which the first chunk has come. */
export function newTargetRecord(
  message: SnapshotReady,
  orchestrator: bigint,
  trailer: Trailer | undefined,
  now: number,
): TargetRecord {
  return {
    origin: message.daemonOrigin,
    orchestrator,
    source: trailer?.source,
    try: trailer?.try,
    daemonKind: trailer?.daemonKind,
    keyless: trailer?.transportIdentity === 0n,
    mode: trailer?.mode === 1n ? 'live' : 'pause',
    sourceEpoch: trailer?.epoch,
    admitted: false,
    startedAt: now,
    phase: 'authorising',
    phaseSince: now,
    progressAt: now,
    dueAt: 0,
    awaiting: undefined,
    bytesTotal: Number(trailer?.snapshotLength ?? 0n),
    seqThrough: message.seqThrough,
    totalChunks: message.totalChunks,
    file: 'none',
    heldBytes: 0,
    isResumed: false,
    snapshot: undefined,
    snapshotDigest: undefined,
    snapshotSignature: undefined,
    restoredSeq: 0n,
    log: undefined,
    fragments: undefined,
    numbered: undefined,
    hasOthersEvents: false,
    eventSenders: new Set(),
    eventsWaiting: [],
    appliedThrough: 0n,
    replaying: undefined,
    reportReplayed: false,
    restoreHeard: false,
    asked: 0,
    askedAt: now,
    chunksSeen: -1,
    chunkAt: now,
    isActivationWanted: false,
    offered: undefined,
    epoch: 0n,
    failure: undefined,
  };
}

/** Whether a restarted node could tell that it is the same again, and it is worth a file. */
export function canBeKept({ try: attempt, source, bytesTotal, totalChunks }: TargetRecord): boolean {
  return attempt !== undefined && source !== undefined && bytesTotal > 0 && totalChunks > CHUNKS_WITHOUT_FILE;
}
