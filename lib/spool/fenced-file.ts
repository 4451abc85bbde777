import { MigrationError, messageOf } from '../errors.js';
import type { MigrationMode, SourceMigration } from '../migration/core.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { EventLog } from '../wire/event-log.js';
import { CAUSAL_LINK_SIZE, type CausalEvent, type CausalLink } from '../wire/link.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import { IDENTITY_ENVELOPE_SIZE } from '../wire/snapshot.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { DIGEST_SIZE, SECTION_HEAD_SIZE, type SectionHead, SectionReader, SectionWriter } from './sections.js';
import { damaged } from './spool-error.js';
import { Abandoned } from './state-pipe.js';
import type { SpoolFile } from './storage.js';

/** What the file's head says it is. */
const KIND = 1;
/** Sections, in this order; as many of events as there are. Nothing follows the last. */
const Tag = { migration: 1, snapshot: 2, events: 3, event: 4, fenced: 5 } as const;
const MODES: readonly MigrationMode[] = ['pause', 'live'];
const NOTHING = new Uint8Array(0);
const REQUEST_ID_SIZE = 16;
const ENTITY_ID_SIZE = 32;
/** Of one section of events. */
const EVENTS_BYTES = 256 * 1024;
const EVENTS_COUNT = 1_000;
/** Read back at once. */
const READ_BYTES = 256 * 1024;
/** Events that wait to be written while the daemon moves: fewer are left for the end. */
const BACKLOG = 500n;
/** Bytes between two syncs in the background: the last one, for which the daemon stands still, finds no more. */
const SYNC_BYTES = 32 * 1024 * 1024;

/** A migration from here, and whose. */
export interface FencedMigration extends SourceMigration {
  /** Node id: this one. */
  readonly source: bigint;
  /** The sequence of the snapshot's last output. */
  readonly seqThrough: bigint;
  readonly daemonKind: string;
  /** 32 bytes. */
  readonly entityId: Uint8Array;
  /** The daemon's key, sealed to this node for {@link sealLink} (209 bytes); undefined where only the public half is here. */
  readonly envelope: Uint8Array | undefined;
}

/** What a daemon's key is sealed for: this file and no other. */
export function sealLink({ origin, try: attempt, epoch }: SourceMigration): CausalLink {
  return { originHash: origin, horizon: epoch, sequence: attempt, parentHash: 0n };
}

/** The daemon when it stood still. */
export interface FencedState {
  readonly logCount: bigint;
  /** The log's running digest. */
  readonly logDigest: Uint8Array;
  readonly head: CausalLink;
  /** What the host carries: horizon, positions, what the next link names (`encodeCarriedState`). */
  readonly carried: readonly Uint8Array[];
}

/** Bytes that are written as they are, and do not change. */
export interface SpooledContent {
  readonly byteLength: number;
  readonly chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** What has not come need not come any more: `chunks` ends, or throws `Abandoned`. */
  readonly cancel?: () => void;
}

/**
 * Writes one daemon with its log while it moves: the snapshot at once and in the background, the log behind it. `seal` writes
 * what is missing, and syncs: what is sealed survives.
 */
