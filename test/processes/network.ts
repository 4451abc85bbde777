import type { CausalEvent } from '../../lib/index.js';
import { Channels } from '../../lib/mesh/channels.js';
import { HubService } from '../../lib/mesh/hub-service.js';
import { LinkedMesh } from '../../lib/mesh/linked-mesh.js';
import { OwnershipTable } from '../../lib/mesh/register.js';
import { connectLoopback, type HubMessage, type HubRequest, type LinkMessage } from '../../lib/mesh/worker-protocol.js';
import {
  type FromNode,
  LEADER,
  NORTH,
  type NodeState,
  PUBLISHER,
  SOUTH,
  type StartOptions,
  type Watch,
} from './messages.js';
import { namesOfBatch, operationOf } from './names.js';
import { bounded, NodeProcess } from './node-process.js';

/** Something that passes through the hub. */
export interface Passing {
  readonly kind: 'frame' | 'operation' | 'answer';
  readonly from: bigint;
  readonly to: bigint;
  /** What it is: kinds of messages, or what a node wants of the register. */
  readonly names: readonly string[];
}

/** What becomes of it: called at once, later, or never. */
export type Pass = () => void;
export type Meet = (passing: Passing, pass: Pass) => void;

/** What the network tells whoever checks. */
export interface NetworkWitness {
  note(line: string): void;
  /** A node has said how things stand there. */
  stands(node: bigint, state: NodeState): void;
  published(node: bigint, channel: string, epoch: bigint, events: readonly CausalEvent[]): void;
  /** A compare-and-set has been written; of a node that has been killed, without it ever knowing. */
  wrote(node: bigint, name: string, isKilled: boolean): void;
}

interface Seat {
  readonly process: NodeProcess;
  readonly service: HubService;
  readonly operations: Map<number, string>;
  state: NodeState;
  /** It has been killed; what it had sent before is still read. */
  isKilled: boolean;
  /** And that has been read. */
  isDead: boolean;
}

const SILENT: NodeState = { origin: '', isLive: false, source: undefined, target: undefined };
const NODES = [LEADER, PUBLISHER, NORTH, SOUTH];

/**
 * The mesh of a test: two nodes of its own, and nodes that are processes, joined by pipes that all end here. It holds the
 * register and the channels, so they survive every kill, and sees each batch and each operation on its way.
 */
export class Network {
  readonly register = new OwnershipTable();
  readonly channels = new Channels();
  readonly leader: LinkedMesh;
  readonly publisher: LinkedMesh;
  meet: Meet = (_, pass) => pass();
  /** A node has stopped dead in its trap. */
  onTrapped: (node: bigint) => void = () => {};
  readonly #witness: NetworkWitness;
  readonly #seats = new Map<bigint, Seat>();
  readonly #keys = new Map<bigint, Uint8Array>();
  /** Bytes that were sent from one to another and not credited, by `from > to`. */
  readonly #inFlight = new Map<string, number>();
  /** Who has been told of whom, and not that it is gone: `who whom`. */
  readonly #knows = new Set<string>();
  /** A process that is ready to be a node: a restart does not wait for one to begin. */
  #spare = new NodeProcess();

  constructor(witness: NetworkWitness) {
    this.#witness = witness;
    this.leader = this.#local(LEADER);
    this.publisher = this.#local(PUBLISHER);
  }

