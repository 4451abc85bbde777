import type { MessagePort } from 'node:worker_threads';
import type { DaemonRuntime, Mesh } from '../../lib/index.js';
import type { HaltData, NodeEvent } from './node-protocol.js';

/** How often a node looks in which phase it is, beside whenever it does something. */
const LOOK_EVERY_MS = 1;
/** Phases in which a node changes the ownership register. */
const ASKING: ReadonlySet<string> = new Set(['offering', 'claiming']);

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
      const answer = compareAndSet.apply(register, args);
      this.#look('asked');
      return answer;
    };
    setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  look(): void {
    this.#look('waiting');
  }

  /** In a phase in which it asks the register, it has halted when the question has left: what was asked for has been written. */
  #look(how: 'asked' | 'waiting'): void {
    if (this.#isOver || ASKING.has(this.#data.phase) !== (how === 'asked')) return;
    for (const { role, phase } of this.#runtime?.migrations() ?? []) if (role === this.#data.role) this.reached(phase);
  }
}
