import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { MigrationError } from '../errors.js';
import type { MigrationCodec } from './codec.js';
import { loadNativeCodec } from './native/index.js';
import { typescriptCodec } from './typescript/index.js';

/** The engines that {@link createCodec} gives; the baseline is for comparison only. */
export type CodecEngine = 'native' | 'typescript';

let native: MigrationCodec | undefined;
let failure: unknown;

/** The native engine, loaded once; what kept it from loading is remembered too. */
function loadNative(): MigrationCodec {
  if (native !== undefined) return native;
  if (failure !== undefined) throw failure;
  try {
    native = loadNativeCodec();
    return native;
  } catch (error) {
    failure = error;
    throw error;
  }
}

/** Environment data goes from a thread to those that it starts: a process with many threads says it once. */
const WARNED = 'daemon-migration.engine-warned';

function fallBack(cause: unknown): MigrationCodec {
  if (!getEnvironmentData(WARNED)) {
    setEnvironmentData(WARNED, true);
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
    process.emitWarning(
      `the native engine cannot be loaded, the typescript engine takes over: slower, otherwise the same (${reason})`,
      { code: 'DAEMON_MIGRATION_ENGINE' },
    );
  }
  return typescriptCodec;
}

/**
 * An engine for the protocol's bytes. Without `engine`: native, and where its addon cannot be loaded the typescript engine,
 * which is said once per process as a warning; `codec.engine` tells which one is in use.
 *
 * @throws MigrationError `engine-unavailable` where native was asked for by name and cannot be loaded, `unknown-engine` for
 * another name
 */
export function createCodec(options: { readonly engine?: CodecEngine | undefined } = {}): MigrationCodec {
  const { engine } = options;
  switch (engine) {
    case 'typescript':
      return typescriptCodec;
    case 'native':
      return loadNative();
    case undefined:
      try {
        return loadNative();
      } catch (cause) {
        return fallBack(cause);
      }
    default:
      throw new MigrationError(
        'unknown-engine',
        `engine ${String(engine)} is unknown: native and typescript are known`,
        {
          details: { engine: String(engine) },
        },
      );
  }
}
