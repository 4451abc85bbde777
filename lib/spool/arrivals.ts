import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import type { SnapshotFile, SnapshotFiles } from '../wire/reassembler.js';
import { type ArrivalId, type ArrivalRecord, encodeArrival, readArrival, receivedSize } from './arrival-record.js';
import type { CreateHasher } from './sections.js';
import { spoolError } from './spool-error.js';
import type { SpoolStorage } from './storage.js';

/** How often what has landed is made to last: a crash costs what landed since. */
const SYNC_MS = 1_000;

/** Origin, try, and a number that is never given twice, so that no file takes another's place. */
const NAME = /^(arrival-(\d{1,20})-(\d{1,20})-(\d{1,15}))\.(chunks|record)$/;

export interface ArrivalsOptions {
  /** With paths: files are mapped. */
  readonly storage: SpoolStorage & Required<Pick<SpoolStorage, 'path'>>;
  readonly files: SnapshotFiles;
  readonly hasher: CreateHasher;
  /** What is here of a daemon's snapshot: a bit per chunk, or all; undefined where none is being received any more. */
  readonly arrived: (origin: bigint) => Uint8Array | 'whole' | undefined;
  /** The most bytes of snapshots being received here, those of an earlier life included. */
  readonly maxBytes: number;
  /** Milliseconds after which what nobody came back for is removed. */
  readonly patienceMs: number;
  readonly every: (ms: number, run: () => void) => () => void;
  readonly after: (ms: number, run: () => void) => () => void;
  /** What nobody waits for: a damaged file, a disk that fails. */
  readonly report: (error: MigrationError) => void;
}

/** A snapshot with a file of its own, `.chunks`, and what is known to stand in it, `.record`. */
interface Kept {
  readonly arrival: ArrivalId;
  readonly name: string;
}

interface Active extends Kept {
  /** As the record says. */
  synced: Uint8Array | undefined;
  hasFailed: boolean;
}

interface Stored extends Kept {
  readonly received: Uint8Array;
}

/**
 * Snapshots that this node is receiving, kept in a spool: a mapped file each, and beside it, once a second, a record of the
 * chunks that stand in it. The file is synced first, so that the record names no chunk that a crash could take.
 */
export class Arrivals {
  readonly #options: ArrivalsOptions;
  readonly #active = new Map<bigint, Active>();
  /** Of an earlier life. */
  readonly #stored = new Map<bigint, Stored>();
  /** Whose files are being read, by origin. */
  readonly #taking = new Map<bigint, string>();
  #opened: MaybePromise<void>;
  #nextNumber = 1n;
  #round: Promise<void> | undefined;
  #isClosed = false;
  readonly #timers: Array<() => void> = [];
  readonly #removals = new Set<Promise<void>>();

