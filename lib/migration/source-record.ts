import type { MigrationError } from '../errors.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import type { IdentityTransport, MigrationMode, SourceMigration } from './core.js';
import type { FragmentSender } from './event-fragments.js';
import type { OutgoingSnapshot } from './outgoing-snapshot.js';
import type { RoleRecord } from './role.js';

/**
 * Where a migration stands at its source.
 *
 *     authorising → beginning → snapshotting → transferring → streaming → draining → fencing → offering → offered → releasing
 *
 * and from any of them back: `withdrawing` (an offer is out) and `resuming` (the log is processed, and the daemon is live).
 * Towards a peer without extensions: transferring → draining → fencing → releasing. `recovering` follows `offered` where somebody
 * knows that the target will never be live.
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
  | 'recovering'
  | 'releasing'
  | 'resuming';

export interface SourceRecord extends RoleRecord<SourcePhase> {
  readonly target: bigint;
  /** Undefined from an orchestrator without extensions: then this migration has none. */
  readonly requestId: Uint8Array | undefined;
  readonly identity: IdentityTransport;
  readonly mode: MigrationMode;
  /** Whether the target is handed the daemon by an offer; without extensions it is let go at CutoverNotify. */
  byOffer: boolean;
  try: bigint;
  epoch: bigint;
  snapshot: OutgoingSnapshot | undefined;
  /** Chunks that are sent again, for as long as some wait to leave. */
  again: FrameProducer | undefined;
  /** The target has applied every logged event up to this. */
  ackThrough: bigint;
  sentThrough: bigint;
  /** The highest that `sentThrough` ever was: what is sent again begins lower. */
  sentMost: bigint;
  /** Once an event was larger than a frame. */
  fragments: FragmentSender | undefined;
  /** When something was last sent that the target has to answer, and how often in this phase. */
  sentAt: number;
  sends: number;
  /** When, and with what, the orchestrator was last told how far things are. */
  statusAt: number;
  statusSeen: string;
  /** Snapshot bytes that had left when progress was last noted. */
  bytesSeen: number;
  /** How many chunks the target last said were missing. */
  missingSeen: number;
  /** Why the migration is to end; acted on as soon as the phase allows. */
  abort: MigrationError | undefined;
  /** The target is gone for certain: a claim of it that stands is no reason to wait. */
  isTargetGone: boolean;
  isRecovering: boolean;
}

/** A migration that begins, or is taken up again. */
export function newSourceRecord(
  begun: SourceMigration & Pick<SourceRecord, 'identity' | 'phase'>,
  now: number,
): SourceRecord {
  return {
    origin: begun.origin,
    orchestrator: begun.orchestrator,
    target: begun.target,
    requestId: begun.requestId,
    identity: begun.identity,
    mode: begun.mode,
    byOffer: begun.requestId !== undefined,
    startedAt: now,
    phase: begun.phase,
    phaseSince: now,
    progressAt: now,
    dueAt: 0,
    awaiting: undefined,
    try: begun.try,
    epoch: begun.epoch,
    snapshot: undefined,
    again: undefined,
    ackThrough: 0n,
    sentThrough: 0n,
    sentMost: 0n,
    fragments: undefined,
    sentAt: now,
    sends: 0,
    statusAt: now,
    statusSeen: '',
    bytesSeen: 0,
    missingSeen: Number.POSITIVE_INFINITY,
    abort: undefined,
    isTargetGone: false,
    isRecovering: false,
  };
}

/** Something of the log is on its way of which the target has not told. */
export function isAwaited({ sentThrough, ackThrough, fragments }: SourceRecord): boolean {
  return sentThrough > ackThrough || fragments?.isWaiting === true;
}

/** The daemon's copy here is whole, and its log grows. */
export function isMoving(phase: SourcePhase): boolean {
  return phase === 'transferring' || phase === 'streaming' || phase === 'draining';
}

/** No offer is out, nor on its way to the register. */
export function isBeforeOffer(phase: SourcePhase): boolean {
  switch (phase) {
    case 'authorising':
    case 'beginning':
    case 'snapshotting':
    case 'transferring':
    case 'streaming':
    case 'draining':
    case 'fencing':
      return true;
    default:
      return false;
  }
}

export function isStopped(phase: SourcePhase): boolean {
  return phase === 'fencing' || phase === 'offering' || phase === 'offered' || phase === 'withdrawing';
}
