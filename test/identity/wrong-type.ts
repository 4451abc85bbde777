import * as assert from 'uvu/assert';

/** That `run` throws a `TypeError` that names the argument. */
export function wrongType(argument: string, run: () => unknown): void {
  assert.throws(run, (error: unknown) => error instanceof TypeError && error.message.startsWith(`${argument} must`));
}
