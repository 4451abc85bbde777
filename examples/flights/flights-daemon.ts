import type { CausalEvent, MeshDaemon } from '../../lib/index.js';
import { FLIGHT_SIZE } from './flight.js';

/** A summary is published after so many flights. */
export const SUMMARY_EVERY = 1_000;
/** Delays are counted per route in bins of 15 minutes, the first for early flights, the last for all from 7 hours. */
const BINS = 30;
const BIN_MINUTES = 15;
const HEADER_SIZE = 16;
const ROUTE_SIZE = 8 + 4 * BINS;

export interface FlightsConfig {
  readonly channel: string;
  /** Bytes that pad the state. */
  readonly padding: number;
  /** Throws there, the first time, to show that nothing is lost. */
  readonly fail: 'snapshot' | 'restore' | undefined;
}

/**
 * Keeps every flight in columns and a histogram of delays per route, and publishes a running summary. Its state:
 * `flights u32 | routes u32 | sum of delays f64 | minutes u32[] | origin u32[] | destination u32[] | delay i16[] | distance u16[] | routes | padding`.
 */
export class FlightsDaemon implements MeshDaemon {
  readonly name = 'flights';
  readonly channel: string;
  readonly #config: FlightsConfig;
  readonly #onMove: () => void;
  #failed = false;
  #count = 0;
  #delaySum = 0;
  #minutes = new Uint32Array(1024);
  #origin = new Uint32Array(1024);
  #destination = new Uint32Array(1024);
  #delay = new Int16Array(1024);
  #distance = new Uint16Array(1024);
  /** Histograms by route, in the order in which routes were first flown. */
  readonly #routes = new Map<number, Uint32Array>();

  /** @param onMove called first in `snapshot` and `restore` */
  constructor(config: FlightsConfig, onMove = () => {}) {
    this.#config = config;
    this.#onMove = onMove;
    this.channel = config.channel;
  }

  process({ payload }: CausalEvent): Uint8Array[] | undefined {
    if (payload.length !== FLIGHT_SIZE)
      throw new RangeError(`a flight has ${FLIGHT_SIZE} bytes, not ${payload.length}`);
    const view = new DataView(payload.buffer, payload.byteOffset, FLIGHT_SIZE);
    if (this.#count === this.#minutes.length) this.#grow(2 * this.#count);
    const at = this.#count++;
    const delay = view.getInt16(12, true);
    this.#minutes[at] = view.getUint32(0, true);
    this.#origin[at] = view.getUint32(4, true);
    this.#destination[at] = view.getUint32(8, true);
    this.#delay[at] = delay;
    this.#distance[at] = view.getUint16(14, true);
    this.#delaySum += delay;
    this.#histogram(routeKey(this.#origin[at]!, this.#destination[at]!))[bin(delay)]!++;
    return this.#count % SUMMARY_EVERY === 0 ? [this.#summary()] : undefined;
  }

  snapshot(): Uint8Array {
    this.#onMove();
    this.#failOnce('snapshot');
    const columns = this.#columns().map((column) => bytesOf(column.subarray(0, this.#count)));
    const length = columns.reduce((sum, column) => sum + column.length, HEADER_SIZE);
    const state = new Uint8Array(length + ROUTE_SIZE * this.#routes.size + this.#config.padding);
    const view = new DataView(state.buffer);
    view.setUint32(0, this.#count, true);
    view.setUint32(4, this.#routes.size, true);
    view.setFloat64(8, this.#delaySum, true);
    let at = HEADER_SIZE;
    for (const column of columns) {
      state.set(column, at);
      at += column.length;
    }
    for (const [route, histogram] of this.#routes) {
      view.setFloat64(at, route, true);
      state.set(bytesOf(histogram), at + 8);
      at += ROUTE_SIZE;
    }
    state.fill(0xa5, at);
    return state;
  }

  restore(state: Uint8Array): void {
    this.#onMove();
    this.#failOnce('restore');
    const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
    this.#count = view.getUint32(0, true);
    this.#delaySum = view.getFloat64(8, true);
    this.#grow(Math.max(1024, this.#count));
    let at = HEADER_SIZE;
    for (const column of this.#columns()) {
      const bytes = bytesOf(column.subarray(0, this.#count));
      bytes.set(state.subarray(at, at + bytes.length));
      at += bytes.length;
    }
    for (let left = view.getUint32(4, true); left > 0; left--, at += ROUTE_SIZE) {
      bytesOf(this.#histogram(view.getFloat64(at, true))).set(state.subarray(at + 8, at + ROUTE_SIZE));
    }
  }

  #failOnce(call: 'snapshot' | 'restore'): void {
    if (this.#config.fail !== call || this.#failed) return;
    this.#failed = true;
    throw new Error(`told to throw in ${call}`);
  }

  #columns() {
    return [this.#minutes, this.#origin, this.#destination, this.#delay, this.#distance] as const;
  }

  #grow(length: number): void {
    const grown = <T extends Uint32Array | Int16Array | Uint16Array>(column: T, into: T): T => {
      into.set(column.subarray(0, length));
      return into;
    };
    this.#minutes = grown(this.#minutes, new Uint32Array(length));
    this.#origin = grown(this.#origin, new Uint32Array(length));
    this.#destination = grown(this.#destination, new Uint32Array(length));
    this.#delay = grown(this.#delay, new Int16Array(length));
    this.#distance = grown(this.#distance, new Uint16Array(length));
  }

  #histogram(route: number): Uint32Array {
    let histogram = this.#routes.get(route);
    if (!histogram) {
      histogram = new Uint32Array(BINS);
      this.#routes.set(route, histogram);
    }
    return histogram;
  }

  /** `flights u32 | routes u32 | mean delay f64`. */
  #summary(): Uint8Array {
    const summary = new Uint8Array(16);
    const view = new DataView(summary.buffer);
    view.setUint32(0, this.#count, true);
    view.setUint32(4, this.#routes.size, true);
    view.setFloat64(8, this.#delaySum / this.#count, true);
    return summary;
  }
}

/** How many flights a state holds. */
export function flightsIn(state: Uint8Array): number {
  return new DataView(state.buffer, state.byteOffset).getUint32(0, true);
}

/** How many flights stand behind a summary. */
export function flightsOfSummary(summary: Uint8Array): number {
  return new DataView(summary.buffer, summary.byteOffset).getUint32(0, true);
}

/** Two codes of three letters in one safe integer. */
function routeKey(origin: number, destination: number): number {
  return (origin & 0xffffff) * 2 ** 24 + (destination & 0xffffff);
}

function bin(delay: number): number {
  return delay < 0 ? 0 : Math.min(BINS - 1, 1 + Math.floor(delay / BIN_MINUTES));
}

function bytesOf(array: Uint32Array | Int16Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
