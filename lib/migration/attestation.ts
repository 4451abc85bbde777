import { EntityId } from '../identity/entity-id.js';
import { EnvelopeError } from '../identity/errors.js';

/** What a daemon signs of its snapshot, so that whoever forwards it can change neither a byte of it nor where it goes. */
export interface AttestedSnapshot {
  readonly origin: bigint;
  readonly try: bigint;
  /** Node ids. */
  readonly source: bigint;
  readonly target: bigint;
  /** BLAKE3-256 of the snapshot. */
  readonly snapshotDigest: Uint8Array;
}

/** The same with the signature that came with it. */
export interface SnapshotAttestation extends AttestedSnapshot {
  /** 64 bytes; undefined where none came. */
  readonly signature: Uint8Array | undefined;
}

const DOMAIN = new TextEncoder().encode('daemon-migration snapshot v1');

/** The bytes that are signed: domain ‖ origin ‖ try ‖ source ‖ target (u64 LE each) ‖ digest (PROTOCOL.md §8). */
export function attestedBytes({ origin, try: attempt, source, target, snapshotDigest }: AttestedSnapshot): Uint8Array {
  const bytes = new Uint8Array(DOMAIN.length + 32 + snapshotDigest.length);
  const view = new DataView(bytes.buffer);
  bytes.set(DOMAIN);
  [origin, attempt, source, target].forEach((value, i) => {
    view.setBigUint64(DOMAIN.length + 8 * i, value, true);
  });
  bytes.set(snapshotDigest, DOMAIN.length + 32);
  return bytes;
}

/**
 * @param entityId of the snapshot, 32 bytes
 * @param required whether the source had the private half, so that it must have signed
 * @throws EnvelopeError `invalid-attestation` where the daemon did not sign exactly this
 */
export function verifyAttestation(entityId: Uint8Array, attestation: SnapshotAttestation, required: boolean): void {
  const { signature, origin } = attestation;
  if (signature === undefined && !required) return;
  if (signature && EntityId.fromBytes(entityId.slice()).verify(attestedBytes(attestation), signature)) return;
  const what = signature ? 'is signed by another key, or for another try or target' : 'is not signed';
  throw new EnvelopeError(
    'invalid-attestation',
    `the snapshot of daemon ${origin} ${what}: it was changed on its way; migrate again, past whoever forwards it`,
    { details: { origin } },
  );
}
