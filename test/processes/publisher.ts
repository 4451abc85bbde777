import { setTimeout as pause } from 'node:timers/promises';
import type { CausalEvent } from '../../lib/index.js';
import type { LinkedMesh } from '../../lib/mesh/linked-mesh.js';
import { DeliveryEndpoint } from '../../lib/runtime/delivery-endpoint.js';
import type { DeliverFn } from '../../lib/runtime/publisher.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { entryOf, NORTH, SOUTH } from './messages.js';

/** Without an answer for so long nobody knows what became of a batch: it is sent again. */
const UNANSWERED_MS = 300;
const PAUSE_MS = 4;
const BATCH_EVENTS = 3;
const AGAIN_EVERY = 5;
const AGAIN_EVENTS = 7;

/** An event that bears its entry. */
export function eventOf(originHash: bigint, publisher: number, sequence: number): CausalEvent {
  const payload = new Uint8Array(8);
  new DataView(payload.buffer).setBigUint64(0, entryOf(publisher, sequence), true);
  return { link: { originHash, horizon: 0n, sequence: BigInt(sequence), parentHash: 0n }, payload, receivedAt: 0n };
}

/** What carries events to nodes, from the publisher's own. */
export function deliveryFrom(mesh: LinkedMesh): DeliveryEndpoint {
  const refuse = () => Promise.resolve({ accepted: 0, duplicates: 0, refusal: undefined });
  const endpoint = new DeliveryEndpoint(
    typescriptCodec,
    mesh,
    refuse,
    () => {},
    () => {},
  );
  endpoint.listen();
  mesh.onPeerGone((node) => endpoint.peerGone(node));
  return endpoint;
}

/** Sends events to one daemon without end, wherever it is, and again where it does not know what became of them. */
export class Publisher {
  /** Those up to this sequence were accepted. */
  accepted = 0;
  readonly #deliver: DeliverFn;
  readonly #originHash: bigint;
  readonly #onAccepted: (node: bigint, sequence: number) => void;
  #node: bigint;
  #round = 0;
  #batches = 0;
  #wanted = Number.POSITIVE_INFINITY;
  #burst = 0;
  #onBurst: (() => void) | undefined;
  #running: Promise<void>;

  constructor(
    deliver: DeliverFn,
    originHash: bigint,
    node: bigint,
    onAccepted: (node: bigint, sequence: number) => void,
  ) {
    this.#deliver = deliver;
    this.#originHash = originHash;
    this.#node = node;
    this.#onAccepted = onAccepted;
    this.#running = this.#run();
  }

  /** That many in one batch, as soon as may be. Resolves when they are accepted, or may never be. */
  burst(events: number): Promise<void> {
    this.#burst = events;
    return new Promise((resolve) => {
      this.#onBurst = resolve;
    });
  }

  /** Sends no more than it has sent. Resolves when all of these are accepted, or when `isGivenUp`. */
  async finish(): Promise<void> {
    this.#wanted = this.accepted + BATCH_EVENTS;
    await this.#running;
  }

  /** The daemon is gone. */
  async giveUp(): Promise<void> {
    this.#wanted = 0;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.accepted < this.#wanted) {
      const count = this.#burst || BATCH_EVENTS;
      this.#burst = 0;
      // Now and then what was accepted comes again, as from a publisher that has forgotten.
      const again = ++this.#batches % AGAIN_EVERY === 0 ? Math.min(this.accepted, AGAIN_EVENTS) : 0;
      const first = this.accepted - again + 1;
      const events = Array.from({ length: again + count }, (_, i) => eventOf(this.#originHash, 1, first + i));
      await this.#send(events, again);
      if (count > BATCH_EVENTS) this.#onBurst?.();
      await pause(PAUSE_MS);
    }
  }

  /** @param again how many of them, from the first, were accepted before */
  async #send(events: readonly CausalEvent[], again: number): Promise<void> {
    const node = this.#node;
    let timer: NodeJS.Timeout | undefined;
    const unanswered = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), UNANSWERED_MS);
    });
    const acceptance = await Promise.race([this.#deliver(node, this.#round, events), unanswered]);
    clearTimeout(timer);
    for (let i = again; i < (acceptance?.accepted ?? 0); i++) this.#onAccepted(node, ++this.accepted);
    if (acceptance && !acceptance.refusal) return;
    this.#round++;
    const target = acceptance?.refusal?.details.target;
    this.#node = typeof target === 'bigint' ? target : acceptance?.refusal?.kind === 'moving' ? node : other(node);
  }
}

function other(node: bigint): bigint {
  return node === NORTH ? SOUTH : NORTH;
}
