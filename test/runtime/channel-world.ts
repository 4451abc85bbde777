import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  type ChannelLimits,
  type ChannelListener,
  type ChannelSubscription,
  createCodec,
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MeshDaemon,
  type MigrationError,
  type RebindPolicyOptions,
} from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import type { MigrationMode } from '../../lib/migration/core.js';
import { events } from '../support.js';
import { ManualEnvironment, settled } from './manual-environment.js';

/** Its first byte; the only frames that are streamed. */
const SNAPSHOT_READY = 1;

/** Keeps (origin, sequence) of what it processed, in order, and gives each payload back. */
export class Watcher implements MeshDaemon {
  readonly name = 'watcher';
  readonly channel = 'watcher';
  seen: bigint[] = [];
  before: (call: 'process' | 'restore') => MaybePromise<void> = () => {};

  process({ link, payload }: CausalEvent): MaybePromise<Uint8Array[]> {
    const done = () => {
      this.seen.push(link.originHash, link.sequence);
      return [payload];
    };
    const wait = this.before('process');
    return wait ? wait.then(done) : done();
  }

  snapshot(): Uint8Array {
    return new Uint8Array(BigUint64Array.from(this.seen).buffer);
  }

  restore(state: Uint8Array): MaybePromise<void> {
    const done = () => {
      this.seen = [...new BigUint64Array(state.slice().buffer)];
    };
    const wait = this.before('restore');
    return wait ? wait.then(done) : done();
  }

  /** The sequences of one origin. */
  of(origin: bigint): bigint[] {
    return this.seen.filter((_, i) => i % 2 === 1 && this.seen[i - 1] === origin);
  }
}

/** A node's way into the mesh, whose subscriptions a test counts and gets in the way of. */
export class Seat {
  readonly mesh: Mesh;
  /** Channels that are subscribed to from here now, each as often as it is. */
  readonly subscribed: string[] = [];
  /** Events that have come from channels. */
  given = 0;
  /** Called before each subscribing; what it throws or promises comes first. */
  before: (channel: string) => MaybePromise<void> = () => {};
  /** Called before each unsubscribing. */
  onUnsubscribe: () => void = () => {};
  /** First bytes of frames that are lost on their way from here. */
  readonly lost = new Set<number>();

  constructor(mesh: Mesh) {
    this.mesh = mesh;
    const subscribe = mesh.subscribe.bind(mesh);
    mesh.subscribe = (channel, options, listener) => {
      const counting: ChannelListener = (name, published, position) => {
        this.given += published.length;
        return listener(name, published, position);
      };
      const go = () => this.#counted(channel, subscribe(channel, options, counting) as ChannelSubscription);
      const wait = this.before(channel);
      return wait ? wait.then(go) : go();
    };
    const send = mesh.send.bind(mesh);
    mesh.send = (to, subprotocol, frame) => {
      if (!this.lost.has(frame[0]!)) send(to, subprotocol, frame);
    };
    const stream = mesh.stream.bind(mesh);
    mesh.stream = (to, subprotocol, frames) => {
      if (!this.lost.has(SNAPSHOT_READY)) stream(to, subprotocol, frames);
    };
  }

  #counted(channel: string, subscription: ChannelSubscription): ChannelSubscription {
    this.subscribed.push(channel);
    return {
      position: subscription.position,
      unsubscribe: () => {
        this.onUnsubscribe();
        this.subscribed.splice(this.subscribed.indexOf(channel), 1);
        subscription.unsubscribe();
      },
    };
  }
}

export interface WorldOptions {
  readonly channels?: number;
  readonly limits?: ChannelLimits;
  readonly rebind?: RebindPolicyOptions;
}

/** Nodes 1 to 3, a daemon on node 1 that is subscribed to some channels of node 9, and a publisher on each of them. */
export class ChannelWorld {
  readonly environment = new ManualEnvironment();
  readonly seats: Seat[];
  readonly nodes: DaemonRuntime[];
  readonly daemons: Watcher[] = [];
  readonly errors: MigrationError[] = [];
  readonly outputs: CausalEvent[] = [];
  readonly channels: string[];
  /** How many events have been published on each. */
  readonly published: number[];
  origin = 0n;
  /** The next daemon that is made begins with this. */
  beforeNext: Watcher['before'] = () => {};
  readonly #press: Mesh;
  stopPublishing = () => {};

