import { forEachFrame } from '../../lib/wire/batch.js';
import { encodeMigrationFrame, type MigrationFrame } from '../../lib/wire/extension.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, type SnapshotReady, SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { sameBytes, type Trailer } from '../../lib/wire/trailer.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { Random } from './chance.js';
import type { Complain } from './checkers.js';
import { LIAR, STRANGER } from './plan.js';
import type { SimulatedMesh } from './simulated-mesh.js';
import { decoded, type HardCase } from './watcher.js';

/** What the liar knows of a daemon: more than a node could, so that its lies are good ones. */
export interface Insight {
  readonly origin: bigint;
  readonly owner: number;
  readonly epoch: bigint;
  readonly try: bigint;
  /** Of the newest migration. */
  readonly source: number;
  readonly target: number;
  /** What its publishers send it next. */
  readonly events: readonly CausalEvent[];
}

export interface LiarOptions {
  readonly mesh: SimulatedMesh;
  /** Of one whom nobody trusts, and who gets what the liar has seen. */
  readonly stranger: SimulatedMesh;
  readonly seed: number;
  readonly nodes: number;
  readonly insight: (daemon: number) => Insight | undefined;
  readonly visit: (hardCase: HardCase) => void;
  readonly complain: Complain;
}

/** How it conducts the migrations that it has begun. */
const CONDUCTS = [
  'honest',
  'honest',
  'strips',
  'other-target',
  'keeps-last-chunk',
  'early-orders',
  'confirms',
  'hands-on-old',
  'calls-off',
  'calls-off',
  'makes-events-up',
  'makes-events-up',
  'makes-events-up',
] as const;
type Conduct = (typeof CONDUCTS)[number];

/**
 * What it puts under an old snapshot: what stood there, what stands under the new one, or nothing, as if the daemon had had no key
 * to sign with. The first two no target may restore; the last the register alone refuses.
 */
const SEALS = ['none', 'as-then', 'as-now'] as const;
type Seal = (typeof SEALS)[number];

interface Led {
  readonly origin: bigint;
  readonly source: number;
  readonly target: number;
  readonly requestId: Uint8Array;
  readonly conduct: Conduct;
  readonly seal: Seal;
  try: bigint | undefined;
  /** How many events the source says that it has logged; up to which number the target was given others in their place. */
  logged: bigint;
  madeUpThrough: bigint;
  isReplayed: boolean;
}

interface Chunk {
  readonly message: SnapshotReady;
  readonly trailer: Trailer;
}

/** A snapshot that passed through it. */
interface Kept {
  readonly try: bigint;
  readonly target: number;
  /** By their place. */
  readonly chunks: Map<number, Chunk>;
}

/** Leads migrations as it likes, with whatever it has ever been sent. */
export class Liar {
  readonly #options: LiarOptions;
  readonly #random: Random;
  readonly #led = new Map<bigint, Led>();
  /** What the world calls a daemon. */
  readonly #daemons = new Map<bigint, number>();
  /** Snapshots that passed through it, by daemon and try. */
  readonly #snapshots = new Map<bigint, Map<bigint, Kept>>();
  /** `daemon try`: of those it has sent true chunks to somebody. */
  readonly #truthful = new Set<string>();
  /** `daemon try node`: that one has got no snapshot from it, for that try, but one that it must not restore. */
  readonly #mustRefuse = new Set<string>();

