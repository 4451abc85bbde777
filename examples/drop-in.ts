/**
 * One dispatcher, two engines: the same three nodes move the same daemon, once on the native engine and once in
 * TypeScript, and every frame is compared. `node dist/examples/drop-in.js`
 */
import {
  createCodec,
  DaemonFactoryRegistry,
  DaemonHost,
  DaemonRegistry,
  EntityKeypair,
  type MeshDaemon,
  MigrationOrchestrator,
  MigrationSourceHandler,
  MigrationSubprotocolHandler,
  MigrationTargetHandler,
} from '../lib/index.js';

type Engine = 'native' | 'typescript';

const SOURCE = 1n;
const TARGET = 2n;
const ORCHESTRATOR = 3n;

class Counter implements MeshDaemon {
  readonly name = 'counter';
  #count = 0n;
  process(): Uint8Array[] {
    this.#count++;
    return [this.snapshot()];
  }
  snapshot(): Uint8Array {
    return new Uint8Array(new BigUint64Array([this.#count]).buffer);
  }
  restore(state: Uint8Array): void {
    this.#count = new DataView(state.buffer, state.byteOffset).getBigUint64(0, true);
  }
}

/** A node with all three halves. The engine is one option; everything else stays as it is. */
function node(nodeId: bigint, engine: Engine) {
  const registry = new DaemonRegistry();
  const factories = new DaemonFactoryRegistry();
  factories.register('counter', () => new Counter());
  const source = new MigrationSourceHandler(registry);
  const handler = MigrationSubprotocolHandler.withHooks(
    new MigrationOrchestrator(),
    source,
    new MigrationTargetHandler(registry, factories),
    nodeId,
    {
      authorize: ({ orchestrator }) => orchestrator === ORCHESTRATOR,
      postRestore: (origin) => console.log(`  node ${nodeId}: daemon ${origin} is restored`),
      preCleanup: (origin) => console.log(`  node ${nodeId}: daemon ${origin} is about to stop`),
    },
    { engine, extensions: false, host: { clock: () => 0n } },
  );
  return { registry, factories, source, handler };
}

function migrate(engine: Engine): string[] {
  const nodes = new Map([SOURCE, TARGET, ORCHESTRATOR].map((id) => [id, node(id, engine)]));
  const [from, to, leader] = [nodes.get(SOURCE)!, nodes.get(TARGET)!, nodes.get(ORCHESTRATOR)!];
  const keypair = EntityKeypair.fromSeed(new Uint8Array(32).fill(7));
  const origin = keypair.originHash;
  to.factories.expect('counter', origin, undefined, { keypair: keypair.clone() });
  const daemon = new Counter();
  const codec = createCodec({ engine });
  from.registry.add(new DaemonHost({ codec, keypair, kind: 'counter', daemon, clock: () => 0n, publish: () => {} }));
  const event = (sequence: bigint) => ({
    link: { originHash: 9n, horizon: 0n, sequence, parentHash: 0n },
    payload: Uint8Array.of(1),
    receivedAt: 0n,
  });
  for (let n = 1n; n <= 5n; n++) from.source.bufferEvent(origin, event(n));

  const transcript: string[] = [];
  const queue = leader.handler
    .startMigration(origin, SOURCE, TARGET)
    .map((message) => ({ sender: ORCHESTRATOR, ...message }));
  for (let message = queue.shift(); message; message = queue.shift()) {
    const { sender, destNode, payload } = message;
    transcript.push(`${sender} → ${destNode}  ${codec.decode(payload).kind}  ${Buffer.from(payload).toString('hex')}`);
    const answers = nodes.get(destNode)!.handler.handleMessage(payload, sender);
    queue.push(...answers.map((answer) => ({ sender: destNode, ...answer })));
    // Two events arrive while the daemon is on its way: they go along.
    if (transcript.length === 3) for (const n of [6n, 7n]) from.source.bufferEvent(origin, event(n));
  }
  const arrived = to.registry.require(origin);
  transcript.push(
    `node ${TARGET} has processed ${new DataView((arrived.daemon.snapshot() as Uint8Array).buffer).getBigUint64(0, true)} events`,
  );
  for (const { handler, registry } of nodes.values()) {
    handler.dispose();
    for (const host of registry.close()) host.dispose();
  }
  return transcript;
}

const [native, typescript] = (['native', 'typescript'] as const).map((engine) => {
  console.log(`engine ${engine}:`);
  const transcript = migrate(engine);
  for (const line of transcript) console.log(`  ${line.slice(0, 100)}${line.length > 100 ? '…' : ''}`);
  return transcript;
});
const same = native!.length === typescript!.length && native!.every((line, i) => line === typescript![i]);
console.log(same ? `the same ${native!.length - 1} frames, byte for byte` : 'the transcripts DIFFER');
process.exitCode = same ? 0 : 1;