  #local(nodeId: bigint): LinkedMesh {
    const mesh = new LinkedMesh(nodeId, this.register, this.channels);
    connectLoopback(mesh);
    return mesh;
  }

  state(node: bigint): NodeState {
    const seat = this.#seats.get(node);
    return !seat || seat.isDead ? SILENT : seat.state;
  }

  isUp(node: bigint): boolean {
    return this.#seats.get(node)?.isDead === false;
  }

  process(node: bigint): NodeProcess {
    return this.#seats.get(node)!.process;
  }

  /** Starts a process as that node. Resolves when it takes part, or stands still in its trap before that. */
  async start(options: Omit<StartOptions, 'peers'>, watch: Watch | undefined): Promise<void> {
    const { nodeId } = options;
    const process = this.#spare;
    this.#spare = new NodeProcess();
    const seat: Seat = {
      process,
      service: new HubService(this.register, this.channels, (message) => this.#answer(nodeId, seat, message)),
      operations: new Map(),
      state: SILENT,
      isKilled: false,
      isDead: false,
    };
    this.#seats.set(nodeId, seat);
    const started = new Promise<void>((resolve) => {
      process.onTrapped = (at) => {
        seat.state = at;
        this.#witness.stands(nodeId, at);
        resolve();
        this.onTrapped(nodeId);
      };
      process.onMessage = (message) => {
        if ('started' in message.body) resolve();
        this.#receive(nodeId, seat, message);
      };
    });
    const peers = NODES.filter((peer) => peer !== nodeId && (peer === LEADER || peer === PUBLISHER || this.isUp(peer)));
    process.send({ start: { ...options, peers }, watch });
    for (const peer of peers) {
      this.#knows.add(`${nodeId} ${peer}`);
      this.#join(peer, nodeId);
    }
    await bounded(`node ${nodeId} takes part`, (resolve, reject) => {
      started.then(resolve, reject);
      process.onOver = () => reject(new Error(`node ${nodeId} has ended while it started: ${process.stderr}`));
    });
    this.#witness.note(`node ${nodeId} runs in process ${process.pid}`);
  }

  /** Tells a node of another, unless it knows of it; and each the other's key. */
  #join(peer: bigint, nodeId: bigint): void {
    const local = this.#localMesh(peer);
    if (local && !local.peer(nodeId)) this.#connect(local, nodeId);
    else if (!local && !this.#knows.has(`${peer} ${nodeId}`)) this.process(peer).send({ joined: nodeId });
    this.#knows.add(`${peer} ${nodeId}`);
    const key = this.#keys.get(peer);
    if (key) this.process(nodeId).send({ from: peer, link: { staticKey: key } });
  }

  #connect(mesh: LinkedMesh, nodeId: bigint): void {
    const send = (link: LinkMessage) => this.#relay(mesh.nodeId, nodeId, link);
    mesh.addPeer(
      { nodeId, extensions: true },
      {
        post: (batch) => send(batch),
        credit: (credit) => send({ credit }),
        announce: (staticKey) => send({ staticKey }),
        close: () => {},
      },
    );
  }

  #localMesh(node: bigint): LinkedMesh | undefined {
    return node === LEADER ? this.leader : node === PUBLISHER ? this.publisher : undefined;
  }

  /**
   * Kills the processes of nodes, all in the same moment, and waits until they are gone.
   *
   * @param isTold whether the others hear for certain that they are
   */
  async kill(nodes: readonly bigint[], isTold: boolean): Promise<void> {
    const killed = nodes.map((node) => ({ node, seat: this.#seats.get(node)! }));
    await Promise.all(
      killed.map(({ node, seat }) => {
        const { source = '-', target = '-' } = seat.state;
        this.#witness.note(`KILL node ${node} (source ${source}, target ${target})${isTold ? '' : ', silently'}`);
        seat.isKilled = true;
        return seat.process.kill();
      }),
    );
    for (const { node, seat } of killed) this.#bury(node, seat);
    if (isTold) for (const { node } of killed) this.#tellGone(node);
  }

  #bury(node: bigint, seat: Seat): void {
    seat.isDead = true;
    seat.service.close();
    for (const other of NODES) {
      this.#knows.delete(`${node} ${other}`);
      this.#inFlight.delete(`${node} > ${other}`);
      this.#lost(other, node);
    }
  }

  /** What was on its way to a node that is dead is lost; who sent it must not wait for that for ever. */
  #lost(from: bigint, to: bigint): void {
    const way = `${from} > ${to}`;
    const credit = this.#inFlight.get(way) ?? 0;
    this.#inFlight.delete(way);
    if (credit > 0) this.#deliver(to, from, { credit });
  }

  #tellGone(node: bigint): void {
    for (const mesh of [this.leader, this.publisher]) mesh.removePeer(node);
    for (const [other, { isDead, process }] of this.#seats) {
      if (isDead || other === node) continue;
      process.send({ hub: { op: 'gone', nodeId: node } });
    }
    for (const other of NODES) this.#knows.delete(`${other} ${node}`);
  }

  async close(): Promise<void> {
    const processes = [...this.#seats.values()].map(({ process }) => process);
    await Promise.all([...processes, this.#spare].map((process) => process.leave()));
  }

  /** What a node wrote for people. */
  stderr(): string {
    return [...this.#seats].map(([node, { process }]) => process.stderr && `node ${node}: ${process.stderr}`).join('');
  }

  #receive(node: bigint, seat: Seat, { at, body }: FromNode): void {
    seat.state = at;
    this.#witness.stands(node, at);
    if ('to' in body) this.#relay(node, body.to, body.link);
    else if ('hub' in body) this.#serve(node, seat, body.hub);
    else if ('fault' in body) this.#witness.note(`node ${node} reports ${body.fault}`);
  }

  #serve(node: bigint, seat: Seat, request: HubRequest): void {
    if (request.op === 'publish') this.#witness.published(node, request.channel, request.epoch, request.events);
    if (request.op !== 'compareAndSet') {
      seat.service.serve(request);
      return;
    }
    const name = operationOf(node, this.register.read(request.origin)?.entry, request.entry);
    seat.operations.set(request.id, name);
    this.#witness.note(`${node} → register: ${name}`);
    this.meet({ kind: 'operation', from: node, to: 0n, names: [name] }, () => seat.service.serve(request));
  }

  #answer(node: bigint, seat: Seat, message: HubMessage): void {
    if (message.op === 'joined') return;
    const name = message.op === 'answer' && seat.operations.get(message.id);
    const pass = () => seat.process.send({ hub: message });
    if (!name || message.op !== 'answer') {
      pass();
      return;
    }
    seat.operations.delete(message.id);
    if (message.value === true) this.#witness.wrote(node, name, seat.isKilled);
    this.#witness.note(`register → ${node}: ${name} ${message.value === true ? 'is written' : 'is refused'}`);
    this.meet({ kind: 'answer', from: 0n, to: node, names: [name] }, pass);
  }

  #relay(from: bigint, to: bigint, link: LinkMessage): void {
    if ('staticKey' in link) this.#keys.set(from, link.staticKey);
    if ('credit' in link) {
      const way = `${to} > ${from}`;
      const inFlight = this.#inFlight.get(way) ?? 0;
      // Of a batch that came from a process before this one nothing is credited to this one.
      if (inFlight < link.credit) return;
      this.#inFlight.set(way, inFlight - link.credit);
    }
    if (!('bytes' in link)) {
      this.#deliver(from, to, link);
      return;
    }
    const way = `${from} > ${to}`;
    this.#inFlight.set(way, (this.#inFlight.get(way) ?? 0) + link.bytes.length);
    const names = namesOfBatch(link);
    if (names.length > 0) this.#witness.note(`${from} → ${to}: ${summed(names)}`);
    this.meet({ kind: 'frame', from, to, names }, () => this.#deliver(from, to, link));
  }

  #deliver(from: bigint, to: bigint, link: LinkMessage): void {
    const mesh = this.#localMesh(to);
    if (mesh) {
      // In a turn of its own, as a message over a port.
      setImmediate(() => {
        if ('credit' in link) mesh.credited(from, link.credit);
        else if ('staticKey' in link) mesh.announced(from, link.staticKey);
        else mesh.receive(from, link);
      });
    } else if (this.isUp(to)) this.process(to).send({ from, link });
    else if ('bytes' in link) this.#lost(from, to);
  }
}

/** Names in order, equal ones in a row counted. */
function summed(names: readonly string[]): string {
  const runs: Array<{ name: string; count: number }> = [];
  for (const name of names) {
    const last = runs.at(-1);
    if (last?.name === name) last.count++;
    else runs.push({ name, count: 1 });
  }
  return runs.map(({ name, count }) => (count > 1 ? `${count} × ${name}` : name)).join(', ');
}