  private constructor({ channels = 4, limits = {}, rebind = {} }: WorldOptions) {
    const mesh = new InProcessMesh(limits);
    this.#press = mesh.join(9n);
    this.seats = [1n, 2n, 3n].map((id) => new Seat(mesh.join(id)));
    this.nodes = this.seats.map((seat) => this.#node(seat.mesh, rebind));
    this.channels = Array.from({ length: channels }, (_, n) => `feed/${n}`);
    this.published = this.channels.map(() => 0);
  }

  static async run(options: WorldOptions, test: (world: ChannelWorld) => Promise<void>): Promise<void> {
    const world = new ChannelWorld(options);
    const { nodes, environment } = world;
    await world.#press.subscribe('watcher', {}, (_, outputs) => void world.outputs.push(...outputs));
    world.origin = await nodes[0]!.spawn('watcher', EntityKeypair.generate());
    for (const channel of world.channels) await nodes[0]!.subscribeChannel(world.origin, 9n, channel);
    await test(world);
    world.stopPublishing();
    for (const node of nodes) await node.shutdown();
    await settled(20);
    assert.is(environment.timers, 0, 'timers left behind');
    for (const { subscribed } of world.seats) assert.is(subscribed.length, 0, 'subscriptions left behind');
  }

  /** The publisher of a channel, by its origin hash. */
  publisher(channel: number): bigint {
    return BigInt(1_000 + channel);
  }

  /** Publishes so many more events on a channel. */
  publish(channel: number, count: number): void {
    const first = this.published[channel]! + 1;
    this.published[channel]! += count;
    this.#press.publish(this.channels[channel]!, 1n, events(this.publisher(channel), first, count));
  }

  /** From now on, so many events every so many milliseconds on each channel. */
  keepPublishing(count = 7, ms = 1): void {
    this.stopPublishing = this.environment.every(ms, () => {
      for (let n = 0; n < this.channels.length; n++) this.publish(n, count);
    });
  }

  /** Begins to move the daemon, led from a node. Nodes are counted from 1. */
  move(from: number, to: number, leader = 3, mode: MigrationMode = 'pause') {
    return this.nodes[leader - 1]!.startMigration(this.origin, BigInt(from), BigInt(to), {
      transportIdentity: false,
      mode,
    });
  }

  /** Moves the daemon. */
  async moved(from: number, to: number, leader = 3, mode: MigrationMode = 'pause') {
    const handle = this.move(from, to, leader, mode);
    await this.until('the migration is over', () => handle.state !== 'running');
    await handle.wait();
    return handle;
  }

  /** Moves the clock on until something holds. */
  async until(what: string, holds: () => boolean, ms = 30_000): Promise<void> {
    for (let passed = 0; passed < ms; passed += 10) {
      if (holds()) return;
      await this.environment.advance(10);
    }
    throw new Error(`after ${ms} ms, still not: ${what}`);
  }

  /** The publishers stop; the daemon on that node has processed every event of each channel once, in order, but for those. */
  async assertExactlyOnce(node: number, except: readonly number[] = []): Promise<void> {
    this.stopPublishing();
    await this.environment.advance(500);
    await settled(50);
    assert.is(this.nodes[node - 1]!.has(this.origin), true, `the daemon lives on node ${node}`);
    const daemon = this.daemons.at(-1)!;
    for (let n = 0; n < this.channels.length; n++) {
      if (except.includes(n)) continue;
      const expected = Array.from({ length: this.published[n]! }, (_, i) => BigInt(i + 1));
      assert.equal(daemon.of(this.publisher(n)), expected, `channel ${n}`);
    }
    const genesis = { originHash: this.origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    assert.is(this.outputs.length, daemon.seen.length / 2, 'each event has one output');
    const chained = createCodec().verifyChain(genesis, new Uint8Array(0), this.outputs);
    assert.is(chained, this.outputs.length, 'the outputs are one chain');
  }

  #node(mesh: Mesh, rebind: RebindPolicyOptions): DaemonRuntime {
    const runtime = new DaemonRuntime({
      mesh,
      orchestrators: [1n, 2n, 3n],
      environment: this.environment,
      rebind,
      onError: (error) => this.errors.push(error),
    });
    runtime.registerFactory('watcher', () => {
      const daemon = new Watcher();
      daemon.before = this.beforeNext;
      this.beforeNext = () => {};
      this.daemons.push(daemon);
      return daemon;
    });
    runtime.start();
    return runtime;
  }
}
