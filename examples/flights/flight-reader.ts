import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { UsageError } from './options.js';

/** What the reading thread tells. */
export type ReaderMessage =
  | { readonly kind: 'opened' }
  /** A row group's flights, one payload behind the other. */
  | { readonly kind: 'flights'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly usage: boolean; readonly message: string };

/** Flights read by a thread, one row group ahead. */
export class FlightReader {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** @throws UsageError where the file is not there, cannot be read, or holds fewer flights */
  static async open(records: number, path: string | undefined): Promise<FlightReader> {
    const reader = new FlightReader(
      new Worker(new URL('./reader.js', import.meta.url), { workerData: { records, path } }),
    );
    await reader.#next();
    return reader;
  }

  /** Groups of flights as bytes, in order. */
  async *groups(): AsyncIterable<Uint8Array> {
    let coming = this.#ask();
    for (;;) {
      const message = await coming;
      if (message.kind !== 'flights') return;
      coming = this.#ask();
      yield message.bytes;
    }
  }

  close(): Promise<number> {
    return this.#worker.terminate();
  }

  #ask(): Promise<ReaderMessage> {
    const next = this.#next();
    // Handled where it is awaited; until then it must not count as nobody's.
    next.catch(() => {});
    this.#worker.postMessage('more');
    return next;
  }

  async #next(): Promise<ReaderMessage> {
    const [message] = (await once(this.#worker, 'message')) as [ReaderMessage];
    if (message.kind !== 'failed') return message;
    throw message.usage ? new UsageError(message.message) : new Error(message.message);
  }
}
