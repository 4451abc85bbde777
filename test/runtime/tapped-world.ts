import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  createCodec,
  DaemonRuntime,
  type DaemonRuntimeOptions,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MigrationError,
} from '../../lib/index.js';
import { decodeMigrationFrame, encodeMigrationFrame, type MigrationFrame } from '../../lib/wire/extension.js';
import { type FrameProducer, readyFrames } from '../../lib/wire/frame-producer.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { events, Recorder } from '../support.js';
import { evenPolicy } from './even-policy.js';

export const [SOURCE, TARGET, ORCHESTRATOR, STRANGER] = [1n, 2n, 3n, 4n];
export const PUBLISHER = 77n;

/** A frame of a migration on its way from one node to another. */
export interface Tapped {
  readonly from: bigint;
  readonly to: bigint;
  readonly frame: Uint8Array;
  readonly message: MigrationFrame['message'];
  readonly trailer: Trailer | undefined;
  /** Hands it on, now or later; as often as it is called. */
  readonly pass: () => void;
}

/** What becomes of a frame: it arrives where it is passed. */
export type Meet = (tapped: Tapped) => void;

/** Deadlines in which a test can wait for a frame that is lost. */
const IMPATIENT = evenPolicy({
  phase: { deadlineMs: 4_000, tries: 100 },
  rollback: { deadlineMs: 400, tries: 4 },
  sourceMs: 4_000,
  targetMs: 4_000,
  repeatMs: 40,
});

export interface TappedOptions {
  /** Of each node in turn, beside what all have. */
  readonly node?: (id: bigint) => Partial<DaemonRuntimeOptions>;
  readonly daemon?: () => Recorder;
  /** Nodes that make no daemons. */
  readonly bare?: readonly bigint[];
  /** Nodes that the test starts itself. */
  readonly idle?: readonly bigint[];
}

/** Nodes 1, 2 and 3 that trust each other, a recorder on node 1, and on node 4 a stranger whom nobody trusts. */
export class TappedWorld {
  /** Per node, the daemons made there. */
  readonly made = new Map<bigint, Recorder[]>();
  readonly outputs: CausalEvent[] = [];
  readonly errors: MigrationError[] = [];
  /** Kinds of what the stranger was sent. */
  readonly answers: MigrationFrame['message'][] = [];
  readonly seats = new Map<bigint, Mesh>();
  readonly nodes = new Map<bigint, DaemonRuntime>();
  readonly stranger: Mesh;
  origin = 0n;
  meet: Meet = ({ pass }) => pass();
  /** Called first by a daemon that is about to restore. */
  beforeRestore: (node: bigint) => void | Promise<void> = () => {};
  #next = 1;

