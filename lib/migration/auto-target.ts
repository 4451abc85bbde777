import { MigrationError } from '../errors.js';

/** The capability tag of a node that takes part in migrations. */
export const MIGRATION_TAG = 'subprotocol:0x0500';

/** A node that might take a daemon. */
export interface MigrationCandidate {
  readonly nodeId: bigint;
  /** What the node advertises. */
  readonly tags: Iterable<string>;
}

/** How good a candidate is: the highest wins, the first among equals; undefined: not this one. */
export type CandidateRank = (candidate: MigrationCandidate) => number | undefined;

/**
 * The best candidate that advertises {@link MIGRATION_TAG} and is not the source.
 *
 * @throws MigrationError `no-target-available`
 */
export function chooseTarget(
  origin: bigint,
  source: bigint,
  candidates: Iterable<MigrationCandidate>,
  rank: CandidateRank,
): bigint {
  let best: { readonly nodeId: bigint; readonly score: number } | undefined;
  let seen = 0;
  for (const candidate of candidates) {
    seen++;
    if (candidate.nodeId === source || ![...candidate.tags].includes(MIGRATION_TAG)) continue;
    const score = rank(candidate);
    if (typeof score !== 'number' || Number.isNaN(score) || (best && score <= best.score)) continue;
    best = { nodeId: candidate.nodeId, score };
  }
  if (best) return best.nodeId;
  throw new MigrationError(
    'no-target-available',
    `none of ${seen} candidates can take daemon ${origin}: each is its source, does not advertise ${MIGRATION_TAG}, or was ranked out`,
    { details: { origin, source } },
  );
}
