import type { MigrationObstacle } from '../migration/obstacles.js';

export interface CanMigrateOptions {
  /** The node on which the daemon lives. Default: as the ownership register says. */
  readonly source?: bigint;
  /** As for `startMigration`. Default: true. */
  readonly transportIdentity?: boolean;
  /** Milliseconds that each of the two nodes has for its answer. Default: 5,000. */
  readonly timeout?: number;
}

/** What a runtime that does not run can say of a migration that it would lead. */
export function notRunning(node: bigint): MigrationObstacle {
  const message = `the runtime of node ${node} does not run; call start() first, and not after shutdown()`;
  return { kind: 'not-ready', message, where: 'orchestrator' };
}

export function livesNowhere(origin: bigint): MigrationObstacle {
  const message = `the ownership register knows no daemon ${origin}; spawn it, or name its source`;
  return { kind: 'daemon-not-found', message, where: 'orchestrator' };
}
