import { MigrationError } from '../../errors.js';
import { checkBytes, checkU64 } from '../arguments.js';
import type { MigrationCodec } from '../codec.js';
import { CAUSAL_LINK_SIZE, type CausalLink } from '../link.js';
import { MAX_BUFFERED_EVENTS, MessageType, MIN_EVENT_WIRE_SIZE } from '../message.js';
import { readU32 } from '../typescript/bytes.js';
import * as typescript from '../typescript/chain.js';
import { checkEvent, checkLink, writeLink } from '../typescript/frame.js';
import { EVENTS_HEADER_SIZE } from '../typescript/scan.js';
import type { Addon } from './addon.js';
import { refusal } from './refusal.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** Bytes per event in the memory of its columns: five u64 and two u32. */
const EVENT_ROW_SIZE = 48;

type ChainFunctions = Pick<
  MigrationCodec,
  'decodeEvents' | 'parentHash' | 'nextLink' | 'verifyChain' | 'verifyFrameChain' | 'horizonBits'
>;

/** As many events as the frame says it has and could have: what it holds exactly, once it has been decoded. */
function eventCount(frame: Uint8Array): number {
  if (frame.length < EVENTS_HEADER_SIZE) return 0;
  const room = Math.floor((frame.length - EVENTS_HEADER_SIZE) / MIN_EVENT_WIRE_SIZE);
  return Math.min(readU32(frame, 9), MAX_BUFFERED_EVENTS, room);
}

export function chainFunctions(addon: Addon): ChainFunctions {
  /** A link on its way into Rust; each loading of the engine has its own, and no call keeps it. */
  const linkBytes = new Uint8Array(CAUSAL_LINK_SIZE);

  function hashAfter(link: CausalLink, payload: Uint8Array): bigint {
    writeLink(linkBytes, 0, link);
    return addon.parentHash(linkBytes, payload);
  }

  return {
    decodeEvents(frame) {
      checkBytes(frame, 'frame');
      if (frame[0] !== MessageType.BufferedEvents) return typescript.decodeEvents(frame);
      const count = eventCount(frame);
      const memory = new ArrayBuffer(count * EVENT_ROW_SIZE);
      try {
        addon.decodeEvents(frame, new Uint8Array(memory));
      } catch (error) {
        throw refusal(error);
      }
      const words = (column: number) => new BigUint64Array(memory, count * 8 * column, count);
      return {
        count,
        originHash: words(0),
        horizon: words(1),
        sequence: words(2),
        parentHash: words(3),
        receivedAt: words(4),
        payloadOffset: new Uint32Array(memory, count * 40, count),
        payloadLength: new Uint32Array(memory, count * 44, count),
      };
    },

    parentHash(link, payload) {
      checkLink(link, 'link');
      checkBytes(payload, 'payload');
      return hashAfter(link, payload);
    },

    nextLink(link, payload, horizon) {
      checkLink(link, 'link');
      checkBytes(payload, 'payload');
      checkU64(horizon, 'horizon');
      const { originHash, sequence } = link;
      if (sequence === U64_MAX) {
        throw new MigrationError(
          'sequence-overflow',
          `link.sequence is ${sequence}, the last one: no link can follow`,
          {
            details: { field: 'sequence', sequence },
          },
        );
      }
      return { originHash, horizon, sequence: sequence + 1n, parentHash: hashAfter(link, payload) };
    },

    verifyChain(previous, previousPayload, events) {
      checkLink(previous, 'previous');
      checkBytes(previousPayload, 'previousPayload');
      if (!Array.isArray(events)) return typescript.verifyChain(previous, previousPayload, events);
      let link = previous;
      let payload = previousPayload;
      for (let i = 0; i < events.length; i++) {
        const event = events[i]!;
        checkEvent(event, 'events', i);
        const { originHash, sequence, parentHash } = event.link;
        const follows = originHash === link.originHash && sequence === link.sequence + 1n;
        if (!follows || parentHash !== hashAfter(link, payload)) return i;
        ({ link, payload } = event);
      }
      return events.length;
    },

    verifyFrameChain(previous, previousPayload, frame) {
      checkLink(previous, 'previous');
      checkBytes(previousPayload, 'previousPayload');
      checkBytes(frame, 'frame');
      if (frame[0] !== MessageType.BufferedEvents) {
        return typescript.verifyFrameChain(previous, previousPayload, frame);
      }
      writeLink(linkBytes, 0, previous);
      try {
        return addon.verifyFrameChain(linkBytes, previousPayload, frame);
      } catch (error) {
        throw refusal(error);
      }
    },

    horizonBits(originHash) {
      checkU64(originHash, 'originHash');
      return addon.horizonBits(originHash);
    },
  };
}
