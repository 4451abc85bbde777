import { checkBytes } from '../arguments.js';
import type { MigrationCodec } from '../codec.js';
import { IDENTITY_ENVELOPE_SIZE } from '../snapshot.js';
import { readU32, readU64, view } from '../typescript/bytes.js';
import { readLink } from '../typescript/frame.js';
import type { Addon } from './addon.js';
import { refusal } from './refusal.js';

/** Where the fields of a snapshot stand (PROTOCOL.md §4). */
const ENTITY_AT = 5;
const THROUGH_SEQ_AT = 37;
const LINK_AT = 45;
const CREATED_AT_AT = 77;
const STATE_LENGTH_AT = 85;
const STATE_AT = 89;

/** Rust checks the snapshot, its hash included; the fields are then read where they stand. */
export function snapshotFunctions(addon: Addon): Pick<MigrationCodec, 'decodeSnapshot'> {
  return {
    decodeSnapshot(bytes) {
      checkBytes(bytes, 'bytes');
      try {
        addon.checkSnapshot(bytes);
      } catch (error) {
        throw refusal(error);
      }
      const stateLength = readU32(bytes, STATE_LENGTH_AT);
      const bindingsAt = STATE_AT + stateLength + 4;
      const bindingsLength = readU32(bytes, bindingsAt - 4);
      const flagAt = bindingsAt + bindingsLength;
      return {
        entityId: view(bytes, ENTITY_AT, 32),
        throughSeq: readU64(bytes, THROUGH_SEQ_AT),
        chainLink: readLink(bytes, LINK_AT),
        createdAt: readU64(bytes, CREATED_AT_AT),
        state: view(bytes, STATE_AT, stateLength),
        bindings: view(bytes, bindingsAt, bindingsLength),
        identityEnvelope: bytes[flagAt] === 1 ? view(bytes, flagAt + 1, IDENTITY_ENVELOPE_SIZE) : undefined,
      };
    },
  };
}
