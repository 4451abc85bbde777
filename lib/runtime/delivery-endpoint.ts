import type { Acceptance } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import type { FrameBatch, Mesh } from '../mesh/mesh.js';
import { asMigrationError } from '../migration/failure.js';
import { forEachFrame } from '../wire/batch.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { CausalEvent } from '../wire/link.js';
import {
  type DeliveryFrame,
  decodeDelivered,
  decodeDelivery,
  encodeDelivery,
  encodeDeliveryAnswer,
  SUBPROTOCOL_DELIVERY,
} from './delivery.js';
import type { DeliverFn } from './publisher.js';

type Delivery = Exclude<DeliveryFrame, { readonly kind: 'answer' }>;

interface Waiting {
  readonly node: bigint;
  readonly sent: number;
  readonly resolve: (acceptance: Acceptance) => void;
}

/** Carries events to daemons on other nodes, and takes them for those here. */
export class DeliveryEndpoint {
  readonly #codec: MigrationCodec;
  readonly #mesh: Mesh;
  readonly #deliver: (origin: bigint, events: readonly CausalEvent[]) => MaybePromise<Acceptance>;
  readonly #waiting = new Map<bigint, Waiting>();
  /** Per publisher of which a batch was refused: the round, and why. */
  readonly #refused = new Map<string, { readonly round: number; readonly refusal: MigrationError }>();
  /** Per publisher, what is being served and not answered yet. */
  readonly #serving = new Map<string, Promise<void>>();
  readonly #onRefused: (error: MigrationError) => void;
  #nextId = 1n;
  #nextStream = 1;

  /** @param onRefused a frame of a peer's was refused; nothing has changed */
  constructor(
    codec: MigrationCodec,
    mesh: Mesh,
    deliver: (origin: bigint, events: readonly CausalEvent[]) => MaybePromise<Acceptance>,
    onRefused: (error: MigrationError) => void,
  ) {
    this.#onRefused = onRefused;
    this.#codec = codec;
    this.#mesh = mesh;
    this.#deliver = deliver;
  }

  listen(): void {
    this.#mesh.listen(SUBPROTOCOL_DELIVERY, (from, batch) => this.#receive(from, batch));
  }

  /** A publisher's way to a daemon, wherever that is. */
  stream(daemonOrigin: bigint): DeliverFn {
    const stream = this.#nextStream++;
    return (node, round, events) => {
      const place = { id: this.#nextId++, stream, round };
      const frame = encodeDelivery(this.#codec, place, { daemonOrigin, events });
      if (!this.#mesh.peer(node)) return Promise.resolve(refused(gone(node)));
      return new Promise((resolve) => {
        this.#waiting.set(place.id, { node, sent: events.length, resolve });
        this.#mesh.send(node, SUBPROTOCOL_DELIVERY, frame);
      });
    };
  }

  /** What waits for that node's answer gets one: nobody knows what it accepted. */
  peerGone(node: bigint): void {
    for (const [id, waiting] of this.#waiting) {
      if (waiting.node !== node) continue;
      this.#waiting.delete(id);
      waiting.resolve(refused(gone(node)));
    }
    for (const key of this.#refused.keys()) if (key.startsWith(`${node}/`)) this.#refused.delete(key);
  }

  /** This node has shut down: what waits for an answer gets one. */
  close(): void {
    const over = new MigrationError('target-unavailable', `node ${this.#mesh.nodeId} has shut down and sends nothing`);
    for (const { resolve } of this.#waiting.values()) resolve(refused(over));
    this.#waiting.clear();
  }

  #receive(from: bigint, batch: FrameBatch): MaybePromise<void> {
    const pending: Promise<void>[] = [];
    forEachFrame(batch, (bytes) => {
      try {
        const served = this.#take(from, decodeDelivery(bytes));
        if (served) pending.push(served);
      } catch (error) {
        this.#onRefused(asMigrationError(error));
      }
    });
    return pending.length === 0 ? undefined : Promise.all(pending).then(() => {});
  }

  #take(from: bigint, frame: DeliveryFrame): MaybePromise<void> {
    if (frame.kind !== 'answer') return this.#serve(from, frame);
    const waiting = this.#waiting.get(frame.id);
    if (!waiting) return;
    requirePeer('answer to a delivery', from, waiting.node);
    const { accepted } = frame.acceptance;
    if (accepted > waiting.sent) {
      throw new MigrationError(
        'wrong-phase',
        `node ${from} says that it accepted ${accepted} events of ${waiting.sent}`,
      );
    }
    this.#waiting.delete(frame.id);
    waiting.resolve(frame.acceptance);
  }

  /** One batch of a publisher after another: what is refused later than the next one came still holds that back. */
  #serve(from: bigint, delivery: Delivery): MaybePromise<void> {
    const key = `${from}/${delivery.place.stream}`;
    const before = this.#serving.get(key);
    if (!before) return this.#follow(key, this.#serveNow(key, from, delivery));
    return this.#follow(
      key,
      before.then(() => this.#serveNow(key, from, delivery)),
    );
  }

  #follow(key: string, served: MaybePromise<void>): MaybePromise<void> {
    if (!served) return;
    this.#serving.set(key, served);
    return served.finally(() => {
      if (this.#serving.get(key) === served) this.#serving.delete(key);
    });
  }

  #serveNow(key: string, from: bigint, delivery: Delivery): MaybePromise<void> {
    const { place } = delivery;
    const earlier = this.#refused.get(key);
    const answer = (acceptance: Acceptance) => {
      if (acceptance.refusal) this.#refused.set(key, { round: place.round, refusal: acceptance.refusal });
      if (this.#mesh.peer(from)) {
        this.#mesh.send(from, SUBPROTOCOL_DELIVERY, encodeDeliveryAnswer(place.id, acceptance));
      }
    };
    if (earlier && earlier.round >= place.round) return answer(refused(earlier.refusal));
    this.#refused.delete(key);
    const fail = (error: unknown) => answer(refused(asMigrationError(error)));
    try {
      // The batch's memory is the receiver's to keep, so payloads stay views of it.
      const { daemonOrigin, events } = decodeDelivered(this.#codec, delivery);
      const acceptance = this.#deliver(daemonOrigin, events);
      return isPromise(acceptance) ? acceptance.then(answer, fail) : answer(acceptance);
    } catch (error) {
      return fail(error);
    }
  }
}

function refused(refusal: MigrationError): Acceptance {
  return { accepted: 0, duplicates: 0, refusal };
}

function requirePeer(what: string, from: bigint, expected: bigint): void {
  if (from === expected) return;
  throw new MigrationError('wrong-peer', `an ${what} came from node ${from}; only node ${expected} may send it`, {
    details: { from, expected },
  });
}

function gone(node: bigint): MigrationError {
  return new MigrationError('target-unavailable', `node ${node} is gone; send to where the daemon is now`, {
    details: { node },
  });
}
