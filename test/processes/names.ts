import type { Batch } from '../../lib/mesh/link.js';
import type { OwnershipEntry } from '../../lib/mesh/register.js';
import { forEachFrame } from '../../lib/wire/batch.js';
import { decodeMigrationFrame } from '../../lib/wire/extension.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';

/** What a node writes into the register. */
export type Operation = 'create' | 'remove' | 'begin' | 'offer' | 'withdraw' | 'claim' | 'recover';

/** What a compare-and-set is for, by what stands there and what is to. */
export function operationOf(
  node: bigint,
  standing: OwnershipEntry | undefined,
  next: OwnershipEntry | undefined,
): Operation {
  if (!next) return 'remove';
  if (!standing) return 'create';
  if (next.offer) return 'offer';
  if (next.tries > standing.tries) return 'begin';
  if (standing.owner !== node) return standing.offer?.target === node ? 'claim' : 'recover';
  return 'withdraw';
}

/** The kinds of a migration's frames in a batch; an offer is the source's own word that it has stopped. */
export function namesOfBatch({ subprotocol, bytes }: Batch): string[] {
  if (subprotocol !== SUBPROTOCOL_MIGRATION) return [];
  const names: string[] = [];
  forEachFrame(bytes, (frame) => {
    const { message, trailer } = decodeMigrationFrame(typescriptCodec, frame);
    names.push(message.kind === 'BufferedEvents' && trailer?.logCount !== undefined ? 'Offer' : message.kind);
  });
  return names;
}
