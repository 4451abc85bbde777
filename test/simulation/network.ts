import { type MaybePromise, whenReady } from '../../lib/maybe-promise.js';
import type { FrameProducer } from '../../lib/wire/frame-producer.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import type { Chances } from './chance.js';
import { LIAR } from './plan.js';
import type { Scheduler } from './scheduler.js';
import type { SimulatedMesh } from './simulated-mesh.js';

/** How bad a network is: probabilities per frame, times in milliseconds. */
export interface NetworkFaults {
  readonly lost: number;
  readonly doubled: number;
  readonly delayed: number;
  /** Arrives before what was sent before it. */
  readonly overtaken: number;
  readonly longestDelayMs: number;
  /** A partition loses frames; else it holds them until it is over. */
  readonly partitionsLose: boolean;
  /** Not only frames of migrations are lost, doubled, delayed and overtaken, but those of publishers too. */
  readonly deliveriesToo: boolean;
  /** Frames sent in one step travel in one batch. */
  readonly batches: boolean;
}

export const NO_NETWORK_FAULTS: NetworkFaults = {
  lost: 0,
  doubled: 0,
  delayed: 0,
  overtaken: 0,
  longestDelayMs: 0,
  partitionsLose: false,
  deliveriesToo: false,
  batches: true,
};

/** A frame on its way. */
export interface Flight {
  readonly from: number;
  readonly to: number;
  readonly subprotocol: number;
  readonly frame: Uint8Array;
}

/** Looks on, and may change what leaves a node. */
export interface NetworkObserver {
  sent(flight: Flight): void;
  arrived(flight: Flight): void;
  lost(flight: Flight, why: string): void;
  /** What leaves instead of a frame. */
  leaving?(flight: Flight): readonly Uint8Array[];
}

/** Bytes on their way from one node to another before streams wait. */
const WINDOW_BYTES = 16_000;
/**
 * What a way holds while it is called ready: half a window more, as real links queue. A stream alone never gets there; who sends
 * on waits for no stream then, in circles that nobody would leave.
 */
export const READY_BYTES = 24_000;

interface OutgoingStream {
  readonly subprotocol: number;
  readonly frames: FrameProducer;
}

interface Link {
  readonly from: number;
  readonly to: number;
  /** Frames that were sent in the current step. */
  outbox: Flight[];
  streams: OutgoingStream[];
  inFlightBytes: number;
  /** No earlier than this may an ordered frame arrive. */
  lastArrival: number;
  count: number;
  waiting: Array<() => void>;
  /** What a partition holds back. */
  held: Flight[];
}

/** Carries frames between nodes, as badly as chance and partitions want it. */
export class Network {
  readonly #scheduler: Scheduler;
  readonly #chances: Chances;
  readonly #links = new Map<number, Link>();
  readonly #busy = new Set<Link>();
  readonly #seats = new Map<number, SimulatedMesh>();
  /** Ways that are cut, as `from * 64 + to`, and by how many faults. */
  readonly #cuts = new Map<number, number>();
  faults: NetworkFaults;
  observer: NetworkObserver = { sent() {}, arrived() {}, lost() {} };
  /** Frames that are on their way now, and the most that ever were between two nodes. */
  mostInFlightBytes = 0;
  frames = 0;

  constructor(scheduler: Scheduler, chances: Chances, faults: NetworkFaults) {
    this.#scheduler = scheduler;
    this.#chances = chances;
    this.faults = faults;
  }

  get seats(): ReadonlyMap<number, SimulatedMesh> {
    return this.#seats;
  }

  join(seat: SimulatedMesh): void {
    this.#seats.set(seat.number, seat);
  }

