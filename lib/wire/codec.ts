import type { EventColumns, FrameColumns } from './columns.js';
import type { EventLog, EventLogOptions } from './event-log.js';
import type { SubscriptionLedger } from './ledger.js';
import type { CausalEvent, CausalLink } from './link.js';
import type { MigrationMessage } from './message.js';
import type { ReassemblerOptions, SnapshotFiles, SnapshotReassembler } from './reassembler.js';
import type { SnapshotFields, StateSnapshot } from './snapshot.js';

/** The engines that implement {@link MigrationCodec}. */
export type EngineName = 'native' | 'typescript' | 'baseline';

/**
 * What every engine does with frames: the part that the C++ baseline implements too.
 *
 * Refused bytes throw a `MigrationError` whose `kind` is a `CodecErrorKind`, whose message says what was wrong and at
 * which byte, and whose `details` hold the values; the engine stays usable. Arguments of the wrong JavaScript type (a
 * string, a detached or shared buffer, a bigint outside u64, a number where a bigint belongs) throw a `TypeError` that
 * names the argument.
 */
export interface FrameCodec {
  readonly engine: EngineName;

  /** A new array of exactly `encodedLength(message)` bytes. Refuses what a decoder would refuse. */
  encode(message: MigrationMessage): Uint8Array;

  /**
   * Byte payloads are views of `frame`; copy what must outlive it. Bytes after the last base field are ignored.
   *
   * Engines refuse the same frame with the same kind, so the order counts: a frame shorter than the fixed part of its type
   * (29 bytes for SnapshotReady, 11 for MigrationFailed, 13 for BufferedEvents) is `truncated` whatever its fields hold; then
   * total, index and length of a chunk, and only then whether it is whole; an event count against the bytes that are left
   * (`event-count-too-large`); of each event whether its 44 bytes are there, its length, whether it is whole; of a failure
   * text whether it is whole, then its UTF-8.
   */
  decode(frame: Uint8Array): MigrationMessage;

  /**
   * Decodes a batch: frames one after another, each behind its length as u32 LE. Fills `columns` from row 0 and sets
   * `columns.count`. A frame that is refused takes a row with its `status`; it never ends the batch. Stops at the end of
   * `batch`, at a frame that is not whole yet, or when the columns are full.
   *
   * @param start where in `batch` to begin; frame and payload offsets are counted from the start of `batch`
   * @returns the offset in `batch` at which the next call goes on
   */
  decodeBatch(batch: Uint8Array, columns: FrameColumns, start?: number): number;

  /**
   * The decoded rows' fixed-size messages (all but SnapshotReady, MigrationFailed, BufferedEvents, ReplayComplete) the
   * other way round: writes rows `0..columns.count` by `type`, `origin`, `word`, each behind its length, into `target`.
   *
   * @returns bytes written
   * @throws MigrationError `unknown-type` for a row of another type; TypeError where `target` is too short. Nothing is
   * written then
   */
  encodeBatch(columns: FrameColumns, target: Uint8Array): number;

  /**
   * Writes the 29-byte SnapshotReady headers of chunks `firstIndex .. firstIndex + count`, one after another, into
   * `headers`. The payload of chunk i is bytes `i × 7,000` to `min((i + 1) × 7,000, snapshotLength)` of the snapshot,
   * which is not touched: a transport gathers header and slice. An empty snapshot is one empty chunk.
   *
   * @throws MigrationError `total-chunks-too-large` over 700,000 chunks, `chunk-index-out-of-range` where there are fewer chunks;
   * TypeError where `headers` is too short
   */
  writeChunkHeaders(
    headers: Uint8Array,
    daemonOrigin: bigint,
    seqThrough: bigint,
    snapshotLength: number,
    firstIndex: number,
    count: number,
  ): void;

  createReassembler(options?: ReassemblerOptions): SnapshotReassembler;
}

/** A digest being made; `digest` may be called once, and ends it. */
export interface Blake3Hasher {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

/** Everything that the dispatcher and the runtime need of an engine: frames, snapshots, bindings, hashes, bookkeeping. */
export interface MigrationCodec extends FrameCodec {
  readonly engine: 'native' | 'typescript';

  /** Undefined where snapshots are received in memory alone: with the typescript engine, and on systems other than Linux. */
  readonly snapshotFiles: SnapshotFiles | undefined;

