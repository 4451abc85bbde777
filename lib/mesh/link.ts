import type { MaybePromise } from '../maybe-promise.js';
import type { FrameProducer } from '../wire/frame-producer.js';

/** Bytes of one batch, unless a single frame is larger. */
export const BATCH_BYTES = 128 * 1024;
/** Bytes on their way to a peer that it has not taken yet, at the most. */
const WINDOW_BYTES = 2 * 1024 * 1024;
/**
 * Streams take no more of that than this. What comes of a stream may be taken only when it has been sent on; the rest is for what
 * is sent on, which is taken at once: else nodes that relay in a circle could wait for each other for ever.
 */
const STREAM_WINDOW_BYTES = WINDOW_BYTES / 2;
/** `ready` waits while more than this is queued. */
const QUEUE_BYTES = 1024 * 1024;
/** Batches whose memory is kept for the next ones, at the most: as many as are queued and on their way in a large transfer. */
const MAX_SPARES = (WINDOW_BYTES + QUEUE_BYTES) / BATCH_BYTES;
/** The same while the link rests: as many as it takes to forward what comes batch by batch. */
const RESTING_SPARES = 2;
/** Batches written before the event loop gets its turn. */
const BATCHES_PER_TURN = 4;

/** A batch on its way, and whom it is for. */
export interface Batch {
  readonly subprotocol: number;
  /** Frames, each behind its length; the receiver owns the memory. */
  readonly bytes: Uint8Array;
}

interface OpenBatch {
  readonly subprotocol: number;
  bytes: Uint8Array;
  length: number;
}

interface OutgoingStream {
  readonly subprotocol: number;
  readonly frames: FrameProducer;
}

/**
 * One direction to one peer: gathers frames into batches, sends as many bytes as the peer's window allows, and pulls
 * streams when nothing else waits. What the bytes travel over is handed in.
 */
export class OutgoingLink {
  readonly #post: (batch: Batch) => void;
  #open: OpenBatch | undefined;
  /** Memory for the next batches: allocated anew each time it would keep the collector busy, and with it the event loop. */
  #spares: Uint8Array[] = [];
  #queue: Batch[] = [];
  #queuedBytes = 0;
  #inFlight = 0;
  /** Those that have frames, or may have. One that has none yet comes back when it has. */
  readonly #streams: OutgoingStream[] = [];
  #waiting: Array<() => void> = [];
  #scheduled = false;
  #closed = false;

  /** @param post sends one batch; its memory may be given away */
  constructor(post: (batch: Batch) => void) {
    this.#post = post;
  }

  send(subprotocol: number, frame: Uint8Array): void {
    if (this.#closed) return;
    const at = this.#reserve(subprotocol, frame.length);
    this.#open!.bytes.set(frame, at);
    this.#commit(frame.length);
    this.#schedule();
  }

  stream(subprotocol: number, frames: FrameProducer): void {
    if (this.#closed) return;
    this.#streams.push({ subprotocol, frames });
    this.#schedule();
  }

  ready(): MaybePromise<void> {
    if (this.#closed || this.#backlog() <= QUEUE_BYTES) return;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The peer has taken that many bytes. @param memory of a batch of this link's that nobody needs any more */
  credit(bytes: number, memory?: Uint8Array): void {
    this.#inFlight -= bytes;
    if (memory) this.#spare(memory);
    const isResting = this.#inFlight === 0 && this.#backlog() === 0 && this.#streams.length === 0;
    if (isResting) this.#spares.length = Math.min(this.#spares.length, RESTING_SPARES);
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#open = undefined;
    this.#spares = [];
    this.#queue = [];
    this.#streams.length = 0;
    this.#wake();
  }

  #backlog(): number {
    return this.#queuedBytes + (this.#open?.length ?? 0);
  }

  /** Where the next frame goes in the open batch, behind its length. */
  #reserve(subprotocol: number, frameLength: number): number {
    const need = 4 + frameLength;
    if (this.#open && (this.#open.subprotocol !== subprotocol || this.#open.bytes.length - this.#open.length < need))
      this.#seal();
    this.#open ??= { subprotocol, bytes: this.#memory(need), length: 0 };
    return this.#open.length + 4;
  }

  #memory(need: number): Uint8Array {
    if (need > BATCH_BYTES) return new Uint8Array(need);
    return this.#spares.pop() ?? new Uint8Array(BATCH_BYTES);
  }

  #spare({ buffer }: Uint8Array): void {
    const isBatch = buffer instanceof ArrayBuffer && buffer.byteLength === BATCH_BYTES;
    if (!this.#closed && isBatch && this.#spares.length < MAX_SPARES) this.#spares.push(new Uint8Array(buffer));
  }

  #commit(frameLength: number): void {
    const open = this.#open!;
    new DataView(open.bytes.buffer).setUint32(open.length, frameLength, true);
    open.length += 4 + frameLength;
  }

  #seal(): void {
    const open = this.#open;
    this.#open = undefined;
    if (!open) return;
    // A small batch is copied, so that a short frame does not drag a large buffer along.
    const isSmall = open.length < open.bytes.length / 2;
    if (isSmall) this.#spare(open.bytes);
    if (open.length === 0) return;
    const bytes = isSmall ? open.bytes.slice(0, open.length) : open.bytes.subarray(0, open.length);
    this.#queue.push({ subprotocol: open.subprotocol, bytes });
    this.#queuedBytes += bytes.length;
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    // After the current turn's work, so that frames sent together travel together, and others get their turn between.
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#closed) return;
    this.#seal();
    for (let n = 0; this.#inFlight < WINDOW_BYTES; n++) {
      if (this.#queue.length === 0 && this.#inFlight < STREAM_WINDOW_BYTES) this.#pull();
      const batch = this.#queue.shift();
      if (!batch) break;
      this.#queuedBytes -= batch.bytes.length;
      this.#inFlight += batch.bytes.length;
      this.#post(batch);
      if (n + 1 === BATCHES_PER_TURN) {
        this.#schedule();
        break;
      }
    }
    if (this.#backlog() <= QUEUE_BYTES) this.#wake();
  }

  /** Fills one batch from the streams, the first to its end before the next: many short ones share a batch. */
  #pull(): void {
    for (let first = this.#streams[0]; first; first = this.#streams[0]) {
      const { subprotocol, frames } = first;
      while (!frames.done) {
        const at = this.#reserve(subprotocol, frames.maxFrameLength);
        if (this.#queue.length > 0) return;
        const length = frames.writeNext(this.#open!.bytes, at);
        if (length > 0) this.#commit(length);
        else break;
      }
      this.#streams.shift();
      if (!frames.done) this.#await(first);
    }
    this.#seal();
  }

  /** A stream that has no frame yet makes room for others. */
  #await(stream: OutgoingStream): void {
    stream.frames.onReady?.(() => {
      if (this.#closed) return;
      this.#streams.push(stream);
      this.#schedule();
    });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
