import { randomBytes } from 'node:crypto';
import type { MigrationError } from '../errors.js';
import { isPromise } from '../maybe-promise.js';
import type { CausalEvent } from '../wire/link.js';
import { ChannelHistory, type ChannelLimits, ID_SIZE } from './channel-history.js';
import type { ChannelListener, ChannelSubscription, SubscribeOptions } from './mesh.js';

/** Of one delivery, at the most. */
const BATCH_EVENTS = 1_000;
const BATCH_BYTES = 256 * 1024;
/** Deliveries before the event loop gets its turn, and readers looked at for whom there is nothing. */
const DELIVERIES_PER_TURN = 64;
const READERS_PER_TURN = 1_000;
/** Channels that nobody publishes on or reads any more, and whose events are kept all the same. */
const IDLE_CHANNELS = 1_024;
/** And without their events, so that who has read all of them may still go on. */
const EMPTY_CHANNELS = 262_144;

interface Published {
  epoch: bigint;
  sequence: bigint;
  readonly channels: Set<Channel>;
}

interface Channel {
  readonly name: string;
  readonly history: ChannelHistory;
  readonly readers: Set<Reader>;
  /** Origin hashes of those that have published here and are not forgotten. */
  readonly publishers: Set<bigint>;
}

interface Reader {
  readonly channel: Channel;
  readonly listener: ChannelListener;
  readonly options: SubscribeOptions;
  /** The number of the last event that it was given. */
  at: number;
  /** The listener has not taken the last delivery yet. */
  isBusy: boolean;
}

/** Chance, and a later turn, handed in; default: the system's. */
export interface ChannelsEnvironment {
  readonly randomBytes: (length: number) => Uint8Array;
  /** Calls `run` in a later turn of the event loop. */
  readonly later: (run: () => void) => void;
}

const SYSTEM: ChannelsEnvironment = { randomBytes, later: (run) => void setImmediate(run) };

/**
 * The channels of a mesh whose nodes share a process: held by one thread, in which all publish and all listen. Each keeps
 * its last events; each reader is given the next ones when it has taken those before, so that nothing is queued for a slow
 * one, and one that is slower than the channel forgets is told so.
 */
export class Channels {
  readonly #limits: ChannelLimits;
  readonly #channels = new Map<string, Channel>();
  /** Those of no publisher and no reader, the longest idle first: with events, and without. */
  readonly #idle = new Set<Channel>();
  readonly #empty = new Set<Channel>();
  /** Part of each channel's id, beside its number: those of another mesh, or of an earlier run, are not these. */
  readonly #meshId: Uint8Array;
  #opened = 0;
  /** Per daemon, by origin hash: what was published last. */
  readonly #published = new Map<bigint, Published>();
  /** Readers that may have something to read. */
  readonly #ready = new Set<Reader>();
  readonly #slice: number;
  #isRunning = false;
  #isScheduled = false;
  readonly #later: ChannelsEnvironment['later'];

  /** @throws RangeError where a limit is not a whole number of at least 1 */
  constructor(limits: ChannelLimits = {}, environment: ChannelsEnvironment = SYSTEM) {
    this.#limits = limits;
    this.#later = environment.later;
    this.#meshId = environment.randomBytes(4);
    this.#slice = Math.min(BATCH_EVENTS, new ChannelHistory('', this.#meshId, limits).keepEvents);
  }

