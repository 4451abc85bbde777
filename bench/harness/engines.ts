import { ensureBaseline } from '../../lib/wire/baseline/build.js';
import { loadBaselineCodec } from '../../lib/wire/baseline/index.js';
import type { EngineName, FrameCodec, MigrationCodec } from '../../lib/wire/codec.js';
import { createCodec } from '../../lib/wire/engine.js';

export const ENGINES: readonly EngineName[] = ['native', 'typescript', 'baseline'];

/** The engines of a run. */
export interface Engines {
  /** Those that have frames, chunking and reassembly: all. */
  readonly frames: readonly FrameCodec[];
  /** Those that have everything: not the baseline. */
  readonly full: readonly MigrationCodec[];
  readonly unavailable: readonly string[];
}

/** Loads the engines asked for; the baseline is built when it is missing. */
export function loadEngines(names: readonly EngineName[]): Engines {
  const frames: FrameCodec[] = [];
  const full: MigrationCodec[] = [];
  const unavailable: string[] = [];
  for (const name of names) {
    try {
      if (name === 'baseline') {
        ensureBaseline();
        frames.push(loadBaselineCodec());
      } else {
        const codec = createCodec({ engine: name });
        frames.push(codec);
        full.push(codec);
      }
    } catch (error) {
      unavailable.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { frames, full, unavailable };
}