  /** That node's frames are gone, those to it and what it was to send. */
  leave(seat: SimulatedMesh): void {
    if (this.#seats.get(seat.number) !== seat) return;
    this.#seats.delete(seat.number);
    for (const link of this.#links.values()) {
      if (link.from !== seat.number && link.to !== seat.number) continue;
      this.#links.delete(link.from * 64 + link.to);
      this.#busy.delete(link);
      this.#wake(link, true);
    }
  }

  send(from: number, to: number, subprotocol: number, frame: Uint8Array): void {
    const link = this.#link(from, to);
    // The frame's memory is the sender's again after the call.
    link.outbox.push({ from, to, subprotocol, frame: frame.slice() });
    this.#busy.add(link);
  }

  stream(from: number, to: number, subprotocol: number, frames: FrameProducer): void {
    const link = this.#link(from, to);
    link.streams.push({ subprotocol, frames });
    this.#busy.add(link);
  }

  ready(from: number, to: number): MaybePromise<void> {
    const link = this.#link(from, to);
    // A batch of its own to itself can fill the window alone, and would wait for itself.
    if (from === to || link.inFlightBytes < READY_BYTES) return;
    return new Promise((resolve) => link.waiting.push(resolve));
  }

  cut(from: number, to: number): void {
    const way = from * 64 + to;
    this.#cuts.set(way, (this.#cuts.get(way) ?? 0) + 1);
  }

  heal(from: number, to: number): void {
    const way = from * 64 + to;
    const left = (this.#cuts.get(way) ?? 1) - 1;
    if (left > 0) this.#cuts.set(way, left);
    else {
      this.#cuts.delete(way);
      const link = this.#links.get(way);
      const held = link?.held.splice(0) ?? [];
      for (const flight of held) {
        link!.inFlightBytes -= bytesOf([flight]);
        this.#depart(link!, [flight], 0, true);
      }
    }
  }

  isCut(from: number, to: number): boolean {
    return this.#cuts.has(from * 64 + to);
  }

  get isAnyCut(): boolean {
    return this.#cuts.size > 0;
  }

  /** Behind each step: what was sent in it leaves. */
  flush(): void {
    while (this.#busy.size > 0) {
      const busy = [...this.#busy];
      this.#busy.clear();
      for (const link of busy) this.#flush(link);
    }
  }

  #link(from: number, to: number): Link {
    const key = from * 64 + to;
    let link = this.#links.get(key);
    if (!link) {
      link = {
        from,
        to,
        outbox: [],
        streams: [],
        inFlightBytes: 0,
        lastArrival: 0,
        count: 0,
        waiting: [],
        held: [],
      };
      this.#links.set(key, link);
    }
    return link;
  }

  #flush(link: Link): void {
    this.#pull(link);
    const outbox = link.outbox;
    link.outbox = [];
    let together: Flight[] = [];
    const leave = () => {
      if (together.length > 0) this.#depart(link, together, 0, true);
      together = [];
    };
    for (const flight of outbox.flatMap((sent) => this.#changed(sent))) {
      this.frames++;
      this.observer.sent(flight);
      const isOrdinary = this.#befalls(link, flight);
      if (!isOrdinary) continue;
      if (together.length > 0 && (!this.faults.batches || together[0]!.subprotocol !== flight.subprotocol)) leave();
      together.push(flight);
    }
    leave();
  }

  #changed(flight: Flight): readonly Flight[] {
    const { leaving } = this.observer;
    if (!leaving) return [flight];
    return leaving.call(this.observer, flight).map((frame) => (frame === flight.frame ? flight : { ...flight, frame }));
  }

  #pull(link: Link): void {
    let bytes = link.inFlightBytes;
    while (link.streams.length > 0 && bytes < WINDOW_BYTES) {
      const stream = link.streams[0]!;
      const { subprotocol, frames } = stream;
      const room = new Uint8Array(frames.maxFrameLength);
      const length = frames.done ? 0 : frames.writeNext(room, 0);
      if (length > 0) {
        bytes += length;
        link.outbox.push({ from: link.from, to: link.to, subprotocol, frame: room.slice(0, length) });
        continue;
      }
      link.streams.shift();
      if (!frames.done) this.#await(link, stream);
    }
  }

