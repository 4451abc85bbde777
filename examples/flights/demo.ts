import { once } from 'node:events';
import {
  type CausalEvent,
  type DaemonIdentity,
  DaemonRuntime,
  EntityKeypair,
  type EventPublisher,
  type MigrationHandle,
  type MigrationProgress,
  WorkerMesh,
} from '../../lib/index.js';
import { type Flights, openFlights } from './data.js';
import { flightsIn, SUMMARY_EVERY } from './flights-daemon.js';
import { type NodeData, NodeRemote } from './node-protocol.js';
import type { DemoOptions } from './options.js';
import type { ProgressView } from './progress.js';
import { SummaryReader } from './summaries.js';

const BATCH = 1_000;

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
  const flights = await openFlights(options.records, options.data);
  const mesh = new WorkerMesh();
  const runtime = new DaemonRuntime({ mesh: mesh.local, ...(options.engine && { engine: options.engine }) });
  try {
    runtime.start();
    return await new Demo(options, flights, mesh, runtime, view).run();
  } finally {
    view.end();
    await runtime.shutdown();
  }
}

class Demo {
  readonly #options: DemoOptions;
  readonly #flights: Flights;
  readonly #mesh: WorkerMesh;
  readonly #runtime: DaemonRuntime;
  readonly #view: ProgressView;
  readonly #publisherOrigin = newIdentity().originHash;
  #published = 0;
  #snapshotBytes = 0;

  constructor(options: DemoOptions, flights: Flights, mesh: WorkerMesh, runtime: DaemonRuntime, view: ProgressView) {
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
    const moving = newIdentity();
    const control = newIdentity();
    await first!.remote.ask({ do: 'spawn', identity: moving });
    await third!.remote.ask({ do: 'spawn', identity: control });
    const reader = new SummaryReader(moving.originHash);
    await this.#mesh.local.subscribe('flights/summary', (_, events) => reader.read(events));

    const publishers = [
      this.#runtime.publisher(moving.originHash, first!.nodeId),
      this.#runtime.publisher(control.originHash, third!.nodeId),
    ] as const;
    const startedAt = performance.now();
    const migration = await this.#stream(publishers, () =>
      this.#migrate(moving.originHash, first!.nodeId, second!.nodeId),
    );
    const throughput = this.#published / ((performance.now() - startedAt) / 1000);
    const { outcome, transferMs } = await migration;

    const home = outcome === 'completed' ? second! : first!;
    const state = await home.remote.ask<Uint8Array>({ do: 'state', origin: moving.originHash });
    const controlState = await third!.remote.ask<Uint8Array>({ do: 'state', origin: control.originHash });
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
    await once(worker, 'online');
    return { nodeId, remote: new NodeRemote(worker) };
  }

  /** Publishes every flight to both daemons, in order, and calls `halfway` there without stopping. */
  async #stream<T>(publishers: readonly EventPublisher[], halfway: () => T): Promise<T> {
    const { records } = this.#options;
    let result: { value: T } | undefined;
    for await (const payloads of this.#flights) {
      for (let at = 0; at < payloads.length; at += BATCH) {
        if (!result && this.#published >= records / 2) result = { value: halfway() };
        const events = payloads.slice(at, at + BATCH).map((payload) => this.#event(payload));
        for (const publisher of publishers) await publisher.send(events);
      }
    }
    result ??= { value: halfway() };
    for (const publisher of publishers) await publisher.flush();
    return result.value;
  }

  #event(payload: Uint8Array): CausalEvent {
    const sequence = BigInt(++this.#published);
    return {
      link: { originHash: this.#publisherOrigin, horizon: 0n, sequence, parentHash: 0n },
      payload,
      receivedAt: 0n,
    };
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

/** Who a daemon of the demo is. Its nodes are told the public half alone: no key moves here. */
function newIdentity(): DaemonIdentity {
  using keypair = EntityKeypair.generate();
  return { entityId: keypair.entityId, originHash: keypair.originHash };
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
