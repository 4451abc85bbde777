import { MigrationError } from '../errors.js';
import type { MaybePromise } from '../maybe-promise.js';
import type { ArrivedChunks, RequestTypes, SnapshotArrival } from '../migration/core.js';
import type { MigrationCodec } from '../wire/codec.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import type { SnapshotFile, SnapshotFiles } from '../wire/reassembler.js';
import { arrivalName, chunksOf, parseArrivalFile, recordOf } from './arrival-name.js';
import { type ArrivalRecord, encodeArrival, readArrival, receivedSize } from './arrival-record.js';
import { setAside } from './set-aside.js';
import { spoolError } from './spool-error.js';
import type { SpoolStorage } from './storage.js';

/** How often what has landed is made to last: a crash costs what landed since. */
const SYNC_MS = 1_000;

export interface ArrivalsOptions {
  /** With paths: files are mapped. */
  readonly storage: SpoolStorage & Required<Pick<SpoolStorage, 'path'>>;
  readonly files: SnapshotFiles;
  readonly codec: MigrationCodec;
  readonly environment: {
    every(ms: number, run: () => void): () => void;
    after(ms: number, run: () => void): () => void;
  };
  readonly localNode: bigint;
  /** What is here of a daemon's snapshot; undefined where none is being received any more. */
  readonly arrived: (origin: bigint) => ArrivedChunks | undefined;
  /** The most bytes of snapshots being received here, those of an earlier life included. */
  readonly maxBytes: number;
  /** Milliseconds after which what nobody came back for is removed. */
  readonly patienceMs: number;
  /** What nobody waits for: a damaged file, a disk that fails. */
  readonly report: (error: MigrationError) => void;
}

/** A snapshot, and what the names of its files begin with. */
interface Kept {
  readonly arrival: SnapshotArrival;
  readonly name: string;
}

interface Active extends Kept {
  /** The chunks that its record names. */
  synced: Uint8Array | undefined;
  hasFailed: boolean;
}

interface Stored extends Kept {
  readonly received: Uint8Array;
}

/**
 * Snapshots that this node is receiving, kept in its spool: a mapped file each, and beside it, once a second, a record of the
 * chunks that stand in it. The file is synced first, so that the record names no chunk that a crash could take.
 */
