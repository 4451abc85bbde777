import type { OwnershipEntry } from '../mesh/register.js';
import type { FencedName } from '../spool/fenced-name.js';

/** What becomes of a fenced daemon's file when its node is started again. */
export type StandingFate =
  /** It stands here as before: the register may name its target by now, or name it any time. */
  | { readonly kind: 'stands' }
  /** It was taken back, or brought back, in that epoch, and was not live again yet: it goes on. */
  | { readonly kind: 'goes-on'; readonly epoch: bigint }
  /** Only `recover` brings it back: it may have lived on here since, or nobody knows whose it is. */
  | { readonly kind: 'waits'; readonly isOlder: boolean }
  /** It lives elsewhere, in a further epoch. */
  | { readonly kind: 'gone' };

const STANDS = { kind: 'stands' } as const;
const GONE = { kind: 'gone' } as const;
const OLDER = { kind: 'waits', isOlder: true } as const;
const UNKNOWN = { kind: 'waits', isOlder: false } as const;

/**
 * What the register says of a file (docs/spool.md). A number of a later try says what the mark says: the daemon was live again.
 *
 * @param target to which it was offered; undefined where the file does not say, being damaged
 * @param entry undefined where the register has none: the process that kept it has died too
 * @param node this one
 */
export function fateOf(
  file: FencedName,
  target: bigint | undefined,
  entry: OwnershipEntry | undefined,
  node: bigint,
): StandingFate {
  const { epoch, try: attempt } = file;
  const isOlder = file.resumedIn !== undefined;
  if (!entry) return isOlder ? OLDER : UNKNOWN;
  if (entry.owner !== node) {
    if (isOlder) return entry.epoch > file.resumedIn! ? GONE : OLDER;
    if (entry.epoch === epoch + 1n && (target === undefined || entry.owner === target)) return STANDS;
    return entry.epoch > epoch ? GONE : UNKNOWN;
  }
  if (isOlder) return OLDER;
  const { offer } = entry;
  // Behind its offer a daemon is live again in a further epoch only, whatever else has counted tries.
  if (entry.epoch === epoch && offer?.try === attempt) return STANDS;
  if (entry.tries !== attempt) return OLDER;
  // Let go without an offer: whether the target is live only it can say.
  if (entry.epoch === epoch) return offer ? UNKNOWN : STANDS;
  // Withdrawn, or claimed and then recovered; whatever was live since has begun a further try, or left the mark.
  const wasTakenBack = entry.epoch === epoch + 1n || entry.epoch === epoch + 2n;
  return wasTakenBack && !offer ? { kind: 'goes-on', epoch: entry.epoch } : OLDER;
}
