import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { errorOfRefusal, type HubRefusal } from '../../lib/mesh/worker-protocol.js';
import type { Command, FromNode, NodeState, ToNode } from './messages.js';
import { TRAP_FD } from './messages.js';

const SCRIPT = new URL('./node.js', import.meta.url);
/** A process that does not begin, answer or end in that time hangs. */
const PATIENCE_MS = 20_000;

interface Question {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A process that is one node, or waits to be one. */
export class NodeProcess {
  onMessage: (message: FromNode) => void = () => {};
  onOver: () => void = () => {};
  /** It has stopped dead where it was to. */
  onTrapped: (at: NodeState) => void = () => {};
  /** What it wrote for people to read. */
  stderr = '';
  readonly #child: ChildProcess;
  readonly #asked = new Map<number, Question>();
  readonly #over: Promise<unknown>;
  #nextAsk = 1;

  constructor() {
    this.#child = fork(SCRIPT, [], {
      serialization: 'advanced',
      execArgv: ['--enable-source-maps'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc', 'pipe'],
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-4_000);
    });
    (this.#child.stdio[TRAP_FD] as Readable).once('data', (line) => this.onTrapped(JSON.parse(String(line))));
    this.#child.on('message', (message: FromNode) => this.#receive(message));
    // What has come over the pipe before is read before its end is told.
    this.#over = Promise.all([once(this.#child, 'exit'), once(this.#child, 'disconnect')]);
    void this.#over.then(() => {
      this.onOver();
      for (const { reject } of this.#asked.values()) reject(new Error('the process has ended'));
      this.#asked.clear();
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get isOver(): boolean {
    return !this.#child.connected || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  send(message: ToNode): void {
    // To one that has just been killed nothing is sent any more; what was on its way is lost with it.
    if (!this.isOver) this.#child.send(message, () => {});
  }

  ask<T>(command: Command): Promise<T> {
    const ask = this.#nextAsk++;
    return bounded(`an answer to ${command.kind}`, (resolve, reject) => {
      if (this.isOver) reject(new Error('the process has ended'));
      this.#asked.set(ask, { resolve: resolve as (value: unknown) => void, reject });
      this.send({ ask, command });
    });
  }

  /** Ends it as a crash does. Resolves when it is gone and all that it had sent has been read. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.over();
  }

  /** Lets it end: its parent is gone, as far as it knows. */
  async leave(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.over().catch(() => this.kill());
  }

  over(): Promise<void> {
    return bounded(`the end of process ${this.pid}`, (resolve) => void this.#over.then(() => resolve()));
  }

  #receive(message: FromNode): void {
    const { body } = message;
    this.onMessage(message);
    if ('answer' in body) this.#answered(body.answer, ({ resolve }) => resolve(body.value));
    else if ('refused' in body) this.#answered(body.refused, ({ reject }) => reject(refused(body.error)));
  }

  #answered(ask: number, tell: (question: Question) => void): void {
    const question = this.#asked.get(ask);
    this.#asked.delete(ask);
    if (question) tell(question);
  }
}

function refused(error: HubRefusal): Error {
  return errorOfRefusal(error);
}

/** A promise that rejects when it takes too long. */
export function bounded<T = void>(
  what: string,
  begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ms = PATIENCE_MS,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`after ${ms} ms, still not: ${what}`)), ms);
    const settle = (run: () => void) => {
      clearTimeout(timer);
      run();
    };
    begin(
      (value) => settle(() => resolve(value)),
      (error) => settle(() => reject(error)),
    );
  });
}
