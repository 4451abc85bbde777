import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { EngineName } from '../lib/wire/codec.js';
import type { AssembledSnapshot } from '../lib/wire/reassembler.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Measurement, Unit } from './harness/definition.js';
import { WrongResult } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import { EngineAssembler, NaiveAssembler, wireLength } from './harness/snapshot-stream.js';
import { entryOf, median } from './harness/statistics.js';
import { streamedBytes } from './harness/stream-server.js';

export const definition: BenchDefinition = {
  name: 'loop',
  order: 60,
  title: 'Event-loop delay while 1 GiB is assembled from a stream',
  method:
    'Each contender in a process of its own. A worker thread serves the frames over a Unix socket; the main thread takes each ' +
    '`data` event and assembles, while `monitorEventLoopDelay` (resolution 1 ms) watches it, from the first byte until the snapshot ' +
    'has been handed over. Figures are as the monitor gives them: an idle loop shows some 1.1 ms, its own interval. The limit counts ' +
    'the bytes and keeps none. The snapshot is compared with what was sent after the monitor has stopped.',
  quoted: [{ what: 'its Node binding at 60 MiB, event-loop delay on the target', value: 'up to 69 ms' }],
};

type ContenderName = EngineName | 'naive' | 'limit';

const LABEL: Readonly<Record<ContenderName, string>> = {
  native: 'native',
  typescript: 'typescript',
  baseline: 'baseline',
  naive: 'naive: collect, Buffer.concat',
  limit: 'limit: bytes counted, none kept',
};

/** What the monitor saw, in ms, and how long the stream took. */
export interface Delays {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  readonly seconds: number;
}

interface Taker {
  /** @returns the snapshot when it is whole */
  push(read: Uint8Array): AssembledSnapshot | undefined;
}

function takerOf(name: ContenderName): Taker {
  if (name === 'limit') return { push: () => undefined };
  if (name === 'naive') return new NaiveAssembler();
  const codec = loadEngines([name]).frames[0];
  if (codec === undefined) throw new Error(`${name} is not available`);
  return new EngineAssembler(codec, { maxPendingBytes: 2 ** 40 });
}

/** In a process of its own: the loop's delays while a snapshot of that length comes in. */
export async function delaysOf(name: ContenderName, length: number): Promise<Delays> {
  const path = join(tmpdir(), `bench-loop-${process.pid}.sock`);
  const server = new Worker(new URL('./harness/stream-server.js', import.meta.url), { workerData: { path, length } });
  await once(server, 'message');
  try {
    // The first stream lets the code be compiled; the delays of the second count.
    await receive(path, takerOf(name), name);
    await sleep(20);
    globalThis.gc?.();
    return await receive(path, takerOf(name), name, length);
  } finally {
    await server.terminate();
    rmSync(path, { force: true });
  }
}

/** @param length of a whole stream; without it the server's short one is asked for */
async function receive(path: string, taker: Taker, name: ContenderName, length?: number): Promise<Delays> {
  const socket = connect(path);
  await once(socket, 'connect');
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  let received = 0;
  let whole: AssembledSnapshot | undefined;
  const start = performance.now();
  monitor.enable();
  socket.on('data', (read) => {
    received += read.length;
    whole ??= taker.push(read);
  });
  socket.write(length === undefined ? 'short' : 'whole');
  await once(socket, 'end');
  // A stall that began with the last read is seen by the timer after it.
  await sleep(5);
  monitor.disable();
  const seconds = (performance.now() - start) / 1000;
  socket.destroy();
  if (length !== undefined) checkStream(name, length, received, whole);
  whole?.dispose();
  const ms = (nanoseconds: number) => nanoseconds / 1e6;
  return { p50: ms(monitor.percentile(50)), p99: ms(monitor.percentile(99)), max: ms(monitor.max), seconds };
}

function checkStream(
  name: ContenderName,
  length: number,
  received: number,
  whole: AssembledSnapshot | undefined,
): void {
  mustBe(received, wireLength(length), `${name}, bytes received`);
  if (name === 'limit') return;
  if (whole === undefined) throw new WrongResult(`${name}: no snapshot after the last chunk`);
  mustBe(whole.bytes.length, length, `${name}, bytes of the snapshot`);
  for (let from = 0; from < length; from += 7_000) {
    const to = Math.min(from + 7_000, length);
    mustBeBytes(whole.bytes.subarray(from, to), streamedBytes(from, to), `${name}, chunk at ${from}`);
  }
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { frames: codecs, unavailable } = loadEngines(engines);
  const length = quick ? 8 * 2 ** 20 : 2 ** 30;
  const names: ContenderName[] = [...codecs.map(({ engine }) => engine), 'naive', 'limit'];
  const seen = new Map<ContenderName, Delays[]>(names.map((name) => [name, []]));
  let checked = 0;
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    for (const name of names) {
      seen.get(name)!.push(await isolated<Delays>({ module: import.meta.url, name: 'delaysOf', args: [name, length] }));
      checked++;
    }
  }
  const table = (subject: string, unit: Unit, value: (delays: Delays) => number): Measurement => ({
    subject,
    unit,
    entries: names.map((name) => entryOf(LABEL[name], seen.get(name)!.map(value))),
  });
  const native = seen.get('native');
  const middle = (value: (delays: Delays) => number) => native && median(native.map(value));
  const how = { unit: 'ms', how: 'median of the rounds, the monitor’s own interval of 1 ms included' };
  return {
    measurements: [
      table('delay, median', 'ms', (delays) => delays.p50),
      table('delay, p99', 'ms', (delays) => delays.p99),
      table('delay, max', 'ms', (delays) => delays.max),
      table('the whole stream', 'GB/s', ({ seconds }) => length / seconds / 1e9),
    ],
    goals: [
      ...atMost(5, { ...how, goal: 'native: p99 under 5 ms', measured: middle((delays) => delays.p99) }),
      ...atMost(20, { ...how, goal: 'native: max under 20 ms', measured: middle((delays) => delays.max) }),
    ],
    notes: [],
    checked,
    unavailable,
  };
}
