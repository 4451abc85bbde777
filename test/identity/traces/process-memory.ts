import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { type Hit, LONGEST_BYTES, type SecretSearch } from './patterns.js';

interface Region {
  readonly start: number;
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly path: string;
  readonly description: string;
}

/** Where a secret was found. */
export interface Finding extends Hit {
  readonly region: string;
  /** Whether the process itself could read it there; guarded pages at rest it cannot. */
  readonly readable: boolean;
}

const CHUNK_BYTES = 8 * 2 ** 20;
/** Unreadable regions above this size are address space that V8 and libc reserve; guarded ones are small. */
const MAX_GUARDED_BYTES = 2 ** 20;

function regionsOf(pid: number): Region[] {
  return readFileSync(`/proc/${pid}/maps`, 'latin1')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [, start, end, permissions, path] = /^(\w+)-(\w+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line)!;
      return {
        start: Number.parseInt(start!, 16),
        end: Number.parseInt(end!, 16),
        readable: permissions![0] === 'r',
        writable: permissions![1] === 'w',
        path: path!,
        description: line,
      };
    });
}

/** All but the kernel's own pages, files that nothing was written into, and reserved address space. */
function isSearched({ start, end, readable, writable, path }: Region): boolean {
  if (/^\[v(var|syscall|dso)/.test(path)) return false;
  if (!readable) return end - start <= MAX_GUARDED_BYTES;
  return writable || !path.startsWith('/');
}

/** Reads as much as there is; what was never touched, or has gone since, cannot be read. */
function readAt(memory: number, at: number, chunk: Buffer, length: number): Buffer {
  try {
    return chunk.subarray(0, readSync(memory, chunk, 0, length, at));
  } catch {
    return chunk.subarray(0, 0);
  }
}

/**
 * Searches what a process has in memory: heaps, stacks, data, and guarded pages, which the kernel shows to a parent
 * whatever their protection. Linux only.
 */
export function searchProcess(pid: number, search: SecretSearch): { findings: Finding[]; bytes: number } {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  const findings: Finding[] = [];
  let bytes = 0;
  for (const { start, end, readable, description } of regionsOf(pid).filter(isSearched)) {
    // What lies across the end of a chunk is found by reading so much of it twice.
    for (let at = start; at < end; at += CHUNK_BYTES - LONGEST_BYTES) {
      const content = readAt(memory, at, chunk, Math.min(CHUNK_BYTES, end - at));
      bytes += content.length;
      for (const hit of search.in(content)) findings.push({ ...hit, region: description, readable });
    }
  }
  closeSync(memory);
  return { findings, bytes };
}
