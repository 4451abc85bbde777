import { MigrationError, messageOf } from '../errors.js';
import type { EntityKeypair } from '../identity/entity-keypair.js';
import { isPromise, type MaybePromise, whenReady } from '../maybe-promise.js';
import { lengthOf } from '../parts.js';
import { inSlices } from '../slices.js';
import { type CarriedState, encodeCarriedState, type SplitState, splitState } from '../state/carried-state.js';
import { CausalChain } from '../state/chain.js';
import { ChannelPositions } from '../state/channel-positions.js';
import { type FrozenHorizon, Horizon } from '../state/horizon.js';
import { describe } from '../wire/arguments.js';
import type { MigrationCodec } from '../wire/codec.js';
import { type EventLog, type EventLogOptions, firstEvents } from '../wire/event-log.js';
import type { SubscriptionLedger } from '../wire/ledger.js';
import type { CausalEvent, CausalLink } from '../wire/link.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import { SNAPSHOT_FIXED_OVERHEAD, type SnapshotFields, type StateSnapshot } from '../wire/snapshot.js';
import type { DaemonHealth, DaemonOutputs, MeshDaemon } from './daemon.js';
import type { StateReader } from './state-reader.js';
import { StateStream } from './state-stream.js';

/** Events processed before the event loop gets its turn. */
const SLICE = 1_000;

/**
 * What becomes of events that are handed in.
 * - `live`: processed. - `logging`: logged for later (a migration is under way, in `pause` mode). - `mirroring`: processed,
 *   and logged for the copy that replays it (in `live` mode).
 * - `fenced`: refused as `moving`; only the ownership register or a confirmation changes that.
 * - `held`: refused as `moving`; a copy that has not claimed the daemon yet.
 */
export type Gate = 'live' | 'logging' | 'mirroring' | 'fenced' | 'held';

/** What became of events handed in together. */
export interface Acceptance {
  /** How many, from the first, this copy answers for now. */
  readonly accepted: number;
  /** Of these, how many it had seen before. */
  readonly duplicates: number;
  /** Why the next one was refused, and with it all after it. */
  readonly refusal: MigrationError | undefined;
}

/** An event that no frame takes whole. */
export interface LargeEvent {
  readonly link: CausalLink;
  /** Bytes of its payload. */
  readonly length: number;
}

export interface SnapshotOptions {
  /** The target can read what our host carries along. */
  readonly carry: boolean;
  /** What becomes of events from this state on; undefined: what became of them before. */
  readonly intake?: 'logging' | 'mirroring' | undefined;
  /** Seals the daemon's key to the target, for the snapshot with that chain head. */
  readonly seal?: ((head: CausalLink) => Uint8Array | undefined) | undefined;
}

/** A daemon's state and what goes around it (PROTOCOL.md §4). */
export interface HostSnapshot<Own extends Uint8Array | StateStream = Uint8Array | StateStream> {
  readonly fields: SnapshotFields;
  /** What our host writes in front of the daemon's own bytes, in parts; none where it writes nothing. */
  readonly carried: readonly Uint8Array[];
  readonly own: Own;
  /** Bytes of both. */
  readonly stateLength: number;
}

/** What a snapshot is written from. */
interface Captured<Own> {
  readonly fields: SnapshotFields;
  readonly carried: CarriedState<FrozenHorizon> | undefined;
  readonly own: Own;
}

export interface DaemonHostOptions {
  readonly codec: MigrationCodec;
  /** Who the daemon is; full where its private half is on this node. The host's to wipe. */
  readonly keypair: EntityKeypair;
  readonly kind: string;
  readonly daemon: MeshDaemon;
  /** Caps of the log of a migration. */
  readonly eventLog?: EventLogOptions | undefined;
  /** Wall clock in nanoseconds since the Unix epoch, for `receivedAt` and `createdAt`. Default: the system's. */
  readonly clock?: () => bigint;
  /** Outputs of a live copy, in order. A promise holds the next events up. */
  readonly publish: (outputs: readonly CausalEvent[], epoch: bigint) => MaybePromise<void>;
  /** Resolves in a later turn of the event loop: long work is cut into slices. Without it, all is done at once. */
  readonly turn?: () => Promise<void>;
  /** An event made the daemon throw: it is counted, reported and passed over. */
  readonly onDaemonError?: (error: unknown, event: CausalEvent) => void;
  /** The daemon has thrown when it was told of its end. Default: a process warning. */
  readonly onEndError?: (error: MigrationError) => void;
  /** The daemon is told of its end; resolves when it is done, whatever it throws. */
  readonly onEnding?: (ended: Promise<void>) => void;
}

