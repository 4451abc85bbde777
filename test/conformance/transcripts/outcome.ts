import { Cluster } from './cluster.js';
import { type Difference, difference, failureDifferences, finalDifferences } from './differences.js';
import type { Mode } from './node.js';
import { Player } from './player.js';
import { hintsOf } from './recording.js';
import type { Transcript } from './transcript.js';

/**
 * Plays a transcript with our own frames and compares its end. Time stands still, as it did for the reference.
 *
 * @throws Error where a promise is broken, whatever the reference did
 */
export function runOutcome(transcript: Transcript, mode: Mode): Difference[] {
  const cluster = new Cluster(transcript.setup, hintsOf(mode.codec, transcript), mode);
  try {
    const player = new Player(cluster, transcript);
    player.play();
    requireIntact(cluster, transcript);
    return [
      ...player.startsRefused.map(() => difference('start', 'orchestrator', 'taken', 'refused')),
      ...finalDifferences(cluster, transcript),
      ...failureDifferences(cluster, transcript),
    ];
  } finally {
    cluster.dispose();
  }
}

/** With trailers, a snapshot of which a byte was changed on the way is never taken up. */
function requireIntact(cluster: Cluster, { log, setup }: Transcript): void {
  const isChanged = log.some((step) => step.op === 'tamper' && step.edits.length > 0);
  if (!cluster.mode.extensions || !isChanged) return;
  if (cluster.node(setup.target).isLive)
    throw new Error('the target is live with a snapshot that was changed on the way');
}
