import type { MigrationCodec } from '../codec.js';
import { decodeBatch, encodeBatch, writeChunkHeaders } from './batch.js';
import {
  decodeEvents,
  decodeLink,
  encodeLink,
  horizonBits,
  nextLink,
  parentHash,
  verifyChain,
  verifyFrameChain,
} from './chain.js';
import { channelHash, validateChannelName } from './channel-name.js';
import { createEventLog } from './event-log.js';
import { decodeFrame, encodeFrame } from './frame.js';
import { blake2sMac, blake3, createBlake3, hashXxh3, nodeId, originHash } from './hashes.js';
import { createLedger } from './ledger.js';
import { createReassembler } from './reassembler.js';
import { decodeSnapshot, encodeSnapshot, encodeSnapshotParts } from './snapshot.js';

/** The engine in plain TypeScript: what is used where the addon cannot be loaded, and what native is measured against. */
export const typescriptCodec: MigrationCodec = Object.freeze({
  engine: 'typescript',
  encode: encodeFrame,
  decode: decodeFrame,
  decodeBatch,
  encodeBatch,
  writeChunkHeaders,
  createReassembler,
  snapshotFiles: undefined,
  decodeEvents,
  encodeLink,
  decodeLink,
  parentHash,
  nextLink,
  verifyChain,
  verifyFrameChain,
  horizonBits,
  originHash,
  nodeId,
  blake2sMac,
  xxh3: hashXxh3,
  blake3,
  createBlake3,
  validateChannelName,
  channelHash,
  encodeSnapshot,
  encodeSnapshotParts,
  decodeSnapshot,
  createLedger,
  createEventLog,
} as const);
