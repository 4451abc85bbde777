import { DaemonRuntime, EntityKeypair, InProcessMesh } from 'daemon-migration';

class Counter {
  name = 'counter';
  count = 0;
  process() { this.count++; }
  snapshot() { return Uint8Array.of(this.count); }
  restore(state: Uint8Array) { this.count = state[0] ?? 0; }
}
const mesh = new InProcessMesh();
const a = new DaemonRuntime({ mesh: mesh.join() });
const b = new DaemonRuntime({ mesh: mesh.join(), orchestrators: [a.nodeId] });
for (const node of [a, b]) { node.registerFactory('counter', () => new Counter()); node.start(); }
const daemon = await a.spawn('counter', EntityKeypair.generate());
await a.startMigration(daemon, a.nodeId, b.nodeId).wait();
console.log(`the daemon lives on node ${b.has(daemon) ? b.nodeId : a.nodeId}`);
for (const node of [a, b]) await node.shutdown();
