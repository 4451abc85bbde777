import * as assert from 'uvu/assert';
import type { MigrationCodec } from '../../../lib/wire/codec.js';
import type { StateSnapshot } from '../../../lib/wire/snapshot.js';
import { refusal, sameBytes } from '../check.js';
import { comparable } from '../frames.js';
import type { Runner } from '../runner.js';
import { bytes, fieldsOf, link, listOf, NotUnderstood, number, text, u64 } from '../vector-json.js';

const NAMES = [
  ...['bindings', 'chain_link', 'created_at', 'encoded', 'encoded_len', 'entity_id', 'extra', 'identity_envelope'],
  ...['origin_hash', 'state', 'state_len', 'through_seq'],
];

function roundTrips(codec: MigrationCodec, encoded: Uint8Array, expected: Uint8Array): StateSnapshot {
  const snapshot = codec.decodeSnapshot(encoded);
  sameBytes(codec.encodeSnapshot(snapshot), expected, 'encodeSnapshot');
  const { head, tail } = codec.encodeSnapshotParts(snapshot, snapshot.state.length);
  sameBytes(Buffer.concat([head, snapshot.state, tail]), expected, 'encodeSnapshotParts');
  return snapshot;
}

/** Snapshots ↔ bytes. The seeds in `extra` belong to the envelopes. */
export const snapshots: Runner = {
  file: 'snapshots',
  level: 'codec',
  run(vectors, codec, tally) {
    listOf(vectors, 'snapshots').forEach((value, i) => {
      const f = fieldsOf(value, NAMES, `snapshots[${i}]`);
      const extra = fieldsOf(
        f.extra,
        ['entity_seed', 'recovered_seed?', 'target_private?', 'target_public?', 'note?'],
        'extra',
      );
      tally.vector(`[${i}]`, () => {
        const { link: chainLink, bytes: linkBytes } = link(f.chain_link, 'chain_link');
        const entityId = bytes(f.entity_id, 'entity_id');
        const expected: StateSnapshot = {
          entityId,
          throughSeq: u64(f.through_seq, 'through_seq'),
          chainLink,
          createdAt: u64(f.created_at, 'created_at'),
          state: bytes(f.state, 'state'),
          bindings: bytes(f.bindings, 'bindings'),
          identityEnvelope: f.identity_envelope === null ? undefined : bytes(f.identity_envelope, 'identity_envelope'),
        };
        const encoded = bytes(f.encoded, 'encoded');
        assert.is(encoded.length, number(f.encoded_len, 'encoded_len'), 'encoded_len');
        assert.is(expected.state.length, number(f.state_len, 'state_len'), 'state_len');
        assert.is(codec.originHash(entityId), u64(f.origin_hash, 'origin_hash'), 'originHash');
        sameBytes(codec.encodeLink(chainLink), linkBytes, 'encodeLink');
        sameBytes(codec.encodeSnapshot(expected), encoded, 'encodeSnapshot of the fields');
        assert.equal(comparable(roundTrips(codec, encoded, encoded)), comparable(expected), 'decodeSnapshot');
        checkLedger(codec, expected.bindings, extra.note);
      });
    });
  },
};

const GARBAGE = 'bindings bytes are opaque to StateSnapshot; garbage is accepted';

/** The ledger in a snapshot. An empty one is not written there, but on its own has a count. */
function checkLedger(codec: MigrationCodec, bindings: Uint8Array, note: unknown): void {
  if (note === GARBAGE) {
    refusal(() => codec.createLedger(bindings), 'garbage as a ledger', bindings);
    return;
  }
  if (note !== undefined) throw new NotUnderstood(`snapshot note "${String(note)}"`);
  const expected = bindings.length === 0 ? new Uint8Array(4) : bindings;
  sameBytes(codec.createLedger(bindings).encode(), expected, 'the ledger in it');
}

export const snapshotRejects: Runner = {
  file: 'snapshot_rejects',
  level: 'codec',
  run(vectors, codec, tally) {
    listOf(vectors, 'snapshot_rejects').forEach((value, i) => {
      const f = fieldsOf(value, ['bytes', 'note'], `snapshot_rejects[${i}]`);
      tally.vector(`[${i}] ${text(f.note, 'note')}`, () => {
        const encoded = bytes(f.bytes, 'bytes');
        refusal(() => codec.decodeSnapshot(encoded), 'the snapshot', encoded);
      });
    });
  },
};

export const snapshotOddities: Runner = {
  file: 'snapshot_accepts_oddities',
  level: 'codec',
  run(vectors, codec, tally) {
    listOf(vectors, 'snapshot_accepts_oddities').forEach((value, i) => {
      const f = fieldsOf(value, ['bytes', 'note', 'reencoded'], `snapshot_accepts_oddities[${i}]`);
      tally.vector(`[${i}] ${text(f.note, 'note')}`, () => {
        roundTrips(codec, bytes(f.bytes, 'bytes'), bytes(f.reencoded, 'reencoded'));
      });
    });
  },
};
