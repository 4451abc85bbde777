import { forEachFrame } from '../../lib/wire/batch.js';
import { encodeMigrationFrame, type MigrationFrame } from '../../lib/wire/extension.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import { type SnapshotReady, SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { Random } from './chance.js';
import { LIAR } from './plan.js';
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
}

export interface LiarOptions {
  readonly mesh: SimulatedMesh;
  readonly seed: number;
  readonly nodes: number;
  readonly insight: (daemon: number) => Insight | undefined;
  readonly visit: (hardCase: HardCase) => void;
}

/** How it conducts the migrations that it has begun. */
type Conduct = 'honest' | 'strips' | 'other-target' | 'keeps-last-chunk' | 'early-orders';

interface Led {
  readonly origin: bigint;
  readonly source: number;
  readonly target: number;
  readonly requestId: Uint8Array;
  readonly conduct: Conduct;
  try: bigint | undefined;
}

interface Kept {
  readonly message: SnapshotReady;
  readonly trailer: Trailer;
}

/** Leads migrations as it likes, with whatever it has ever been sent. */
export class Liar {
  readonly #options: LiarOptions;
  readonly #random: Random;
  readonly #led = new Map<bigint, Led>();
  /** Snapshots that passed through it, by daemon and try. */
  readonly #snapshots = new Map<bigint, Map<bigint, Kept[]>>();

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
    const snapshots = this.#snapshots.get(insight.origin);
    const lies = [
      () => this.#begin(insight),
      () => this.#begin(insight),
      () => this.#order(insight),
      () => this.#order(insight),
      () => this.#cutShort(insight),
      () => (snapshots ? this.#replayOld(insight, snapshots) : this.#begin(insight)),
      () => (snapshots ? this.#replayOld(insight, snapshots) : this.#begin(insight)),
    ];
    this.#random.pick(lies)();
  }

  #node(): number {
    return this.#random.between(1, this.#options.nodes);
  }

  /** Forgets what it led, and begins anew. */
  #begin({ origin, owner }: Insight): void {
    const to = this.#node();
    const target = to === owner ? (to % this.#options.nodes) + 1 : to;
    const conducts: readonly Conduct[] = ['honest', 'strips', 'other-target', 'keeps-last-chunk', 'early-orders'];
    const led: Led = {
      origin,
      source: owner,
      target,
      requestId: this.#random.bytes(16),
      conduct: this.#random.pick(conducts),
      try: undefined,
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
        this.#send(from, { kind: 'BufferedEvents', daemonOrigin: origin, events: [] }, tried);
        break;
      case 'ReplayComplete':
        this.#send(source, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: BigInt(target) }, tried);
        if (conduct === 'early-orders') this.#send(from, { kind: 'ActivateTarget', daemonOrigin: origin }, tried);
        break;
      case 'CleanupComplete':
        this.#send(target, { kind: 'ActivateTarget', daemonOrigin: origin }, tried);
        if (conduct === 'other-target')
          this.#send(this.#node(), { kind: 'ActivateTarget', daemonOrigin: origin }, tried);
        break;
      default:
    }
  }

  #forward(led: Led, message: SnapshotReady, trailer: Trailer | undefined): void {
    const { origin, target, conduct } = led;
    if (trailer?.try !== undefined) {
      const tries = this.#snapshots.get(origin) ?? new Map<bigint, Kept[]>();
      tries.set(trailer.try, [...(tries.get(trailer.try) ?? []), { message, trailer }]);
      this.#snapshots.set(origin, tries);
    }
    const isLast = message.chunkIndex === message.totalChunks - 1;
    if (conduct === 'keeps-last-chunk' && isLast) return;
    if (conduct === 'strips') {
      this.#options.visit('trailers-stripped');
      this.#send(target, message, undefined);
      return;
    }
    this.#send(target, message, trailer);
    if (conduct === 'other-target') this.#send(this.#node(), message, trailer);
  }

  /** A snapshot of an earlier try, as one of the newest, or of the next. */
  #replayOld({ origin, try: newest, target }: Insight, snapshots: Map<bigint, Kept[]>): void {
    const [, chunks] = this.#random.pick([...snapshots]);
    const number = newest + BigInt(this.#random.between(0, 1));
    const to = this.#random.chance(0.5) ? target : this.#node();
    this.#options.visit('old-snapshot-under-new-try');
    const led: Led = {
      origin,
      source: 0,
      target: to,
      requestId: this.#random.bytes(16),
      conduct: 'honest',
      try: number,
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
    const failed = {
      kind: 'MigrationFailed',
      daemonOrigin: origin,
      reason: MigrationFailureReason.stateFailed('a lie'),
    };
    const orders: ReadonlyArray<() => void> = [
      () => this.#send(source, { kind: 'CutoverNotify', daemonOrigin: origin, targetNode: BigInt(target) }, tried),
      () => this.#send(target, { kind: 'ActivateTarget', daemonOrigin: origin }, tried),
      () => this.#send(source, failed as MigrationFrame['message'], tried),
      () => this.#send(target, failed as MigrationFrame['message'], tried),
      () => {
        const trailer = { try: number, epoch: epoch + 1n };
        this.#send(source, { kind: 'ActivationConfirmed', daemonOrigin: origin }, trailer);
      },
      () => this.#send(this.#node(), { kind: 'CleanupComplete', daemonOrigin: origin }, tried),
      () => this.#send(this.#node(), { kind: 'ActivateAck', daemonOrigin: origin, replayedSeq: 0n }, tried),
    ];
    this.#random.pick(orders)();
  }

  #send(to: number, message: MigrationFrame['message'], trailer: Trailer | undefined): void {
    const { mesh } = this.#options;
    if (to === LIAR || !mesh.peer(BigInt(to))) return;
    mesh.send(BigInt(to), SUBPROTOCOL_MIGRATION, encodeMigrationFrame(typescriptCodec, message, trailer));
  }
}