export class FencedWriter {
  readonly #file: SpoolFile;
  readonly #codec: MigrationCodec;
  readonly #log: EventLog;
  readonly #cancel: (() => void) | undefined;
  readonly #origin: bigint;
  readonly #onFailure: (cause: unknown) => void;
  #writer: SectionWriter | undefined;
  #snapshotAt = 0;
  #isSnapshotWritten = () => {};
  readonly #snapshotWritten = new Promise<void>((resolve) => {
    this.#isSnapshotWritten = resolve;
  });
  #taken = 0;
  #onTaken: (() => void) | undefined;
  /** The last logged event that is written. */
  #through = 0n;
  #syncedSize = 0;
  /** What is under way; all that follows waits for it. */
  #tail: Promise<void>;
  #failure: { readonly cause: unknown } | undefined;
  #isWaiting = false;
  #sealing: Promise<void> | undefined;
  #mayBeWhole = false;
  #isClosed = false;

  /** @param onFailure called once, where the storage refuses something in the background; `seal` rejects with it too */
  constructor(
    file: SpoolFile,
    codec: MigrationCodec,
    content: { readonly migration: FencedMigration; readonly snapshot: SpooledContent; readonly log: EventLog },
    onFailure: (cause: unknown) => void,
  ) {
    this.#file = file;
    this.#codec = codec;
    this.#log = content.log;
    this.#cancel = content.snapshot.cancel;
    this.#origin = content.migration.origin;
    this.#onFailure = onFailure;
    this.#tail = this.#guarded(() => this.#begin(content.migration, content.snapshot));
  }

  /** New events stand in the log. */
  logged(): void {
    if (this.#isWaiting || this.#isOver || this.#log.nextNumber - 1n - this.#through < BACKLOG) return;
    this.#isWaiting = true;
    this.#tail = this.#tail.then(() =>
      this.#guarded(async () => {
        this.#isWaiting = false;
        await this.#writeLog(BACKLOG);
        await this.#syncSome();
      }),
    );
  }

  get #isOver(): boolean {
    return this.#isClosed || this.#sealing !== undefined;
  }

  get #isAbandoned(): boolean {
    return this.#isClosed && this.#sealing === undefined;
  }

  /** Whether the storage has refused something in the background. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Whether all of it may be on disk, whatever `seal` said. */
  get mayBeWhole(): boolean {
    return this.#mayBeWhole;
  }

  /**
   * The daemon stands still: its whole log, and how it stood. Resolves when all of it survives a crash.
   *
   * @throws what the storage refused with
   */
  seal(state: FencedState): Promise<void> {
    this.#sealing = this.#seal(state);
    return this.#sealing;
  }

  /** Writes nothing more, but what is being sealed. Resolves when nothing is under way. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#isAbandoned) this.#cancel?.();
    await (this.#sealing?.catch(() => {}) ?? this.#tail);
    await this.#file.close();
  }

  async #seal({ logCount, logDigest, head, carried }: FencedState): Promise<void> {
    await this.#tail;
    if (this.#failure) throw this.#failure.cause;
    await this.#writeLog(1n);
    const record = new ByteWriter().u64(logCount).bytes(logDigest).bytes(this.#codec.encodeLink(head));
    for (const part of carried) record.bytes(part);
    this.#mayBeWhole = true;
    await this.#writer!.section(Tag.fenced, record.length, record.parts);
    await this.#file.sync();
    await this.#file.close();
  }

  /** Bytes of the snapshot that the file has taken; but for the last ones, they are synced. */
  get taken(): number {
    return this.#taken;
  }

  /** Calls `wake` once, when `taken` has changed. One waits at a time. */
  onTaken(wake: () => void): void {
    this.#onTaken = () => {
      this.#onTaken = undefined;
      wake();
    };
  }

  /**
   * Resolves when little is left to be written, so that the daemon may stand still.
   *
   * @throws what the storage refused with
   */
  async caughtUp(): Promise<void> {
    for (let tail: unknown; tail !== this.#tail; ) {
      tail = this.#tail;
      await tail;
    }
    if (this.#failure) throw this.#failure.cause;
  }

  /** The snapshot's bytes from `from` to `to`, once all of it stands in the file. */
  async *readBack(from: number, to: number): AsyncIterable<Uint8Array> {
    await this.#snapshotWritten;
    for (let at = from; at < to; at += READ_BYTES) {
      const slice = new Uint8Array(Math.min(READ_BYTES, to - at));
      await this.#file.read(this.#snapshotAt + at, slice);
      yield slice;
    }
  }

  async #begin(migration: FencedMigration, snapshot: SpooledContent): Promise<void> {
    this.#writer = await SectionWriter.begin(this.#file, KIND, () => this.#codec.createBlake3());
    const record = encodeMigration(migration);
    await this.#writer.section(Tag.migration, record.length, record.parts);
    this.#snapshotAt = this.#writer.size + SECTION_HEAD_SIZE;
    await this.#writer.section(Tag.snapshot, snapshot.byteLength, this.#whileOpen(snapshot.chunks));
    this.#isSnapshotWritten();
    await this.#writeLog(BACKLOG);
    await this.#syncSome();
  }

  /** Of a migration that is over the rest is not needed. */
  async *#whileOpen(chunks: SpooledContent['chunks']): AsyncIterable<Uint8Array> {
    let unsynced = 0;
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += SYNC_BYTES) {
        if (this.#isAbandoned) return;
        const piece = chunk.subarray(at, at + SYNC_BYTES);
        yield piece;
        unsynced += piece.length;
        if (unsynced >= SYNC_BYTES) {
          await this.#file.sync();
          unsynced = 0;
        }
        this.#taken += piece.length;
        this.#onTaken?.();
      }
    }
  }

  /** Writes what stands in the log and not in the file, until fewer events than that are left. */
  async #writeLog(atLeast: bigint): Promise<void> {
    while (!this.#isAbandoned && this.#log.nextNumber - 1n - this.#through >= atLeast) {
      const from = this.#through + 1n;
      const first = this.#log.get(from)!;
      if (first.payload.length > MAX_SNAPSHOT_CHUNK_SIZE) {
        const record = new ByteWriter().u64(from).u64(first.receivedAt).bytes(this.#codec.encodeLink(first.link));
        record.bytes(first.payload);
        await this.#writer!.section(Tag.event, record.length, record.parts);
        this.#through = from;
      } else {
        const { frame, next } = this.#log.encodeFrame(this.#origin, from, EVENTS_BYTES, EVENTS_COUNT);
        const record = new ByteWriter().u64(from).bytes(frame);
        await this.#writer!.section(Tag.events, record.length, record.parts);
        this.#through = next - 1n;
      }
    }
  }

  /** So that the last sync, while the daemon stands still, has little to do. */
  async #syncSome(): Promise<void> {
    if (this.#isOver || this.#writer!.size - this.#syncedSize < SYNC_BYTES) return;
    this.#syncedSize = this.#writer!.size;
    await this.#file.sync();
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    if (this.#failure || this.#isAbandoned) return;
    try {
      await work();
    } catch (cause) {
      // What was cut short is nobody's loss.
      this.#failure = { cause };
      if (!this.#isAbandoned && !(cause instanceof Abandoned)) this.#onFailure(cause);
    }
  }
}

/** What stands in a file of this kind. */
export interface FencedRecord {
  readonly migration: FencedMigration;
  /** As it was sent to the target. */
  readonly snapshot: Uint8Array;
  readonly events: readonly CausalEvent[];
  /** How the daemon stood still; undefined where the file was never sealed: events may be missing behind the last one here. */
  readonly state: FencedState | undefined;
  /** What ends the file early, where that is no bound: torn off by a crash, or damaged. */
  readonly damage: MigrationError | undefined;
}

/**
 * Reads of whom a file is, and no more.
 *
 * @param name for errors
 * @throws MigrationError `spool-damaged`, `unsupported-version`
 */
export async function readMigration(file: SpoolFile, name: string, codec: MigrationCodec): Promise<FencedMigration> {
  const reader = await SectionReader.open(file, name, KIND, () => codec.createBlake3());
  return migrationOf(reader, name);
}

/**
 * Reads a whole file; behind the snapshot as far as it goes.
 *
 * @param name for errors
 * @throws MigrationError `spool-damaged` where not even the snapshot is whole, `unsupported-version`
 */
export async function readFenced(file: SpoolFile, name: string, codec: MigrationCodec): Promise<FencedRecord> {
  const reader = await SectionReader.open(file, name, KIND, () => codec.createBlake3());
  const migration = await migrationOf(reader, name);
  const snapshot = await reader.content(await expected(reader, name, Tag.snapshot));
  const events: CausalEvent[] = [];
  try {
    const state = await readLog(reader, name, codec, events);
    return { migration, snapshot, events, state, damage: undefined };
  } catch (error) {
    if (!(error instanceof MigrationError) || error.kind !== 'spool-damaged') throw error;
    return { migration, snapshot, events, state: undefined, damage: error };
  }
}

async function readLog(
  reader: SectionReader,
  name: string,
  codec: MigrationCodec,
  events: CausalEvent[],
): Promise<FencedState | undefined> {
  for (let head = await reader.next(); head; head = await reader.next()) {
    const { at } = reader;
    const bytes = await reader.content(head);
    if (head.tag === Tag.fenced) {
      const state = understood(name, at, () => stateOf(codec, bytes, events.length));
      if (await reader.next()) throw damaged(name, reader.at, 'something stands behind its last section');
      return state;
    }
    for (const event of understood(name, at, () => eventsOf(codec, head.tag, bytes, events.length))) events.push(event);
  }
  return undefined;
}

async function migrationOf(reader: SectionReader, name: string): Promise<FencedMigration> {
  const { at } = reader;
  const bytes = await reader.content(await expected(reader, name, Tag.migration));
  return understood(name, at, () => decodeMigration(bytes));
}

async function expected(reader: SectionReader, name: string, tag: number): Promise<SectionHead> {
  const head = await reader.next();
  if (head?.tag !== tag) throw damaged(name, reader.at, `section ${tag} was to begin, not ${head?.tag ?? 'the end'}`);
  return head;
}

/** A section that is whole and makes no sense was written by something else. */
function understood<T>(name: string, at: number, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw damaged(name, at, `a section begins that says nothing known: ${messageOf(cause)}`);
  }
}

