import { numberFromOne } from '../limits.js';

/** How patient a daemon is with its channels when it has moved, or goes on where it was. */
export interface RebindPolicy {
  /** For how many milliseconds a subscription is tried. Default: 60,000. */
  readonly deadlineMs: number;
  /** A subscription that has no answer for so many milliseconds is tried again. Default: 5,000. */
  readonly tryMs: number;
  /** For how many milliseconds a migration waits for the answers to the first tries, at the most. Default: 500. */
  readonly waitMs: number;
  /** Bytes that a copy which is not live yet reads ahead, about. Default: 16 MiB. */
  readonly aheadBytes: number;
}

export type RebindPolicyOptions = Partial<RebindPolicy>;

const DEFAULTS: RebindPolicy = { deadlineMs: 60_000, tryMs: 5_000, waitMs: 500, aheadBytes: 16 * 1024 * 1024 };

/** @throws RangeError where a value is not a number of at least 1 */
export function rebindPolicy(options: RebindPolicyOptions = {}): RebindPolicy {
  const policy = { ...DEFAULTS, ...options };
  for (const [name, value] of Object.entries(policy)) numberFromOne(value, `rebind.${name}`);
  return policy;
}
