import type { OwnershipEntry } from '../../lib/mesh/register.js';
import { decodeDelivered, decodeDelivery, SUBPROTOCOL_DELIVERY } from '../../lib/runtime/delivery.js';
import { decodeMigrationFrame, type MigrationFrame } from '../../lib/wire/extension.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import type { Flight } from './network.js';
import { LIAR } from './plan.js';
import type { RegisterChange } from './simulated-register.js';
import type { Trace } from './trace.js';

/** Situations in which migrations go wrong, if ever: a range of runs that has not been in each of them shows little. */
export const HARD_CASES = {
  'activation-overtakes-events': 'ActivateTarget arrives while events of the log are still on their way, or lost',
  'crash-between-cleanup-and-activation': 'the target crashes when the offer stands and nobody has claimed it',
  'source-crash-while-offered': 'the source crashes when its offer stands',
  'target-crash-after-claim': 'the target crashes when it has claimed, before its source has heard of it',
  'orchestrator-crash': 'the node that leads a migration crashes in the middle of it',
  'cancel-during-replay': 'a migration is cancelled while its target replays',
  'cancel-after-offer': 'a migration is cancelled when the offer stands',
  'overlapping-tries': 'a second node begins to move a daemon that moves',
  'claim-answer-lost': 'the register takes a claim, and its answer is lost or late',
  'withdrawal-answer-lost': 'the register takes a withdrawal, and its answer is lost or late',
  'claim-lost-race': 'a claim comes too late, because the offer was withdrawn',
  'withdrawn-offer': 'a source takes its offer back',
  'partition-over-offer': 'source and target cannot reach each other while an offer stands',
  'events-during-draining': 'a source takes events between CutoverNotify and its offer',
  'chunks-resent': 'a chunk is sent a second time in a try',
  'events-resent': 'a logged event is sent a second time in a try',
  'late-frame-of-old-try': 'a frame arrives of a try that is over, and a higher one has begun',
  'rebind-over-crash': 'the target crashes when its copy reads channels ahead',
  'recovered-backup': 'a backup becomes the daemon, because the target is gone',
  'there-and-back': 'a daemon comes back to a node where it has been',
  'not-ready-target': 'a target refuses because it has not started',
  'live-copies-differ': 'in live mode, the target did not put out what the source did',
  'old-snapshot-under-new-try': 'a liar sends an old snapshot as one of a new try',
  'stranger-places-snapshot': 'a node that nobody trusts sends a snapshot that passed through a liar',
  'log-made-up': 'a liar sends events as those of its source’s log: one changed, one more, or one left out',
  'trailers-stripped': 'a liar takes the trailers off a snapshot',
  'log-cut-short': 'a liar sends a log that lacks its last events',
  'fenced-copy-taken-up': 'a node that crashed with a daemon that stood still takes it up from its spool',
  'marked-copy-recovered': 'somebody brings back an older copy that says that it was live again',
  'crash-while-writing': 'a node crashes while its disk is at work',
  'disk-refused': 'a disk refuses an operation',
  'spool-lost': 'a node comes back without the copies that were on its disk',
  'claim-landed-while-source-was-down': 'a target claims while its source, which has a spool, is down',
  'spawned-anew': 'a daemon whose last copy was lost is given up, and spawned again',
  'daemon-throws': 'a daemon that moves throws: at an event, or when it is to give or take up a snapshot',
  'slow-daemon': 'a daemon that moves takes its time for an event',
  'doubled-frame': 'a frame of a migration arrives twice',
  'overtaken-frame': 'a frame of a migration arrives behind one that was sent after it',
  'there-back-and-onwards': 'a daemon goes to a node, comes back, and goes to a third one',
  'liar-orders': 'a liar orders a cutover, an activation or an end that is not due',
} as const;

export type HardCase = keyof typeof HARD_CASES;

export interface Course {
  readonly origin: bigint;
  source: number;
  target: number;
  orchestrator: number;
}

/** When a try of a daemon began, and who takes part in it. */
export interface TryBegun {
  readonly at: number;
  readonly nodes: ReadonlySet<number>;
}

interface TryBook {
  readonly chunks: Set<number>;
  /** Events of the log that were sent, that have arrived, and that have without a gap. */
  sentThrough: number;
  readonly arrived: Set<number>;
  arrivedThrough: number;
  readonly source: number;
}

