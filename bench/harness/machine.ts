import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { arch, cpus, platform, release, totalmem } from 'node:os';

/** What the figures were measured on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly hugePages: string;
  readonly node: string;
  readonly rustc: string;
  readonly cxx: string;
}

/** The first line that a command prints; `none` where it is not there. */
function firstLine(command: string, ...args: string[]): string {
  const { stdout, error } = spawnSync(command, args, { encoding: 'utf8' });
  return error ? 'none' : stdout.split('\n')[0]!.trim();
}

/** Whether fresh memory comes in pages of 4 KiB or more: it decides what a page fault costs. */
function hugePages(): string {
  try {
    return /\[(\w+)\]/.exec(readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

export function machineFacts(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()} ${arch()}`,
    hugePages: hugePages(),
    node: `${process.version} (V8 ${process.versions.v8})`,
    rustc: firstLine('rustc', '--version'),
    cxx: firstLine('c++', '--version'),
  };
}
