import * as assert from 'uvu/assert';
import { CAUSAL_LINK_SIZE } from '../../../lib/wire/link.js';
import * as message from '../../../lib/wire/message.js';
import * as snapshot from '../../../lib/wire/snapshot.js';
import type { Runner } from '../runner.js';
import { fieldsOf, NotUnderstood, number } from '../vector-json.js';

const OURS: Readonly<Record<string, number>> = {
  CAUSAL_LINK_SIZE,
  IDENTITY_ENVELOPE_SIZE: snapshot.IDENTITY_ENVELOPE_SIZE,
  IDENTITY_ENVELOPE_VERSION: snapshot.IDENTITY_ENVELOPE_VERSION,
  MAX_BUFFERED_EVENTS: message.MAX_BUFFERED_EVENTS,
  MAX_SNAPSHOT_CHUNK_SIZE: message.MAX_SNAPSHOT_CHUNK_SIZE,
  MAX_TOTAL_CHUNKS: message.MAX_TOTAL_CHUNKS,
  MIN_EVENT_WIRE_SIZE: message.MIN_EVENT_WIRE_SIZE,
  SNAPSHOT_FIXED_OVERHEAD_NO_ENVELOPE: snapshot.SNAPSHOT_FIXED_OVERHEAD,
  SNAPSHOT_VERSION: snapshot.SNAPSHOT_VERSION,
  SUBPROTOCOL_MIGRATION: message.SUBPROTOCOL_MIGRATION,
};

/** Constants, and the reference's limit of one snapshot, which any engine takes as an option. */
export const constants: Runner = {
  file: 'constants',
  level: 'frames',
  run(vectors, codec, tally) {
    const f = fieldsOf(vectors, [...Object.keys(OURS), 'MAX_PENDING_REASSEMBLY_BYTES'], 'constants');
    for (const [name, value] of Object.entries(f)) {
      tally.vector(name, () => {
        const expected = number(value, name);
        if (name in OURS) assert.is(OURS[name], expected, name);
        else if (name !== 'MAX_PENDING_REASSEMBLY_BYTES') throw new NotUnderstood(`constant "${name}"`);
        else codec.createReassembler({ maxSnapshotBytes: expected }).dispose();
      });
    }
  },
};