  /** A stream that has no frame yet makes room for others, and comes back in a later step. */
  #await(link: Link, stream: OutgoingStream): void {
    stream.frames.onReady?.(() => {
      this.#scheduler.in(0.05, link.from, () => {
        if (this.#links.get(link.from * 64 + link.to) !== link) return;
        link.streams.push(stream);
        this.#busy.add(link);
      });
    });
  }

  /** What chance does to a frame. @returns whether it goes its ordinary way as well */
  #befalls(link: Link, flight: Flight): boolean {
    const { from, to } = link;
    const n = ++link.count;
    const { lost, doubled, delayed, overtaken, longestDelayMs, partitionsLose, deliveriesToo } = this.faults;
    const mayBefall = deliveriesToo || flight.subprotocol === SUBPROTOCOL_MIGRATION;
    if (this.isCut(from, to)) {
      // What a link keeps in order it also keeps until it holds again.
      if (mayBefall && partitionsLose) this.observer.lost(flight, 'partition');
      else {
        link.held.push(flight);
        // It takes its room as what is on its way does.
        link.inFlightBytes += bytesOf([flight]);
      }
      return false;
    }
    if (!mayBefall || from === to) return true;
    if (this.#chances.strikes('lost', lost, from, to, n)) {
      this.observer.lost(flight, 'lost');
      return false;
    }
    if (this.#chances.strikes('doubled', doubled, from, to, n))
      this.#depart(link, [flight], this.#chances.measure(from, to, n) * longestDelayMs, false);
    if (this.#chances.strikes('overtaken', overtaken, from, to, n)) {
      this.#depart(link, [flight], this.#chances.measure(to, from, n) * 12, false);
      return false;
    }
    if (this.#chances.strikes('delayed', delayed, from, to, n)) {
      this.#depart(link, [flight], this.#chances.measure(to, from, n) * longestDelayMs, false);
      return false;
    }
    return true;
  }

  #depart(link: Link, flights: readonly Flight[], extraMs: number, isOrdered: boolean): void {
    const { from, to } = link;
    const bytes = bytesOf(flights);
    link.inFlightBytes += bytes;
    // A liar waits for nobody.
    if (from !== LIAR && link.inFlightBytes > this.mostInFlightBytes) this.mostInFlightBytes = link.inFlightBytes;
    const seat = this.#seats.get(to);
    const travelMs = from === to ? 0.01 : 0.3 + 2 * this.#chances.measure(from, to + 7, link.count);
    let at = this.#scheduler.now + travelMs + extraMs;
    if (isOrdered) {
      at = Math.max(at, link.lastArrival + 0.001);
      link.lastArrival = at;
    }
    this.#scheduler.at(at, to, () => {
      const taken = () => {
        if (this.#links.get(from * 64 + to) !== link) return;
        link.inFlightBytes -= bytes;
        this.#wake(link, false);
        if (link.streams.length > 0) this.#busy.add(link);
      };
      // A node that came back is another one for what was sent to it before.
      if (!seat || this.#seats.get(to) !== seat) {
        for (const flight of flights) this.observer.lost(flight, 'nobody there');
        taken();
        return;
      }
      for (const flight of flights) this.observer.arrived(flight);
      const received = seat.receive(from, flights[0]!.subprotocol, batched(flights, bytes));
      void whenReady(received, taken);
    });
  }

  #wake(link: Link, always: boolean): void {
    if (!always && link.inFlightBytes >= READY_BYTES) return;
    const waiting = link.waiting;
    link.waiting = [];
    for (const resolve of waiting) resolve();
  }
}

function bytesOf(flights: readonly Flight[]): number {
  return flights.reduce((sum, { frame }) => sum + frame.length + 4, 0);
}

function batched(flights: readonly Flight[], bytes: number): Uint8Array {
  const batch = new Uint8Array(bytes);
  const view = new DataView(batch.buffer);
  let at = 0;
  for (const { frame } of flights) {
    view.setUint32(at, frame.length, true);
    batch.set(frame, at + 4);
    at += 4 + frame.length;
  }
  return batch;
}
