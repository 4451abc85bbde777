import type { DaemonHealth, StreamedState } from '../../lib/daemon/daemon.js';
import type { CausalEvent, MeshDaemon } from '../../lib/index.js';
import { isPromise, type MaybePromise } from '../../lib/maybe-promise.js';

/** What a ledger's daemons differ in. */
export interface LedgerTraits {
  /** Answers `process` later. */
  readonly isAsync: boolean;
  /** Bytes by which its snapshot is longer than it need be. */
  readonly padding: number;
  /** Its snapshot is a stream, which can be read once, or again. */
  readonly streams: 'no' | 'once' | 'again';
  /** Outputs are not the same when the same events come again. */
  readonly isFickle: boolean;
}

/** What an event for a ledger asks of it, in its payload's first byte. */
export const EVENT_PLAIN = 0;
export const EVENT_THROWS = 1;

const HEADER_BYTES = 8;
/** Of a state that is streamed. */
const PIECE_BYTES = 2_500;

/** Who sent an event and which of theirs it is, as one number. */
export function entryOf(publisher: number, sequence: number): number {
  return publisher * 65_536 + sequence;
}

export function publisherOf(entry: number): number {
  return Math.floor(entry / 65_536);
}

export function sequenceOf(entry: number): number {
  return entry % 65_536;
}

/** How many outputs an entry leads to. */
export function outputsOf(entry: number, throws: boolean): number {
  if (throws) return 0;
  const sequence = sequenceOf(entry);
  return sequence % 11 === 5 ? 0 : sequence % 7 === 3 ? 2 : 1;
}

/** What a ledger tells the world as it goes. */
export interface LedgerWitness {
  readonly publisherNumber: (originHash: bigint) => number;
  processed(ledger: Ledger, entry: number, throws: boolean): void;
  /** It was called when it should not have been. */
  readonly wrongly: (text: string) => void;
  /** Resolves after some milliseconds; undefined: at once. */
  readonly wait: (call: 'process' | 'snapshot' | 'restore') => MaybePromise<void>;
  /** Whether that call throws this time. */
  readonly throws: (call: 'snapshot' | 'restore') => boolean;
}

/** Keeps every event that it has processed, in order, and puts out where each stands in it. */
export class Ledger implements MeshDaemon {
  readonly name = 'ledger';
  readonly channel: string;
  readonly daemon: number;
  readonly node: number;
  /** Which of all that were made. */
  readonly number: number;
  entries: number[] = [];
  /** So many of them have been looked at. */
  judged = 0;
  /** It took up a state from elsewhere, and nobody has seen it live: what it does a liar may have made up. */
  isHeld = false;
  /** It was told that its copy here is over. */
  isOver = false;
  #running = 0;
  readonly #traits: LedgerTraits;
  readonly #witness: LedgerWitness;
  #outputs = 0;

  constructor(daemon: number, node: number, number: number, traits: LedgerTraits, witness: LedgerWitness) {
    this.daemon = daemon;
    this.node = node;
    this.number = number;
    this.channel = `ledger/${daemon}`;
    this.#traits = traits;
    this.#witness = witness;
  }

  /** The last sequence of a sender that it has processed; 0: none. */
  lastOf(sender: number): number {
    return sequenceOf(this.entries.findLast((entry) => publisherOf(entry) === sender) ?? 0);
  }

