import type { Acceptance } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import type { FrameBatch, Mesh } from '../mesh/mesh.js';
import { asMigrationError } from '../migration/failure.js';
import { BoundedMemory } from '../migration/memory.js';
import { forEachFrame } from '../wire/batch.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { CausalEvent } from '../wire/link.js';
import {
  type DeliveryFrame,
  type DeliveryPlace,
  decodeDelivered,
  decodeDelivery,
  encodeDelivery,
  encodeDeliveryAnswer,
  SUBPROTOCOL_DELIVERY,
} from './delivery.js';
import { type Environment, systemEnvironment } from './environment.js';
import type { DeliverFn } from './publisher.js';

/** How long an answer is waited for at first, and at the most: twice as long after each that did not come. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 16_000;
/** Publishers whose place is remembered; one that is not begins a new round. */
const REMEMBERED_STREAMS = 65_536;
/** A link on which so many bytes have come that are not answered is crowded: half of what its sender may have on its way. */
const CROWDED_BYTES = 1024 * 1024;
type Delivery = Exclude<DeliveryFrame, { readonly kind: 'answer' }>;

interface Waiting {
  readonly node: bigint;
  readonly sent: number;
  readonly resolve: (acceptance: Acceptance) => void;
}

/** Where a publisher stands with this node. */
interface Stream {
  readonly round: number;
  /** The index of the batch that comes next. */
  next: number;
  /** Why one of this round was refused, and with it all that follow. */
  refusal: MigrationError | undefined;
}

/** Carries events to daemons on other nodes, and takes them for those here. */
export class DeliveryEndpoint {
  readonly #codec: MigrationCodec;
  readonly #mesh: Mesh;
  readonly #deliver: (origin: bigint, events: readonly CausalEvent[]) => MaybePromise<Acceptance>;
  readonly #waiting = new Map<bigint, Waiting>();
  /** By publisher. */
  readonly #streams = new BoundedMemory<Stream>(REMEMBERED_STREAMS);
  /** Per publisher, what is being served and not answered yet. */
  readonly #serving = new Map<bigint, Promise<void>>();
  readonly #onRefused: (error: MigrationError) => void;
  readonly #onCrowded: () => void;
  /** Per node, bytes of its deliveries that wait here. */
  readonly #waitingBytes = new Map<bigint, number>();
  readonly #environment: Pick<Environment, 'after' | 'randomBytes'>;
  /** Neither from 1: peers may answer, and remember, what an earlier run of this node sent. */
  #nextId: bigint;
  #nextStream: number;

  /**
   * @param onRefused a frame of a peer's was refused; nothing has changed
   * @param onCrowded a peer's frames stand behind deliveries that wait: those that may be refused should be
   */
  constructor(
    codec: MigrationCodec,
    mesh: Mesh,
    deliver: (origin: bigint, events: readonly CausalEvent[]) => MaybePromise<Acceptance>,
    onRefused: (error: MigrationError) => void,
    onCrowded: () => void,
    environment: Pick<Environment, 'after' | 'randomBytes'> = systemEnvironment,
  ) {
    this.#environment = environment;
    this.#nextId = Buffer.from(environment.randomBytes(8)).readBigUInt64LE();
    this.#nextStream = Buffer.from(environment.randomBytes(4)).readUInt32LE();
    this.#onRefused = onRefused;
    this.#onCrowded = onCrowded;
    this.#codec = codec;
    this.#mesh = mesh;
    this.#deliver = deliver;
  }

  listen(): void {
    this.#mesh.listen(SUBPROTOCOL_DELIVERY, (from, batch) => this.#receive(from, batch));
  }

