import { MigrationError } from '../../errors.js';
import type { MigrationCodec } from '../codec.js';
import { typescriptCodec } from '../typescript/index.js';
import { type Addon, loadAddon } from './addon.js';
import { chainFunctions } from './chain.js';
import { eventLogFactory } from './event-log.js';
import { frameFunctions } from './frames.js';
import { hashFunctions } from './hashes.js';
import { ledgerFactory } from './ledger.js';
import { reassemblerFactory } from './reassembler.js';
import { snapshotFunctions } from './snapshot.js';
import { SnapshotFilesOverAddon } from './snapshot-files.js';

/**
 * The codec over an addon. What a crossing would only slow down stays in TypeScript: one frame, one link, one name at a time,
 * and writing a snapshot, which is a copy of the state and a hash.
 */
function codecOver(addon: Addon): MigrationCodec {
  const { encode, decode, encodeLink, decodeLink, validateChannelName, channelHash } = typescriptCodec;
  const { encodeSnapshot, encodeSnapshotParts } = typescriptCodec;
  return Object.freeze({
    engine: 'native',
    encode,
    decode,
    encodeLink,
    decodeLink,
    validateChannelName,
    channelHash,
    encodeSnapshot,
    encodeSnapshotParts,
    ...frameFunctions(addon),
    ...chainFunctions(addon),
    ...hashFunctions(addon),
    ...snapshotFunctions(addon),
    createReassembler: reassemblerFactory(addon),
    snapshotFiles: addon.canKeepSnapshots() ? new SnapshotFilesOverAddon(addon) : undefined,
    createLedger: ledgerFactory(addon),
    createEventLog: eventLogFactory(addon),
  } as const);
}

/**
 * The native engine.
 *
 * @throws MigrationError `engine-unavailable`, with what kept the addon from loading as its cause
 */
export function loadNativeCodec(): MigrationCodec {
  try {
    return codecOver(loadAddon());
  } catch (cause) {
    throw new MigrationError(
      'engine-unavailable',
      'the native engine cannot be loaded: build it with "npm run build:native" (needs Rust), or use the typescript engine',
      { details: { engine: 'native' }, cause },
    );
  }
}