/** Decodes what is sent and written, tells it to the trace, and counts the hard cases in it. */
export class Watcher {
  readonly visits = new Map<HardCase, number>();
  /** Called for each moment that faults may wait for. */
  onMoment: (moment: string, origin: bigint) => void = () => {};
  readonly #trace: Trace;
  readonly #names: (origin: bigint) => string;
  readonly #courses = new Map<bigint, Course>();
  readonly #tries = new Map<string, TryBook>();
  readonly #highestTry = new Map<bigint, bigint>();
  /** Offers that stand, and by whom. */
  readonly offers = new Map<bigint, { readonly source: number; readonly target: number; readonly try: bigint }>();
  /** Called where a node acknowledges what it cannot have. */
  onFalseAck: (text: string) => void = () => {};
  /** A claim was written, of what that node had offered. */
  onClaim: (source: number) => void = () => {};
  /** Daemons that were claimed, and whose source has not heard of it. */
  readonly claimed = new Map<bigint, { readonly source: number; readonly target: number }>();
  readonly #triesBegun = new Map<bigint, TryBegun[]>();
  /** Who has confirmed, or shown in the register, that he has it, and for which epoch. */
  readonly #confirmed = new Map<bigint, { readonly node: number; readonly epoch: bigint }>();
  readonly #draining = new Map<bigint, number>();
  readonly #visited = new Map<bigint, Set<number>>();
  /** Where each daemon was, in order. */
  readonly #paths = new Map<bigint, number[]>();
  /** Frames of migrations by the order in which they left, and the last of those that have arrived, per way. */
  readonly #order = new WeakMap<Flight, number>();
  readonly #lastArrived = new Map<string, number>();
  readonly #arrived = new WeakSet<Flight>();
  #sent = 0;
  /** Daemons of which a liar has sent events: in whose log they came to stand it does not say. */
  readonly #liedAbout = new Set<bigint>();

  constructor(trace: Trace, names: (origin: bigint) => string) {
    this.#trace = trace;
    this.#names = names;
  }

  visit(hardCase: HardCase): void {
    this.visits.set(hardCase, (this.visits.get(hardCase) ?? 0) + 1);
  }

  hasConfirmed(origin: bigint, node: number, epoch: bigint | undefined): boolean {
    const confirmed = this.#confirmed.get(origin);
    return confirmed !== undefined && confirmed.node === node && confirmed.epoch === epoch;
  }

  /** Tries of a daemon that have begun. */
  tries(origin: bigint): readonly TryBegun[] {
    return this.#triesBegun.get(origin) ?? [];
  }

  /** Who takes part in a daemon's newest migration. */
  course(origin: bigint): Course | undefined {
    return this.#courses.get(origin);
  }

  started(course: Course): void {
    this.#courses.set(course.origin, course);
  }