function encodeMigration(migration: FencedMigration): ByteWriter {
  const { requestId, envelope } = migration;
  return new ByteWriter()
    .u64(migration.origin)
    .u64(migration.try)
    .u64(migration.epoch)
    .u64(migration.source)
    .u64(migration.target)
    .u64(migration.orchestrator)
    .u64(migration.seqThrough)
    .u8(migration.mode === 'live' ? 1 : 0)
    .bytes(migration.entityId)
    .text(migration.daemonKind)
    .sized(requestId ?? NOTHING)
    .sized(envelope ?? NOTHING);
}

function decodeMigration(bytes: Uint8Array): FencedMigration {
  const reader = new ByteReader(bytes);
  const migration = {
    origin: reader.u64(),
    try: reader.u64(),
    epoch: reader.u64(),
    source: reader.u64(),
    target: reader.u64(),
    orchestrator: reader.u64(),
    seqThrough: reader.u64(),
    mode: MODES[reader.u8()]!,
    entityId: reader.bytes(ENTITY_ID_SIZE),
    daemonKind: reader.text(),
  };
  const requestId = optional(reader.sized(), REQUEST_ID_SIZE);
  const envelope = optional(reader.sized(), IDENTITY_ENVELOPE_SIZE);
  if (migration.mode === undefined || reader.rest().length > 0) throw new RangeError('its fields are not those known');
  return { ...migration, requestId, envelope };
}

