import type { Acceptance } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import type { FrameBatch, Mesh } from '../mesh/mesh.js';
import { asMigrationError } from '../migration/failure.js';
import { forEachFrame } from '../wire/batch.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { CausalEvent } from '../wire/link.js';
import {
  type DeliveryPlace,
  decodeDelivery,
  encodeDelivery,
  encodeDeliveryAnswer,
  SUBPROTOCOL_DELIVERY,
} from './delivery.js';
import type { DeliverFn } from './publisher.js';

interface Waiting {
  readonly node: bigint;
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
  #nextId = 1n;
  #nextStream = 1;

  constructor(
    codec: MigrationCodec,
    mesh: Mesh,
    deliver: (origin: bigint, events: readonly CausalEvent[]) => MaybePromise<Acceptance>,
  ) {
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
      const frame = this.#codec.encode({ kind: 'BufferedEvents', daemonOrigin, events });
      if (!this.#mesh.peer(node)) return Promise.resolve(refused(gone(node)));
      return new Promise((resolve) => {
        this.#waiting.set(place.id, { node, resolve });
        this.#mesh.send(node, SUBPROTOCOL_DELIVERY, encodeDelivery(place, frame));
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

  #receive(from: bigint, batch: FrameBatch): MaybePromise<void> {
    const pending: Promise<void>[] = [];
    forEachFrame(batch, (bytes) => {
      const frame = decodeDelivery(bytes);
      if (frame.kind === 'answer') {
        this.#waiting.get(frame.id)?.resolve(frame.acceptance);
        this.#waiting.delete(frame.id);
        return;
      }
      const served = this.#serve(from, frame.place, frame.events);
      if (served) pending.push(served);
    });
    return pending.length === 0 ? undefined : Promise.all(pending).then(() => {});
  }

  #serve(from: bigint, place: DeliveryPlace, events: Uint8Array): MaybePromise<void> {
    const key = `${from}/${place.stream}`;
    const earlier = this.#refused.get(key);
    const answer = (acceptance: Acceptance) => {
      if (acceptance.refusal) this.#refused.set(key, { round: place.round, refusal: acceptance.refusal });
      if (this.#mesh.peer(from))
        this.#mesh.send(from, SUBPROTOCOL_DELIVERY, encodeDeliveryAnswer(place.id, acceptance));
    };
    if (earlier && earlier.round >= place.round) return answer(refused(earlier.refusal));
    this.#refused.delete(key);
    try {
      const message = this.#codec.decode(events);
      if (message.kind !== 'BufferedEvents')
        throw new MigrationError('unknown-type', `a delivery holds ${message.kind} instead of BufferedEvents`);
      // The batch's memory is the receiver's to keep, so payloads stay views of it.
      const acceptance = this.#deliver(message.daemonOrigin, message.events);
      return whenReady(acceptance, answer);
    } catch (error) {
      return answer(refused(asMigrationError(error)));
    }
  }
}

function refused(refusal: MigrationError): Acceptance {
  return { accepted: 0, duplicates: 0, refusal };
}

function gone(node: bigint): MigrationError {
  return new MigrationError('target-unavailable', `node ${node} is gone; send to where the daemon is now`, {
    details: { node },
  });
}