  publish(name: string, epoch: bigint, events: readonly CausalEvent[]): void {
    const channel = this.#open(name);
    // Readers get their turn between, so that a burst larger than what is kept is not lost on those that keep up.
    for (let from = 0; from < events.length; from += this.#slice) {
      for (const event of events.slice(from, from + this.#slice))
        if (this.#admit(channel, epoch, event)) channel.history.append(event);
      for (const reader of channel.readers) this.#ready.add(reader);
      this.#run();
    }
    this.#settle(channel);
  }

  forget(originHash: bigint): void {
    const published = this.#published.get(originHash);
    this.#published.delete(originHash);
    for (const channel of published?.channels ?? []) {
      channel.publishers.delete(originHash);
      this.#settle(channel);
    }
  }

  /** @throws MigrationError `position-expired` with the range that is left */
  subscribe(name: string, options: SubscribeOptions, listener: ChannelListener): ChannelSubscription {
    const channel = this.#open(name);
    try {
      const { history } = channel;
      const at = options.after ? history.numberOf(options.after) : history.newest;
      const reader: Reader = { channel, listener, options, at, isBusy: false };
      channel.readers.add(reader);
      this.#ready.add(reader);
      // In a later turn: whoever subscribes has the subscription before its first event.
      this.#schedule();
      return { position: history.position(at), unsubscribe: () => this.#remove(reader) };
    } finally {
      this.#settle(channel);
    }
  }

  #open(name: string): Channel {
    let channel = this.#channels.get(name);
    if (!channel) {
      const history = new ChannelHistory(name, this.#nextId(), this.#limits);
      channel = { name, history, readers: new Set(), publishers: new Set() };
      this.#channels.set(name, channel);
    }
    return channel;
  }

  #nextId(): Uint8Array {
    const id = new Uint8Array(ID_SIZE);
    id.set(this.#meshId);
    new DataView(id.buffer).setUint32(this.#meshId.length, ++this.#opened);
    return id;
  }

  /** A channel that has just become idle, or is no longer. */
  #settle(channel: Channel): void {
    this.#idle.delete(channel);
    this.#empty.delete(channel);
    if (channel.readers.size > 0 || channel.publishers.size > 0) return;
    const { newest, dropped } = channel.history;
    if (newest > dropped) this.#idle.add(channel);
    else this.#empty.add(channel);
    for (const idle of overLimit(this.#idle, IDLE_CHANNELS)) {
      idle.history.clear();
      this.#empty.add(idle);
    }
    for (const empty of overLimit(this.#empty, EMPTY_CHANNELS)) this.#channels.delete(empty.name);
  }

  #remove(reader: Reader): void {
    this.#ready.delete(reader);
    if (reader.channel.readers.delete(reader)) this.#settle(reader.channel);
  }

  /** Gives readers what they have not had, one delivery each in turn. A publisher that is called there is not run inside. */
  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    let left = DELIVERIES_PER_TURN;
    let looked = 0;
    for (const reader of this.#ready) {
      if (left === 0 || looked++ === READERS_PER_TURN) break;
      this.#ready.delete(reader);
      if (this.#deliver(reader)) left--;
    }
    this.#isRunning = false;
    if (this.#ready.size > 0) this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#later(() => {
      this.#isScheduled = false;
      this.#run();
    });
  }

  /** @returns whether the listener was called */
  #deliver(reader: Reader): boolean {
    const { channel, options } = reader;
    const { history, name, readers } = channel;
    if (reader.isBusy || !readers.has(reader) || reader.at === history.newest) return false;
    try {
      history.requireHeld(reader.at);
    } catch (error) {
      this.#remove(reader);
      this.#call(name, () => options.onExpired?.(error as MigrationError));
      if (!options.onExpired) warn(name, error);
      return true;
    }
    const { events, through } = history.after(reader.at, BATCH_EVENTS, options.batchBytes ?? BATCH_BYTES);
    reader.at = through;
    const taken = this.#call(name, () => reader.listener(name, events, history.position(through)));
    if (isPromise(taken)) {
      reader.isBusy = true;
      void taken.then(() => {
        reader.isBusy = false;
        this.#ready.add(reader);
        this.#schedule();
      });
    } else this.#ready.add(reader);
    return true;
  }

  /** A reader's fault is not the publisher's, nor the other readers'. */
  #call(name: string, run: () => unknown): unknown {
    try {
      const result = run();
      return isPromise(result) ? result.catch((error) => warn(name, error)) : undefined;
    } catch (error) {
      warn(name, error);
      return undefined;
    }
  }

  #admit(channel: Channel, epoch: bigint, { link }: CausalEvent): boolean {
    const last = this.#published.get(link.originHash);
    if (last && (epoch < last.epoch || link.sequence <= last.sequence)) return false;
    if (last) {
      last.epoch = epoch;
      last.sequence = link.sequence;
      last.channels.add(channel);
    } else {
      this.#published.set(link.originHash, { epoch, sequence: link.sequence, channels: new Set([channel]) });
    }
    channel.publishers.add(link.originHash);
    return true;
  }
}

/** Takes out the oldest that are too many. */
function* overLimit(channels: Set<Channel>, limit: number): Iterable<Channel> {
  for (const channel of channels) {
    if (channels.size <= limit) return;
    channels.delete(channel);
    yield channel;
  }
}

function warn(channel: string, error: unknown): void {
  process.emitWarning(
    `a listener of channel "${channel}" threw: ${error instanceof Error ? error.message : String(error)}`,
  );
}