  constructor(options: LiarOptions) {
    this.#options = options;
    this.#random = new Random(options.seed, 0x11a7);
    options.mesh.listen(SUBPROTOCOL_MIGRATION, (from, batch) => {
      forEachFrame(batch, (frame) => this.#receive(Number(from), frame.slice()));
    });
  }

  /** Tells one more lie about a daemon. */
  lie(daemon: number): void {
    const insight = this.#options.insight(daemon);
    if (!insight) return;
    this.#daemons.set(insight.origin, daemon);
    const snapshots = this.#snapshots.get(insight.origin);
    const old = [...(snapshots?.values() ?? [])].find((kept) => kept.target !== insight.owner && isWhole(kept));
    // The key in it is sealed to whom it was for.
    if (old && this.#random.chance(0.2)) {
      this.#begin(insight, 'hands-on-old', old.target);
      return;
    }
    const lies = [
      () => this.#begin(insight),
      () => this.#begin(insight),
      () => this.#order(insight),
      () => this.#order(insight),
      () => this.#cutShort(insight),
      () => (snapshots ? this.#replayOld(insight, snapshots) : this.#begin(insight)),
      () => (snapshots ? this.#placeAsStranger(insight, snapshots) : this.#begin(insight)),
    ];
    this.#random.pick(lies)();
  }

  #node(): number {
    return this.#random.between(1, this.#options.nodes);
  }

  /** Forgets what it led, and begins anew. */
  #begin(
    { origin, owner }: Insight,
    conduct = this.#random.pick(CONDUCTS),
    to = this.#node(),
    seal = this.#random.pick(SEALS),
  ): void {
    const target = to === owner ? (to % this.#options.nodes) + 1 : to;
    const led: Led = {
      origin,
      source: owner,
      target,
      requestId: this.#random.bytes(16),
      conduct,
      seal,
      try: undefined,
      logged: 0n,
      madeUpThrough: 0n,
      isReplayed: false,
    };
    this.#led.set(origin, led);
    const { requestId } = led;
    const trailer = { requestId, ...(this.#random.chance(0.4) ? { mode: 1n } : {}) };
    this.#send(owner, { kind: 'TakeSnapshot', daemonOrigin: origin, targetNode: BigInt(target) }, trailer);
  }

  #receive(from: number, frame: Uint8Array): void {
    const known = decoded(frame);
    const led = known && this.#led.get(known.message.daemonOrigin);
    if (!known || !led) return;
    const { message, trailer } = known;
    const { origin, source, target, conduct } = led;
    if (from === source && trailer?.try !== undefined) led.try = trailer.try;
    const tried = led.try === undefined ? undefined : { try: led.try };
    switch (message.kind) {
      case 'SnapshotReady':
        this.#forward(led, message, trailer);
        if (conduct === 'early-orders')
          this.#send(source, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: BigInt(target) }, tried);
        break;
      case 'RestoreComplete':
        if (
          this.#mustRefuse.has(`${origin} ${trailer?.try} ${from}`) &&
          !this.#truthful.has(`${origin} ${trailer?.try}`)
        )
          this.#options.complain('attested', `node ${from} restores a snapshot that its daemon signed for another try`);
        if (conduct === 'makes-events-up') this.#makeEventsUp(led, from);
        this.#send(from, { kind: 'BufferedEvents', daemonOrigin: origin, events: [] }, tried);
        break;
      case 'SourceStatus':
        led.logged = trailer?.logCount ?? 0n;
        if (led.isReplayed) this.#notifyWhenLogged(led);
        break;
      case 'MigrationFailed':
        this.#failed(led, from);
        break;
      case 'ReplayComplete':
        led.isReplayed = true;
        this.#notifyWhenLogged(led);
        if (conduct === 'early-orders') this.#send(from, { kind: 'ActivateTarget', daemonOrigin: origin }, tried);
        break;
      case 'CleanupComplete':
        if (conduct === 'confirms') {
          this.#confirm(led);
          break;
        }
        this.#send(target, { kind: 'ActivateTarget', daemonOrigin: origin }, tried);
        if (conduct === 'other-target')
          this.#send(this.#node(), { kind: 'ActivateTarget', daemonOrigin: origin }, tried);
        break;
      default:
    }
  }

  /** With the cutover it waits until the source has logged as many events as the target was given: it offers so many. */
  #notifyWhenLogged({ origin, source, target, try: number, logged, madeUpThrough }: Led): void {
    if (logged < madeUpThrough) return;
    const tried = number === undefined ? undefined : { try: number };
    this.#send(source, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: BigInt(target) }, tried);
  }

  /** As if the target were live, which is told to drop its copy. */
  #confirm({ origin, source, target, try: number }: Led): void {
    const insight = this.#options.insight(this.#daemons.get(origin)!);
    if (!insight || number === undefined) return;
    const confirmed = { kind: 'ActivationConfirmed', daemonOrigin: origin } as const;
    this.#send(target, failed(origin), { try: number });
    this.#send(source, confirmed, { try: number, epoch: insight.epoch + 1n });
  }

  /** What a target refuses under one seal may be taken under another: the source is to begin again. */
  #failed({ origin, source, target, conduct, seal, try: number }: Led, from: number): void {
    const again = conduct === 'calls-off' ? SEALS[0] : SEALS[SEALS.indexOf(seal) + 1];
    if (conduct === 'hands-on-old' && from === target && number !== undefined)
      this.#send(source, failed(origin), { try: number });
    if ((conduct !== 'hands-on-old' && conduct !== 'calls-off') || from !== source || number === undefined || !again)
      return;
    const insight = this.#options.insight(this.#daemons.get(origin)!);
    if (insight?.owner === source) this.#begin(insight, 'hands-on-old', target, again);
  }

