import type { Entry } from './definition.js';
import { entryOf } from './statistics.js';

/** A way on which frames go through an engine. */
export interface AllocationPath {
  readonly path: string;
  /** Frames per call, 100 or more. */
  readonly frames: number;
  readonly call: () => unknown;
}

const CALLS = 50;
const WARM_UP_CALLS = 200;

/** Bytes on the JavaScript heap, in array buffers and in what else V8 accounts for. */
function usedBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/**
 * Bytes that a path leaves behind per frame, garbage included, as long as nothing is collected meanwhile: that needs a young
 * generation larger than all of it. A round in which something was collected shows as a negative figure and is taken again.
 */
export function allocatedPerFrame(contender: string, { frames, call }: AllocationPath, rounds: number): Entry {
  for (let i = 0; i < WARM_UP_CALLS; i++) call();
  const perFrame: number[] = [];
  for (let tries = 0; perFrame.length < rounds && tries < 10 * rounds; tries++) {
    globalThis.gc?.();
    const before = usedBytes();
    for (let i = 0; i < CALLS; i++) call();
    const bytes = usedBytes() - before;
    if (bytes >= 0) perFrame.push(bytes / (CALLS * frames));
  }
  if (perFrame.length === 0) throw new Error(`${contender}: memory was collected in every round, nothing can be said`);
  return entryOf(contender, perFrame);
}
