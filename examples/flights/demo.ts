import { EntityKeypair } from '../../lib/index.js';
import { Cluster, type FrameLosses } from './cluster.js';
import { FLIGHT_SIZE } from './flight.js';
import { FlightReader } from './flight-reader.js';
import { flightsIn, SUMMARY_EVERY } from './flights-daemon.js';
import { type JourneyResult, travel } from './journey.js';
import type { DemoOptions } from './options.js';
import type { ProgressView } from './progress.js';
import { FlightSender } from './sender.js';
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
  /** From the start of the first migration until the daemon was live where it was to go. */
  readonly transferMs: number;
  /** Migrations asked for: more than one where a node ended, or the daemon came back. */
  readonly tries: number;
  /** Which node was ended, and in which phase; null where none was. */
  readonly killed: { readonly role: string; readonly phase: string } | null;
  /** Flights that were sent a second time, because a node that had been sent them ended; those that the daemon had are dropped. */
  readonly resent: number;
  /** Frames that did not go their way. */
  readonly frames: FrameLosses;
  /** Flights per second over the whole stream. */
  readonly throughput: number;
  readonly engine: string;
  /** `completed`, or why the daemon did not get there: `failed: …`, `lost: …`, `not killed: …`. */
  readonly outcome: string;
}

/** Streams the flights to a daemon that moves halfway and to one that never does, and compares them. */
export async function runDemo(options: DemoOptions, view: ProgressView): Promise<DemoResult> {
  const flights = await FlightReader.open(options.records, options.data);
  let snapshotBytes = 0;
  const cluster = new Cluster(options, (progress) => {
    snapshotBytes = Math.max(snapshotBytes, progress.bytesTotal);
    view.show(progress);
  });
  try {
    await cluster.start();
    return { ...(await new Demo(options, flights, cluster).run()), snapshotBytes };
  } finally {
    view.end();
    await flights.close();
    await cluster.shutdown();
  }
}

class Demo {
  readonly #options: DemoOptions;
  readonly #flights: FlightReader;
  readonly #cluster: Cluster;
  #published = 0;

  constructor(options: DemoOptions, flights: FlightReader, cluster: Cluster) {
    this.#options = options;
    this.#flights = flights;
    this.#cluster = cluster;
  }

  async run(): Promise<Omit<DemoResult, 'snapshotBytes'>> {
    const [source, control] = [this.#cluster.node('source'), this.#cluster.node('control')];
    const moving = await source.remote.ask<bigint>({ do: 'spawn' });
    const still = await control.remote.ask<bigint>({ do: 'spawn' });
    const reader = new SummaryReader(moving);
    await this.#cluster.local.subscribe('flights/summary', {}, (_, events) => reader.read(events));

    const { runtime } = this.#cluster;
    const { originHash } = EntityKeypair.generate();
    const find = this.#options.kill && (() => this.#cluster.home(moving));
    const senders = [
      new FlightSender({ runtime, originHash, daemon: moving, nodeId: source.nodeId, find }),
      new FlightSender({ runtime, originHash, daemon: still, nodeId: control.nodeId }),
    ] as const;
    const startedAt = performance.now();
    const { mode, back } = this.#options;
    const way = back ? (['source', 'target', 'source'] as const) : (['source', 'target'] as const);
    const journey = await this.#stream(senders, () => travel(this.#cluster, moving, way, mode));
    const throughput = this.#published / ((performance.now() - startedAt) / 1000);
    const { transferMs, tries, ...journeyed } = await journey;
    const outcome = this.#outcome(journeyed);

    const home = await this.#cluster.find(moving, 'live');
    const state = await home?.remote.ask<Uint8Array>({ do: 'state', origin: moving });
    const controlState = await control.remote.ask<Uint8Array>({ do: 'state', origin: still });
    const processed = state ? flightsIn(state) : 0;
    const expectedSummaries = Math.floor(this.#published / SUMMARY_EVERY);
    return {
      records: this.#published,
      processed,
      lost: Math.max(0, this.#published - processed),
      doubled: Math.max(0, processed - this.#published),
      equal: state !== undefined && Buffer.compare(state, controlState) === 0,
      summaries: reader.count,
      summaryFault:
        reader.fault ??
        (reader.count === expectedSummaries
          ? null
          : `${reader.count} summaries came, ${expectedSummaries} were expected`),
      pauseMs: round(senders[0].longestWaitMs),
      controlPauseMs: round(senders[1].longestWaitMs),
      transferMs: round(transferMs),
      tries,
      killed: (this.#cluster.hasKilled && this.#options.kill) || null,
      resent: senders[0].resent,
      frames: this.#cluster.losses,
      throughput: Math.round(throughput),
      engine: runtime.engine,
      outcome,
    };
  }

  /** A run that did not do what it was asked to has shown nothing. */
  #outcome({ outcome }: Pick<JourneyResult, 'outcome'>): string {
    const { kill } = this.#options;
    if (!kill || this.#cluster.hasKilled || outcome !== 'completed') return outcome;
    return `not killed: the ${kill.role} was not seen in phase ${kill.phase}; more --records or --state-mib make it last longer`;
  }

  /** Publishes every flight to both daemons, in order, and calls `halfway` there without stopping. */
  async #stream<T>(senders: readonly FlightSender[], halfway: () => T): Promise<T> {
    const { records } = this.#options;
    const batch = Math.max(1, Math.min(MAX_BATCH, Math.floor(records / 10)));
    let result: { value: T } | undefined;
    for await (const flights of this.#flights.groups()) {
      for (let at = 0; at < flights.length; at += batch * FLIGHT_SIZE) {
        if (!result && this.#published >= records / 2) result = { value: halfway() };
        const payloads = flights.subarray(at, at + batch * FLIGHT_SIZE);
        const first = this.#published + 1;
        this.#published += payloads.length / FLIGHT_SIZE;
        for (const sender of senders) await sender.send({ first, payloads });
      }
    }
    result ??= { value: halfway() };
    for (const sender of senders) await sender.flush();
    return result.value;
  }
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
