import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { WrongResult } from './definition.js';

const CHILD = fileURLToPath(new URL('./isolated-child.js', import.meta.url));

/** What the child is told: call this export of this module with these arguments. */
export interface IsolatedCall {
  readonly module: string;
  readonly name: string;
  readonly args: readonly unknown[];
}

export type IsolatedAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly message: string; readonly isWrongResult: boolean };

/**
 * Calls an exported function of a module in a process of its own, so that its memory, its event loop and its compiled code
 * are nobody else's. Arguments and result travel as JSON.
 *
 * @throws WrongResult where the function threw one
 */
export async function isolated<Result>(call: IsolatedCall, execArgv: readonly string[] = []): Promise<Result> {
  const child = fork(CHILD, [], { execArgv: ['--expose-gc', '--enable-source-maps', ...execArgv] });
  const answer = await new Promise<IsolatedAnswer>((resolve, reject) => {
    child.once('message', resolve);
    child.once('error', reject);
    child.once('exit', (code, signal) => reject(new Error(`${call.name} ended with ${signal ?? code} and no answer`)));
    child.send(call);
  });
  if (answer.ok) return answer.value as Result;
  throw answer.isWrongResult ? new WrongResult(answer.message) : new Error(answer.message);
}