function systemClock(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/** One copy of a daemon on this node: the daemon itself, its chain of outputs, what it has seen, and what it logs. */
export class DaemonHost {
  readonly keypair: EntityKeypair;
  readonly kind: string;
  readonly log: EventLog;
  ledger: SubscriptionLedger;
  /** How far the channels in the ledger have been read: never ahead of what this copy has accepted. */
  positions = new ChannelPositions();
  /** The daemon's generation: raised by one with every change of owner. */
  epoch = 0n;
  /** Where refused events should go. */
  movingTo: bigint | undefined;
  /** Where a held copy came from: its publishers go back there when it is dropped. */
  cameFrom: bigint | undefined;

  readonly #options: DaemonHostOptions;
  readonly #clock: () => bigint;
  #gate: Gate = 'live';
  #chain: CausalChain;
  #horizon = new Horizon();
  /** Bloom filter of the origins seen. */
  #observed = 0n;
  readonly #bits = new Map<bigint, bigint>();
  #heldOutputs: CausalEvent[] = [];
  /** What stands in the log has been processed by this copy. */
  #isLogProcessed = false;
  /** What is still being processed by a daemon that answers later; the next call waits for it. */
  #tail: Promise<unknown> | undefined;
  #disposed = false;
  #processed = 0;
  #failures = 0;
  #largest: LargeEvent | undefined;
  #snapshotLength: number | undefined;
  /** The reading of a streamed state into memory. */
  #reading: StateReader | undefined;
  /** Calls of the daemon that have not come back. */
  #calls = 0;
  /** The last of them has come back, and the copy has ended. */
  #onQuiet: (() => void) | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: DaemonHostOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.keypair = options.keypair;
    this.kind = options.kind;
    this.log = options.codec.createEventLog(options.eventLog);
    this.ledger = options.codec.createLedger();
    this.#chain = CausalChain.genesis(options.codec, options.keypair.originHash);
  }

  get gate(): Gate {
    return this.#gate;
  }

  /** Whether it answers for what it is handed: moving or not, it is the daemon. */
  get isLive(): boolean {
    return this.#gate === 'live' || this.#gate === 'logging' || this.#gate === 'mirroring';
  }

  get origin(): bigint {
    return this.keypair.originHash;
  }

  get head(): CausalLink {
    return this.#chain.head;
  }

  /** What the next output's link names: the hash of the head and its payload. */
  get nextParent(): bigint {
    return this.#chain.nextParent;
  }

  get daemon(): MeshDaemon {
    return this.#options.daemon;
  }

  /** Events processed by this copy. */
  get processed(): number {
    return this.#processed;
  }

  /** Events at which the daemon threw. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Bytes of the last whole snapshot that was taken of this copy, or that it was made of; undefined where there was none. The
   * next one may be of another size.
   */
  get snapshotLength(): number | undefined {
    return this.#snapshotLength;
  }

  /** Hands events in, in order. */
  accept(events: readonly CausalEvent[]): MaybePromise<Acceptance> {
    return this.#inOrder(() => this.#acceptNow(events));
  }

  #acceptNow(events: readonly CausalEvent[]): MaybePromise<Acceptance> {
    if (this.#gate === 'fenced' || this.#gate === 'held') return refusedFrom(0, 0, moving(this.origin, this.movingTo));
    const fresh: CausalEvent[] = [];
    let duplicates = 0;
    let refusal: MigrationError | undefined;
    let accepted = 0;
    for (; accepted < events.length; accepted++) {
      try {
        // Asked first, so that the horizon never notes an event that the log then refuses.
        const isLogged = this.#gate === 'logging' || this.#gate === 'mirroring';
        if (isLogged) this.log.ensureRoom(events[accepted]!.payload.length);
        if (this.#notice(events[accepted]!) === 'new') {
          if (isLogged) this.#append(events[accepted]!);
          if (this.#gate !== 'logging') fresh.push(events[accepted]!);
        } else duplicates++;
      } catch (error) {
        if (!(error instanceof MigrationError)) throw error;
        refusal = error;
        break;
      }
    }
    const acceptance = { accepted, duplicates, refusal };
    return fresh.length === 0 ? acceptance : whenReady(this.#processAll(fresh), () => acceptance);
  }

  /**
   * Applies events that another copy has accepted, in order; those seen before are dropped. Outputs are held until the
   * copy is live.
   */
  replay(events: readonly CausalEvent[]): MaybePromise<void> {
    return this.#inOrder(() => this.#processAll(events.filter((event) => this.#noticeReplayed(event) === 'new')));
  }

  /** Whether an event counts as seen. */
  hasSeen(link: CausalLink): boolean {
    return this.#horizon.has(link);
  }

  /** Sequences of an origin that have not come, though later ones have, as [first, last] pairs. */
  missing(originHash: bigint): ReadonlyArray<readonly [bigint, bigint]> {
    return this.#horizon.missing(originHash);
  }

  /** What is missing of an origin before an event that was refused as `sequence-gap` never comes. @returns whether any was */
  passOverGap(originHash: bigint): boolean {
    return this.#horizon.passOver(originHash);
  }

  /** The largest logged event, where its payload is larger than a frame takes. */
  get largest(): LargeEvent | undefined {
    return this.#largest;
  }

  /** Stops for good, unless `resume` follows. Waits for what is being processed. */
  fence(): MaybePromise<void> {
    this.#gate = 'fenced';
    return whenReady(this.#tail, () => {});
  }

  /** Not to be reached before `goLive`. */
  hold(): void {
    this.#gate = 'held';
  }

  /**
   * The source goes on: it processes what it has logged, in order, and is live again. An event leaves the log when it has
   * been processed.
   */
  resume(): MaybePromise<void> {
    return this.#inOrder(() => {
      // Live first, so that what these events publish goes out, and in this order before anything newer.
      this.#gate = 'live';
      this.movingTo = undefined;
      this.#largest = undefined;
      if (!this.#isLogProcessed) return this.#processLog();
      this.log.clear();
    });
  }

  #processLog(): MaybePromise<void> {
    const { firstNumber } = this.log;
    const logged = firstEvents(this.log, SLICE);
    if (logged.length === 0) {
      this.log.clear();
      return;
    }
    return whenReady(this.#processAll(logged), () => {
      this.log.truncate(firstNumber + BigInt(logged.length) - 1n);
      if (this.log.count === 0) return this.#processLog();
      const { turn } = this.#options;
      return turn ? turn().then(() => this.#processLog()) : this.#processLog();
    });
  }

  /**
   * A copy that was restored stands where the one stood that was fenced: its log is this one's, to be processed by `resume`,
   * or was processed and published already (in `live` mode).
   *
   * @param stood undefined where nobody knows how: then what it has seen is what it was restored with, and its log
   * @returns the head that the log led to, which is `stood.head` where the daemon answers the same events alike
   * @throws MigrationError `buffer-full`
   */
  async standWhere(
    stood: { readonly head: CausalLink; readonly carried: CarriedState } | undefined,
    events: readonly CausalEvent[],
    isProcessed: boolean,
  ): Promise<CausalLink> {
    for (let from = 0; from < events.length; from += SLICE) {
      const slice = events.slice(from, from + SLICE);
      for (const event of slice) {
        this.#append(event);
        if (!stood) this.#notice(event);
      }
      if (isProcessed) await this.#processAll(slice);
      this.dropHeldOutputs();
      await this.#options.turn?.();
    }
    this.#isLogProcessed = isProcessed;
    this.#gate = 'fenced';
    const led = this.head;
    if (stood) await this.#stand(stood.head, stood.carried);
    return led;
  }

  #stand(head: CausalLink, carried: CarriedState): MaybePromise<void> {
    const { epoch, nextParent, observed, horizon, positions } = carried;
    this.#chain = CausalChain.after(this.#options.codec, head, nextParent);
    this.epoch = epoch;
    this.#observed = observed;
    this.#horizon = horizon;
    return inSlices(positions, SLICE, this.#options.turn, ({ publisher, channel, position }) =>
      this.positions.set(publisher, channel, position),
    );
  }

  /** A held copy takes over: what it kept back is published. */
  goLive(epoch: bigint): void {
    this.epoch = epoch;
    this.#gate = 'live';
    const held = this.#heldOutputs;
    this.#heldOutputs = [];
    if (held.length > 0) this.#publish(held);
  }

  /** What a held copy kept back has been published by the one that it takes over from. */
  dropHeldOutputs(): void {
    this.#heldOutputs = [];
  }

  /**
   * Wipes the private half of the key and frees memory outside the heap, at once, and tells the daemon that its copy here is
   * over, once.
   *
   * @returns a promise where the daemon wants to hear that: until it is done, whatever it throws
   */
  dispose(): MaybePromise<void> {
    try {
      this.keypair.wipeSecret();
    } finally {
      this.free();
    }
    return this.#ended;
  }

  /** The same, but leaves the key to whom it belongs: for a copy that never came to life. */
  free(): MaybePromise<void> {
    if (this.#disposed) return this.#ended;
    this.#disposed = true;
    this.#gate = 'fenced';
    this.#reading?.close();
    this.log.dispose();
    this.ledger.dispose();
    this.#ended = this.#tellEnd();
    return this.#ended;
  }

  /** Behind the calls that still run, and never on the stack of whoever ends the copy: the daemon may call back. */
  #tellEnd(): Promise<void> | undefined {
    const { daemon, onEnding, onEndError } = this.#options;
    if (!(Symbol.asyncDispose in daemon || Symbol.dispose in daemon)) return undefined;
    const quiet = new Promise<void>((resolve) => {
      if (this.#calls === 0) resolve();
      else this.#onQuiet = resolve;
    });
    const told = quiet.then(() =>
      daemon[Symbol.asyncDispose] ? daemon[Symbol.asyncDispose]!() : daemon[Symbol.dispose]?.(),
    );
    const ended = told.catch((cause: unknown) => {
      const message = `${this.#name()} threw when it was disposed of: ${messageOf(cause)}; its copy here has ended all the same`;
      const error = new MigrationError('state-failed', message, { details: { origin: this.origin }, cause });
      if (onEndError) onEndError(error);
      else process.emitWarning(error.message, { code: error.kind });
    });
    onEnding?.(ended);
    return ended;
  }

  #callOver(): void {
    if (--this.#calls === 0) this.#onQuiet?.();
  }

  /**
   * The daemon's state now, and what goes around it. Nothing of the state is copied, and of a stream nothing is read.
   *
   * @throws MigrationError `state-failed` where the daemon throws, gives neither bytes nor a stream, or has no state
   */
  snapshot(options: SnapshotOptions): MaybePromise<HostSnapshot> {
    const taken = this.#inOrder(() =>
      whenReady(this.#ownState(), (own) => {
        const capture = () => this.#capture(own, options);
        return own instanceof StateStream ? own.orClose(capture) : capture();
      }),
    );
    return whenReady(taken, (captured) => this.#written(captured));
  }

  /**
   * The same in memory, also where the daemon streams its state: until that has been read the daemon processes nothing.
   *
   * @throws MigrationError `state-failed` also where the stream gives something else than it says
   */
  snapshotInMemory(options: SnapshotOptions): MaybePromise<HostSnapshot<Uint8Array>> {
    const taken = this.#inOrder(() =>
      whenReady(this.#ownState(), (own) => {
        if (own instanceof Uint8Array) return this.#capture(own, options);
        const { turn } = this.#options;
        return own
          .collect(turn, (reading) => {
            this.#reading = reading;
          })
          .then((bytes) => this.#capture(bytes, options));
      }),
    );
    return whenReady(taken, (captured) => this.#written(captured));
  }

  /** What must be of one moment: nothing else has had a turn since the daemon answered. */
  #capture<T extends Uint8Array | StateStream>(own: T, { carry, seal, intake }: SnapshotOptions): Captured<T> {
    const fields: SnapshotFields = {
      entityId: this.keypair.entityId,
      throughSeq: this.head.sequence,
      chainLink: this.head,
      createdAt: this.#clock(),
      bindings: this.ledger.size > 0 ? this.ledger.encode() : new Uint8Array(0),
      identityEnvelope: seal?.(this.head),
    };
    const carried = carry ? this.carried : undefined;
    if (intake) {
      // The log begins right after this state.
      this.log.clear();
      this.#largest = undefined;
      this.#gate = intake;
      this.#isLogProcessed = intake === 'mirroring';
    }
    return { fields, carried, own };
  }

  /** The rest is written while events are taken again. */
  #written<T extends Uint8Array | StateStream>({ fields, carried, own }: Captured<T>): MaybePromise<HostSnapshot<T>> {
    return whenReady(carried ? encodeCarriedState(carried, this.#options.turn) : [], (parts) => {
      const stateLength = lengthOf(parts) + own.byteLength;
      this.#snapshotLength = lengthAround(fields) + stateLength;
      return { fields, carried: parts, own, stateLength };
    });
  }

  /** @throws MigrationError `state-failed` where the daemon throws or gives no state, unless it says that it has none */
  #ownState(): MaybePromise<Uint8Array | StateStream> {
    if (this.daemon.isStateful === false) return new Uint8Array(0);
    return whenReady(
      this.#callDaemon('snapshot', (daemon) => daemon.snapshot()),
      (own) => {
        if (own instanceof Uint8Array) return own;
        const whose = `${this.#name()} cannot be moved`;
        if (typeof own === 'object' && own !== null && 'chunks' in own) return new StateStream(whose, own);
        const gave =
          own === undefined ? 'nothing; a daemon that has no state says isStateful: false' : `${describe(own)} instead`;
        const wanted = 'a Uint8Array, or a stream of them as { byteLength, chunks }';
        throw new MigrationError('state-failed', `${whose}: its snapshot() must give ${wanted}, and gave ${gave}`);
      },
    );
  }

  /** @throws MigrationError `state-failed` where the daemon throws, or takes no state and some is there */
  #takeUp(own: Uint8Array): MaybePromise<void> {
    if (this.daemon.isStateful !== false) return this.#callDaemon('restore', (daemon) => daemon.restore(own));
    if (own.length === 0) return;
    throw new MigrationError(
      'state-failed',
      `${this.#name()} says isStateful: false, and ${own.length} bytes of state have come for it; they would be lost`,
    );
  }

  /** How the daemon says that it is, once it has nothing else to do. @throws MigrationError `state-failed` where it throws */
  health(): MaybePromise<DaemonHealth> {
    return this.#inOrder(
      (): MaybePromise<DaemonHealth> =>
        this.daemon.health ? this.#callDaemon('health', (daemon) => daemon.health!()) : { status: 'healthy' },
    );
  }

  /**
   * Hands the daemon a message that is no event.
   *
   * @throws MigrationError `moving` while it is not live: nothing would take what the message changes to its next home;
   * `no-control` where it takes none; `state-failed` where it throws
   */
  control(message: unknown): MaybePromise<unknown> {
    return this.#inOrder(() => {
      if (this.#gate !== 'live') {
        const details = { origin: this.origin, target: this.movingTo };
        throw new MigrationError('moving', `${this.#name()} is moving; control it again when it is live`, { details });
      }
      if (!this.daemon.onControl) {
        throw new MigrationError('no-control', `${this.#name()} takes no control messages: it has no onControl`, {
          details: { origin: this.origin },
        });
      }
      return this.#callDaemon('onControl', (daemon) => daemon.onControl!(message));
    });
  }

  /** Takes up a snapshot: the copy is held until `goLive`. @throws MigrationError `state-failed` where the daemon throws */
  restore(snapshot: StateSnapshot): MaybePromise<void> {
    this.#snapshotLength = lengthAround(snapshot) + snapshot.state.length;
    this.#gate = 'held';
    const { turn } = this.#options;
    return whenReady(splitState(snapshot.state, turn), ({ carried, own }) => {
      this.#takeUpCarried(snapshot, { carried, own });
      const positioned = inSlices(carried?.positions ?? [], SLICE, turn, ({ publisher, channel, position }) =>
        this.positions.set(publisher, channel, position),
      );
      return whenReady(positioned, () => this.#takeUp(own));
    });
  }

  #takeUpCarried({ chainLink, bindings }: StateSnapshot, { carried, own }: SplitState): void {
    if (this.#disposed) throw this.#hasEnded();
    // Without what our host carries, the chain goes on with the state's bytes as the last payload, as in the reference.
    const { codec } = this.#options;
    const nextParent = carried?.nextParent ?? codec.parentHash(chainLink, own);
    this.#chain = CausalChain.after(codec, chainLink, nextParent);
    if (carried) {
      this.epoch = carried.epoch;
      this.#horizon = carried.horizon;
      this.#observed = carried.observed;
    } else {
      this.#observed = chainLink.horizon;
    }
    const empty = this.ledger;
    this.ledger = codec.createLedger(bindings);
    empty.dispose();
  }

  /** What this copy has seen and put out by now, for another one that goes on where it is. */
  get carried(): CarriedState<FrozenHorizon> {
    return {
      epoch: this.epoch,
      nextParent: this.#chain.nextParent,
      observed: this.#observed,
      horizon: this.#horizon.frozen(),
      positions: this.positions.list(),
    };
  }

  #append(event: CausalEvent): void {
    this.log.append(event);
    const { length } = event.payload;
    if (length > (this.#largest?.length ?? MAX_SNAPSHOT_CHUNK_SIZE)) this.#largest = { link: event.link, length };
  }

  /** Whoever accepted it knew that what is missing before it does not come: it counts as seen here too. */
  #noticeReplayed(event: CausalEvent) {
    for (;;) {
      try {
        return this.#notice(event);
      } catch (error) {
        const isGap = error instanceof MigrationError && error.kind === 'sequence-gap';
        if (!isGap || !this.passOverGap(event.link.originHash)) throw error;
      }
    }
  }

  #notice(event: CausalEvent) {
    const sighting = this.#horizon.observe(event.link);
    if (sighting === 'conflict') {
      this.#complain(
        new MigrationError(
          'origin-mismatch',
          `event ${event.link.sequence} of origin ${event.link.originHash} came again with another link`,
        ),
        event,
      );
    }
    return sighting;
  }

  /** Runs one piece of work after all before it. */
  #inOrder<T>(work: () => MaybePromise<T>): MaybePromise<T> {
    if (!this.#tail) {
      const result = work();
      if (isPromise(result)) this.#follow(result);
      return result;
    }
    const result = this.#tail.then(work, work);
    this.#follow(result);
    return result;
  }

  #follow(result: Promise<unknown>): void {
    const tail = result.catch(() => {});
    this.#tail = tail;
    void tail.then(() => {
      if (this.#tail === tail) this.#tail = undefined;
    });
  }

  #processAll(events: readonly CausalEvent[], from = 0): MaybePromise<void> {
    const outputs: CausalEvent[] = [];
    for (let i = from; i < events.length; i++) {
      const payloads = this.#processOne(events[i]!);
      if (isPromise(payloads)) {
        const emitted = this.#emit(outputs);
        return payloads
          .then((later) => whenReady(emitted, () => this.#emit(this.#chainOutputs(events[i]!, later))))
          .then(() => this.#processAll(events, i + 1));
      }
      for (const output of this.#chainOutputs(events[i]!, payloads)) outputs.push(output);
    }
    return this.#emit(outputs);
  }

  /** The event's outputs; none where the daemon throws, or gives anything but payloads, or has ended meanwhile. */
  #processOne(event: CausalEvent): MaybePromise<readonly Uint8Array[]> {
    if (this.#disposed) return [];
    this.#processed++;
    const failed = (error: unknown): readonly Uint8Array[] => {
      this.#failures++;
      this.#complain(error, event);
      return [];
    };
    const over = (payloads: readonly Uint8Array[]) => {
      this.#callOver();
      return payloads;
    };
    this.#calls++;
    try {
      const outputs = this.#options.daemon.process(event);
      if (isPromise(outputs)) return outputs.then(payloadsOf).then(over, (error) => over(failed(error)));
      return over(payloadsOf(outputs));
    } catch (error) {
      return over(failed(error));
    }
  }

  /** Whoever listens to errors must not become one. */
  #complain(error: unknown, event: CausalEvent): void {
    try {
      this.#options.onDaemonError?.(error, event);
    } catch (cause) {
      process.emitWarning(`onError threw: ${messageOf(cause)}`);
    }
  }

  #chainOutputs(cause: CausalEvent, payloads: readonly Uint8Array[]): CausalEvent[] {
    this.#observed |= this.#horizonBits(cause.link.originHash);
    return payloads.map((payload) => this.#chain.append(payload, this.#observed, this.#clock()));
  }

  #horizonBits(originHash: bigint): bigint {
    let bits = this.#bits.get(originHash);
    if (bits === undefined) {
      bits = this.#options.codec.horizonBits(originHash);
      this.#bits.set(originHash, bits);
    }
    return bits;
  }

  #emit(outputs: readonly CausalEvent[]): MaybePromise<void> {
    // What a daemon still answers after its end is nobody's.
    if (outputs.length === 0 || this.#disposed) return;
    if (this.#gate === 'held') for (const output of outputs) this.#heldOutputs.push(output);
    else return this.#publish(outputs);
  }

  #publish(outputs: readonly CausalEvent[]): MaybePromise<void> {
    const published = this.#options.publish(outputs, this.epoch);
    // They are on their way: a mesh that fails later must not keep this daemon from its next events.
    return isPromise(published) ? published.catch(() => {}) : undefined;
  }

  #callDaemon<T>(call: string, run: (daemon: MeshDaemon) => MaybePromise<T>): MaybePromise<T> {
    if (this.#disposed) throw this.#hasEnded();
    const over = (result: T): T => {
      this.#callOver();
      return result;
    };
    const fail = (cause: unknown): never => {
      this.#callOver();
      const why = messageOf(cause);
      throw new MigrationError('state-failed', `${this.#name()} threw in ${call}(): ${why}`, { cause });
    };
    this.#calls++;
    let result: MaybePromise<T>;
    try {
      result = run(this.#options.daemon);
    } catch (cause) {
      return fail(cause);
    }
    return isPromise(result) ? result.then(over, fail) : over(result);
  }

  #hasEnded(): MigrationError {
    return new MigrationError('disposed', `${this.#name()} has ended here`, { details: { origin: this.origin } });
  }

  #name(): string {
    return `daemon "${this.#options.daemon.name}" (origin ${this.origin})`;
  }
}