  #forward(led: Led, message: SnapshotReady, trailer: Trailer | undefined): void {
    const { origin, target, conduct } = led;
    if (trailer?.try !== undefined) this.#keep(led, { message, trailer });
    const isLast = message.chunkIndex === message.totalChunks - 1;
    const old = conduct === 'hands-on-old' && trailer && this.#olderThan(led, trailer);
    if (old) {
      if (isLast) this.#handOnOld(led, old, trailer);
      return;
    }
    if (conduct === 'calls-off') {
      // It has what it wanted.
      if (isLast) this.#send(led.source, failed(origin), trailer?.try === undefined ? undefined : { try: trailer.try });
      return;
    }
    this.#truthful.add(`${origin} ${trailer?.try}`);
    if (conduct === 'keeps-last-chunk' && isLast) return;
    if (conduct === 'strips') {
      this.#options.visit('trailers-stripped');
      this.#send(target, message, undefined);
      return;
    }
    this.#send(target, message, trailer);
    if (conduct === 'other-target') this.#send(this.#node(), message, trailer);
  }

  #keep({ origin, target }: Led, chunk: Chunk): void {
    const number = chunk.trailer.try!;
    const tries = this.#snapshots.get(origin) ?? new Map<bigint, Kept>();
    const kept = tries.get(number) ?? { try: number, target, chunks: new Map<number, Chunk>() };
    kept.chunks.set(chunk.message.chunkIndex, chunk);
    this.#snapshots.set(origin, tries.set(number, kept));
  }

  /** The oldest snapshot that it has whole, where this chunk is of a further try, and of the one that it has begun. */
  #olderThan({ origin, target, requestId }: Led, trailer: Trailer): Kept | undefined {
    if (!sameBytes(trailer.requestId, requestId) || this.#truthful.has(`${origin} ${trailer.try}`)) return undefined;
    const older = [...this.#snapshots.get(origin)!.values()].filter((kept) => kept.try < trailer.try! && isWhole(kept));
    return older.find((kept) => kept.target === target) ?? older[0];
  }

  /** An old snapshot in the place of the new one, of which the last chunk has come. */
  #handOnOld({ origin, target, seal }: Led, old: Kept, now: Trailer): void {
    this.#options.visit('old-snapshot-under-new-try');
    if (seal === 'none') {
      const { snapshotDigest: _, snapshotSignature: __, ...unsigned } = now;
      for (const { message, trailer } of unsealed(old)) {
        const { transportIdentity, snapshotLength } = trailer;
        this.#send(target, message, { ...unsigned, transportIdentity, snapshotLength } as Trailer);
      }
      return;
    }
    this.#mustRefuse.add(`${origin} ${now.try} ${target}`);
    const { snapshotDigest, snapshotSignature, ...every } = now;
    for (const { message, trailer } of old.chunks.values()) {
      const isLast = message.chunkIndex === message.totalChunks - 1;
      const sealed = seal === 'as-now' ? { snapshotDigest, snapshotSignature } : sealOf(trailer);
      const length = trailer.snapshotLength === undefined ? {} : { snapshotLength: trailer.snapshotLength };
      this.#send(target, message, { ...every, ...length, ...(isLast && defined(sealed)) });
    }
  }

  /** One whom nobody trusts has what passed through here, and has a node take it: as it was, or without its seal. */
  #placeAsStranger({ try: newest }: Insight, snapshots: Map<bigint, Kept>): void {
    const whole = [...snapshots.values()].filter(isWhole);
    if (whole.length === 0) return;
    this.#options.visit('stranger-places-snapshot');
    const kept = this.#random.pick(whole);
    const asItWas = this.#random.chance(0.3);
    const to = asItWas ? kept.target : this.#node();
    for (const { message, trailer } of asItWas ? kept.chunks.values() : unsealed(kept)) {
      const number = asItWas ? {} : { try: newest + 1n };
      this.#send(to, message, { ...trailer, ...number }, this.#options.stranger);
    }
  }

  /** Events as those of the source's log, where its next ones belong: one changed, one more, or one left out. */
  #makeEventsUp(led: Led, to: number): void {
    const { origin, try: number, logged } = led;
    const { events = [] } = this.#options.insight(this.#daemons.get(origin)!) ?? {};
    if (events.length === 0 || number === undefined) return;
    this.#options.visit('log-made-up');
    const at = this.#random.between(0, events.length - 1);
    const { link, payload, receivedAt } = events[at]!;
    const further = { link: { ...link, sequence: link.sequence + 1n }, payload, receivedAt };
    const foreign = { link: { ...link, originHash: link.originHash + 500n }, payload, receivedAt };
    const madeUp = this.#random.pick([
      () => events.with(at, further),
      () => events.with(at, foreign),
      () => events.toSpliced(at, 0, foreign),
      () => events.toSpliced(at, 1),
    ])();
    const logFrom = logged + 1n;
    const sent = madeUp.slice(0, this.#random.between(1, 2));
    led.madeUpThrough = logged + BigInt(sent.length);
    this.#send(to, { kind: 'BufferedEvents', daemonOrigin: origin, events: sent }, { try: number, logFrom });
  }

  /** A snapshot of an earlier try, as one of the newest, or of the next. */
  #replayOld({ origin, try: newest, target }: Insight, snapshots: Map<bigint, Kept>): void {
    const kept = this.#random.pick([...snapshots.values()]);
    const chunks = [...kept.chunks.values()];
    const number = newest + BigInt(this.#random.between(0, 1));
    const to = this.#random.chance(0.5) ? target : this.#node();
    if (number === kept.try) this.#truthful.add(`${origin} ${number}`);
    const led: Led = {
      origin,
      source: 0,
      target: to,
      requestId: this.#random.bytes(16),
      conduct: 'honest',
      seal: 'as-then',
      try: number,
      logged: 0n,
      madeUpThrough: 0n,
      isReplayed: false,
    };
    this.#led.set(origin, { ...led, source: Number(chunks[0]!.trailer.source ?? 0n) });
    for (const { message, trailer } of chunks) this.#send(to, message, { ...trailer, try: number });
  }

  /** As if the source's log ended here. */
  #cutShort({ origin, try: number, source, target }: Insight): void {
    this.#options.visit('log-cut-short');
    const count = BigInt(this.#random.between(0, 3));
    const digest = this.#random.chance(0.5) ? { logDigest: new Uint8Array(32) } : {};
    const trailer = { try: number, logFrom: count + 1n, logCount: count, ...digest };
    this.#send(target, { kind: 'BufferedEvents', daemonOrigin: origin, events: [] }, trailer);
    this.#send(target, { kind: 'ActivateTarget', daemonOrigin: origin }, { try: number });
    this.#send(source, { kind: 'EventAck', daemonOrigin: origin }, { try: number, ackThrough: count });
  }

  /** What nobody but others may say, or not yet. */
  #order({ origin, try: number, epoch, source, target }: Insight): void {
    this.#options.visit('liar-orders');
    const tried = { try: number };
    const orders: ReadonlyArray<() => void> = [
      () => this.#send(source, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: BigInt(target) }, tried),
      () => this.#send(target, { kind: 'ActivateTarget', daemonOrigin: origin }, tried),
      () => this.#send(source, failed(origin), tried),
      () => this.#send(target, failed(origin), tried),
      () => {
        const trailer = { try: number, epoch: epoch + 1n };
        this.#send(source, { kind: 'ActivationConfirmed', daemonOrigin: origin }, trailer);
      },
      () => this.#send(this.#node(), { kind: 'CleanupComplete', daemonOrigin: origin }, tried),
      () => this.#send(this.#node(), { kind: 'ActivateAck', daemonOrigin: origin, replayedSeq: 0n }, tried),
    ];
    this.#random.pick(orders)();
  }

  #send(to: number, message: MigrationFrame['message'], trailer: Trailer | undefined, mesh = this.#options.mesh): void {
    if (to === LIAR || to === STRANGER || !mesh.peer(BigInt(to))) return;
    mesh.send(BigInt(to), SUBPROTOCOL_MIGRATION, encodeMigrationFrame(typescriptCodec, message, trailer));
  }
}

