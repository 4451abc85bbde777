import { MigrationError } from '../../../lib/errors.js';
import { decodeMigrationFrame } from '../../../lib/wire/extension.js';
import { type Mode, TranscriptNode } from './node.js';
import { UNSAID } from './recording.js';
import type { IdleTranscript, Setup } from './transcript.js';

const NOBODY = new Uint8Array(0);

/** Sends each message to a node that knows nothing of it: nothing may change, and nothing may be given away. */
export function runIdle({ node: id, rows }: IdleTranscript, mode: Mode): void {
  rows.forEach((row, i) => {
    const node = idleNode(id, mode);
    const what = `row ${i}, ${row.kind} from ${row.from}`;
    try {
      for (const { destNode, payload } of answers(node, row)) {
        const { message } = decodeMigrationFrame(mode.codec, payload);
        if (message.kind !== 'MigrationFailed' || destNode !== row.from)
          throw new Error(`${what}: answered with ${message.kind} to ${destNode}`);
      }
      if (node.records.size > 0 || [...node.registry].length > 0 || node.hooksCalled.length > 0)
        throw new Error(`${what}: it left something behind`);
    } finally {
      node.dispose();
    }
  });
}

function answers(node: TranscriptNode, { frame, from }: IdleTranscript['rows'][number]) {
  try {
    return node.handler.handleMessage(frame, from);
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    return node.handler.takeOutbound();
  }
}

function idleNode(id: bigint, mode: Mode): TranscriptNode {
  const alone: Setup = {
    ...{ origin: 0n, source: id, orchestrator: id, target: id, daemon: 'Blob', delivered: [] },
    ...{ seed: NOBODY, entityId: NOBODY, initialState: NOBODY },
    ...{ factory: undefined, sourceIdentity: undefined, targetIdentity: undefined },
  };
  return new TranscriptNode(id, alone, UNSAID, mode);
}
