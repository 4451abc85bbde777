import { MessageType } from '../../../lib/wire/message.js';
import type { Difference } from './differences.js';
import { deliveredBefore, forgedFrames, isParticipant } from './player.js';
import { framesOf } from './recording.js';
import type { RecordedFrame, Transcript } from './transcript.js';

/** A transcript as it was run. */
export interface Run {
  readonly transcript: Transcript;
  readonly extensions: boolean;
}

/** Why it is right that ours ends differently. */
export interface Reason {
  readonly name: string;
  /** For people; goes on after "right because". */
  readonly text: string;
  covers(run: Run, difference: Difference): boolean;
}

/** Every end of ours that is not the reference's, or not the daemon on the target, needs one of these. */
export const REASONS: readonly Reason[] = [
  {
    name: 'changed snapshot',
    text:
      'a snapshot that was changed on the way is refused: with trailers its digest travels along, signed by the daemon ' +
      'itself, and the daemon goes on at the source',
    covers: ({ transcript, extensions }, difference) =>
      extensions && isSnapshotChanged(transcript) && staysAtSource(difference),
  },
  {
    name: 'asked by another who may',
    text:
      'a node that the source allows to take daemons asked first, so the orchestrator was told AlreadyMigrating, and the ' +
      'daemon goes on at the source with every event',
    covers: ({ transcript }, { aspect }) =>
      aspect === 'completed' && forgedByParticipant(transcript, MessageType.TakeSnapshot).length > 0,
  },
  {
    name: 'failed before the source stopped',
    text:
      'a node that takes part said that the migration failed before the source had stopped, so it is over, and the ' +
      'daemon goes on at the source with every event',
    covers: ({ transcript }, { aspect }) =>
      aspect === 'completed' && aborts(transcript).some((abort) => !hasStopped(transcript, abort)),
  },
  {
    name: 'failed after the source stopped',
    text:
      'a node that takes part said that the migration failed after the source had handed the daemon over; without an ' +
      'ownership register only the target knows whether it is live there, so the source keeps its copy stopped until ' +
      'recover is called: none for a while is chosen over two',
    covers: ({ transcript }, { aspect }) =>
      (aspect === 'live' || aspect === 'record') && aborts(transcript).some((abort) => hasStopped(transcript, abort)),
  },
  {
    name: 'lost chunk without trailers',
    text:
      'without trailers a target cannot say which chunk it misses; at its deadline the migration is over, and the daemon ' +
      'goes on at the source with every event',
    covers: ({ transcript, extensions }, { aspect }) =>
      !extensions &&
      aspect === 'completed' &&
      framesOf(transcript.log).some(
        ({ result, payload }) => result === 'dropped' && payload[0] === MessageType.SnapshotReady,
      ),
  },
];

function isSnapshotChanged({ log }: Transcript): boolean {
  return log.some((step) => step.op === 'tamper' && step.edits.length > 0);
}

/** Whether this is what shows where the daemon goes on at the source, and the target still expects it. */
function staysAtSource({ aspect, at, ours }: Difference): boolean {
  const isThere = ours !== null && ours !== false;
  if (at === 'source') return isThere && aspect !== 'record';
  return at === 'target' && isThere === (aspect === 'factoryRegistered');
}

/** Frames of that type that no node sent as it should have, in the name of one that takes part. */
function forgedByParticipant({ log, setup }: Transcript, type: number): RecordedFrame[] {
  return forgedFrames(log).filter(({ payload, from }) => payload[0] === type && isParticipant(from, setup));
}

function aborts(transcript: Transcript): RecordedFrame[] {
  return forgedByParticipant(transcript, MessageType.MigrationFailed);
}

function hasStopped({ log }: Transcript, abort: RecordedFrame): boolean {
  return deliveredBefore(log, abort).includes('CutoverNotify');
}
