import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { platform } from 'node:process';
import * as assert from 'uvu/assert';
import type { SecretSearch } from './patterns.js';
import { type Finding, searchProcess } from './process-memory.js';

/** Another process that holds secrets and does one thing after another with them, so that it can be searched between. */
export class SearchedProcess<Command> {
  readonly #process: ChildProcess;

  private constructor(program: string) {
    this.#process = fork(program, { execArgv: [] });
  }

  /** Once it has loaded everything. */
  static async start<Command>(program: string): Promise<SearchedProcess<Command>> {
    const started = new SearchedProcess<Command>(program);
    await once(started.#process, 'message');
    return started;
  }

  async ask(command: Command): Promise<unknown> {
    this.#process.send(command as object);
    const [{ answer }] = await once(this.#process, 'message');
    return answer;
  }

  /** Where what is searched for is, in every spelling. */
  search(search: SecretSearch): Finding[] {
    const { findings, bytes } = searchProcess(this.#process.pid!, search);
    assert.ok(bytes > 20 * 2 ** 20, `only ${bytes} bytes of memory could be read`);
    return findings;
  }

  end(): void {
    this.#process.kill();
  }
}

/** Elsewhere no process may read another's memory through a file. */
export function canSearch(): boolean {
  if (platform === 'linux') return true;
  assert.is.not(
    platform,
    'linux',
    'this platform has no /proc/<pid>/mem: the heap snapshot is all that can be searched',
  );
  return false;
}

export const summary = (findings: readonly Finding[]) =>
  findings.map(({ secret, spelling, region }) => `${secret}, ${spelling}, in ${region}`);

const PIECES = ['bytes 0–8', 'bytes 8–16', 'bytes 16–24', 'bytes 24–32'];

/** That each of these secrets is there once, in memory that the process itself cannot read, and none anywhere else. */
export function assertGuarded(findings: readonly Finding[], names: Iterable<string>): void {
  assert.equal(summary(findings.filter((one) => one.readable)), [], 'where the process can read');
  const guarded = findings.map(({ secret, spelling }) => `${secret}: ${spelling}`).sort();
  const once = [...names].flatMap((name) => PIECES.map((piece) => `${name}: ${piece}`));
  assert.equal(guarded, once.sort(), 'in guarded pages');
}