  sent(flight: Flight): void {
    this.#trace.digestFrame(flight.from, flight.to, flight.frame);
    this.#trace.note(() => `${flight.from} → ${flight.to}  ${this.describe(flight)}`);
    this.#order.set(flight, ++this.#sent);
    const frame = flight.subprotocol === SUBPROTOCOL_MIGRATION ? decoded(flight.frame) : undefined;
    if (!frame) return;
    const { message, trailer } = frame;
    const origin = message.daemonOrigin;
    if (trailer?.try !== undefined) this.#noteTry(origin, trailer.try);
    if (message.kind === 'SnapshotReady' && trailer?.try !== undefined && trailer.source === BigInt(flight.from)) {
      const book = this.#book(origin, trailer.try, flight.from);
      if (book.chunks.has(message.chunkIndex)) this.visit('chunks-resent');
      book.chunks.add(message.chunkIndex);
    }
    const isLogged = message.kind === 'BufferedEvents' && trailer?.logFrom !== undefined && flight.from !== LIAR;
    if (isLogged && message.events.length > 0) {
      const book = this.#book(origin, trailer.try!, flight.from);
      if (Number(trailer.logFrom) <= book.sentThrough) this.visit('events-resent');
      book.sentThrough = Math.max(book.sentThrough, Number(trailer.logFrom) + message.events.length - 1);
    }
    if (flight.from === LIAR && message.kind === 'BufferedEvents') this.#liedAbout.add(origin);
    if (message.kind === 'EventAck' && flight.from !== LIAR && !this.#liedAbout.has(origin))
      this.#noteAck(origin, flight.from, trailer);
    if (message.kind === 'ActivationConfirmed') this.#noteConfirmed(origin, flight.from, trailer?.epoch ?? 0n);
    this.onMoment(`sent ${message.kind}`, origin);
  }

  arrived(flight: Flight): void {
    if (flight.subprotocol !== SUBPROTOCOL_MIGRATION) return;
    this.#noteOrder(flight);
    const frame = decoded(flight.frame);
    if (!frame) return;
    const { message, trailer } = frame;
    const origin = message.daemonOrigin;
    if (trailer?.try !== undefined && trailer.try < (this.#highestTry.get(origin) ?? 0n))
      this.visit('late-frame-of-old-try');
    this.#learn(flight, frame);
    this.onMoment(`arrived ${message.kind}`, origin);
  }

  #noteOrder(flight: Flight): void {
    if (this.#arrived.has(flight)) {
      this.visit('doubled-frame');
      return;
    }
    this.#arrived.add(flight);
    const way = `${flight.from} ${flight.to}`;
    const [order, last] = [this.#order.get(flight)!, this.#lastArrived.get(way) ?? 0];
    if (order < last) this.visit('overtaken-frame');
    this.#lastArrived.set(way, Math.max(order, last));
  }

  #learn({ from, to }: Flight, { message, trailer }: MigrationFrame): void {
    const origin = message.daemonOrigin;
    switch (message.kind) {
      case 'TakeSnapshot':
        this.#courses.set(origin, { origin, source: to, target: Number(message.targetNode), orchestrator: from });
        break;
      case 'BufferedEvents': {
        if (trailer?.logFrom === undefined || message.events.length === 0 || from === LIAR) break;
        const book = this.#book(origin, trailer.try!, from);
        for (let n = 0; n < message.events.length; n++) book.arrived.add(Number(trailer.logFrom) + n);
        while (book.arrived.has(book.arrivedThrough + 1)) book.arrivedThrough++;
        break;
      }
      case 'ActivateTarget': {
        const book = trailer?.try !== undefined ? this.#tries.get(`${origin} ${trailer.try}`) : undefined;
        if (book && book.arrivedThrough < book.sentThrough) this.visit('activation-overtakes-events');
        break;
      }
      case 'CutoverNotify':
        this.#draining.set(origin, to);
        break;
      case 'ActivationConfirmed':
        if (this.claimed.get(origin)?.source === to) this.claimed.delete(origin);
        break;
      case 'MigrationFailed':
        if (message.reason.kind === 'NotReady') this.visit('not-ready-target');
        else if ('message' in message.reason && /put out something else/.test(message.reason.message))
          this.visit('live-copies-differ');
        break;
      default:
    }
  }

  lost(flight: Flight, why: string): void {
    this.#trace.digest(flight.from * 64 + flight.to, why.length);
    this.#trace.note(() => `${flight.from} → ${flight.to}  ${this.describe(flight)}: lost (${why})`);
  }

  wrote(node: number, origin: bigint, change: RegisterChange, entry: OwnershipEntry | undefined, fate: string): void {
    this.#trace.digest(node, change.length);
    this.#trace.note(() => {
      const what = entry ? `owner ${entry.owner}, epoch ${entry.epoch}, try ${shortTry(entry.tries)}` : 'nothing';
      return `${node} ⇒ register  ${this.#names(origin)} ${change}: ${what}${fate === 'answered' ? '' : ` (${fate})`}`;
    });
    const isUnheard = fate !== 'answered';
    const offer = this.offers.get(origin);
    if (change === 'offer')
      this.offers.set(origin, { source: node, target: Number(entry!.offer!.target), try: entry!.offer!.try });
    else if (change !== 'try') this.offers.delete(origin);
    if (change === 'try') {
      const { source = node, target = node, orchestrator = node } = this.#courses.get(origin) ?? {};
      const begun = { at: this.#trace.now(), nodes: new Set([node, source, target, orchestrator]) };
      this.#triesBegun.set(origin, [...this.tries(origin), begun]);
    }
    if (change === 'claim') {
      this.claimed.set(origin, { source: offer?.source ?? 0, target: node });
      this.onClaim(offer?.source ?? 0);
      if (isUnheard) this.visit('claim-answer-lost');
      const visited = this.#visited.get(origin) ?? new Set([offer?.source ?? 0]);
      if (visited.has(node)) this.visit('there-and-back');
      this.#visited.set(origin, visited.add(node));
      const path = [...(this.#paths.get(origin) ?? [offer?.source ?? 0]), node];
      this.#paths.set(origin, path);
      const [first, there, back, onwards] = path.slice(-4);
      if (first === back && onwards !== undefined && onwards !== there) this.visit('there-back-and-onwards');
    }
    if (change === 'withdraw') {
      this.visit('withdrawn-offer');
      if (isUnheard) this.visit('withdrawal-answer-lost');
    }
    if (change === 'recover') this.visit('recovered-backup');
    // Whoever had it before that sees a further epoch, which says no less than a confirmation.
    if (change === 'withdraw' || change === 'recover') this.#noteConfirmed(origin, node, entry!.epoch);
    if (change === 'offer' || change === 'withdraw') this.#draining.delete(origin);
    this.onMoment(`wrote ${change}`, origin);
  }

  lostRace(node: number, origin: bigint, entry: OwnershipEntry | undefined): void {
    this.#trace.note(() => `${node} ⇒ register  ${this.#names(origin)}: another was faster`);
    const course = this.#courses.get(origin);
    if (entry && course?.target === node && entry.owner === BigInt(node)) this.visit('claim-lost-race');
  }

  /** A daemon on a node has taken events of a publisher. */
  tookEvents(origin: bigint, node: number): void {
    if (this.#draining.get(origin) === node) this.visit('events-during-draining');
  }

  crashed(node: number, isLeading: boolean): void {
    if (isLeading) this.visit('orchestrator-crash');
    for (const { source, target } of this.offers.values()) {
      if (target === node) this.visit('crash-between-cleanup-and-activation');
      if (source === node) this.visit('source-crash-while-offered');
    }
    for (const [origin, { target }] of this.claimed) {
      if (target !== node) continue;
      this.visit('target-crash-after-claim');
      this.claimed.delete(origin);
    }
  }

  /** A frame in words. */
  describe({ subprotocol, frame }: Flight): string {
    if (subprotocol === SUBPROTOCOL_DELIVERY) return describeDelivery(frame);
    const known = decoded(frame);
    if (!known) return `${frame.length} bytes that are no frame`;
    const { message, trailer } = known;
    return `${message.kind} ${this.#names(message.daemonOrigin)}${fieldsOf(message)}${trailerOf(trailer)}`;
  }

  /** A former home repeats its own for as long as it is asked, and a liar is not believed. */
  #noteConfirmed(origin: bigint, node: number, epoch: bigint): void {
    if (node !== LIAR && epoch >= (this.#confirmed.get(origin)?.epoch ?? 0n))
      this.#confirmed.set(origin, { node, epoch });
  }

  /** Whoever sends that lets the source think that it has so many. */
  #noteAck(origin: bigint, node: number, { try: number, ackThrough = 0n }: Trailer = {}): void {
    const arrived = (number !== undefined && this.#tries.get(`${origin} ${number}`)?.arrivedThrough) || 0;
    if (Number(ackThrough) > arrived)
      this.onFalseAck(
        `node ${node} acknowledges ${ackThrough} events for ${this.#names(origin)}, and ${arrived} have come`,
      );
  }

  #noteTry(origin: bigint, number: bigint): void {
    if (number > (this.#highestTry.get(origin) ?? 0n)) this.#highestTry.set(origin, number);
  }

  #book(origin: bigint, number: bigint, source: number): TryBook {
    const key = `${origin} ${number}`;
    let book = this.#tries.get(key);
    if (!book) {
      book = { chunks: new Set(), sentThrough: 0, arrived: new Set(), arrivedThrough: 0, source };
      this.#tries.set(key, book);
    }
    return book;
  }
}

/** A migration frame, or undefined where the bytes are none. */
export function decoded(frame: Uint8Array): MigrationFrame | undefined {
  try {
    return decodeMigrationFrame(typescriptCodec, frame);
  } catch {
    return undefined;
  }
}

/** Numbers of tries begin with the time of spawning: the last digits tell them apart. */
function shortTry(number: bigint): string {
  return `…${(number % 100_000_000n).toString()}`;
}

function fieldsOf(message: MigrationFrame['message']): string {
  switch (message.kind) {
    case 'TakeSnapshot':
    case 'CutoverNotify':
      return ` to ${message.targetNode}`;
    case 'SnapshotReady':
      return ` chunk ${message.chunkIndex + 1}/${message.totalChunks}`;
    case 'BufferedEvents':
      return ` ${message.events.length} events`;
    case 'MigrationFailed':
      return ` ${message.reason.kind}${'message' in message.reason ? ` "${message.reason.message}"` : ''}`;
    default:
      return '';
  }
}

function trailerOf(trailer: Trailer | undefined): string {
  if (!trailer) return ' (no trailer)';
  const { try: number, logFrom, logCount, ackThrough, epoch } = trailer;
  const parts = [
    number !== undefined && `try ${shortTry(number)}`,
    logFrom !== undefined && `from ${logFrom}`,
    logCount !== undefined && `log ${logCount}`,
    ackThrough !== undefined && `ack ${ackThrough}`,
    epoch !== undefined && `epoch ${epoch}`,
  ].filter(Boolean);
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

function describeDelivery(frame: Uint8Array): string {
  const delivery = decodeDelivery(frame);
  if (delivery.kind !== 'answer') {
    const { events } = decodeDelivered(typescriptCodec, delivery);
    const range = events.length === 0 ? '' : ` ${events[0]!.link.sequence}–${events.at(-1)!.link.sequence}`;
    return `events${range} of ${events[0]?.link.originHash ?? '?'}, round ${delivery.place.round}`;
  }
  const { accepted, refusal } = delivery.acceptance;
  return `accepted ${accepted}${refusal ? `, then ${refusal.kind}` : ''}`;
}