  constructor(options: TappedOptions) {
    const mesh = new InProcessMesh();
    for (const id of [SOURCE, TARGET, ORCHESTRATOR]) this.#seat(mesh.join(id), options);
    this.stranger = mesh.join(STRANGER);
    this.stranger.listen(SUBPROTOCOL_MIGRATION, (_, batch) => {
      const bytes = Buffer.from(batch);
      for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt32LE(at))
        this.answers.push(
          decodeMigrationFrame(typescriptCodec, bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at))).message,
        );
    });
  }

  #seat(seat: Mesh, { node, daemon, bare, idle }: TappedOptions): void {
    const id = seat.nodeId;
    this.seats.set(id, seat);
    const runtime = new DaemonRuntime({
      orchestrators: [SOURCE, TARGET, ORCHESTRATOR],
      policy: IMPATIENT,
      onError: (error) => this.errors.push(error),
      ...node?.(id),
      mesh: tapped(seat, (one) => this.meet(one)),
    });
    if (!bare?.includes(id)) runtime.registerFactory('recorder', () => this.#make(id, daemon));
    if (!idle?.includes(id)) runtime.start();
    this.nodes.set(id, runtime);
  }

  #make(id: bigint, make: () => Recorder = () => new Recorder()): Recorder {
    const daemon = make();
    const { before } = daemon;
    daemon.before = (call) => (call === 'restore' ? (this.beforeRestore(id) ?? before(call)) : before(call));
    this.made.set(id, [...(this.made.get(id) ?? []), daemon]);
    return daemon;
  }

  get source(): DaemonRuntime {
    return this.nodes.get(SOURCE)!;
  }

  get target(): DaemonRuntime {
    return this.nodes.get(TARGET)!;
  }

  get orchestrator(): DaemonRuntime {
    return this.nodes.get(ORCHESTRATOR)!;
  }

  /** What the last daemon made on a node has seen. */
  seen(node: bigint): readonly bigint[] {
    return this.made.get(node)?.at(-1)?.seen ?? [];
  }

  /** The orchestrator's node moves the daemon from source to target. */
  move(source = SOURCE, target = TARGET) {
    return this.orchestrator.startMigration(this.origin, source, target);
  }

  /** The publisher's next events: 1, 2, 3 … */
  async publish(count: number, node = SOURCE): Promise<void> {
    const next = events(PUBLISHER, this.#next, count);
    this.#next += count;
    const { accepted } = await this.nodes.get(node)!.deliver(this.origin, next);
    assert.is(accepted, count, `node ${node} takes events`);
  }

  /** The stranger sends a frame to a node. */
  forge(to: bigint, message: MigrationFrame['message'], trailer?: Trailer): void {
    this.stranger.send(to, SUBPROTOCOL_MIGRATION, encodeMigrationFrame(typescriptCodec, message, trailer));
  }

  /** A frame of a node's own, which it would not send now. */
  sendFrom(from: bigint, to: bigint, message: MigrationFrame['message'], trailer?: Trailer): void {
    const frame = encodeMigrationFrame(typescriptCodec, message, trailer);
    this.seats.get(from)!.send(to, SUBPROTOCOL_MIGRATION, frame);
  }

  /** The daemon is live on that node alone, it has seen each event once, in order, and published each once, as one chain. */
  whole(node: bigint): void {
    for (const [id, runtime] of this.nodes) assert.is(runtime.has(this.origin), id === node, `live on node ${id}`);
    const all = numbers(1, this.#next - 1);
    assert.equal(this.seen(node), all, 'seen');
    const payloads = this.outputs.map(({ payload }) => Buffer.from(payload).readBigUInt64LE());
    assert.equal(payloads, all, 'published');
    const genesis = { originHash: this.origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    assert.is(createCodec().verifyChain(genesis, new Uint8Array(0), this.outputs), all.length, 'one chain');
  }
}

/** Runs a test in a world, and ends that. */
export async function inTappedWorld(
  run: (world: TappedWorld) => Promise<void>,
  options: TappedOptions = {},
): Promise<void> {
  const world = new TappedWorld(options);
  await world.seats
    .get(ORCHESTRATOR)!
    .subscribe('recorder', {}, (_, published) => void world.outputs.push(...published));
  world.origin = await world.source.spawn('recorder', EntityKeypair.generate());
  try {
    await run(world);
  } finally {
    world.meet = ({ pass }) => pass();
    for (const node of world.nodes.values()) await node.shutdown().catch(() => {});
  }
}

export function numbers(first: number, last: number): bigint[] {
  return Array.from({ length: last - first + 1 }, (_, i) => BigInt(first + i));
}

/** The same mesh, except that each frame of a migration goes to `meet`. */
export function tapped(mesh: Mesh, meet: Meet): Mesh {
  const send: Mesh['send'] = (to, subprotocol, bytes) => {
    if (subprotocol !== SUBPROTOCOL_MIGRATION) return mesh.send(to, subprotocol, bytes);
    const frame = bytes.slice();
    const pass = () => {
      if (mesh.peer(to)) mesh.send(to, subprotocol, frame);
    };
    meet({ from: mesh.nodeId, to, frame, ...decoded(frame), pass });
  };
  const stream = (to: bigint, subprotocol: number, frames: FrameProducer) => {
    for (const frame of readyFrames(frames)) send(to, subprotocol, frame);
    if (!frames.done) frames.onReady?.(() => stream(to, subprotocol, frames));
  };
  return new Proxy(mesh, {
    get(target, name) {
      if (name === 'send') return send;
      if (name === 'stream') return stream;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function decoded(frame: Uint8Array): { message: MigrationFrame['message']; trailer: Trailer | undefined } {
  const { message, trailer } = decodeMigrationFrame(typescriptCodec, frame);
  return { message, trailer };
}