  /** Nothing is asked of it behind its end, nor is it ended while something runs. */
  #watched<T>(call: string, run: () => MaybePromise<T>): MaybePromise<T> {
    if (this.isOver) this.#witness.wrongly(`${call} behind its end`);
    this.#running++;
    let result: MaybePromise<T>;
    try {
      result = run();
    } catch (error) {
      this.#running--;
      throw error;
    }
    if (!isPromise(result)) this.#running--;
    return isPromise(result) ? result.finally(() => this.#running--) : result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isOver) this.#witness.wrongly('its end, twice');
    if (this.#running > 0) this.#witness.wrongly('its end, while a call of it runs');
    this.isOver = true;
  }

  process(event: CausalEvent): MaybePromise<Uint8Array[]> {
    return this.#watched('process', () => this.#process(event));
  }

  #process({ link, payload }: CausalEvent): MaybePromise<Uint8Array[]> {
    const kind = payload[0]!;
    const entry = entryOf(this.#witness.publisherNumber(link.originHash), Number(link.sequence));
    const done = () => {
      this.entries.push(entry);
      this.#witness.processed(this, entry, kind === EVENT_THROWS);
      if (kind === EVENT_THROWS) throw new Error('this event makes the ledger throw');
      return Array.from({ length: outputsOf(entry, false) }, () => this.#output(entry));
    };
    const wait = this.#traits.isAsync ? this.#witness.wait('process') : undefined;
    return wait ? wait.then(done) : done();
  }

  #output(entry: number): Uint8Array {
    const payload = new Uint8Array(12);
    const view = new DataView(payload.buffer);
    view.setUint32(0, ++this.#outputs, true);
    view.setUint32(4, entry, true);
    view.setUint32(8, this.#traits.isFickle ? this.node : 0, true);
    return payload;
  }

  snapshot(): MaybePromise<Uint8Array | StreamedState> {
    return this.#watched('snapshot', () => this.#snapshot());
  }

  #snapshot(): MaybePromise<Uint8Array | StreamedState> {
    const done = () => {
      if (this.#witness.throws('snapshot')) throw new Error('this ledger gives no snapshot now');
      const state = this.#encode();
      const { streams } = this.#traits;
      if (streams === 'no') return state;
      const pieces = () => this.#pieces(state);
      return { byteLength: state.length, chunks: streams === 'again' ? pieces : pieces() };
    };
    const wait = this.#witness.wait('snapshot');
    return wait ? wait.then(done) : done();
  }

  async *#pieces(state: Uint8Array): AsyncIterable<Uint8Array> {
    for (let at = 0; at < state.length; at += PIECE_BYTES) {
      await this.#witness.wait('snapshot');
      yield state.subarray(at, at + PIECE_BYTES);
    }
  }

  /** `outputs u32 | entries u32 | entry u32 … | padding, each byte by its place` */
  #encode(): Uint8Array {
    const { padding } = this.#traits;
    const state = new Uint8Array(HEADER_BYTES + 4 * this.entries.length + padding);
    const view = new DataView(state.buffer);
    view.setUint32(0, this.#outputs, true);
    view.setUint32(4, this.entries.length, true);
    this.entries.forEach((entry, i) => {
      view.setUint32(HEADER_BYTES + 4 * i, entry, true);
    });
    const from = state.length - padding;
    for (let i = 0; i < padding; i++) state[from + i] = i + this.entries.length;
    return state;
  }

  /** It says which it is. */
  health(): DaemonHealth {
    return { status: 'degraded', reason: String(this.number) };
  }

  restore(state: Uint8Array): MaybePromise<void> {
    return this.#watched('restore', () => this.#restore(state));
  }

  #restore(state: Uint8Array): MaybePromise<void> {
    const bytes = state.slice();
    const done = () => {
      if (this.#witness.throws('restore')) throw new Error('this ledger takes up no state now');
      this.#decode(bytes);
    };
    const wait = this.#witness.wait('restore');
    return wait ? wait.then(done) : done();
  }

  #decode(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer);
    this.#outputs = view.getUint32(0, true);
    const count = view.getUint32(4, true);
    this.entries = Array.from({ length: count }, (_, i) => view.getUint32(HEADER_BYTES + 4 * i, true));
    this.judged = count;
    this.isHeld = true;
    const from = HEADER_BYTES + 4 * count;
    if (bytes.length - from !== this.#traits.padding) throw new Error('a ledger of another length was restored');
    for (let i = from; i < bytes.length; i++)
      if (bytes[i] !== ((i - from + count) & 255)) throw new Error(`byte ${i} of the ledger is not what it was`);
  }
}
