import { setTimeout as pause } from 'node:timers/promises';
import { NORTH, type Role, SOUTH, type Watch } from './messages.js';
import type { Pass, Passing } from './network.js';
import type { Blow, MessageSpot, Plan } from './plan.js';
import type { World } from './world.js';

/** A blow that has not struck by then does not; nor does one whose migration has been over for so long. */
const STRIKE_MS = 3_000;
const OVER_MS = 150;

/** The blows of a round: where they fall, and who is up again behind them. */
export class Strikes {
  kills = 0;
  /** Phases in which nodes were killed, as `source offered`. */
  readonly phases: string[] = [];
  /** Spots on messages at which nodes were killed. */
  readonly spots: string[] = [];
  /** Nodes that were killed since they claimed the daemon, or began with it. */
  readonly fallen = new Set<bigint>();
  readonly #world: World;
  readonly #plan: Plan;
  readonly #nodes: Readonly<Record<Role, bigint>>;
  readonly #origin: bigint;
  readonly #note: (line: string) => void;
  #blow: Blow | undefined;
  #passed = 0;
  #isStruck = false;
  readonly #late: Pass[] = [];

  constructor(
    world: World,
    plan: Plan,
    nodes: Readonly<Record<Role, bigint>>,
    origin: bigint,
    note: (line: string) => void,
  ) {
    this.#world = world;
    this.#plan = plan;
    this.#nodes = nodes;
    this.#origin = origin;
    this.#note = note;
    this.#world.network.onTrapped = (node) => {
      this.#note(`node ${node} stands still in its trap`);
      this.#isStruck = true;
    };
  }

  /** Tells the nodes which daemon it is about, and where the next victim is to stop. */
  watch(): Watch {
    const spot = this.#blow?.spot;
    const watch = { origin: this.#origin, trap: spot && 'phase' in spot ? spot : undefined };
    for (const node of [NORTH, SOUTH])
      if (this.#world.network.isUp(node)) this.#world.network.process(node).send({ watch });
    return watch;
  }

  /**
   * Lets all blows fall, one after the other, and starts again whoever was killed.
   *
   * @param begin begins what is to be struck
   * @returns whether the first one struck
   */
  async run(begin: () => void): Promise<boolean> {
    for (const [i, blow] of this.#plan.blows.entries()) {
      this.#blow = blow;
      this.#passed = 0;
      this.#isStruck = false;
      const watch = this.watch();
      if (i === 0) begin();
      if (blow.isAfterRestart) await this.#restart(watch);
      await this.#awaitStrike();
      this.#blow = undefined;
      if (this.#isStruck) await this.#kill(blow);
      else if (i === 0) {
        this.watch();
        return false;
      }
    }
    await this.#restart(this.watch());
    for (const pass of this.#late) pass();
    return true;
  }

  /** Something passes the hub: where a blow falls there, it may not pass, or later. */
  meet(passing: Passing, pass: Pass): void {
    const spot = this.#blow?.spot;
    if (!spot || 'phase' in spot || !this.#isAt(spot, passing) || ++this.#passed !== spot.nth) {
      pass();
      return;
    }
    if (spot.when === 'after') pass();
    if (spot.when === 'late') this.#late.push(pass);
    this.#note(`  (${spot.when} that, the blow falls)`);
    const strike = () => {
      this.#isStruck = true;
    };
    if (spot.delayMs === undefined) strike();
    else setTimeout(strike, spot.delayMs);
  }

  #isAt({ kind, name, from }: MessageSpot, passing: Passing): boolean {
    if (from !== undefined && passing.from !== this.#nodes[from]) return false;
    return passing.kind === kind && passing.names.includes(name);
  }

  async #restart(watch: Watch): Promise<void> {
    await pause(this.#plan.downMs);
    await this.#world.startAll(watch);
  }

  async #awaitStrike(): Promise<void> {
    const end = performance.now() + STRIKE_MS;
    let underWayAt = performance.now();
    while (!this.#isStruck && performance.now() < end) {
      if (!this.#world.isIdle(this.#origin)) underWayAt = performance.now();
      else if (performance.now() - underWayAt > OVER_MS) return;
      await pause(1);
    }
  }

  async #kill({ victims, isTold, spot }: Blow): Promise<void> {
    const nodes = victims.map((role) => this.#nodes[role]).filter((node) => this.#world.network.isUp(node));
    for (const node of nodes) {
      const { source, target } = this.#world.network.state(node);
      if (source) this.phases.push(`source ${source}`);
      if (target) this.phases.push(`target ${target}`);
      this.fallen.add(node);
    }
    if (!('phase' in spot)) this.spots.push(`${spot.when} ${spot.kind} ${spot.name}`);
    this.kills += nodes.length;
    await this.#world.network.kill(nodes, isTold);
  }
}
