import type { MigrationMode } from '../../lib/index.js';
import type { Cluster, NodeName } from './cluster.js';

/** How a daemon's way from node to node went. */
export interface JourneyResult {
  /** `completed`, or why it did not get there. */
  readonly outcome: string;
  /** Migrations asked for. */
  readonly tries: number;
  /** From the start until the daemon was live where it was to go, in ms. */
  readonly transferMs: number;
}

/** Moves a daemon along nodes, from the first to the last; a leg that a node's end breaks off is begun again. */
export async function travel(
  cluster: Cluster,
  daemon: bigint,
  way: readonly NodeName[],
  mode: MigrationMode,
): Promise<JourneyResult> {
  const startedAt = performance.now();
  let tries = 0;
  let transferMs = 0;
  const ended = (outcome: string) => ({ outcome, tries, transferMs });
  for (const [from, to] of legsOf(way)) {
    for (;;) {
      const hadKilled = cluster.hasKilled;
      tries++;
      const failure = await migrate(cluster, daemon, from, to, mode);
      transferMs = performance.now() - startedAt;
      const home = await cluster.find(daemon, 'settled');
      if (!home)
        return ended(
          `lost: it was live on the node that ended, whose spool has all of it only once it has stopped${because(failure)}`,
        );
      if (home.name === to) break;
      // Only what a node's end broke off is tried again: anything else fails again.
      if (hadKilled || !cluster.hasKilled)
        return ended(`failed: ${failure ?? `the daemon is back on the ${home.name}`}`);
    }
  }
  return ended('completed');
}

function because(failure: string | undefined): string {
  return failure ? ` (${failure})` : '';
}

function legsOf(way: readonly NodeName[]): ReadonlyArray<readonly [NodeName, NodeName]> {
  return way.slice(1).map((to, i) => [way[i]!, to]);
}

/** @returns why it failed */
async function migrate(
  cluster: Cluster,
  origin: bigint,
  from: NodeName,
  to: NodeName,
  mode: MigrationMode,
): Promise<string | undefined> {
  const [source, target] = [cluster.node(from).nodeId, cluster.node(to).nodeId];
  try {
    await cluster.node('orchestrator').remote.ask({ do: 'migrate', origin, source, target, mode });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
