import type { FrameCodec, MigrationCodec } from '../../lib/wire/codec.js';
import type { Tally } from './check.js';

/**
 * Runs the vectors of one file. `level` says what of an engine it needs: `frames` is what all have, `codec` what the
 * baseline lacks, `package` is no engine at all and is run once.
 */
export type Runner =
  | {
      readonly file: string;
      readonly level: 'frames';
      run(vectors: unknown, codec: FrameCodec, tally: Tally): void | Promise<void>;
    }
  | {
      readonly file: string;
      readonly level: 'codec';
      run(vectors: unknown, codec: MigrationCodec, tally: Tally): void | Promise<void>;
    }
  | {
      readonly file: string;
      readonly level: 'package';
      run(vectors: unknown, tally: Tally): void | Promise<void>;
    };

/** Whether an engine has all of {@link MigrationCodec}. */
export function isMigrationCodec(codec: FrameCodec): codec is MigrationCodec {
  return codec.engine !== 'baseline';
}
