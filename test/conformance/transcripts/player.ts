import { encodeMigrationFrame } from '../../../lib/wire/extension.js';
import { MessageType } from '../../../lib/wire/message.js';
import { appendTrailer } from '../../../lib/wire/trailer.js';
import { NotUnderstood } from '../vector-json.js';
import type { Cluster, Frame } from './cluster.js';
import { framesOf } from './recording.js';
import type { RecordedFrame, Setup, Step, Transcript } from './transcript.js';

type Tamper = Extract<Step, { op: 'tamper' }>;

const KIND_BY_TYPE = new Map<number, string>(Object.entries(MessageType).map(([kind, type]) => [type, kind]));

interface Numbered extends Frame {
  /** Which recorded frame it stands for; undefined where the reference sends no such frame. */
  readonly number: number | undefined;
}

/** The frames of a plain migration over three nodes, in order: what a log that holds only a forged frame leaves out. */
const PLAIN = [
  ['orchestrator', 'source', 'TakeSnapshot'],
  ['source', 'orchestrator', 'SnapshotReady'],
  ['orchestrator', 'target', 'SnapshotReady'],
  ['target', 'orchestrator', 'RestoreComplete'],
  ['orchestrator', 'target', 'BufferedEvents'],
  ['target', 'orchestrator', 'ReplayComplete'],
  ['orchestrator', 'source', 'CutoverNotify'],
  ['source', 'orchestrator', 'CleanupComplete'],
  ['orchestrator', 'target', 'ActivateTarget'],
  ['target', 'orchestrator', 'ActivateAck'],
] as const;

/**
 * Kinds that come from more than one node: who may take daemons is for the source to allow, logged events come from the
 * orchestrator or the source, and any node that takes part may fail.
 */
const MANY_MAY_SEND: ReadonlySet<string> = new Set(['TakeSnapshot', 'BufferedEvents', 'MigrationFailed']);

/**
 * Plays a transcript with our own frames, each in the place of the recorded one that it stands for: the k-th of its kind
 * between the same two nodes. What the reference does not send, or sends later, is delivered at once.
 */
export class Player {
  readonly #cluster: Cluster;
  readonly #log: readonly Step[];
  /** Recorded frames that no frame of ours stands for yet, by kind and nodes. */
  readonly #unmatched = new Map<string, number[]>();
  /** Recorded frames whose turn is over. */
  readonly #played = new Set<number>();
  /** Ours, by number, from when they are sent. */
  readonly #ours = new Map<number, Frame>();
  #pending: Numbered[] = [];
  readonly #tampered = new Map<number, Tamper>();
  /** Migrations that the reference began and ours refused. */
  readonly startsRefused: Step[] = [];

  constructor(cluster: Cluster, { log }: Transcript) {
    this.#cluster = cluster;
    this.#log = log;
    for (const { frame, from, to, payload } of sentFrames(log)) {
      const key = this.#key({ from, to, payload });
      this.#unmatched.set(key, [...(this.#unmatched.get(key) ?? []), frame]);
    }
  }

