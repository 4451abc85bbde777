// One node in a process of its own: started and asked over the pipe of its parent, and killed by it.
import { existsSync, writeSync } from 'node:fs';
import { DaemonRuntime, EntityKeypair, type Environment, NodeKeys, type RuntimePolicy } from '../../lib/index.js';
import { takeSeat } from '../../lib/mesh/remote-hub.js';
import type { HubMessage, HubRequest, LinkMessage, LinkPort, Port } from '../../lib/mesh/worker-protocol.js';
import { refusalOf } from '../../lib/mesh/worker-protocol.js';
import { systemEnvironment } from '../../lib/runtime/environment.js';
import { SpoolFolder } from '../../lib/spool/folder.js';
import { Ledger } from './ledger.js';
import {
  type Command,
  type DaemonShape,
  type FromNode,
  type FromNodeBody,
  LEADER,
  type NodeState,
  type StartOptions,
  type ToNode,
  TRAP_FD,
  type Watch,
} from './messages.js';

/** A node that has stopped dead and is not killed ends by itself. */
const TRAPPED_MS = 20_000;
const STATE_MS = 5;
/** Until a restore says otherwise. */
const PLAIN: DaemonShape = { padding: 0, isAsync: false, isStreamed: false };

let runtime: DaemonRuntime | undefined;
let watched: Watch | undefined;
let steps = 0;
let isLooking = false;
let told = '';

function state(): NodeState {
  if (!runtime || !watched) return { origin: '', isLive: false, source: undefined, target: undefined };
  const { origin } = watched;
  const phaseOf = (role: string) =>
    runtime!.migrations().find((status) => status.origin === origin && status.role === role)?.phase;
  return { origin: String(origin), isLive: runtime.has(origin), source: phaseOf('source'), target: phaseOf('target') };
}

/** Called wherever the node does something of its own: here it stops dead, where it is to. */
function step(): void {
  const trap = watched?.trap;
  if (!trap || isLooking) return;
  isLooking = true;
  const at = state();
  isLooking = false;
  if (at[trap.role] !== trap.phase || ++steps < trap.step) return;
  writeSync(TRAP_FD, `${JSON.stringify(at)}\n`);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TRAPPED_MS);
  process.exit(99);
}

function send(body: FromNodeBody): void {
  step();
  const at = state();
  told = JSON.stringify(at);
  // A parent that is gone ends this process too.
  if (process.connected) process.send!({ at, body } satisfies FromNode, undefined, undefined, () => {});
}

/** One way among those that share the pipe. */
class Way<Sent, Received> implements Port<Sent, Received> {
  receive: (message: Received) => void = () => {};
  readonly #send: (message: Sent) => void;

  constructor(send: (message: Sent) => void) {
    this.#send = send;
  }

  postMessage(message: Sent): void {
    this.#send(message);
  }

  on(_event: 'message', listener: (message: Received) => void): void {
    this.receive = listener;
  }

  close(): void {
    this.receive = () => {};
  }
}

const hub = new Way<HubRequest, HubMessage>((request) => send({ hub: request }));
const ways = new Map<bigint, Way<LinkMessage, LinkMessage>>();

function wayTo(peer: bigint): LinkPort {
  const way = new Way<LinkMessage, LinkMessage>((link) => send({ to: peer, link }));
  ways.set(peer, way);
  return way;
}

/** The system's, and each look at it is a step. */
const environment: Environment = {
  ...systemEnvironment,
  nowMs: () => {
    step();
    return systemEnvironment.nowMs();
  },
  wallNs: () => {
    step();
    return systemEnvironment.wallNs();
  },
  turn: () => {
    step();
    return systemEnvironment.turn();
  },
};

/** Impatient, so that a round is short; not so much that a busy machine alone makes migrations fail. */
const policy: RuntimePolicy = {
  source: { patienceMs: 900, repeatMs: 40 },
  target: { patienceMs: 1_800, repeatMs: 40 },
};

/** The disk, and each of its calls is a step, before it and behind it. */
function stepping<T extends object>(disk: T): T {
  const call = async (run: () => Promise<unknown>) => {
    step();
    const result = await run();
    step();
    return isFile(result) ? stepping(result) : result;
  };
  return new Proxy(disk, {
    get(target, name) {
      const value = Reflect.get(target, name, target) as unknown;
      if (typeof value !== 'function') return value;
      if (name === 'path') return value.bind(target);
      return (...args: unknown[]) => call(() => value.apply(target, args));
    },
  });
}

function isFile(result: unknown): result is object {
  return typeof result === 'object' && result !== null && 'sync' in result;
}

function keysOf(file: string): NodeKeys {
  if (existsSync(file)) return NodeKeys.load(file);
  const keys = NodeKeys.generate();
  keys.save(file);
  return keys;
}

async function start({ nodeId, peers, keyFile, spool, engine }: StartOptions): Promise<void> {
  const mesh = takeSeat({ nodeId, hub, peers: peers.map((peer) => ({ nodeId: peer, port: wayTo(peer) })) });
  runtime = new DaemonRuntime({
    mesh,
    engine,
    environment,
    policy,
    nodeKeys: keysOf(keyFile),
    spool: stepping(new SpoolFolder(spool)),
    authorize: ({ orchestrator }) => {
      step();
      return orchestrator === LEADER;
    },
    onError: (error) => send({ fault: `${error.kind}: ${error.message}` }),
  });
  runtime.registerFactory('ledger', (config) => new Ledger((config as DaemonShape | undefined) ?? PLAIN, step));
  await runtime.start();
  setInterval(() => {
    if (JSON.stringify(state()) !== told) send({ state: true });
  }, STATE_MS);
  send({ started: true });
}

async function obey(command: Command): Promise<unknown> {
  const node = runtime!;
  if (command.kind === 'spawn') {
    const origin = await node.spawn('ledger', EntityKeypair.generate(), command.shape);
    await node.subscribeChannel(origin, LEADER, command.channel, { after: new Uint8Array(0) });
    return origin;
  }
  const { kind, origin } = command;
  if (kind === 'stop') return node.stop(origin);
  if (kind === 'recover') return node.recover(origin, { force: true });
  return node.state(origin);
}

function take(message: ToNode): void {
  if ('watch' in message) {
    watched = message.watch;
    steps = 0;
  }
  if ('start' in message) void start(message.start);
  else if ('hub' in message) hub.receive(message.hub);
  else if ('joined' in message) hub.receive({ op: 'joined', nodeId: message.joined, port: wayTo(message.joined) });
  else if ('from' in message) ways.get(message.from)?.receive(message.link);
  else if ('ask' in message) {
    const { ask, command } = message;
    obey(command).then(
      (value) => send({ answer: ask, value }),
      (error) => send({ refused: ask, error: refusalOf(error) }),
    );
  }
}

process.on('message', take);
process.on('disconnect', () => process.exit());