/** Nothing, or that many bytes. */
function optional(bytes: Uint8Array, length: number): Uint8Array | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length === length) return bytes;
  throw new RangeError(`${bytes.length} bytes stand where ${length} belong`);
}

function stateOf(codec: MigrationCodec, bytes: Uint8Array, logged: number): FencedState {
  const reader = new ByteReader(bytes);
  const logCount = reader.u64();
  if (logCount !== BigInt(logged)) throw new RangeError(`${logged} events are here, and ${logCount} were logged`);
  return {
    logCount,
    logDigest: reader.bytes(DIGEST_SIZE),
    head: codec.decodeLink(reader.bytes(CAUSAL_LINK_SIZE)),
    carried: [reader.rest()],
  };
}

function eventsOf(codec: MigrationCodec, tag: number, bytes: Uint8Array, before: number): readonly CausalEvent[] {
  const reader = new ByteReader(bytes);
  const number = reader.u64();
  if (number !== BigInt(before) + 1n) throw new RangeError(`event ${number} stands behind event ${before}`);
  if (tag === Tag.event) {
    const receivedAt = reader.u64();
    const link = codec.decodeLink(reader.bytes(CAUSAL_LINK_SIZE));
    return [{ link, payload: reader.rest(), receivedAt }];
  }
  const message = tag === Tag.events ? codec.decode(reader.rest()) : undefined;
  if (message?.kind !== 'BufferedEvents') throw new RangeError(`its tag is ${tag}`);
  return message.events;
}
