import { isMainThread, workerData } from 'node:worker_threads';
import { MigrationError } from '../errors.js';
import type { Mesh } from './mesh.js';
import { takeSeat } from './remote-hub.js';
import { type NodeSeat, SEAT } from './worker-protocol.js';

/**
 * This thread's node in the mesh of its parent.
 *
 * @throws MigrationError `target-unavailable` where the thread was not started by `WorkerMesh.spawn`
 */
export function joinWorkerMesh(): Mesh {
  const seat = isMainThread ? undefined : (workerData as { [SEAT]?: NodeSeat } | undefined)?.[SEAT];
  if (!seat) {
    throw new MigrationError(
      'target-unavailable',
      'this thread has no seat in a mesh: start it by WorkerMesh.spawn(script)',
    );
  }
  return takeSeat(seat);
}
