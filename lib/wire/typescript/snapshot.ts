import { MigrationError } from '../../errors.js';
import { checkBytes, checkBytesOfLength, checkInteger, checkObject, checkU64 } from '../arguments.js';
import {
  IDENTITY_ENVELOPE_SIZE,
  IDENTITY_ENVELOPE_VERSION,
  SNAPSHOT_FIXED_OVERHEAD,
  SNAPSHOT_VERSION,
  type SnapshotFields,
  type StateSnapshot,
} from '../snapshot.js';
import { readU32, readU64, view, writeU32, writeU64 } from './bytes.js';
import { allocate, checkLink, readLink, writeLink } from './frame.js';
import { originHash } from './hashes.js';

const MAGIC = Buffer.from('CDS1');
const ENTITY_AT = 5;
const THROUGH_SEQ_AT = 37;
const LINK_AT = 45;
const CREATED_AT_AT = 77;
const STATE_LENGTH_AT = 85;
const STATE_AT = 89;
const MAX_PART_BYTES = 0xffff_ffff;

/** What a snapshot must hold before it is written; a reader refuses the same. */
function checkSnapshot(snapshot: SnapshotFields, stateLength: number): void {
  const { entityId, throughSeq, chainLink, createdAt, bindings, identityEnvelope } = snapshot;
  checkBytesOfLength(entityId, 'snapshot.entityId', 32);
  checkU64(throughSeq, 'snapshot.throughSeq');
  checkLink(chainLink, 'snapshot.chainLink');
  checkU64(createdAt, 'snapshot.createdAt');
  checkBytes(bindings, 'snapshot.bindings');
  if (identityEnvelope !== undefined) {
    checkBytesOfLength(identityEnvelope, 'snapshot.identityEnvelope', IDENTITY_ENVELOPE_SIZE);
  }
  checkPartLength('state-too-large', 'state', stateLength);
  checkPartLength('bindings-too-large', 'bindings', bindings.length);
  if (identityEnvelope !== undefined) checkEnvelopeVersion(identityEnvelope[0]!, 'snapshot.identityEnvelope');
  checkAgreement(snapshot, 'snapshot');
}

function checkPartLength(kind: 'state-too-large' | 'bindings-too-large', field: string, length: number): void {
  if (length <= MAX_PART_BYTES) return;
  throw new MigrationError(kind, `snapshot.${field} has ${length} bytes, a snapshot takes at most ${MAX_PART_BYTES}`, {
    details: { field, length, max: MAX_PART_BYTES },
  });
}

function checkEnvelopeVersion(version: number, where: string): void {
  if (version === IDENTITY_ENVELOPE_VERSION) return;
  throw new MigrationError(
    'unsupported-version',
    `${where}: its version is ${version}, known is ${IDENTITY_ENVELOPE_VERSION}`,
    {
      details: { field: 'identityEnvelope', version, expected: IDENTITY_ENVELOPE_VERSION },
    },
  );
}

/** The chain link says once more what the snapshot says of sequence and entity. */
function checkAgreement(snapshot: SnapshotFields, where: string): void {
  const { sequence, originHash: got } = snapshot.chainLink;
  if (sequence !== snapshot.throughSeq) {
    throw new MigrationError(
      'seq-mismatch',
      `${where} refused at byte ${THROUGH_SEQ_AT}: through_seq is ${snapshot.throughSeq}, its chain link's sequence ${sequence}`,
      { details: { offset: THROUGH_SEQ_AT, throughSeq: snapshot.throughSeq, sequence } },
    );
  }
  const expected = originHash(snapshot.entityId);
  if (got !== expected) {
    throw new MigrationError(
      'origin-mismatch',
      `${where} refused at byte ${LINK_AT}: its chain link is of origin ${got}, its entity id hashes to ${expected}`,
      { details: { offset: LINK_AT, got, expected } },
    );
  }
}

function writeHead(bytes: Uint8Array, snapshot: SnapshotFields, stateLength: number): void {
  bytes.set(MAGIC, 0);
  bytes[4] = SNAPSHOT_VERSION;
  bytes.set(snapshot.entityId, ENTITY_AT);
  writeU64(bytes, THROUGH_SEQ_AT, snapshot.throughSeq);
  writeLink(bytes, LINK_AT, snapshot.chainLink);
  writeU64(bytes, CREATED_AT_AT, snapshot.createdAt);
  writeU32(bytes, STATE_LENGTH_AT, stateLength);
}

function tailLength(snapshot: SnapshotFields): number {
  return 5 + snapshot.bindings.length + (snapshot.identityEnvelope === undefined ? 0 : IDENTITY_ENVELOPE_SIZE);
}

function writeTail(bytes: Uint8Array, at: number, snapshot: SnapshotFields): void {
  const { bindings, identityEnvelope } = snapshot;
  writeU32(bytes, at, bindings.length);
  bytes.set(bindings, at + 4);
  const flagAt = at + 4 + bindings.length;
  if (identityEnvelope === undefined) return;
  bytes[flagAt] = 1;
  bytes.set(identityEnvelope, flagAt + 1);
}