/** Bytes of a snapshot but its state's. */
function lengthAround({ bindings, identityEnvelope }: SnapshotFields): number {
  return SNAPSHOT_FIXED_OVERHEAD + bindings.length + (identityEnvelope?.length ?? 0);
}

/** @throws TypeError where a daemon gave anything but payloads */
function payloadsOf(outputs: DaemonOutputs): readonly Uint8Array[] {
  if (outputs === undefined || outputs === null) return [];
  const iterable = typeof outputs === 'object' && !ArrayBuffer.isView(outputs) && Symbol.iterator in outputs;
  const payloads = iterable ? [...outputs] : [];
  if (iterable && payloads.every((payload) => payload instanceof Uint8Array)) return payloads;
  throw new TypeError('process() must give an iterable of Uint8Arrays, or nothing');
}

/** The refusal that sends a publisher to where the daemon is going, or has it try again. Retriable. */
export function moving(origin: bigint, target: bigint | undefined): MigrationError {
  const message =
    target === undefined
      ? `daemon ${origin} is not live here yet; try again`
      : `daemon ${origin} is moving to node ${target}; send to it there`;
  return new MigrationError('moving', message, { details: { origin, target } });
}

function refusedFrom(accepted: number, duplicates: number, refusal: MigrationError): Acceptance {
  return { accepted, duplicates, refusal };
}
