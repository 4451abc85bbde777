import { setTimeout as pause } from 'node:timers/promises';
import { type CausalEvent, createCodec, type MigrationHandle } from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import type { ChannelSubscription } from '../../lib/mesh/mesh.js';
import type { OwnershipEntry } from '../../lib/mesh/register.js';
import type { Recovery } from '../../lib/runtime/take-up.js';
import { eventually } from '../support.js';
import { Detours } from './detours.js';
import { Ledger } from './ledger.js';
import { NORTH, type NodeState, type Role, SOUTH } from './messages.js';
import { CHANNEL, Model } from './model.js';
import type { NetworkWitness, Pass, Passing } from './network.js';
import type { Blow, Plan } from './plan.js';
import { eventOf, Publisher } from './publisher.js';
import { Strikes } from './strikes.js';
import type { World } from './world.js';

/** Everything that is under way has ended by then, one way or another. */
const SETTLE_MS = 20_000;
/** Nothing is under way and no copy is live: for so long, then the daemon is gone. */
const GONE_MS = 400;
const MOVE_MS = 8_000;
/** Files that nobody needs any more are gone by then; those of snapshots are looked at once a second. */
const EMPTY_MS = 4_000;
const FEED_MS = 6;
const FEED_EVENTS = 2;

/** What a round has shown. */
export interface Outcome {
  readonly kills: number;
  /** Phases in which nodes were killed, as `source offered`. */
  readonly phases: readonly string[];
  /** Spots on messages at which nodes were killed. */
  readonly spots: readonly string[];
  /** `goes on`: by itself; `recovered`: by `recover`; `gone`: with the node on which it was live. */
  readonly end: 'goes on' | 'recovered' | 'gone';
  /** The migration that was struck had ended before it was. */
  readonly isMissed: boolean;
}

/** One daemon, one migration, the kills of its plan, and what must be true behind them. */
export class Round implements NetworkWitness {
  readonly trace: string[] = [];
  readonly #world: World;
  readonly #plan: Plan;
  readonly #nodes: Readonly<Record<Role, bigint>>;
  readonly #startedAt = performance.now();
  #origin = 0n;
  #model = new Model(0n);
  #strikes: Strikes;
  readonly #detours: Detours;
  #handle: MigrationHandle | undefined;
  #publisher: Publisher | undefined;
  #fed = 0;
  #isRecovered = false;
  /** The node that was about to offer: all of the daemon is in its spool. */
  #sealedBy: bigint | undefined;
  /** The target has told its source that it is live. */
  #isConfirmed = false;

