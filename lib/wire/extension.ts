import { MigrationError } from '../errors.js';
import type { MigrationCodec } from './codec.js';
import { encodedLength, type MigrationMessage } from './message.js';
import { appendTrailer, decodeTrailer, type Trailer } from './trailer.js';

/**
 * Byte 0 of the messages that the reference does not have (PROTOCOL.md §8): sent only to peers that have shown that they
 * speak extensions. Each is `type u8 | origin u64` and a trailer, which always holds the try; those of a probe, which
 * belongs to no try, the `requestId`.
 */
export const ExtensionType = {
  /** Orchestrator → source or target: what would a migration be refused for there (`probedSide`). */
  Probe: 0x80,
  /** The answer: `obstacles`, and what the asker needs besides. */
  ProbeAnswer: 0x81,
  /** Target → source: which chunks are not here yet (`missingChunks`), so that only those come again. */
  ChunkStatus: 0x82,
  /**
   * Target → source: every logged event up to `ackThrough` has been applied; the first one says that the restore is done. Once
   * fragments have come: that the event numbered `logFrom` is the next, and so many bytes of it are here (`fragmentOffset`).
   */
  EventAck: 0x83,
  /** Target → source: it is live, in that `epoch`. */
  ActivationConfirmed: 0x85,
  /**
   * Source → orchestrator: what its log holds (`logCount`), and how much of it the target has (`ackThrough`; of a large event
   * that is under way `fragmentOffset` bytes).
   */
  SourceStatus: 0x86,
  /**
   * Source → target: a part (`fragment`, at `fragmentOffset`) of the logged event numbered `logFrom`, whose payload has
   * `eventLength` bytes, more than BufferedEvents takes; with its `eventLink` and `receivedAt`.
   */
  EventFragment: 0x87,
  /** Target → orchestrator: what has become of the daemon's subscriptions (`rebind`); before ActivateAck, and when it changes. */
  RebindStatus: 0x88,
  /** Orchestrator → target: it has heard that RebindStatus (`reportNumber`), which is repeated until then. */
  RebindAck: 0x89,
  /** Target → source: the register says that the daemon is its own, in that `epoch`, and no copy of it is there. */
  CopyMissing: 0x8a,
} as const;

export type ExtensionKind = keyof typeof ExtensionType;

export interface ExtensionMessage {
  readonly kind: ExtensionKind;
  readonly daemonOrigin: bigint;
}

/** A frame as the dispatcher reads it. */
export interface MigrationFrame {
  readonly message: MigrationMessage | ExtensionMessage;
  readonly trailer: Trailer | undefined;
}

const BASE_LENGTH = 9;
const KIND_BY_TYPE = new Map<number, ExtensionKind>(
  Object.entries(ExtensionType).map(([kind, type]) => [type, kind as ExtensionKind]),
);

/** Base fields by the codec, then the trailer. */
export function encodeMigrationFrame(
  codec: MigrationCodec,
  message: MigrationMessage | ExtensionMessage,
  trailer: Trailer | undefined,
): Uint8Array {
  return appendTrailer(isExtension(message) ? encodeExtension(message) : codec.encode(message), trailer);
}

/** @throws MigrationError with a codec kind where the frame is refused */
export function decodeMigrationFrame(codec: MigrationCodec, frame: Uint8Array): MigrationFrame {
  const kind = KIND_BY_TYPE.get(frame[0] ?? -1);
  if (kind === undefined) {
    const message = codec.decode(frame);
    return { message, trailer: decodeTrailer(frame, encodedLength(message)) };
  }
  if (frame.length < BASE_LENGTH) {
    throw new MigrationError('truncated', `${kind} has ${frame.length} bytes, ${BASE_LENGTH} were expected`, {
      details: { offset: frame.length },
    });
  }
  const daemonOrigin = new DataView(frame.buffer, frame.byteOffset).getBigUint64(1, true);
  return { message: { kind, daemonOrigin }, trailer: decodeTrailer(frame, BASE_LENGTH) };
}

function encodeExtension(message: ExtensionMessage): Uint8Array {
  const frame = new Uint8Array(BASE_LENGTH);
  frame[0] = ExtensionType[message.kind];
  new DataView(frame.buffer).setBigUint64(1, message.daemonOrigin, true);
  return frame;
}

export function isExtension(message: MigrationMessage | ExtensionMessage): message is ExtensionMessage {
  return message.kind in ExtensionType;
}
