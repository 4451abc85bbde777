// Reads the flights in a thread of its own, so that decoding them stands in nobody's way.
import { parentPort, workerData } from 'node:worker_threads';
import { openFlights } from './data.js';
import type { ReaderMessage } from './flight-reader.js';
import { UsageError } from './options.js';

const { records, path } = workerData as { records: number; path: string | undefined };

/** Resolves when the main thread wants more. */
function wanted(): Promise<void> {
  return new Promise((resolve) => parentPort!.once('message', () => resolve()));
}

function tell(message: ReaderMessage, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer);
}

try {
  const flights = await openFlights(records, path);
  tell({ kind: 'opened' });
  for await (const group of flights) {
    await wanted();
    tell({ kind: 'flights', bytes: group }, [group.buffer as ArrayBuffer]);
  }
  await wanted();
  tell({ kind: 'end' });
} catch (error) {
  tell({ kind: 'failed', usage: error instanceof UsageError, message: (error as Error).message });
}
parentPort!.close();