  constructor(world: World, plan: Plan) {
    this.#world = world;
    this.#plan = plan;
    const [source, target] = plan.isSouthward ? [NORTH, SOUTH] : [SOUTH, NORTH];
    this.#nodes = { source, target };
    this.#strikes = this.#newStrikes();
    this.#detours = new Detours(plan.detour, this.#nodes, {
      cancel: () => void this.#handle?.cancel(),
      burst: (events) => this.#publisher!.burst(events),
    });
  }

  #newStrikes(): Strikes {
    return new Strikes(this.#world, this.#plan, this.#nodes, this.#origin, (line) => this.note(line));
  }

  /** @throws Error with the trace of what happened, where a promise was broken */
  async run(): Promise<Outcome> {
    this.#world.witness = this;
    this.#world.meet = (passing, pass) => this.#meet(passing, pass);
    try {
      return await this.#run();
    } catch (error) {
      const why = [...new Set([...this.#model.broken, error instanceof Error ? error.message : String(error)])].join(
        '; ',
      );
      throw new Error(`${why}\n${this.describe()}`, { cause: error });
    } finally {
      this.#world.witness = undefined;
      this.#world.meet = (_, pass) => pass();
    }
  }

  describe(): string {
    const { seed, detour, mode, downMs, shape } = this.#plan;
    const { source, target } = this.#nodes;
    const blows = this.#plan.blows.map(nameOf).join(', then ');
    const what = `round ${seed}: ${mode}, from node ${source} to ${target}, ${detour}, ${shape.padding} bytes${shape.isAsync ? ', async' : ''}${shape.isStreamed ? ', streamed' : ''}, down ${downMs} ms; ${blows}`;
    return [what, ...this.trace, this.#world.network.stderr()].join('\n');
  }

  async #run(): Promise<Outcome> {
    const { network } = this.#world;
    await this.#world.startAll();
    const feed = setInterval(() => this.#feed(), FEED_MS);
    let reading: ChannelSubscription | undefined;
    try {
      const { shape } = this.#plan;
      this.#origin = await network
        .process(this.#nodes.source)
        .ask<bigint>({ kind: 'spawn', shape, channel: this.#channel });
      this.#model = new Model(this.#origin);
      this.#strikes = this.#newStrikes();
      this.#strikes.watch();
      reading = await this.#read();
      await this.#publish();
      const isStruck = await this.#strikes.run(() => this.#begin());
      this.#detours.isOver = true;
      const live = await this.#settled();
      if (live !== undefined) await this.#again(live);
      clearInterval(feed);
      if (live !== undefined) await this.#check();
      await this.#end(live);
      const end = live === undefined ? 'gone' : this.#isRecovered ? 'recovered' : 'goes on';
      const { kills, phases, spots } = this.#strikes;
      return { kills, phases, spots, end, isMissed: !isStruck };
    } finally {
      clearInterval(feed);
      reading?.unsubscribe();
      await this.#publisher?.giveUp();
      network.publisher.forget(this.#feedOrigin);
    }
  }

  get #channel(): string {
    return `feed/${this.#plan.seed}`;
  }

  get #feedOrigin(): bigint {
    return 800_000n + BigInt(this.#plan.seed);
  }

  #entry(): OwnershipEntry | undefined {
    return this.#world.network.register.read(this.#origin)?.entry;
  }

  note(line: string): void {
    const ms = (performance.now() - this.#startedAt).toFixed(1).padStart(8);
    this.trace.push(`${ms}  ${line}`);
  }

  stands(node: bigint, state: NodeState): void {
    if (state.origin !== String(this.#origin)) return;
    const other = this.#world.network.state(node === NORTH ? SOUTH : NORTH);
    if (state.isLive && other.isLive && other.origin === state.origin) this.#model.break('two copies are live');
    // What goes on is marked as older in the spool, before it does.
    if ((state.isLive || state.source === 'resuming') && this.#sealedBy === node) this.#sealedBy = undefined;
  }

  published(node: bigint, channel: string, epoch: bigint, _events: readonly CausalEvent[]): void {
    if (channel === this.#outputs) this.#model.published(node, epoch, this.#entry());
  }

  wrote(node: bigint, name: string, isKilled: boolean): void {
    if (isKilled) return;
    if (name === 'withdraw' || name === 'recover') this.#sealedBy = undefined;
    if (name === 'claim' || name === 'create') this.#strikes.fallen.delete(node);
  }

  get #outputs(): string {
    return `daemon/${this.#origin.toString(16)}`;
  }

  #feed(): void {
    const events = Array.from({ length: FEED_EVENTS }, () => eventOf(this.#feedOrigin, CHANNEL, ++this.#fed));
    this.#world.network.channels.publish(this.#channel, 1n, events);
  }

  #read(): MaybePromise<ChannelSubscription> {
    const { leader } = this.#world.network;
    return leader.subscribe(this.#outputs, { after: new Uint8Array(0) }, (_, outputs) => this.#model.read(outputs));
  }

  async #publish(): Promise<void> {
    const { source } = this.#nodes;
    const deliver = this.#world.delivery.stream(this.#origin);
    this.#publisher = new Publisher(deliver, 700_000n + BigInt(this.#plan.seed), source, (node, sequence) =>
      this.#model.accepted(node, sequence, this.#entry()?.epoch ?? 0n),
    );
    await eventually('the daemon takes events', () => this.#publisher!.accepted >= 6);
  }

  #begin(): void {
    const { mode } = this.#plan;
    const { source, target } = this.#nodes;
    this.#handle = this.#world.runtime.startMigration(this.#origin, source, target, { mode, retryNotReady: false });
    this.#handle.wait({ timeout: SETTLE_MS }).then(
      () => this.note('the migration is done'),
      (error) => this.note(`the migration has failed: ${error.message}`),
    );
  }

  #meet(passing: Passing, pass: Pass): void {
    const wasOwned = this.#entry();
    const { kind, names, from } = passing;
    if (kind === 'operation' && names[0] === 'offer') this.#sealedBy = from;
    if (kind === 'frame' && names.includes('ActivationConfirmed')) this.#isConfirmed = true;
    const passOn = () => {
      pass();
      this.#wrote(wasOwned, passing);
    };
    if (!this.#detours.keeps(passing, passOn)) this.#strikes.meet(passing, passOn);
  }

  #wrote(before: OwnershipEntry | undefined, { kind, names, from }: Passing): void {
    if (kind !== 'operation') return;
    const entry = this.#entry();
    if (entry === before) return;
    if (names[0] !== 'recover' || !before) return;
    if (!this.#strikes.fallen.has(before.owner))
      this.#model.break(`node ${from} took the daemon from node ${before.owner}, which was not killed`);
    this.#model.abandoned(before.owner, before.epoch);
  }

  /** Waits until nothing is under way any more. @returns where the daemon is live; undefined where it is gone */
  async #settled(): Promise<bigint | undefined> {
    const { network } = this.#world;
    const end = performance.now() + SETTLE_MS;
    let changedAt = performance.now();
    let last = '';
    while (performance.now() < end) {
      const now = JSON.stringify([network.state(NORTH), network.state(SOUTH)]);
      if (now !== last) changedAt = performance.now();
      last = now;
      const stillMs = performance.now() - changedAt;
      const live = this.#world.live();
      if (this.#world.isIdle(this.#origin) && stillMs > 30) {
        if (live.length > 0) return live[0];
        if (stillMs > GONE_MS && !(await this.#recoverOlder())) return undefined;
      }
      await pause(3);
    }
    throw new Error(`nothing has settled in ${SETTLE_MS} ms: ${last}`);
  }

  /**
   * It was live on a node that was killed, and nothing of it goes on by itself. What its node has in the spool is older, and
   * is asked for as a person would.
   */
  async #recoverOlder(): Promise<boolean> {
    const owner = this.#entry()?.owner ?? 0n;
    this.note(`no copy is live; the register has it as that of node ${owner}`);
    if (!this.#strikes.fallen.has(owner))
      this.#model.break(`no copy is live, and node ${owner}, whose it is, was not killed`);
    if (this.#sealedBy === owner)
      this.#model.break(`no copy is live, and node ${owner} had sealed one before its offer`);
    if (owner === this.#nodes.target && !this.#isConfirmed)
      this.#model.break(`no copy is live, and node ${owner} had confirmed nothing`);
    for (const node of [NORTH, SOUTH]) {
      const epoch = this.#entry()?.epoch ?? 0n;
      if (await this.#recoverOn(node, owner, epoch)) return true;
    }
    return false;
  }

  async #recoverOn(node: bigint, owner: bigint, epoch: bigint): Promise<boolean> {
    try {
      const { isWhole } = await this.#world.network
        .process(node)
        .ask<Recovery>({ kind: 'recover', origin: this.#origin });
      this.note(`recovered on node ${node}, ${isWhole ? 'whole' : 'older'}`);
      this.#isRecovered = true;
      if (!isWhole) this.#model.abandoned(owner, epoch);
      return true;
    } catch (error) {
      this.note(`nothing is recovered on node ${node}: ${(error as Error).message}`);
      return false;
    }
  }

  /** The daemon moves once more, to its end. */
  async #again(live: bigint): Promise<void> {
    const other = live === NORTH ? SOUTH : NORTH;
    for (const end = performance.now() + SETTLE_MS; ; ) {
      try {
        await this.#world.runtime.startMigration(this.#origin, live, other).wait({ timeout: MOVE_MS });
        break;
      } catch (error) {
        this.note(`it does not move: ${(error as Error).message}`);
        if (performance.now() > end) throw new Error('the daemon cannot be moved any more', { cause: error });
        await eventually('nothing is under way', () => this.#world.isIdle(this.#origin), SETTLE_MS);
        if (this.#world.live()[0] !== live) return;
      }
    }
    await eventually('the move is over', () => this.#world.isIdle(this.#origin), SETTLE_MS);
    await eventually(`it is live on node ${other}`, () => this.#world.live()[0] === other);
  }

  async #check(): Promise<void> {
    await this.#publisher!.finish();
    this.#model.onChannel(this.#fed);
    const [live] = this.#world.live();
    if (live === undefined) throw new Error('the daemon is live no more');
    let entries: readonly bigint[] = [];
    const isAll = () => this.#model.hasAll(entries);
    for (const end = performance.now() + 3_000; performance.now() < end && !isAll(); await pause(10))
      entries = await this.#entries(live);
    if (!this.#model.hasForked)
      await eventually('outputs are read', () => this.#model.readCount >= entries.length, 2_000).catch(() => {});
    this.#model.check(entries, createCodec());
  }

  async #entries(node: bigint): Promise<readonly bigint[]> {
    const state = await this.#world.network.process(node).ask<Uint8Array>({ kind: 'state', origin: this.#origin });
    const ledger = new Ledger({ padding: 0, isAsync: false, isStreamed: false }, () => {});
    await ledger.restore(state);
    return ledger.entries;
  }

  async #end(live: bigint | undefined): Promise<void> {
    const { network } = this.#world;
    const [now] = this.#world.live();
    if (live !== undefined && now !== undefined) await network.process(now).ask({ kind: 'stop', origin: this.#origin });
    else this.#forget();
    await eventually('the spools are empty', () => this.#world.spooled(this.#origin).length === 0, EMPTY_MS).catch(
      () => {
        if (live !== undefined) this.#model.break(`left in spools: ${this.#world.spooled(this.#origin).join(', ')}`);
      },
    );
    if (this.#entry()) this.#model.break('a daemon that was stopped is still in the register');
    if (this.#model.broken.length > 0) throw new Error('a promise was broken');
  }

  /** What somebody would do who knows that the daemon is gone. */
  #forget(): void {
    const { register, channels } = this.#world.network;
    const standing = register.read(this.#origin);
    if (standing) register.compareAndSet(this.#origin, standing.revision, undefined);
    channels.forget(this.#origin);
  }
}

function nameOf({ spot, victims, isTold, isAfterRestart }: Blow): string {
  const where =
    'phase' in spot
      ? `${spot.role} ${spot.phase}, step ${spot.step}`
      : `${spot.when} ${spot.kind} ${spot.name} ${spot.nth}`;
  return `${victims.join(' and ')} at ${where}${isAfterRestart ? ', when it is back' : ''}${isTold ? '' : ', silently'}`;
}
