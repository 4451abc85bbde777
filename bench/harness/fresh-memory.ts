import { spawnSync } from 'node:child_process';

const TOUCH = `
const kept = [];
for (let left = Number(process.argv[1]); left > 0; left -= 2 ** 28) kept.push(Buffer.alloc(Math.min(left, 2 ** 28), 1));
`;

/**
 * Has the system hold `bytes` of free memory that stand in the machine's own: a process takes and writes that much, and ends.
 * A virtual machine gives free memory back to its host within seconds, and taking it again costs several times what the
 * guest's own page faults cost: whose turn came late would pay for it, whatever it does.
 */
export function backMemory(bytes: number): void {
  const { error, status, stderr } = spawnSync(process.execPath, ['-e', TOUCH, String(bytes)], { encoding: 'utf8' });
  if (error || status !== 0) throw error ?? new Error(`no ${bytes} bytes of memory for the bench: ${stderr}`);
}
