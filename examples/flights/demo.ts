import {
  type CausalEvent,
  DaemonRuntime,
  EntityKeypair,
  type EventPublisher,
  type MigrationHandle,
  type MigrationProgress,
  WorkerMesh,
} from '../../lib/index.js';
import { FLIGHT_SIZE } from './flight.js';
import { FlightReader } from './flight-reader.js';
import { flightsIn, SUMMARY_EVERY } from './flights-daemon.js';
import { type NodeData, NodeRemote } from './node-protocol.js';
import type { DemoOptions } from './options.js';
import type { ProgressView } from './progress.js';
import { SummaryReader } from './summaries.js';

const MAX_BATCH = 1_000;

/** What the demo found, for people and for `--json`. */
export interface DemoResult {
  /** Flights published. */
  readonly records: number;
  /** Flights that the daemon processed. */
  readonly processed: number;
  readonly lost: number;
  readonly doubled: number;
  /** Whether its state equals the control daemon's, byte for byte. */
  readonly equal: boolean;
  /** Summaries on the channel, and what was wrong with them. */
  readonly summaries: number;
  readonly summaryFault: string | null;
  readonly snapshotBytes: number;
  /** The longest that the publisher waited for an acknowledgement. */
  readonly pauseMs: number;
  /** The same for the publisher of the daemon that never moved: what the machine alone costs. */
  readonly controlPauseMs: number;
  /** From the start of the migration until the daemon was live on its target. */
  readonly transferMs: number;
  /** Flights per second over the whole stream. */
  readonly throughput: number;
  readonly engine: string;
  /** `completed`, or why the migration failed. */
  readonly outcome: string;
}

/** Streams the flights to a daemon that moves halfway and to one that never does, and compares them. */
export async function runDemo(options: DemoOptions, view: ProgressView): Promise<DemoResult> {
  const flights = await FlightReader.open(options.records, options.data);
  const mesh = new WorkerMesh();
  const runtime = new DaemonRuntime({ mesh: mesh.local, ...(options.engine && { engine: options.engine }) });
  try {
    runtime.start();
    return await new Demo(options, flights, mesh, runtime, view).run();
  } finally {
    view.end();
    await flights.close();
    await runtime.shutdown();
  }
}

class Demo {
  readonly #options: DemoOptions;
  readonly #flights: FlightReader;
  readonly #mesh: WorkerMesh;
  readonly #runtime: DaemonRuntime;
  readonly #view: ProgressView;
  readonly #publisherOrigin = EntityKeypair.generate().originHash;
  #published = 0;
  #snapshotBytes = 0;

  constructor(
    options: DemoOptions,
    flights: FlightReader,
    mesh: WorkerMesh,
    runtime: DaemonRuntime,
    view: ProgressView,
  ) {
    this.#options = options;
    this.#flights = flights;
    this.#mesh = mesh;
    this.#runtime = runtime;
    this.#view = view;
  }

  async run(): Promise<DemoResult> {
    const [first, second, third] = await Promise.all([
      this.#node('flights/summary'),
      this.#node('flights/summary'),
      this.#node('flights/control'),
    ]);
    const moving = await first!.remote.ask<bigint>({ do: 'spawn' });
    const control = await third!.remote.ask<bigint>({ do: 'spawn' });
    const reader = new SummaryReader(moving);
    await this.#mesh.local.subscribe('flights/summary', {}, (_, events) => reader.read(events));

    const publishers = [
      this.#runtime.publisher(moving, first!.nodeId),
      this.#runtime.publisher(control, third!.nodeId),
    ] as const;
    const startedAt = performance.now();
    const migration = await this.#stream(publishers, () => this.#migrate(moving, first!.nodeId, second!.nodeId));
    const throughput = this.#published / ((performance.now() - startedAt) / 1000);
    const { outcome, transferMs } = await migration;

    const home = outcome === 'completed' ? second! : first!;
    const state = await home.remote.ask<Uint8Array>({ do: 'state', origin: moving });
    const controlState = await third!.remote.ask<Uint8Array>({ do: 'state', origin: control });
    const processed = flightsIn(state);
    const expectedSummaries = Math.floor(this.#published / SUMMARY_EVERY);
    return {
      records: this.#published,
      processed,
      lost: Math.max(0, this.#published - processed),
      doubled: Math.max(0, processed - this.#published),
      equal: Buffer.compare(state, controlState) === 0,
      summaries: reader.count,
      summaryFault:
        reader.fault ??
        (reader.count === expectedSummaries
          ? null
          : `${reader.count} summaries came, ${expectedSummaries} were expected`),
      snapshotBytes: this.#snapshotBytes,
      pauseMs: round(publishers[0].longestWaitMs),
      controlPauseMs: round(publishers[1].longestWaitMs),
      transferMs: round(transferMs),
      throughput: Math.round(throughput),
      engine: this.#runtime.engine,
      outcome,
    };
  }

  async #node(channel: string): Promise<{ nodeId: bigint; remote: NodeRemote }> {
    const { engine, stateMib, fail } = this.#options;
    const config = { channel, padding: stateMib * 1024 * 1024, fail: channel === 'flights/summary' ? fail : undefined };
    const workerData: NodeData = { engine, orchestrator: this.#runtime.nodeId, config };
    const { nodeId, worker } = this.#mesh.spawn(new URL('./node.js', import.meta.url), { workerData });
    const remote = new NodeRemote(worker);
    await remote.ask({ do: 'ready' });
    return { nodeId, remote };
  }

  /** Publishes every flight to both daemons, in order, and calls `halfway` there without stopping. */
  async #stream<T>(publishers: readonly EventPublisher[], halfway: () => T): Promise<T> {
    const { records } = this.#options;
    const batch = Math.max(1, Math.min(MAX_BATCH, Math.floor(records / 10)));
    let result: { value: T } | undefined;
    for await (const flights of this.#flights.groups()) {
      const count = flights.length / FLIGHT_SIZE;
      for (let at = 0; at < count; at += batch) {
        if (!result && this.#published >= records / 2) result = { value: halfway() };
        const events = this.#events(flights, at, Math.min(batch, count - at));
        for (const publisher of publishers) await publisher.send(events);
      }
    }
    result ??= { value: halfway() };
    for (const publisher of publishers) await publisher.flush();
    return result.value;
  }

  #events(flights: Uint8Array, at: number, count: number): CausalEvent[] {
    return Array.from({ length: count }, (_, i) => {
      const link = {
        originHash: this.#publisherOrigin,
        horizon: 0n,
        sequence: BigInt(++this.#published),
        parentHash: 0n,
      };
      const payload = flights.subarray((at + i) * FLIGHT_SIZE, (at + i + 1) * FLIGHT_SIZE);
      return { link, payload, receivedAt: 0n };
    });
  }

  async #migrate(origin: bigint, source: bigint, target: bigint): Promise<{ outcome: string; transferMs: number }> {
    const startedAt = performance.now();
    const onProgress = (progress: MigrationProgress) => {
      this.#snapshotBytes = Math.max(this.#snapshotBytes, progress.bytesTotal);
      this.#view.show(progress);
    };
    let handle: MigrationHandle | undefined;
    try {
      handle = this.#runtime.startMigration(origin, source, target, { onProgress });
      await handle.wait();
      return { outcome: 'completed', transferMs: performance.now() - startedAt };
    } catch (error) {
      return { outcome: `failed: ${(error as Error).message}`, transferMs: performance.now() - startedAt };
    } finally {
      this.#view.end();
    }
  }
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
