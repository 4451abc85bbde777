import type { Worker } from 'node:worker_threads';
import type { HandleProgress, MigrationMode } from '../../lib/index.js';
import type { FlightsConfig } from './flights-daemon.js';
import type { LossData } from './lossy.js';
import type { Role } from './phases.js';
import type { NodePaths } from './run-folder.js';

/** What a node of the demo is started with. */
export interface NodeData {
  readonly engine: 'native' | 'typescript' | undefined;
  readonly orchestrator: bigint;
  readonly config: FlightsConfig;
  /** The same when it is started again. */
  readonly paths: NodePaths;
  readonly halt: HaltData | undefined;
  readonly loss: LossData | undefined;
}

/** Where a node halts, once. */
export interface HaltData {
  readonly role: Role;
  readonly phase: string;
  /** One i32: the node goes on when it is no longer 0. */
  readonly go: SharedArrayBuffer;
}

/** What the main thread asks of a node. */
export type NodeCommand =
  | { readonly do: 'ready' }
  | { readonly do: 'spawn' }
  | { readonly do: 'state'; readonly origin: bigint }
  | { readonly do: 'look'; readonly origin: bigint }
  | {
      readonly do: 'migrate';
      readonly origin: bigint;
      readonly source: bigint;
      readonly target: bigint;
      readonly mode: MigrationMode;
    };

/** What a node has to do with a daemon. */
export interface Look {
  readonly isLive: boolean;
  readonly isMigrating: boolean;
}

export interface NodeAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** What a node tells without being asked: how its migration goes; that it halts. */
export type NodeEvent = { readonly progress: HandleProgress } | { readonly reached: string };

/** Asks a node, and waits for its answer. */
export class NodeRemote {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #nextId = 1;
  #isGone = false;

  constructor(worker: Worker, onEvent: (event: NodeEvent) => void = () => {}) {
    this.#worker = worker;
    worker.on('message', (message: NodeAnswer | NodeEvent) => {
      if ('id' in message) this.#answered(message);
      else onEvent(message);
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', () => {
      this.#isGone = true;
      this.#fail(new Error('the node ended'));
    });
  }

  ask<T>(command: NodeCommand): Promise<T> {
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      if (this.#isGone) {
        reject(new Error('the node has ended'));
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, command });
    });
  }

  #answered({ id, value, error }: NodeAnswer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value as never);
    else waiting?.reject(new Error(error));
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
