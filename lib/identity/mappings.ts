import { readFileSync } from 'node:fs';
import { IdentityError } from './errors.js';
import { setBlockBudget, takeFromBlockBudget } from './secret-ledger.js';

/** Guard page, size page, the bytes themselves, guard page. */
const MAPPINGS_PER_BLOCK = 4;
/** Left to everybody else in the process, V8 first: it, too, ends the process when the system refuses it one. */
const RESERVED_SHARE = 1 / 8;
/** Of what is free, so much is taken between two looks: others take some meanwhile, and may count apart. */
const SHARE_BETWEEN_LOOKS = 1 / 16;
const MOST_BETWEEN_LOOKS = 256;
const LINE_FEED = 10;

/** Lines of a file that the kernel makes up; `undefined` where there is none, as everywhere but on Linux. */
function readKernelFile(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

function countLines(text: Buffer): number {
  let lines = 0;
  for (let at = text.indexOf(LINE_FEED); at >= 0; at = text.indexOf(LINE_FEED, at + 1)) lines++;
  return lines;
}

let most: number | undefined;

/** How many mappings the process has and may have. Linux alone limits them by number. */
function mappings(): { readonly taken: number; readonly most: number } | undefined {
  most ??= Number(readKernelFile('/proc/sys/vm/max_map_count') ?? Number.POSITIVE_INFINITY);
  const maps = Number.isFinite(most) ? readKernelFile('/proc/self/maps') : undefined;
  return maps && { taken: countLines(maps), most };
}

/**
 * To be called before each block of guarded memory: where the system refuses a mapping, sodium-native ends the process, or
 * leaves a block without its guards. Looks at what the process really has, which other libraries, other copies of this
 * package and threads that count apart have a part in; seldom while there is plenty, since it takes milliseconds where
 * there is not. Throws `secure-memory-exhausted`.
 */
export function requireMappings(): void {
  if (takeFromBlockBudget()) return;
  const now = mappings();
  const free = now ? now.most * (1 - RESERVED_SHARE) - now.taken : Number.POSITIVE_INFINITY;
  if (free < MAPPINGS_PER_BLOCK) {
    setBlockBudget(0);
    throw new IdentityError(
      'secure-memory-exhausted',
      `the process has ${now!.taken} of the ${now!.most} memory mappings that the system allows; dispose key pairs, or raise vm.max_map_count`,
      { details: { mappings: now!.taken, maxMappings: now!.most } },
    );
  }
  setBlockBudget(Math.floor(Math.min((free / MAPPINGS_PER_BLOCK) * SHARE_BETWEEN_LOOKS, MOST_BETWEEN_LOOKS)));
}
