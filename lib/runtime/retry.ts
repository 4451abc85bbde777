import { millisecondsFromZero } from '../limits.js';

const FIRST_MS = 500;
const LONGEST_MS = 16_000;

/** The default budget of a migration whose target is not ready. */
const DEFAULT_RETRY_BUDGET_MS = 30_000;

/** How long a target that is not ready is asked again, by option. @throws RangeError */
export function retryBudget(retryNotReady: boolean | number): number {
  if (typeof retryNotReady === 'boolean') return retryNotReady ? DEFAULT_RETRY_BUDGET_MS : 0;
  return millisecondsFromZero(retryNotReady, 'retryNotReady');
}

/**
 * How long to wait before a target that was not ready is asked again: 500 ms, 1, 2, 4, 8, 16, 16 … s (PROTOCOL.md §7).
 *
 * @param attempts made so far, 1 at least
 * @param elapsedMs since the first began
 * @returns undefined where the wait would end behind the budget
 */
export function retryDelay(attempts: number, elapsedMs: number, budgetMs: number): number | undefined {
  const delay = Math.min(FIRST_MS * 2 ** (attempts - 1), LONGEST_MS);
  return elapsedMs + delay > budgetMs ? undefined : delay;
}
