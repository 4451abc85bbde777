import type { CausalEvent } from '../../lib/index.js';
import type { OwnershipEntry } from '../../lib/mesh/register.js';
import type { MigrationCodec } from '../../lib/wire/codec.js';
import { entryOf } from './messages.js';

/** Publishers of a round: of deliveries, and on the channel that the daemon reads. */
export const [DELIVERED, CHANNEL] = [1, 2];
const PUBLISHERS = [DELIVERED, CHANNEL];

interface Accepted {
  readonly node: bigint;
  readonly epoch: bigint;
}

/** What must be true of one daemon, told by nothing but what publishers, readers and the register have seen. */
export class Model {
  readonly #origin: bigint;
  /** Per delivered event, who accepted it and in which epoch. */
  readonly #accepted: Accepted[] = [];
  #onChannel = 0;
  readonly #outputs: CausalEvent[] = [];
  /** Copies that were live on a node that was killed, and of which another one took the place. */
  readonly #abandoned: Accepted[] = [];
  /** Who has published, in which epoch. */
  readonly #published = new Set<string>();
  readonly broken: string[] = [];

  constructor(origin: bigint) {
    this.#origin = origin;
  }

  accepted(node: bigint, sequence: number, epoch: bigint): void {
    if (sequence !== this.#accepted.length + 1) this.break(`event ${sequence} was accepted out of order`);
    this.#accepted.push({ node, epoch });
  }

  onChannel(events: number): void {
    this.#onChannel += events;
  }

  /** A copy was live on that node, which was killed, and an older one goes on. */
  abandoned(node: bigint, epoch: bigint): void {
    this.#abandoned.push({ node, epoch });
  }

  /** Whether readers have seen outputs of a copy whose place an older one took. */
  get hasForked(): boolean {
    return this.#abandoned.some(({ node, epoch }) => this.#published.has(`${node} ${epoch}`));
  }

  read(outputs: readonly CausalEvent[]): void {
    this.#outputs.push(...outputs);
  }

  get readCount(): number {
    return this.#outputs.length;
  }

  /** A node publishes: it must be the one that the register has as the daemon's, in that epoch. */
  published(node: bigint, epoch: bigint, entry: OwnershipEntry | undefined): void {
    this.#published.add(`${node} ${epoch}`);
    if (entry?.epoch === epoch && entry.owner === node) return;
    const stands = entry ? `node ${entry.owner} in epoch ${entry.epoch}` : 'nobody';
    this.break(`node ${node} published in epoch ${epoch}, and the daemon is that of ${stands}`);
  }

  break(what: string): void {
    if (!this.broken.includes(what)) this.broken.push(what);
  }

  /** Whether a copy has all that it must have. */
  hasAll(entries: readonly bigint[]): boolean {
    return PUBLISHERS.every((publisher) => this.#lost(entries, publisher).length === 0);
  }

  /** The copy that is left, with nothing under way any more. */
  check(entries: readonly bigint[], codec: MigrationCodec): void {
    const seen = new Set(entries);
    if (seen.size < entries.length) this.break(`applied twice: ${twice(entries).join(', ')}`);
    for (const publisher of PUBLISHERS) this.#checkPublisher(entries, publisher);
    if (!this.hasForked) this.#checkOutputs(entries, codec);
  }

  #checkPublisher(entries: readonly bigint[], publisher: number): void {
    const who = publisher === DELIVERED ? 'delivered' : "the channel's";
    const lost = this.#lost(entries, publisher);
    if (lost.length > 0) this.break(`lost of ${who} events: ${shortened(lost)}`);
    // What an older copy never had may come to it late.
    const own = sequencesOf(entries, publisher).filter((n) => publisher === CHANNEL || !this.#isExcused(n));
    const turned = own.find((sequence, i) => i > 0 && sequence < own[i - 1]!);
    if (turned !== undefined) this.break(`${who} event ${turned} was applied behind a later one`);
  }

  /** What a copy lacks of what it must have. */
  #lost(entries: readonly bigint[], publisher: number): number[] {
    const count = publisher === DELIVERED ? this.#accepted.length : this.#onChannel;
    const here = new Set(sequencesOf(entries, publisher));
    const isExcused = (sequence: number) => publisher === DELIVERED && this.#isExcused(sequence);
    return Array.from({ length: count }, (_, i) => i + 1).filter((n) => !here.has(n) && !isExcused(n));
  }

  #isExcused(sequence: number): boolean {
    const { node, epoch } = this.#accepted[sequence - 1] ?? { node: 0n, epoch: 0n };
    return this.#abandoned.some((copy) => copy.node === node && copy.epoch === epoch);
  }

  #checkOutputs(entries: readonly bigint[], codec: MigrationCodec): void {
    const published = this.#outputs.map(({ payload }) =>
      new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true),
    );
    const at = entries.findIndex((entry, i) => published[i] !== entry);
    if (at >= 0 || published.length !== entries.length)
      this.break(`${published.length} outputs were read of ${entries.length} events; the first other one is ${at + 1}`);
    const genesis = { originHash: this.#origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    const valid = codec.verifyChain(genesis, new Uint8Array(0), this.#outputs);
    if (valid !== this.#outputs.length) this.break(`the chain of outputs breaks behind output ${valid}`);
  }
}

function sequencesOf(entries: readonly bigint[], publisher: number): number[] {
  const base = entryOf(publisher, 0);
  return entries
    .filter((entry) => entry > base && entry < entryOf(publisher + 1, 0))
    .map((entry) => Number(entry - base));
}

function twice(entries: readonly bigint[]): bigint[] {
  const seen = new Set<bigint>();
  return entries.filter((entry) => seen.has(entry) || !seen.add(entry)).slice(0, 10);
}

function shortened(numbers: readonly number[]): string {
  return numbers.length <= 10
    ? numbers.join(', ')
    : `${numbers.slice(0, 10).join(', ')} and ${numbers.length - 10} more`;
}
