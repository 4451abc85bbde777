import { MigrationError } from '../errors.js';

/** What stands between a frame's base fields and its extensions; fixed, drawn at random once (PROTOCOL.md §8). */
const MARKER = Uint8Array.of(0xd7, 0x4d, 0x9e, 0x31);
const FIELD_HEADER_SIZE = 5;

/**
 * Extensions behind a frame's base fields (PROTOCOL.md §8): what the base frames cannot carry. All numbers are u64.
 * A reference node ignores them.
 */
export interface Trailer {
  /** The attempt that the frame belongs to; drawn by the source from the ownership register. */
  readonly try?: bigint;
  /** 16 random bytes that name a TakeSnapshot, so that a repeated one begins nothing new; or a Probe, for its answer. */
  readonly requestId?: Uint8Array;
  /** The node that the snapshot comes from, whoever forwards it. */
  readonly source?: bigint;
  /** The kind under which the daemon's factory is registered. */
  readonly daemonKind?: string;
  /** BLAKE3-256 of the whole snapshot, on its last chunk. */
  readonly snapshotDigest?: Uint8Array;
  /** Bytes of the whole snapshot. */
  readonly snapshotLength?: bigint;
  /** Ed25519 by the daemon's own key over origin, try, source, target and digest, on the snapshot's last chunk. */
  readonly snapshotSignature?: Uint8Array;
  /** On TakeSnapshot and SnapshotReady: 0 or absent: pause, 1: live. */
  readonly mode?: bigint;
  /** The log number of the first event in the frame; the others follow. On EventAck: of the event that is to come next. */
  readonly logFrom?: bigint;
  /** How many events the source's log holds, ever appended in this try. */
  readonly logCount?: bigint;
  /** The log's running digest over them. */
  readonly logDigest?: Uint8Array;
  /** Everything up to this log number has been applied. */
  readonly ackThrough?: bigint;
  /** The daemon's generation. */
  readonly epoch?: bigint;
  /** On SourceStatus: bytes of the snapshot that have left the source. */
  readonly snapshotSent?: bigint;
  /**
   * On TakeSnapshot: 1: the daemon's private key must travel along, sealed; 0: it must not; absent: where it can. On
   * SnapshotReady 0 where it does not on purpose.
   */
  readonly transportIdentity?: bigint;
  /** On CutoverNotify: 1: the target has shown that it speaks extensions; 0: it has not. */
  readonly targetExtensions?: bigint;
  /** On ChunkStatus: runs of chunks that are not here, as [first, end) pairs of u32 LE; the first of them, at most 512. */
  readonly missingChunks?: Uint8Array;
  /** On Probe and ProbeAnswer: 0: the node is asked as the source; 1: as the target. */
  readonly probedSide?: bigint;
  /** On Probe: the node to which the daemon would go. */
  readonly target?: bigint;
  /** On ProbeAnswer: per obstacle `kind (u8 length, text) | message (u16 length, text)`. */
  readonly obstacles?: Uint8Array;
  /** On ProbeAnswer of a target: bytes of the largest snapshot that it takes. */
  readonly snapshotLimit?: bigint;
  /** On EventFragment: the event's own link, 32 bytes. */
  readonly eventLink?: Uint8Array;
  /** On EventFragment: when the event was accepted, nanoseconds since the Unix epoch. */
  readonly receivedAt?: bigint;
  /** On EventFragment: bytes of the event's payload. */
  readonly eventLength?: bigint;
  /** On EventFragment: where in the payload its bytes begin; on EventAck: how many of the event `logFrom` are here;
   * on SourceStatus: how many of the one behind `ackThrough` are at the target. */
  readonly fragmentOffset?: bigint;
  /** On EventFragment: 1 to 7,000 bytes of the payload. */
  readonly fragment?: Uint8Array;
  /**
   * In live mode, beside the log's count and digest in what is offered: where the chain ended when the source stopped. 32 bytes:
   * its head, with the hash of itself and its payload in place of its parent's, which says nothing of that payload.
   */
  readonly headLink?: Uint8Array;
  /** On RebindStatus: the report (`encodeRebindReport`). */
  readonly rebind?: Uint8Array;
  /** On RebindStatus and RebindAck: which report it is; each one of a target has its own. */
  readonly reportNumber?: bigint;
  /** On MigrationFailed: the kind of the error, where its code tells less (`MigrationErrorKind`). */
  readonly failureKind?: string;
}

type Encoding = 'u64' | 'bytes' | 'text';
type FieldName = keyof Trailer;

