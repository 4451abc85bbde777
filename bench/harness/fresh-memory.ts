import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Takes and writes as many bytes as it is told, says so, and ends with its input. */
const TAKE = `
const kept = [];
for (let left = Number(process.argv[1]); left > 0; left -= 2 ** 28) kept.push(Buffer.alloc(Math.min(left, 2 ** 28), 1));
process.stdout.write('.');
process.stdin.resume();
`;

/** With it, glibc asks for huge pages for what it maps; elsewhere it means nothing. */
const HUGE_PAGES = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };

/**
 * Has the system hold `bytes` of free memory in common pages, and as many in huge ones, that stand in the machine's own:
 * processes take and write that much, and end. A virtual machine gives free memory back to its host within seconds, and taking
 * it again costs several times what the guest's own page faults cost: whose turn came late would pay for it, whatever it does.
 */
export async function backMemory(bytes: number): Promise<void> {
  const takers = [take(bytes, {}), take(bytes, HUGE_PAGES)];
  await Promise.all(takers.map(hasTaken));
  await Promise.all(
    takers.map((taker) => {
      taker.stdin!.end();
      return once(taker, 'exit');
    }),
  );
}

async function hasTaken(taker: ChildProcess): Promise<void> {
  const ended = once(taker, 'exit').then(() => {
    throw new Error('the bench needs more free memory than there is');
  });
  await Promise.race([once(taker.stdout!, 'data'), ended]);
  // It ends later, as it should.
  ended.catch(() => {});
}

function take(bytes: number, env: Readonly<Record<string, string>>): ChildProcess {
  return spawn(process.execPath, ['-e', TAKE, String(bytes)], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
}