function failed(daemonOrigin: bigint): MigrationFrame['message'] {
  return { kind: 'MigrationFailed', daemonOrigin, reason: MigrationFailureReason.stateFailed('a lie') };
}

function isWhole({ chunks }: Kept): boolean {
  const [first] = chunks.values();
  return first !== undefined && chunks.size === first.message.totalChunks;
}

function sealOf({ snapshotDigest, snapshotSignature }: Trailer) {
  return { snapshotDigest, snapshotSignature };
}

/** Without what is undefined: a trailer has no such fields. */
function defined({ snapshotDigest, snapshotSignature }: ReturnType<typeof sealOf>): Trailer {
  return { ...(snapshotDigest && { snapshotDigest }), ...(snapshotSignature && { snapshotSignature }) };
}

/** A snapshot as if its daemon's key had not travelled along: nobody need have signed such a one. */
function unsealed({ chunks }: Kept): Chunk[] {
  const ordered = [...chunks.values()].sort((a, b) => a.message.chunkIndex - b.message.chunkIndex);
  const whole = Buffer.concat(ordered.map(({ message }) => message.snapshotBytes));
  const bytes = typescriptCodec.encodeSnapshot({
    ...typescriptCodec.decodeSnapshot(whole),
    identityEnvelope: undefined,
  });
  const { message, trailer } = ordered[0]!;
  const totalChunks = Math.max(1, Math.ceil(bytes.length / MAX_SNAPSHOT_CHUNK_SIZE));
  const { snapshotDigest: _, snapshotSignature: __, ...unsigned } = trailer;
  return Array.from({ length: totalChunks }, (_, chunkIndex) => {
    const from = chunkIndex * MAX_SNAPSHOT_CHUNK_SIZE;
    const snapshotBytes = bytes.subarray(from, from + MAX_SNAPSHOT_CHUNK_SIZE);
    return {
      message: { ...message, chunkIndex, totalChunks, snapshotBytes },
      trailer: { ...unsigned, transportIdentity: 0n, snapshotLength: BigInt(bytes.length) },
    };
  });
}
