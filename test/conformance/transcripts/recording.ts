import type { MigrationCodec } from '../../../lib/wire/codec.js';
import { MessageType, SNAPSHOT_READY_HEADER_SIZE, type SnapshotReady } from '../../../lib/wire/message.js';
import { IDENTITY_ENVELOPE_SIZE, type StateSnapshot } from '../../../lib/wire/snapshot.js';
import type { RecordedFrame, Step, Transcript } from './transcript.js';

/** What a transcript's setup leaves unsaid, and its recorded snapshot shows. */
export interface Hints {
  /** When the source took its snapshot. */
  readonly createdAt: bigint;
  readonly bindings: Uint8Array;
  /** The X25519 key that the source took for the target's; undefined where it sealed nothing. */
  readonly sealedTo: Uint8Array | undefined;
  /** Nodes that become ready only in a later step. */
  readonly unready: ReadonlySet<bigint>;
}

export const UNSAID: Hints = { createdAt: 0n, bindings: new Uint8Array(0), sealedTo: undefined, unready: new Set() };
const PUBLIC_KEY_AT = 1;
const SEALED_SEED_AT = 33;
const SIGNER_AT = 113;

export function framesOf(log: readonly Step[]): RecordedFrame[] {
  return log.filter((step) => step.op === 'deliver');
}

export function hintsOf(codec: MigrationCodec, transcript: Transcript): Hints {
  const frames = framesOf(transcript.log);
  const unready = unreadyAtFirst(transcript.log);
  const chunks = frames.filter(({ payload }) => isChunk(payload)).map(({ payload }) => payload);
  const snapshot = snapshotIn(codec, chunks);
  if (!snapshot) return { ...UNSAID, unready };
  const { createdAt, bindings, identityEnvelope } = snapshot;
  const sealedTo = identityEnvelope?.subarray(PUBLIC_KEY_AT, SEALED_SEED_AT);
  return { createdAt, bindings: isLedger(codec, bindings) ? bindings : UNSAID.bindings, sealedTo, unready };
}

/** Whether they are what a daemon can have had, and not what somebody made of them on the way. */
function isLedger(codec: MigrationCodec, bindings: Uint8Array): boolean {
  try {
    codec.createLedger(bindings).dispose();
    return true;
  } catch {
    return false;
  }
}

/** A node is ready, unless the first that a step says of it is that it becomes so. */
function unreadyAtFirst(log: readonly Step[]): ReadonlySet<bigint> {
  const first = new Map<bigint, boolean>();
  for (const step of log) if (step.op === 'set_ready' && !first.has(step.at)) first.set(step.at, step.ready);
  return new Set([...first].flatMap(([node, becomes]) => (becomes ? [node] : [])));
}

/** The snapshot that some frames hold, the first frame of each chunk counting; undefined where they hold no whole one. */
export function snapshotIn(codec: MigrationCodec, frames: readonly Uint8Array[]): StateSnapshot | undefined {
  try {
    return codec.decodeSnapshot(Buffer.concat(chunksOf(codec, frames)));
  } catch {
    return undefined;
  }
}

function chunksOf(codec: MigrationCodec, frames: readonly Uint8Array[]): Uint8Array[] {
  const chunks = new Map<number, Uint8Array>();
  for (const frame of frames) {
    if (!isChunk(frame)) continue;
    const { chunkIndex, snapshotBytes } = codec.decode(frame) as SnapshotReady;
    if (!chunks.has(chunkIndex)) chunks.set(chunkIndex, snapshotBytes);
  }
  return [...chunks].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
}

export function isChunk(frame: Uint8Array): boolean {
  return frame[0] === MessageType.SnapshotReady;
}

/**
 * The same frames without what is random or free: the sealed seed of an envelope that they hold whole, a failure's text.
 */
export function comparable(codec: MigrationCodec, frames: readonly Uint8Array[]): Uint8Array[] {
  const copies = frames.map((frame) => (frame[0] === MessageType.MigrationFailed ? frame.slice(0, 11) : frame.slice()));
  if (!snapshotIn(codec, frames)?.identityEnvelope) return copies;
  let fromEnd = 0;
  for (const chunk of copies.filter(isChunk).reverse()) {
    for (let at = chunk.length - 1; at >= SNAPSHOT_READY_HEADER_SIZE; at--, fromEnd++) {
      const inEnvelope = IDENTITY_ENVELOPE_SIZE - 1 - fromEnd;
      if (inEnvelope >= SEALED_SEED_AT && inEnvelope < SIGNER_AT) chunk[at] = 0;
    }
  }
  return copies;
}
