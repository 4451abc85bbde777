import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DaemonRuntime } from '../../lib/index.js';
import type { DeliveryEndpoint } from '../../lib/runtime/delivery-endpoint.js';
import { NORTH, type NodeState, SOUTH, type Watch } from './messages.js';
import type { Meet, NetworkWitness } from './network.js';
import { Network } from './network.js';
import { deliveryFrom } from './publisher.js';

export type Engine = DaemonRuntime['engine'];

/** Who leads is as impatient as the nodes are. */
const SHORT = { deadlineMs: 1_200, tries: 30 };
const POLICY = {
  orchestrator: {
    phases: {
      Snapshot: SHORT,
      Transfer: SHORT,
      Restore: SHORT,
      Replay: SHORT,
      Cutover: SHORT,
      Rollback: { deadlineMs: 600, tries: 6 },
    },
  },
};

/** Two nodes that are processes, and the one that leads: kept from round to round, so that only who was killed begins anew. */
export class World {
  readonly network: Network;
  readonly runtime: DaemonRuntime;
  readonly delivery: DeliveryEndpoint;
  /** Who looks at what happens: the round that is on. */
  witness: NetworkWitness | undefined;
  readonly #folder = mkdtempSync(join(tmpdir(), 'daemon-migration-processes-'));
  readonly #engines: ReadonlyMap<bigint, Engine>;

  /** @param south the engine of one of the two; a node has the same one whenever it is started again */
  constructor(south: Engine = 'native') {
    this.#engines = new Map([
      [NORTH, 'native'],
      [SOUTH, south],
    ]);
    this.network = new Network({
      note: (line) => this.witness?.note(line),
      stands: (node: bigint, state: NodeState) => this.witness?.stands(node, state),
      published: (...what) => this.witness?.published(...what),
      wrote: (...what) => this.witness?.wrote(...what),
    });
    this.runtime = new DaemonRuntime({ mesh: this.network.leader, policy: POLICY, onError: () => {} });
    this.runtime.start();
    this.delivery = deliveryFrom(this.network.publisher);
  }

  set meet(meet: Meet) {
    this.network.meet = meet;
  }

  /** Starts every node that does not run; with the key file and the spool that it had. */
  async startAll(watch?: Watch): Promise<void> {
    for (const nodeId of [NORTH, SOUTH]) {
      if (this.network.isUp(nodeId)) continue;
      const engine = this.#engines.get(nodeId)!;
      const keyFile = join(this.#folder, `${nodeId}.key`);
      await this.network.start({ nodeId, keyFile, spool: this.#spool(nodeId), engine }, watch);
    }
  }

  /** Nobody but whoever leads here may be left with a migration of that daemon. */
  isIdle(origin: bigint): boolean {
    const states = [NORTH, SOUTH].map((node) => this.network.state(node));
    const isLed = this.runtime.migrations().some((status) => status.origin === origin);
    return !isLed && states.every(({ source, target }) => source === undefined && target === undefined);
  }

  /** Files of a daemon in the nodes' spools. */
  spooled(origin: bigint): string[] {
    const digits = origin.toString(16).padStart(16, '0');
    return [NORTH, SOUTH].flatMap((node) => readdirSync(this.#spool(node)).filter((name) => name.includes(digits)));
  }

  #spool(node: bigint): string {
    return join(this.#folder, `spool-${node}`);
  }

  live(): bigint[] {
    return [NORTH, SOUTH].filter((node) => this.network.state(node).isLive);
  }

  async close(): Promise<void> {
    await this.runtime.shutdown().catch(() => {});
    await this.network.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