export function encodeSnapshot(snapshot: StateSnapshot): Uint8Array {
  checkObject(snapshot, 'snapshot');
  const { state } = snapshot;
  checkBytes(state, 'snapshot.state');
  checkSnapshot(snapshot, state.length);
  const bytes = allocate(STATE_AT + state.length + tailLength(snapshot));
  writeHead(bytes, snapshot, state.length);
  bytes.set(state, STATE_AT);
  writeTail(bytes, STATE_AT + state.length, snapshot);
  return bytes;
}

export function encodeSnapshotParts(
  snapshot: SnapshotFields,
  stateLength: number,
): { head: Uint8Array; tail: Uint8Array } {
  checkObject(snapshot, 'snapshot');
  checkInteger(stateLength, 'stateLength', 0, Number.MAX_SAFE_INTEGER);
  checkSnapshot(snapshot, stateLength);
  const head = new Uint8Array(STATE_AT);
  writeHead(head, snapshot, stateLength);
  const tail = allocate(tailLength(snapshot));
  writeTail(tail, 0, snapshot);
  return { head, tail };
}

function truncated(length: number, needed: number, part: string): MigrationError {
  return new MigrationError(
    'truncated',
    `snapshot is truncated: it ends at byte ${length}, with its ${part} it needs ${needed} bytes`,
    { details: { offset: length, length, needed } },
  );
}

function checkHead(bytes: Uint8Array): void {
  const { length } = bytes;
  if (length < MAGIC.length) throw truncated(length, MAGIC.length, 'magic');
  for (let at = 0; at < MAGIC.length; at++) {
    if (bytes[at] === MAGIC[at]) continue;
    throw new MigrationError('bad-magic', `snapshot refused at byte ${at}: it does not begin with "CDS1"`, {
      details: { offset: at, got: bytes[at], expected: MAGIC[at] },
    });
  }
  if (length === MAGIC.length) throw truncated(length, ENTITY_AT, 'version');
  if (bytes[4] !== SNAPSHOT_VERSION) {
    throw new MigrationError(
      'unsupported-version',
      `snapshot refused at byte 4: its version is ${bytes[4]}, known is ${SNAPSHOT_VERSION}`,
      { details: { offset: 4, version: bytes[4], expected: SNAPSHOT_VERSION } },
    );
  }
  if (length < SNAPSHOT_FIXED_OVERHEAD) throw truncated(length, SNAPSHOT_FIXED_OVERHEAD, 'fixed fields');
}

/** The envelope at `flagAt`, and that the snapshot ends where it should. */
function readEnvelope(bytes: Uint8Array, flagAt: number): Uint8Array | undefined {
  const { length } = bytes;
  const flag = bytes[flagAt]!;
  if (flag > 1) {
    throw new MigrationError(
      'bad-envelope-flag',
      `snapshot refused at byte ${flagAt}: envelope flag ${flag} is not 0 or 1`,
      {
        details: { offset: flagAt, flag },
      },
    );
  }
  const end = flagAt + 1 + flag * IDENTITY_ENVELOPE_SIZE;
  if (length < end) throw truncated(length, end, 'envelope');
  if (flag === 1) checkEnvelopeVersion(bytes[flagAt + 1]!, `envelope refused at byte ${flagAt + 1}`);
  if (length > end) {
    throw new MigrationError('trailing-bytes', `snapshot refused at byte ${end}: ${length - end} bytes are left over`, {
      details: { offset: end, extra: length - end },
    });
  }
  return flag === 1 ? view(bytes, flagAt + 1, IDENTITY_ENVELOPE_SIZE) : undefined;
}

export function decodeSnapshot(bytes: Uint8Array): StateSnapshot {
  checkBytes(bytes, 'bytes');
  checkHead(bytes);
  const { length } = bytes;
  const stateLength = readU32(bytes, STATE_LENGTH_AT);
  const bindingsAt = STATE_AT + stateLength + 4;
  if (length < bindingsAt + 1) throw truncated(length, bindingsAt + 1, 'state');
  const bindingsLength = readU32(bytes, bindingsAt - 4);
  const flagAt = bindingsAt + bindingsLength;
  if (length < flagAt + 1) throw truncated(length, flagAt + 1, 'bindings');
  const snapshot: StateSnapshot = {
    entityId: view(bytes, ENTITY_AT, 32),
    throughSeq: readU64(bytes, THROUGH_SEQ_AT),
    chainLink: readLink(bytes, LINK_AT),
    createdAt: readU64(bytes, CREATED_AT_AT),
    state: view(bytes, STATE_AT, stateLength),
    bindings: view(bytes, bindingsAt, bindingsLength),
    identityEnvelope: readEnvelope(bytes, flagAt),
  };
  checkAgreement(snapshot, 'snapshot');
  return snapshot;
}
