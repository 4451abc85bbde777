// A node whose files may have 1 MiB at the most (`ulimit -f`), and to which a daemon of 4 MB is to move. Says how that ended.
import { DaemonRuntime, EntityKeypair, InProcessMesh, MigrationError, NodeKeys } from '../../lib/index.js';
import { Blob, Life } from './restarting-node.js';

const mesh = new InProcessMesh();
const source = new DaemonRuntime({ mesh: mesh.join(1n), onError: () => {} });
source.registerFactory('blob', () => new Blob(4_000_000));
await source.start();
const nodeKeys = NodeKeys.generate();
const life = new Life(mesh.join(2n), nodeKeys, process.argv[2]!, { orchestrators: [1n] });
await life.started;
const origin = await source.spawn('blob', EntityKeypair.generate());
const outcome = await source
  .startMigration(origin, 1n, 2n)
  .wait()
  .catch((error) => (error instanceof MigrationError ? error.message : String(error)));
console.log(JSON.stringify({ outcome, stays: source.has(origin) }));
await source.shutdown();
await life.runtime.shutdown();
nodeKeys.dispose();