  /**
   * The events of a BufferedEvents frame as columns; payloads stay in `frame`. A frame of another type is refused with
   * `unknown-type`, once it has passed as what it is.
   */
  decodeEvents(frame: Uint8Array): EventColumns;

  /** A link as its 32 bytes. */
  encodeLink(link: CausalLink): Uint8Array;
  /** Of exactly 32 bytes; else `truncated` or `trailing-bytes`. */
  decodeLink(bytes: Uint8Array): CausalLink;

  /** `xxh3_64(link bytes ‖ payload)`: the parent hash of the link after this one (PROTOCOL.md §2). */
  parentHash(link: CausalLink, payload: Uint8Array): bigint;
  /** The link after `link`, whose event had `payload`. Throws `sequence-overflow` at 2^64 − 1. */
  nextLink(link: CausalLink, payload: Uint8Array, horizon: bigint): CausalLink;
  /**
   * How many events, from the first, continue the chain after `previous`: each link is of the same origin, with the next
   * sequence, and names the hash of the one before.
   * `events.length` means that the whole chain holds.
   */
  verifyChain(previous: CausalLink, previousPayload: Uint8Array, events: readonly CausalEvent[]): number;
  /** The same over the events of one BufferedEvents frame, without making an object per event. */
  verifyFrameChain(previous: CausalLink, previousPayload: Uint8Array, frame: Uint8Array): number;
  /** The Bloom bits of one origin in a horizon (PROTOCOL.md §2). */
  horizonBits(originHash: bigint): bigint;

  /** Keyed BLAKE2s-256 (key `net-origin-v1`) of a 32-byte entity id, first 8 bytes as LE u64. */
  originHash(entityId: Uint8Array): bigint;
  /** The same with key `net-node-id-v1`. */
  nodeId(entityId: Uint8Array): bigint;
  /** BLAKE2s-256 in keyed mode: key of 1 to 32 bytes, 32 bytes out. */
  blake2sMac(key: Uint8Array, message: Uint8Array): Uint8Array;
  /** XXH3-64, seed 0. */
  xxh3(bytes: Uint8Array): bigint;
  /** BLAKE3-256. */
  blake3(bytes: Uint8Array): Uint8Array;
  /** BLAKE3-256 over bytes that come in pieces. */
  createBlake3(): Blake3Hasher;

  /**
   * Throws a `channel-name-…` kind unless the name is one (PROTOCOL.md §5). In this order: empty; over 255 bytes of UTF-8;
   * from the left, an upper-case letter (`invalid-format`) or another character that is none of a name's (`invalid-char`);
   * slashes and dot segments (`invalid-format`).
   */
  validateChannelName(name: string): void;
  /** XXH3-64 of the name's bytes; refuses what {@link validateChannelName} does. See `channelWireHash`. */
  channelHash(name: string): bigint;

  /** The whole snapshot as one new array (PROTOCOL.md §4). */
  encodeSnapshot(snapshot: StateSnapshot): Uint8Array;
  /**
   * What stands before and after a state of `stateLength` bytes, so that the state is never copied: head ‖ state ‖ tail is
   * the snapshot.
   */
  encodeSnapshotParts(
    snapshot: SnapshotFields,
    stateLength: number,
  ): { readonly head: Uint8Array; readonly tail: Uint8Array };
  /**
   * State, bindings and envelope are views of `bytes`; bindings are not read. Refused in this order: magic, version, fewer
   * than 94 bytes (`truncated`, also where magic and version are not whole), state and bindings not whole, envelope flag, envelope not whole, its version byte,
   * bytes left over, `seq-mismatch`, `origin-mismatch`.
   */
  decodeSnapshot(bytes: Uint8Array): StateSnapshot;

  /**
   * An empty ledger, or one read from a snapshot's bindings (no bytes: empty). A subscription that stands there twice is one
   * entry with the later token. Refused: a count over (bytes left / 12), then per subscription in the order of its fields,
   * a name being whole before it is checked, then bytes left over.
   */
  createLedger(bindings?: Uint8Array): SubscriptionLedger;
  /** @param options `maxEvents` default 1,000,000, `maxBytes` default 64 MiB */
  createEventLog(options?: EventLogOptions): EventLog;
}