  /** All steps, and then whatever is on its way. */
  play(): void {
    if (isForgeryAlone(this.#log)) this.#forge(framesOf(this.#log)[0]!);
    else for (const step of this.#log) this.#step(step);
    this.drain();
  }

  /** Delivers in order until nothing is on its way. */
  drain(): void {
    for (let next = this.#pending.shift(); next; next = this.#pending.shift()) this.#deliver(next);
  }

  /** Sends frames off. */
  send(frames: readonly Frame[] | undefined): void {
    for (const frame of frames ?? []) {
      const number = this.#unmatched.get(this.#key(frame))?.shift();
      if (number !== undefined) this.#ours.set(number, frame);
      this.#pending.push({ ...frame, number });
    }
  }

  #key(frame: Frame): string {
    const { message } = this.#cluster.read(frame.payload);
    const chunk = message.kind === 'SnapshotReady' ? message.chunkIndex : 0;
    return `${frame.from} ${frame.to} ${message.kind} ${chunk}`;
  }

  #step(step: Step): void {
    switch (step.op) {
      case 'deliver':
        this.#play(step);
        break;
      case 'tamper':
        this.#tampered.set(step.frame, step);
        return;
      case 'redeliver':
      case 'replace_started_frames':
        // The frame that follows says it all; and ours seals by itself.
        return;
      default: {
        const sent = this.#cluster.act(step);
        if (step.op === 'start_migration' && !step.refused && !sent) this.startsRefused.push(step);
        this.send(sent);
      }
    }
    this.#deliverUnnumbered();
  }

  /** Frames that stand for none, or for one whose turn is over. */
  #deliverUnnumbered(): void {
    const isDue = ({ number }: Numbered) => number === undefined || this.#played.has(number);
    for (let at = this.#pending.findIndex(isDue); at >= 0; at = this.#pending.findIndex(isDue))
      this.#deliver(this.#pending.splice(at, 1)[0]!);
  }

  #play(recorded: RecordedFrame): void {
    const { frame: number, result } = recorded;
    const at = this.#pending.findIndex((frame) => frame.number === number);
    const pending = at < 0 ? undefined : this.#pending.splice(at, 1)[0];
    const isRepeated = this.#played.has(number);
    this.#played.add(number);
    if (result === 'dropped') return;
    if (pending) this.#deliver(pending);
    else if (isRepeated) this.#deliver({ ...(this.#ours.get(number) ?? recorded), number: undefined });
    else if (isInjected(this.#log, recorded)) this.#deliver({ ...this.#forged(recorded), number: undefined });
  }

  #deliver({ number, ...frame }: Numbered): void {
    const tamper = number === undefined ? undefined : this.#tampered.get(number);
    this.send(this.#cluster.deliver(tamper ? this.#edited(frame, tamper) : frame));
  }

  #edited(frame: Frame, { edits, seqThroughAdd }: Tamper): Frame {
    const { message, trailer } = this.#cluster.read(frame.payload);
    if (message.kind !== 'SnapshotReady') throw new NotUnderstood(`a tampered ${message.kind}`);
    const snapshotBytes = edits.reduce<Uint8Array>((bytes, edit) => edit(bytes), message.snapshotBytes.slice());
    const seqThrough = message.seqThrough + seqThroughAdd;
    const { codec } = this.#cluster.mode;
    return { ...frame, payload: encodeMigrationFrame(codec, { ...message, snapshotBytes, seqThrough }, trailer) };
  }

  /** A plain migration up to the frame before the forged one, which stays on its way. */
  #forge(forged: RecordedFrame): void {
    const { setup } = this.#cluster;
    const { orchestrator: at, source, target } = setup;
    const next = PLAIN[forged.frame - 1];
    if (!next) throw new NotUnderstood(`a forged frame with the number ${forged.frame}`);
    const [from, to, kind] = next;
    const isNext = (frame: Frame) =>
      frame.from === setup[from] && frame.to === setup[to] && this.#kindOf(frame) === kind;
    this.send(this.#cluster.act({ op: 'start_migration', at, source, target, emits: [], refused: false }));
    while (this.#pending[0] && !isNext(this.#pending[0])) this.#deliver(this.#pending.shift()!);
    const pending = this.#pending[0];
    if (!pending) throw new Error(`no ${kind} from ${from} to ${to} was ever on its way`);
    const frame = this.#like(forged, pending);
    const isStrange =
      !isParticipant(frame.from, setup) || (frame.from !== pending.from && !MANY_MAY_SEND.has(this.#kindOf(frame)));
    this.send(this.#cluster.deliver(frame, isStrange));
  }

  /** The forged frame as the best forger would have it: with what the genuine one bears. */
  #like({ from, to, payload }: RecordedFrame, pending: Frame): Frame {
    if (this.#kindOf({ payload }) === this.#kindOf(pending)) return { from, to, payload: pending.payload };
    if (!this.#cluster.mode.extensions) return { from, to, payload };
    return { from, to, payload: appendTrailer(payload, this.#cluster.read(pending.payload).trailer) };
  }

  #kindOf({ payload }: Pick<Frame, 'payload'>): string {
    return this.#cluster.read(payload).message.kind;
  }

  /** A frame in the log that no node sent: ours of the same kind to the same node, where there is one. */
  #forged(recorded: RecordedFrame): Frame {
    const { from, to, payload } = recorded;
    const kind = this.#kindOf(recorded);
    const known = [...this.#pending, ...this.#ours.values()];
    const like = known.find((frame) => frame.to === to && this.#kindOf(frame) === kind);
    return { from, to, payload: like?.payload ?? payload };
  }
}

/** Recorded frames that some node sent, each once. */
function sentFrames(log: readonly Step[]): RecordedFrame[] {
  const seen = new Set<number>();
  return framesOf(log).filter((frame) => {
    if (seen.has(frame.frame) || isInjected(log, frame)) return false;
    seen.add(frame.frame);
    return true;
  });
}

function isInjected(log: readonly Step[], { frame, result }: RecordedFrame): boolean {
  if (result === 'dropped') return false;
  const isSent = log.some((step) => 'emits' in step && step.emits.includes(frame));
  // The frames in place of those that a start gave are in no step's `emits`.
  return !isSent && !log.some((step) => step.op === 'replace_started_frames');
}

/** Whether the log holds nothing but a frame that no node sent. */
export function isForgeryAlone(log: readonly Step[]): boolean {
  return log.length === 1 && log[0]!.op === 'deliver' && isInjected(log, log[0]!);
}

/** Whether a node takes part in a transcript's migration. */
export function isParticipant(node: bigint, { source, orchestrator, target }: Setup): boolean {
  return node === source || node === orchestrator || node === target;
}

/** Frames in the log that no node sent. */
export function forgedFrames(log: readonly Step[]): RecordedFrame[] {
  return framesOf(log).filter((frame) => isInjected(log, frame));
}

/** The kinds of the frames that had been delivered when a forged one was. */
export function deliveredBefore(log: readonly Step[], forged: RecordedFrame): readonly string[] {
  if (isForgeryAlone(log)) return PLAIN.slice(0, forged.frame - 1).map(([, , kind]) => kind);
  const frames = framesOf(log);
  return frames.slice(0, frames.indexOf(forged)).map(({ payload }) => KIND_BY_TYPE.get(payload[0] ?? -1) ?? '');
}
