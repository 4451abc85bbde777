import type { MigrationError } from '../errors.js';
import type { Channels } from './channels.js';
import type { ChannelSubscription } from './mesh.js';
import type { OwnershipTable } from './register.js';
import { type HubMessage, type HubRequest, refusalOf } from './worker-protocol.js';

/** What a hub does for one of its nodes: answers from the register, and carries channels to it. */
export class HubService {
  readonly #register: OwnershipTable;
  readonly #channels: Channels;
  readonly #tell: (message: HubMessage) => void;
  readonly #subscriptions = new Map<number, ChannelSubscription>();
  /** Per subscription that has been given something: to be called when the node has taken it. */
  readonly #taken = new Map<number, () => void>();

  /** @param tell sends a message to that node */
  constructor(register: OwnershipTable, channels: Channels, tell: (message: HubMessage) => void) {
    this.#register = register;
    this.#channels = channels;
    this.#tell = tell;
  }

  serve(request: HubRequest): void {
    switch (request.op) {
      case 'read':
        this.#tell({ op: 'answer', id: request.id, value: this.#register.read(request.origin) });
        break;
      case 'compareAndSet': {
        const { id, origin, expected, entry } = request;
        this.#tell({ op: 'answer', id, value: this.#register.compareAndSet(origin, expected, entry) });
        break;
      }
      case 'publish':
        this.#channels.publish(request.channel, request.epoch, request.events);
        this.#tell({ op: 'published', bytes: request.bytes });
        break;
      case 'subscribe':
        this.#subscribe(request);
        break;
      case 'taken':
        this.#taken.get(request.id)?.();
        break;
      case 'unsubscribe':
        this.#subscriptions.get(request.id)?.unsubscribe();
        this.#subscriptions.delete(request.id);
        this.#taken.delete(request.id);
        break;
      case 'forget':
        this.#channels.forget(request.originHash);
    }
  }

  /** The node is gone. */
  close(): void {
    for (const subscription of this.#subscriptions.values()) subscription.unsubscribe();
    this.#subscriptions.clear();
    this.#taken.clear();
  }

  /** One delivery is on its way at a time: the next one follows when the node has taken it. */
  #subscribe({ id, channel, options }: HubRequest & { op: 'subscribe' }): void {
    const onExpired = (error: MigrationError) => this.#tell({ op: 'expired', id, error: refusalOf(error) });
    try {
      const subscription = this.#channels.subscribe(channel, { ...options, onExpired }, (name, events, position) => {
        this.#tell({ op: 'events', id, channel: name, events, position });
        return new Promise((resolve) => this.#taken.set(id, resolve));
      });
      this.#subscriptions.set(id, subscription);
      this.#tell({ op: 'answer', id, value: subscription.position });
    } catch (error) {
      this.#tell({ op: 'refused', id, error: refusalOf(error) });
    }
  }
}
