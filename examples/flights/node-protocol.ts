import type { Worker } from 'node:worker_threads';
import type { DaemonIdentity } from '../../lib/index.js';
import type { FlightsConfig } from './flights-daemon.js';

/** What a node of the demo is started with. */
export interface NodeData {
  readonly engine: 'native' | 'typescript' | undefined;
  readonly orchestrator: bigint;
  readonly config: FlightsConfig;
}

/** What the main thread asks of a node. */
export type NodeCommand =
  | { readonly do: 'spawn'; readonly identity: DaemonIdentity }
  | { readonly do: 'state'; readonly origin: bigint }
  | { readonly do: 'has'; readonly origin: bigint };

export interface NodeAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** Asks a node, and waits for its answer. */
export class NodeRemote {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #nextId = 1;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', ({ id, value, error }: NodeAnswer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(value as never);
      else waiting?.reject(new Error(error));
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', () => this.#fail(new Error('the node ended')));
  }

  ask<T>(command: NodeCommand): Promise<T> {
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, command });
    });
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