  /** A publisher's way to a daemon, wherever that is. */
  stream(daemonOrigin: bigint): DeliverFn {
    const stream = this.#nextStream;
    this.#nextStream = (stream + 1) >>> 0;
    let [lastRound, index, waitMs] = [-1, 0, FIRST_WAIT_MS];
    const heard = async (answer: Promise<Acceptance>): Promise<Acceptance> => {
      const acceptance = await answer;
      const isHeard = acceptance.refusal?.kind !== 'timed-out';
      waitMs = isHeard ? FIRST_WAIT_MS : Math.min(2 * waitMs, LONGEST_WAIT_MS);
      return acceptance;
    };
    return (node, round, events) => {
      const place = { id: this.#nextId, stream, round, index: round === lastRound ? index + 1 : 0 };
      // Before its place is taken: one that no frame holds was never sent.
      const frame = encodeDelivery(this.#codec, place, { daemonOrigin, events });
      this.#nextId = BigInt.asUintN(64, this.#nextId + 1n);
      [lastRound, index] = [round, place.index];
      if (!this.#mesh.peer(node)) return Promise.resolve(refused(gone(node)));
      return heard(this.#send(node, place.id, frame, events.length, waitMs));
    };
  }

  #send(node: bigint, id: bigint, frame: Uint8Array, sent: number, waitMs: number): Promise<Acceptance> {
    return new Promise((resolve) => {
      const stop = this.#environment.after(waitMs, () => {
        this.#waiting.delete(id);
        resolve(refused(unheard(node, waitMs)));
      });
      const answered = (acceptance: Acceptance) => {
        stop();
        resolve(acceptance);
      };
      this.#waiting.set(id, { node, sent, resolve: answered });
      this.#mesh.send(node, SUBPROTOCOL_DELIVERY, frame);
    });
  }

  /** What waits for that node's answer gets one: nobody knows what it accepted. */
  peerGone(node: bigint): void {
    for (const [id, waiting] of this.#waiting) {
      if (waiting.node !== node) continue;
      this.#waiting.delete(id);
      waiting.resolve(refused(gone(node)));
    }
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
    return pending.length === 0 ? undefined : this.#crowding(from, batch.length, Promise.all(pending));
  }

  /** Counts what waits: what comes behind it on the link may be what it waits for. */
  async #crowding(from: bigint, bytes: number, served: Promise<unknown>): Promise<void> {
    const waiting = (this.#waitingBytes.get(from) ?? 0) + bytes;
    this.#waitingBytes.set(from, waiting);
    if (waiting > CROWDED_BYTES) this.#onCrowded();
    await served;
    const left = this.#waitingBytes.get(from)! - bytes;
    if (left > 0) this.#waitingBytes.set(from, left);
    else this.#waitingBytes.delete(from);
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
    const key = (from << 32n) | BigInt(delivery.place.stream);
    const before = this.#serving.get(key);
    if (!before) return this.#follow(key, this.#serveNow(key, from, delivery));
    return this.#follow(
      key,
      before.then(() => this.#serveNow(key, from, delivery)),
    );
  }

  #follow(key: bigint, served: MaybePromise<void>): MaybePromise<void> {
    if (!served) return;
    this.#serving.set(key, served);
    return served.finally(() => {
      if (this.#serving.get(key) === served) this.#serving.delete(key);
    });
  }

  /**
   * Where a publisher stands, with this batch in its place. One that comes a second time is in its place too: what it brings has
   * been seen. Where one is missing before it, its round is refused from here on.
   */
  #placeIn(key: bigint, place: DeliveryPlace): Stream {
    let stream = this.#streams.get(key);
    if (!stream || stream.round < place.round) {
      stream = { round: place.round, next: 0, refusal: undefined };
      this.#streams.set(key, stream);
    }
    if (stream.round !== place.round) return stream;
    if (place.index > stream.next) stream.refusal ??= outOfTurn(place, stream);
    else stream.next = Math.max(stream.next, place.index + 1);
    return stream;
  }

  #serveNow(key: bigint, from: bigint, delivery: Delivery): MaybePromise<void> {
    const { place } = delivery;
    const stream = this.#placeIn(key, place);
    const answer = (acceptance: Acceptance) => {
      if (stream.round === place.round) stream.refusal ??= acceptance.refusal;
      if (this.#mesh.peer(from)) {
        this.#mesh.send(from, SUBPROTOCOL_DELIVERY, encodeDeliveryAnswer(place.id, acceptance));
      }
    };
    if (stream.round > place.round) return answer(refused(outOfTurn(place, stream)));
    if (stream.refusal) return answer(refused(stream.refusal));
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

function outOfTurn({ round, index }: DeliveryPlace, stream: Stream): MigrationError {
  const message = `batch ${index} of round ${round} came where batch ${stream.next} of round ${stream.round} is next; send it again behind what is missing`;
  return new MigrationError('sequence-gap', message);
}

function unheard(node: bigint, waitMs: number): MigrationError {
  const message = `node ${node} gave no answer to a delivery in ${waitMs} ms; send it again, what it has taken it takes for seen`;
  return new MigrationError('timed-out', message, { details: { node } });
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
