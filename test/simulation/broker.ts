import { MigrationError } from '../../lib/errors.js';
import { isPromise, type MaybePromise } from '../../lib/maybe-promise.js';
import { Channels } from '../../lib/mesh/channels.js';
import type { ChannelListener, ChannelSubscription, SubscribeOptions } from '../../lib/mesh/mesh.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import type { Chances } from './chance.js';
import { Random } from './chance.js';
import type { Scheduler } from './scheduler.js';
import type { SimulatedMesh } from './simulated-mesh.js';

export interface BrokerFaults {
  readonly subscribeRefused: number;
  readonly subscribeUnanswered: number;
}

export const NO_BROKER_FAULTS: BrokerFaults = { subscribeRefused: 0, subscribeUnanswered: 0 };

export interface BrokerObserver {
  /** A node's outputs have reached the channels. */
  published(node: SimulatedMesh, channel: string, epoch: bigint, events: readonly CausalEvent[]): void;
}

/** Where the channels live, away from all nodes, and what everybody knows of everybody. */
export class Broker {
  readonly channels: Channels;
  /** Nodes of the mesh, up or not, unless they are known to be gone. */
  readonly members = new Set<number>();
  readonly keys = new Map<number, Uint8Array>();
  readonly #scheduler: Scheduler;
  readonly #chances: Chances;
  faults: BrokerFaults;
  observer: BrokerObserver = { published() {} };
  readonly #lastArrival = new Map<SimulatedMesh, number>();
  #count = 0;

  constructor(scheduler: Scheduler, chances: Chances, seed: number, faults: BrokerFaults) {
    this.#scheduler = scheduler;
    this.#chances = chances;
    this.faults = faults;
    const random = new Random(seed, 77);
    this.channels = new Channels(
      {},
      { randomBytes: (length) => random.bytes(length), later: (run) => void scheduler.in(0.01, 0, run) },
    );
  }

  /** In the order in which a node sent them; what was on its way when the node crashed arrives or not. */
  publish(node: SimulatedMesh, channel: string, epoch: bigint, events: readonly CausalEvent[]): MaybePromise<void> {
    const n = ++this.#count;
    const { now } = this.#scheduler;
    const soonest = (this.#lastArrival.get(node) ?? 0) + 0.001;
    const at = Math.max(now + 0.2 + 2 * this.#chances.measure(node.number, 96, n), soonest);
    this.#lastArrival.set(node, at);
    const kept = events.map((event) => ({ ...event, payload: event.payload.slice() }));
    return new Promise((resolve) => {
      this.#scheduler.at(at, 0, () => {
        if (node.isCut && this.#chances.strikes('publish-lost', 0.5, node.number, node.incarnation, 0)) return;
        this.observer.published(node, channel, epoch, kept);
        this.channels.publish(channel, epoch, kept);
        if (!node.isCut) resolve();
      });
    });
  }

  subscribe(
    node: SimulatedMesh,
    channel: string,
    options: SubscribeOptions,
    listener: ChannelListener,
  ): Promise<ChannelSubscription> {
    const n = ++this.#count;
    const { number } = node;
    const wayMs = () => 0.3 + 2 * this.#chances.measure(number, 95, ++this.#count);
    return new Promise((resolve, reject) => {
      const answer = (run: () => void) =>
        this.#scheduler.in(wayMs(), number, () => {
          if (!node.isCut) run();
        });
      const refuse = (error: unknown) => answer(() => reject(error));
      if (this.#chances.strikes('subscribe-unanswered', this.faults.subscribeUnanswered, number, 0, n)) return;
      if (this.#chances.strikes('subscribe-refused', this.faults.subscribeRefused, number, 0, n)) {
        refuse(new MigrationError('target-unavailable', `channel ${channel} is away`));
        return;
      }
      this.#scheduler.in(wayMs(), 0, () => {
        try {
          const subscription = this.#open(node, channel, options, listener, wayMs);
          answer(() => resolve(subscription));
        } catch (error) {
          refuse(error);
        }
      });
    });
  }

  /** Each delivery travels to the node, and its answer back. */
  #open(
    node: SimulatedMesh,
    channel: string,
    options: SubscribeOptions,
    listener: ChannelListener,
    wayMs: () => number,
  ): ChannelSubscription {
    let isClosed = false;
    const later = (owner: number, run: () => void) => this.#scheduler.in(wayMs(), owner, run);
    const subscription = this.channels.subscribe(channel, options, (name, events, position) => {
      return new Promise<void>((resolve) => {
        later(node.number, () => {
          if (isClosed || node.isCut) return;
          const taken = listener(name, events, position);
          const back = () => void later(0, resolve);
          if (isPromise(taken)) void taken.then(back, back);
          else back();
        });
      });
    });
    return {
      position: subscription.position,
      unsubscribe: () => {
        if (isClosed || node.isCut) return;
        isClosed = true;
        later(0, () => subscription.unsubscribe());
      },
    };
  }

  forget(originHash: bigint): void {
    this.channels.forget(originHash);
  }
}
