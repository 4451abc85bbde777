import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { DaemonRuntime, type HandleProgress, WorkerMesh } from '../../lib/index.js';
import { flightsIn } from './flights-daemon.js';
import type { LossData } from './lossy.js';
import { type HaltData, type Look, type NodeData, type NodeEvent, NodeRemote } from './node-protocol.js';
import type { DemoOptions } from './options.js';
import { OPERATOR_PHASES, type Role } from './phases.js';
import { RunFolder } from './run-folder.js';
import type { Home } from './sender.js';

/** A daemon that for so long is live nowhere, nor in any node's hands, is lost. */
const LOST_AFTER_MS = 3_000;
const LOOK_EVERY_MS = 10;

export type NodeName = Role | 'control';

const NODE_IDS: Readonly<Record<NodeName, bigint>> = { orchestrator: 2n, source: 3n, target: 4n, control: 5n };

/** A node in a thread of its own. */
export interface DemoNode {
  readonly name: NodeName;
  readonly nodeId: bigint;
  readonly worker: Worker;
  readonly remote: NodeRemote;
}

/** Frames of migrations that did not go their way. */
export interface FrameLosses {
  readonly dropped: number;
  readonly doubled: number;
  readonly delayed: number;
}

/** The nodes of the demo, of which one may be ended and started again. */
export class Cluster {
  readonly runtime: DaemonRuntime;
  readonly #options: DemoOptions;
  readonly #onProgress: (progress: HandleProgress) => void;
  readonly #mesh = new WorkerMesh();
  readonly #folder: RunFolder;
  readonly #nodes = new Map<NodeName, DemoNode>();
  readonly #losses = new SharedArrayBuffer(12);
  readonly #go = new SharedArrayBuffer(4);
  #kill: Promise<void> | undefined;
  #killError: unknown;
  /** Daemons that have been given up. */
  readonly #lost = new Set<bigint>();

  constructor(options: DemoOptions, onProgress: (progress: HandleProgress) => void) {
    this.#options = options;
    this.#onProgress = onProgress;
    this.runtime = new DaemonRuntime({ mesh: this.#mesh.local, ...(options.engine && { engine: options.engine }) });
    this.runtime.start();
    this.#folder = new RunFolder();
  }

  /** The mesh's own node. */
  get local() {
    return this.#mesh.local;
  }

  /** Whether the node that is to be ended has been. */
  get hasKilled(): boolean {
    return this.#kill !== undefined;
  }

  get losses(): FrameLosses {
    const [dropped, doubled, delayed] = new Int32Array(this.#losses) as unknown as [number, number, number];
    return { dropped, doubled, delayed };
  }

  async start(): Promise<void> {
    const { kill } = this.#options;
    // The participants' own phases are seen by themselves, the operator's by the orchestrator.
    const isOperators = (OPERATOR_PHASES as readonly string[]).includes(kill?.phase ?? '');
    const halting = isOperators ? 'orchestrator' : kill?.role;
    const haltOf = (name: NodeName): HaltData | undefined =>
      kill && name === halting ? { ...kill, go: this.#go } : undefined;
    await Promise.all((Object.keys(NODE_IDS) as NodeName[]).map((name) => this.#spawn(name, haltOf(name))));
  }

  async shutdown(): Promise<void> {
    try {
      await this.runtime.shutdown();
    } finally {
      await this.#mesh.close();
      this.#folder.remove();
    }
  }

  node(name: NodeName): DemoNode {
    return this.#nodes.get(name)!;
  }

  /** Resolves when the node that has been ended runs again; at once where none was. */
  async recovered(): Promise<void> {
    await this.#kill;
    if (this.#killError) throw this.#killError;
  }

  /**
   * The node on which a daemon is live.
   *
   * @param how `settled`: and no node takes part in a migration of it any more
   * @returns undefined where it has been live nowhere for 3 s, and no node took part in a migration of it either
   */
  async find(origin: bigint, how: 'live' | 'settled'): Promise<DemoNode | undefined> {
    await this.recovered();
    for (let lastSeen = performance.now(); !this.#lost.has(origin); await sleep(LOOK_EVERY_MS)) {
      const owner = (await this.#mesh.local.register.read(origin))?.entry.owner;
      const nodes = [...this.#nodes.values()];
      const looks = await Promise.all(nodes.map(({ remote }) => look(remote, origin)));
      const home = nodes.findIndex(({ nodeId }, i) => nodeId === owner && looks[i]!.isLive);
      const isMigrating = looks.some((seen) => seen.isMigrating);
      if (home >= 0 && (how === 'live' || !isMigrating)) return nodes[home];
      if (home >= 0 || isMigrating) lastSeen = performance.now();
      else if (performance.now() - lastSeen > LOST_AFTER_MS) this.#lost.add(origin);
    }
    return undefined;
  }

  /** Where a daemon is live, and how far its copy there is. */
  async home(origin: bigint): Promise<Home | undefined> {
    const node = await this.find(origin, 'live');
    if (!node) return undefined;
    return { nodeId: node.nodeId, processed: flightsIn(await node.remote.ask({ do: 'state', origin })) };
  }

  async #spawn(name: NodeName, halt: HaltData | undefined): Promise<void> {
    const { engine, stateMib, fail, loss, seed } = this.#options;
    const channel = name === 'control' ? 'flights/control' : 'flights/summary';
    const config = { channel, padding: stateMib * 1024 * 1024, fail: name === 'control' ? undefined : fail };
    const losses: LossData | undefined = loss > 0 ? { probability: loss, seed, counts: this.#losses } : undefined;
    const paths = this.#folder.pathsOf(name);
    const workerData: NodeData = { engine, orchestrator: NODE_IDS.orchestrator, config, paths, halt, loss: losses };
    const script = new URL('./node.js', import.meta.url);
    const { nodeId, worker } = this.#mesh.spawn(script, { workerData }, NODE_IDS[name]);
    const remote = new NodeRemote(worker, (event) => this.#told(event));
    this.#nodes.set(name, { name, nodeId, worker, remote });
    await remote.ask({ do: 'ready' });
  }

  #told(event: NodeEvent): void {
    if ('progress' in event) this.#onProgress(event.progress);
    else
      this.#kill = this.#endAndRestart().catch((error) => {
        this.#killError = error;
      });
  }

  /** Ends the thread that is to be ended, lets the one that halted for it go on, and starts it again under its old id. */
  async #endAndRestart(): Promise<void> {
    const { role } = this.#options.kill!;
    await this.node(role).worker.terminate();
    Atomics.store(new Int32Array(this.#go), 0, 1);
    Atomics.notify(new Int32Array(this.#go), 0);
    await this.#spawn(role, undefined);
  }
}

/** A node that has just ended does not answer. */
function look(remote: NodeRemote, origin: bigint): Promise<Look> {
  return remote.ask<Look>({ do: 'look', origin }).catch(() => ({ isLive: false, isMigrating: false }));
}
