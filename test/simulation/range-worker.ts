import { parentPort } from 'node:worker_threads';
import { reportOf, type SeedReport } from './range.js';
import { simulate } from './run.js';

/** A thread of a range: runs the seeds that it is given, until there are none. */
parentPort!.on('message', async (portion: readonly [number, number] | undefined) => {
  if (!portion) {
    parentPort!.close();
    return;
  }
  const done: SeedReport[] = [];
  for (let seed = portion[0]; seed <= portion[1]; seed++) done.push(reportOf(await simulate(seed)));
  parentPort!.postMessage(done);
});
