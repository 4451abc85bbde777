import { WrongResult } from './definition.js';
import type { IsolatedAnswer, IsolatedCall } from './isolated.js';

async function answer({ module, name, args }: IsolatedCall): Promise<IsolatedAnswer> {
  try {
    const exported = ((await import(module)) as Record<string, unknown>)[name];
    if (typeof exported !== 'function') throw new Error(`${module} has no function ${name}`);
    return { ok: true, value: await exported(...args) };
  } catch (error) {
    const isWrongResult = error instanceof WrongResult;
    const message =
      error instanceof Error ? (isWrongResult ? error.message : (error.stack ?? error.message)) : String(error);
    return { ok: false, message, isWrongResult };
  }
}

// Nobody is left to answer.
process.once('disconnect', () => process.exit(1));
process.once('message', async (call: IsolatedCall) => {
  process.send!(await answer(call), () => process.exit(0));
});