export class Arrivals {
  readonly #options: ArrivalsOptions;
  readonly #active = new Map<bigint, Active>();
  /** Of an earlier life. */
  readonly #stored = new Map<bigint, Stored>();
  /** Whose files are being read, by origin. */
  readonly #taking = new Map<bigint, Stored>();
  readonly #timers: Array<() => void> = [];
  readonly #removals = new Set<Promise<void>>();
  #round: Promise<void> | undefined;
  #nextNumber = 1n;
  #closed: Promise<void> | undefined;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  /** Looks for what an earlier life was receiving. Once, when the storage is this node's. @throws what the storage refuses with */
  async find(): Promise<void> {
    const { environment, patienceMs, storage } = this.#options;
    const names = new Set(await storage.names());
    for (const name of names)
      await this.#found(name, names).catch((cause) => this.#report(`looking at ${name}`, cause));
    this.#makeRoom(0);
    if (this.#closed) return;
    this.#timers.push(environment.every(SYNC_MS, () => this.#syncAll()));
    this.#timers.push(environment.after(patienceMs, () => this.#dropStored()));
  }

  /**
   * A file for a snapshot, at once, unless one from before a restart has to be read: what came of exactly this snapshot then
   * stands in it. Undefined: go on without. Asked for one that has a file already, it begins with an empty one.
   *
   * @throws MigrationError `spool-full`, `spool-failed`, `out-of-memory`
   */
  keep(ask: RequestTypes['keep']['ask']): MaybePromise<SnapshotFile | undefined> {
    const { origin } = ask;
    const stored = this.#stored.get(origin);
    // Late, of a try that was over before.
    if (this.#closed || (stored && ask.try < stored.arrival.try)) return undefined;
    const active = this.#active.get(origin);
    if (active) this.#drop(active);
    this.#taking.delete(origin);
    this.#stored.delete(origin);
    if (stored && isSame(stored.arrival, ask)) return this.#takeUp(stored);
    if (stored) this.#remove(stored.name);
    this.#makeRoom(ask.pendingBytes + ask.byteLength);
    return this.#create(ask);
  }

  /** Whoever ends its part in a migration needs none of it again: what is half here goes; what nobody has come back for stays. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const stop of this.#timers) stop();
    for (const kept of [...this.#active.values()]) this.#drop(kept);
    await this.#round;
    await Promise.all(this.#removals);
  }

  #create(ask: SnapshotArrival): SnapshotFile {
    const { files, storage } = this.#options;
    const { origin, try: attempt, orchestrator, source, seqThrough, totalChunks, byteLength } = ask;
    const name = arrivalName(origin, attempt, this.#nextNumber++);
    const file = files.create(storage.path(chunksOf(name)), totalChunks);
    const arrival = { origin, try: attempt, orchestrator, source, seqThrough, totalChunks, byteLength };
    this.#active.set(origin, { arrival, name, synced: undefined, hasFailed: false });
    return file;
  }

  async #takeUp(stored: Stored): Promise<SnapshotFile | undefined> {
    const { files, storage } = this.#options;
    const { arrival, name, received } = stored;
    const { origin, totalChunks } = arrival;
    this.#taking.set(origin, stored);
    const file = await files
      .takeUp(storage.path(chunksOf(name)), totalChunks, received)
      .catch((cause) => this.#report(`taking up ${name}, all of which is asked for again`, cause));
    // A higher try may have come meanwhile.
    const isWanted = this.#taking.get(origin) === stored && !this.#closed;
    if (isWanted) this.#taking.delete(origin);
    if (file && isWanted) {
      this.#active.set(origin, { arrival, name, synced: received, hasFailed: false });
      return file;
    }
    file?.dispose();
    if (this.#closed) return undefined;
    this.#remove(name);
    return isWanted ? this.#create(arrival) : undefined;
  }

  /** Files that nobody has come back for yet give way, the first found first. */
  #makeRoom(wanted: number): void {
    let bytes = wanted;
    for (const { arrival } of this.#stored.values()) bytes += fileSize(arrival);
    for (const { arrival, name } of this.#stored.values()) {
      if (bytes <= this.#options.maxBytes) return;
      bytes -= fileSize(arrival);
      this.#stored.delete(arrival.origin);
      this.#remove(name);
    }
  }

  async #found(name: string, names: ReadonlySet<string>): Promise<void> {
    const file = parseArrivalFile(name);
    if (!file) return;
    const { arrival, number } = file;
    if (number >= this.#nextNumber) this.#nextNumber = number + 1n;
    // Without a record, nothing is known to stand in it; without the chunks, the record says nothing.
    if (!names.has(recordOf(arrival)) || !names.has(chunksOf(arrival))) this.#remove(arrival);
    else if (name === recordOf(arrival)) await this.#foundRecord(arrival);
  }

  async #foundRecord(name: string): Promise<void> {
    let record: ArrivalRecord;
    try {
      record = await this.#read(name);
    } catch (cause) {
      const error = spoolError(this.#options.storage.label, `reading ${recordOf(name)}`, cause);
      this.#options.report(error.kind === 'spool-damaged' ? await this.#damaged(name, error) : error);
      return;
    }
    const { arrival, received } = record;
    const other = this.#stored.get(arrival.origin);
    const isNewer = !other || arrival.try > other.arrival.try;
    if (isNewer) this.#stored.set(arrival.origin, { arrival, received, name });
    if (other) this.#remove(isNewer ? other.name : name);
  }

  /** @throws MigrationError `spool-damaged`, `unsupported-version`; `spool-unusable` where it is another's; the storage's */
  async #read(name: string): Promise<ArrivalRecord> {
    const { storage, codec, localNode } = this.#options;
    const file = await storage.open(recordOf(name));
    try {
      const record = await readArrival(file, recordOf(name), () => codec.createBlake3());
      const { origin, try: attempt } = record.arrival;
      const { number } = parseArrivalFile(recordOf(name))!;
      if (record.target === localNode && name === arrivalName(origin, attempt, number)) return record;
      const message = `${recordOf(name)} in the spool ${storage.label} is node ${record.target}'s, of daemon ${origin} and try ${attempt}; it is left where it is. Give each node a spool of its own`;
      throw new MigrationError('spool-unusable', message, { details: { file: recordOf(name) } });
    } finally {
      await file.close();
    }
  }

  /** Chunks of which nobody can say which they are are of no use to anybody. */
  async #damaged(name: string, error: MigrationError): Promise<MigrationError> {
    const { storage } = this.#options;
    const report = await setAside(storage, recordOf(name), error);
    await storage.remove(chunksOf(name));
    return report;
  }

  #dropStored(): void {
    for (const { name } of this.#stored.values()) this.#remove(name);
    this.#stored.clear();
  }

  #syncAll(): void {
    this.#round ??= this.#syncEach().finally(() => {
      this.#round = undefined;
    });
  }

  /** One after the other: others need the disk, too. */
  async #syncEach(): Promise<void> {
    for (const kept of [...this.#active.values()]) {
      if (this.#closed) return;
      if (this.#isActive(kept)) await this.#sync(kept, this.#received(kept));
    }
  }

  #received({ arrival }: Kept): Uint8Array | undefined {
    const arrived = this.#options.arrived(arrival.origin);
    return arrived === 'whole' ? allBits(arrival.totalChunks) : arrived;
  }

  async #sync(kept: Active, received: Uint8Array | undefined): Promise<void> {
    if (!received) {
      this.#drop(kept);
      return;
    }
    if (kept.synced && Buffer.compare(kept.synced, received) === 0) return;
    try {
      await this.#write(kept, received);
      kept.synced = received;
      kept.hasFailed = false;
    } catch (cause) {
      // The migration goes on: only a restart would cost more. Told once, not once a second.
      if (!kept.hasFailed) this.#report(`syncing ${kept.name}`, cause);
      kept.hasFailed = true;
    }
    // It was dropped meanwhile, and the record has come behind that.
    if (!this.#isActive(kept)) this.#remove(kept.name);
  }

  async #write({ arrival, name }: Kept, received: Uint8Array): Promise<void> {
    const { storage, codec, localNode: target } = this.#options;
    const file = await storage.open(chunksOf(name));
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    const record = await encodeArrival({ arrival, target, received }, () => codec.createBlake3());
    await storage.replace(recordOf(name), record);
  }

  #isActive(kept: Active): boolean {
    return this.#active.get(kept.arrival.origin) === kept;
  }

  #drop(kept: Active): void {
    if (this.#isActive(kept)) this.#active.delete(kept.arrival.origin);
    this.#remove(kept.name);
  }

  /** The record first: chunks without one are removed when they are found. */
  #remove(name: string): void {
    const { storage } = this.#options;
    const removal: Promise<void> = storage
      .remove(recordOf(name))
      .then(() => storage.remove(chunksOf(name)))
      .catch((cause) => this.#report(`removing ${name}`, cause))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  #report(doing: string, cause: unknown): undefined {
    this.#options.report(spoolError(this.#options.storage.label, doing, cause));
  }
}

function fileSize({ totalChunks }: SnapshotArrival): number {
  return totalChunks * MAX_SNAPSHOT_CHUNK_SIZE;
}

/** Of all chunks but the last, as a reassembler tells them. */
function allBits(totalChunks: number): Uint8Array {
  const bits = new Uint8Array(receivedSize(totalChunks));
  const count = totalChunks - 1;
  bits.fill(0xff, 0, count >> 3);
  bits[count >> 3]! = (1 << (count & 7)) - 1;
  return bits;
}

function isSame(a: SnapshotArrival, b: SnapshotArrival): boolean {
  return (
    a.origin === b.origin &&
    a.try === b.try &&
    a.orchestrator === b.orchestrator &&
    a.source === b.source &&
    a.seqThrough === b.seqThrough &&
    a.totalChunks === b.totalChunks &&
    a.byteLength === b.byteLength
  );
}
