import type { MessagePort } from 'node:worker_threads';
import type { DaemonRuntime, Mesh } from '../../lib/index.js';
import type { HaltData, NodeEvent } from './node-protocol.js';

/** How often a node looks in which phase it is, beside whenever it does something. */
const LOOK_EVERY_MS = 1;
/**
 * When a node halts in a phase in which it changes the ownership register, elsewhere while it waits. It offers what is on
 * disk, so it has written that and the register knows nothing yet; and what it claims has been claimed, and it has not heard so.
 */
const MOMENTS: ReadonlyMap<string, Moment> = new Map([
  ['offering', 'asking'],
  ['claiming', 'asked'],
]);

type Moment = 'waiting' | 'asking' | 'asked';

/**
 * Halts this thread the first time that a migration is in a phase, tells the main thread so, and sends nothing more: it goes
 * on when the main thread lets it, or is ended there.
 */
export class Halt {
  readonly #data: HaltData;
  readonly #port: MessagePort;
  readonly #go: Int32Array;
  #runtime: DaemonRuntime | undefined;
  #isOver = false;

  constructor(data: HaltData, port: MessagePort) {
    this.#data = data;
    this.#port = port;
    this.#go = new Int32Array(data.go);
  }

  /** A migration is in that phase, as the orchestrator tells it. */
  reached(phase: string): void {
    if (this.#isOver || phase !== this.#data.phase) return;
    this.#isOver = true;
    this.#port.postMessage({ reached: phase } satisfies NodeEvent);
    Atomics.wait(this.#go, 0, 0);
  }

  /** Looks in which phase this node is as source or target, whenever it sends, calls its daemon, or asks the register. */
  watch(mesh: Mesh, runtime: DaemonRuntime): void {
    this.#runtime = runtime;
    const { send, stream } = mesh;
    mesh.send = (...args) => {
      this.look();
      send.apply(mesh, args);
    };
    mesh.stream = (...args) => {
      this.look();
      stream.apply(mesh, args);
    };
    const { register } = mesh;
    const { compareAndSet } = register;
    register.compareAndSet = (...args) => {
      this.#look('asking');
      const answer = compareAndSet.apply(register, args);
      this.#look('asked');
      return answer;
    };
    setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  look(): void {
    this.#look('waiting');
  }

  #look(moment: Moment): void {
    if (this.#isOver || (MOMENTS.get(this.#data.phase) ?? 'waiting') !== moment) return;
    for (const { role, phase } of this.#runtime?.migrations() ?? []) if (role === this.#data.role) this.reached(phase);
  }
}