const FIELDS: ReadonlyArray<readonly [tag: number, name: FieldName, encoding: Encoding, size?: number]> = [
  [1, 'try', 'u64'],
  [2, 'requestId', 'bytes', 16],
  [3, 'source', 'u64'],
  [4, 'daemonKind', 'text'],
  [5, 'snapshotDigest', 'bytes', 32],
  [6, 'snapshotLength', 'u64'],
  [7, 'snapshotSignature', 'bytes', 64],
  [8, 'mode', 'u64'],
  [9, 'logFrom', 'u64'],
  [10, 'logCount', 'u64'],
  [11, 'logDigest', 'bytes', 32],
  [12, 'ackThrough', 'u64'],
  [13, 'epoch', 'u64'],
  [14, 'transportIdentity', 'u64'],
  [15, 'snapshotSent', 'u64'],
  [16, 'targetExtensions', 'u64'],
  [17, 'missingChunks', 'bytes'],
  [18, 'probedSide', 'u64'],
  [19, 'target', 'u64'],
  [20, 'obstacles', 'bytes'],
  [21, 'snapshotLimit', 'u64'],
  [25, 'eventLink', 'bytes', 32],
  [26, 'receivedAt', 'u64'],
  [27, 'eventLength', 'u64'],
  [28, 'fragmentOffset', 'u64'],
  [29, 'fragment', 'bytes'],
  [30, 'headLink', 'bytes', 32],
  [32, 'rebind', 'bytes'],
  [40, 'failureKind', 'text'],
  [41, 'reportNumber', 'u64'],
];
const BY_TAG = new Map(FIELDS.map(([tag, name, encoding, size]) => [tag, { name, encoding, size }]));

const text = { encoder: new TextEncoder(), decoder: new TextDecoder('utf-8', { fatal: true }) };

function fieldBytes(value: bigint | string | Uint8Array): Uint8Array {
  if (typeof value === 'string') return text.encoder.encode(value);
  if (typeof value !== 'bigint') return value;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** Whether both are there and equal. */
export function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
}

/** The trailer's bytes: marker, then `tag u8 | len u32 | bytes` per field that is present. */
export function encodeTrailer(trailer: Trailer): Uint8Array {
  const parts: Array<readonly [number, Uint8Array]> = [];
  let length = MARKER.length;
  for (const [tag, name] of FIELDS) {
    const value = trailer[name];
    if (value === undefined) continue;
    const bytes = fieldBytes(value);
    parts.push([tag, bytes]);
    length += FIELD_HEADER_SIZE + bytes.length;
  }
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  out.set(MARKER);
  let at = MARKER.length;
  for (const [tag, bytes] of parts) {
    out[at] = tag;
    view.setUint32(at + 1, bytes.length, true);
    out.set(bytes, at + FIELD_HEADER_SIZE);
    at += FIELD_HEADER_SIZE + bytes.length;
  }
  return out;
}

function hasMarker(frame: Uint8Array, at: number): boolean {
  return frame.length - at >= MARKER.length && MARKER.every((byte, i) => frame[at + i] === byte);
}

/**
 * The trailer of a frame whose base fields end at `baseLength`; undefined where there is none. Bytes are copies. Unknown
 * tags are passed over.
 *
 * @throws MigrationError `truncated` where the marker is there and a field is cut off or has the wrong size
 */
export function decodeTrailer(frame: Uint8Array, baseLength: number): Trailer | undefined {
  if (!hasMarker(frame, baseLength)) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const trailer: Record<string, bigint | string | Uint8Array> = {};
  let at = baseLength + MARKER.length;
  while (at < frame.length) {
    const length = frame.length - at < FIELD_HEADER_SIZE ? Number.POSITIVE_INFINITY : view.getUint32(at + 1, true);
    if (length > frame.length - at - FIELD_HEADER_SIZE) throw malformed(at, 'is cut off');
    const field = BY_TAG.get(view.getUint8(at));
    at += FIELD_HEADER_SIZE;
    if (field) {
      if (length !== (field.encoding === 'u64' ? 8 : (field.size ?? length)))
        throw malformed(at, `cannot be ${length} bytes`);
      trailer[field.name] = decodeField(frame, view, at, length, field.encoding);
    }
    at += length;
  }
  return trailer as Trailer;
}

function decodeField(frame: Uint8Array, view: DataView, at: number, length: number, encoding: Encoding) {
  if (encoding === 'u64') return view.getBigUint64(at, true);
  // A Buffer's own slice is a view.
  const bytes = Uint8Array.prototype.slice.call(frame, at, at + length);
  if (encoding === 'bytes') return bytes;
  try {
    return text.decoder.decode(bytes);
  } catch (cause) {
    throw new MigrationError('invalid-utf8', `the trailer's text at byte ${at} is not UTF-8`, {
      details: { offset: at },
      cause,
    });
  }
}

function malformed(offset: number, what: string): MigrationError {
  return new MigrationError('truncated', `the trailer's field at byte ${offset} ${what}`, { details: { offset } });
}

/** A frame and its trailer as one array; the frame itself where there is no trailer. */
export function appendTrailer(frame: Uint8Array, trailer: Trailer | undefined): Uint8Array {
  if (!trailer) return frame;
  const tail = encodeTrailer(trailer);
  const out = new Uint8Array(frame.length + tail.length);
  out.set(frame);
  out.set(tail, frame.length);
  return out;
}
