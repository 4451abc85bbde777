import { MigrationError, messageOf } from '../errors.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { SnapshotReady } from '../wire/message.js';
import { SNAPSHOT_VERSION } from '../wire/snapshot.js';

/** Bytes of a snapshot up to and with its entity id (PROTOCOL.md §4). */
const IDENTIFIED_SIZE = 37;

/**
 * What an orchestrator looks at before it forwards a chunk: of chunk 0 the magic, the version, and that the entity id hashes
 * to the origin; a snapshot of one chunk is parsed (PROTOCOL.md §7).
 *
 * @throws MigrationError `state-failed`, with what was found as its cause
 */
export function checkForwardedChunk(codec: MigrationCodec, message: SnapshotReady): void {
  if (message.chunkIndex !== 0) return;
  try {
    if (message.totalChunks === 1) checkWhole(codec, message);
    else checkHead(codec, message);
  } catch (cause) {
    const why = messageOf(cause);
    throw new MigrationError('state-failed', `the snapshot of daemon ${message.daemonOrigin} is not one: ${why}`, {
      details: { origin: message.daemonOrigin },
      cause,
    });
  }
}

function checkWhole(codec: MigrationCodec, { daemonOrigin, seqThrough, snapshotBytes }: SnapshotReady): void {
  const { throughSeq, entityId } = codec.decodeSnapshot(snapshotBytes);
  requireOrigin(codec, entityId, daemonOrigin);
  if (throughSeq === seqThrough) return;
  throw new MigrationError('seq-mismatch', `it is through ${throughSeq}, its frame says ${seqThrough}`, {
    details: { expected: seqThrough, actual: throughSeq },
  });
}

function checkHead(codec: MigrationCodec, { daemonOrigin, snapshotBytes }: SnapshotReady): void {
  if (snapshotBytes.length < IDENTIFIED_SIZE) {
    throw new MigrationError('truncated', `its first chunk has ${snapshotBytes.length} bytes`, {
      details: { offset: snapshotBytes.length },
    });
  }
  const magic = Buffer.from(snapshotBytes.subarray(0, 4)).toString('latin1');
  if (magic !== 'CDS1')
    throw new MigrationError('bad-magic', 'it does not begin with CDS1', { details: { offset: 0 } });
  const version = snapshotBytes[4]!;
  if (version !== SNAPSHOT_VERSION) {
    throw new MigrationError('unsupported-version', `its version is ${version}`, { details: { offset: 4, version } });
  }
  requireOrigin(codec, snapshotBytes.subarray(5, IDENTIFIED_SIZE), daemonOrigin);
}

function requireOrigin(codec: MigrationCodec, entityId: Uint8Array, expected: bigint): void {
  const actual = codec.originHash(entityId);
  if (actual === expected) return;
  throw new MigrationError('origin-mismatch', `it is of daemon ${actual}`, { details: { expected, actual } });
}
