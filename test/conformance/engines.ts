import type { EngineName, FrameCodec } from '../../lib/wire/codec.js';
import { createCodec } from '../../lib/wire/engine.js';

export const ENGINES: readonly EngineName[] = ['native', 'typescript', 'baseline'];

/** Only a checkout has the baseline, and only when it was built: `npm run build:baseline`. */
const BASELINE = '../../lib/wire/baseline/index.js';

async function loadBaseline(): Promise<FrameCodec> {
  const { loadBaselineCodec } = (await import(BASELINE)) as { loadBaselineCodec: () => FrameCodec };
  return loadBaselineCodec();
}

export interface AvailableEngine {
  readonly name: EngineName;
  readonly codec: FrameCodec;
}

export type LoadedEngine = AvailableEngine | { readonly name: EngineName; readonly unavailable: string };

export async function loadEngine(name: EngineName): Promise<LoadedEngine> {
  try {
    return { name, codec: name === 'baseline' ? await loadBaseline() : createCodec({ engine: name }) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { name, unavailable: message.split('\n')[0]! };
  }
}
