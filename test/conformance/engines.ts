import { ensureBaseline } from '../../lib/wire/baseline/build.js';
import { loadBaselineCodec } from '../../lib/wire/baseline/index.js';
import type { EngineName, FrameCodec } from '../../lib/wire/codec.js';
import { createCodec } from '../../lib/wire/engine.js';

export const ENGINES: readonly EngineName[] = ['native', 'typescript', 'baseline'];

/** Only a checkout has the baseline. It is built when it is missing. */
function loadBaseline(): FrameCodec {
  ensureBaseline();
  return loadBaselineCodec();
}

export interface AvailableEngine {
  readonly name: EngineName;
  readonly codec: FrameCodec;
}

export type LoadedEngine = AvailableEngine | { readonly name: EngineName; readonly unavailable: string };

export async function loadEngine(name: EngineName): Promise<LoadedEngine> {
  try {
    return { name, codec: name === 'baseline' ? loadBaseline() : createCodec({ engine: name }) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { name, unavailable: message.split('\n')[0]! };
  }
}