  /** @param taken resolves once the storage is this node's */
  constructor(options: ArrivalsOptions, taken: Promise<void>) {
    this.#options = options;
    this.#opened = taken
      .then(() => this.#open())
      .catch((cause) => this.#report('reading what was being received', cause))
      .then(() => {
        this.#opened = undefined;
      });
  }

  /**
   * A file for a snapshot, at once, unless one from before a restart has to be read: what came of exactly this snapshot then
   * stands in it. Undefined: not here. Asked for one that has a file already, it begins with an empty one.
   *
   * @throws MigrationError `spool-full`, `spool-failed`, `out-of-memory`
   */
  keep(arrival: ArrivalId & { readonly pendingBytes: number }): MaybePromise<SnapshotFile | undefined> {
    return whenReady(this.#opened, () => (this.#isClosed ? undefined : this.#keep(arrival)));
  }

  /** Makes all that has landed last; what is half here stays. Before the reassembler goes. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stop of this.#timers) stop();
    const last = [...this.#active.values()].map((kept) => ({ kept, arrived: this.#arrived(kept) }));
    await this.#opened;
    await this.#round;
    for (const { kept, arrived } of last) await this.#sync(kept, arrived);
    await Promise.all(this.#removals);
  }

  #keep(arrival: ArrivalId & { readonly pendingBytes: number }): MaybePromise<SnapshotFile | undefined> {
    const { origin } = arrival;
    const stored = this.#stored.get(origin);
    // Late, of a try that was over before.
    if (stored && arrival.try < stored.arrival.try) return undefined;
    const active = this.#active.get(origin);
    if (active) this.#drop(active);
    this.#taking.delete(origin);
    this.#stored.delete(origin);
    if (stored && isSame(stored.arrival, arrival)) return this.#takeUp(stored);
    if (stored) this.#remove(stored.name);
    this.#makeRoom(arrival.pendingBytes + arrival.byteLength);
    return this.#create(arrival);
  }

  #create({
    origin,
    try: attempt,
    orchestrator,
    source,
    seqThrough,
    totalChunks,
    byteLength,
  }: ArrivalId): SnapshotFile {
    const { files, storage } = this.#options;
    const name = `arrival-${origin}-${attempt}-${this.#nextNumber++}`;
    const file = files.create(storage.path(`${name}.chunks`), totalChunks);
    const arrival = { origin, try: attempt, orchestrator, source, seqThrough, totalChunks, byteLength };
    this.#active.set(origin, { arrival, name, synced: undefined, hasFailed: false });
    return file;
  }

  async #takeUp({ arrival, name, received }: Stored): Promise<SnapshotFile | undefined> {
    const { files, storage } = this.#options;
    const { origin, totalChunks } = arrival;
    this.#taking.set(origin, name);
    const file = await files
      .takeUp(storage.path(`${name}.chunks`), totalChunks, received)
      .catch((cause) => this.#report(`taking up ${name}.chunks; all of it is asked for again`, cause));
    const isWanted = this.#taking.get(origin) === name && !this.#isClosed;
    if (this.#taking.get(origin) === name) this.#taking.delete(origin);
    if (file && isWanted) {
      this.#active.set(origin, { arrival, name, synced: received, hasFailed: false });
      return file;
    }
    file?.dispose();
    if (this.#isClosed) return undefined;
    this.#remove(name);
    return isWanted ? this.#create(arrival) : undefined;
  }

  /** Files that nobody has come back for yet give way, the first found first. */
  #makeRoom(wanted: number): void {
    let bytes = wanted;
    for (const { arrival } of this.#stored.values()) bytes += bytesOf(arrival);
    for (const { arrival, name } of this.#stored.values()) {
      if (bytes <= this.#options.maxBytes) return;
      bytes -= bytesOf(arrival);
      this.#stored.delete(arrival.origin);
      this.#remove(name);
    }
  }

  async #open(): Promise<void> {
    const { every, after, patienceMs, storage } = this.#options;
    const names = new Set((await storage.names()).filter((name) => name.startsWith('arrival-')));
    for (const name of names)
      await this.#found(name, names).catch((cause) => this.#report(`looking at ${name}`, cause));
    this.#makeRoom(0);
    if (this.#isClosed) return;
    this.#timers.push(every(SYNC_MS, () => this.#syncAll()));
    this.#timers.push(after(patienceMs, () => this.#dropStored()));
  }

  async #found(name: string, names: ReadonlySet<string>): Promise<void> {
    const [, base = '', , , number = '0', extension] = NAME.exec(name) ?? [];
    if (BigInt(number) >= this.#nextNumber) this.#nextNumber = BigInt(number) + 1n;
    if (base === '')
      await this.#setAside(name, new MigrationError('spool-damaged', `${name} is no file of the spool's`));
    // Without a record, nothing is known to stand in it; without the chunks, the record says nothing.
    else if (extension === 'chunks' && !names.has(`${base}.record`)) this.#remove(base);
    else if (extension === 'record' && !names.has(`${base}.chunks`)) this.#remove(base);
    else if (extension === 'record') await this.#foundRecord(base);
  }

  async #foundRecord(name: string): Promise<void> {
    let record: ArrivalRecord;
    try {
      record = await this.#read(name);
    } catch (cause) {
      const error = spoolError(this.#options.storage.label, `reading ${name}.record`, cause);
      // Of a later version, or out of reach: it may be good yet.
      if (error.kind !== 'spool-damaged') this.#options.report(error);
      else {
        await this.#setAside(`${name}.record`, error);
        this.#remove(name);
      }
      return;
    }
    const { origin } = record.arrival;
    const other = this.#stored.get(origin);
    const isNewer = !other || record.arrival.try > other.arrival.try;
    if (isNewer) this.#stored.set(origin, { ...record, name });
    if (other) this.#remove(isNewer ? other.name : name);
  }

  async #read(name: string): Promise<ArrivalRecord> {
    const { storage, hasher } = this.#options;
    const file = await storage.open(`${name}.record`);
    try {
      const record = await readArrival(file, `${name}.record`, hasher);
      const { origin, try: attempt } = record.arrival;
      if (name.startsWith(`arrival-${origin}-${attempt}-`)) return record;
      throw new MigrationError('spool-damaged', `${name}.record is of try ${attempt} of daemon ${origin}`);
    } finally {
      await file.close();
    }
  }

  async #setAside(name: string, error: MigrationError): Promise<void> {
    const { storage, report } = this.#options;
    const aside = `damaged-${name}`;
    await storage.rename(name, aside);
    const message = `${error.message}; it was set aside as ${aside}, and what it was of is asked for again`;
    report(new MigrationError('spool-damaged', message, { details: { ...error.details, file: aside }, cause: error }));
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
      if (this.#isClosed) return;
      if (this.#active.get(kept.arrival.origin) === kept) await this.#sync(kept, this.#arrived(kept));
    }
  }

  #arrived({ arrival }: Kept): Uint8Array | undefined {
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
      // It goes on: only a restart would cost more. Told once, not once a second.
      if (!kept.hasFailed) this.#report(`syncing ${kept.name}`, cause);
      kept.hasFailed = true;
    }
    // It was dropped meanwhile, and the record has come behind that.
    if (this.#active.get(kept.arrival.origin) !== kept) this.#remove(kept.name);
  }

  async #write({ arrival, name }: Kept, received: Uint8Array): Promise<void> {
    const { storage, hasher } = this.#options;
    const file = await storage.open(`${name}.chunks`);
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    await storage.replace(`${name}.record`, await encodeArrival({ arrival, received }, hasher));
  }

  #drop(kept: Active): void {
    if (this.#active.get(kept.arrival.origin) === kept) this.#active.delete(kept.arrival.origin);
    this.#remove(kept.name);
  }

  /** The record first: chunks without one are removed when they are found. */
  #remove(name: string): void {
    const { storage } = this.#options;
    const removal = storage
      .remove(`${name}.record`)
      .then(() => storage.remove(`${name}.chunks`))
      .catch((cause) => this.#report(`removing ${name}`, cause))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  #report(doing: string, cause: unknown): undefined {
    this.#options.report(spoolError(this.#options.storage.label, doing, cause));
  }
}

function bytesOf({ byteLength }: ArrivalId): number {
  return Math.ceil(byteLength / MAX_SNAPSHOT_CHUNK_SIZE) * MAX_SNAPSHOT_CHUNK_SIZE;
}

/** Of all chunks but the last, as a reassembler tells them. */
function allBits(totalChunks: number): Uint8Array {
  const bits = new Uint8Array(receivedSize(totalChunks));
  const count = totalChunks - 1;
  bits.fill(0xff, 0, count >> 3);
  bits[count >> 3]! = (1 << (count & 7)) - 1;
  return bits;
}

function isSame(a: ArrivalId, b: ArrivalId): boolean {
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
