import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationError } from '../../errors.js';
import { baselineAddonPath, checkoutRoot } from './addon.js';

/**
 * Builds the baseline addon where it is missing, as `npm run build:baseline` does, so that tests and benchmarks need no
 * step before them. Takes some 20 s, once; installing the package never does it.
 *
 * @throws MigrationError `engine-unavailable` with the last lines of the compiler's output
 */
export function ensureBaseline(): void {
  if (existsSync(baselineAddonPath())) return;
  const root = checkoutRoot();
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [join(root, 'native/gyp.mjs'), 'baseline'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status === 0 && existsSync(baselineAddonPath())) return;
  const last = `${stdout ?? ''}${stderr ?? ''}`.trimEnd().split('\n').slice(-20).join('\n');
  throw new MigrationError(
    'engine-unavailable',
    `the baseline engine could not be built (needs a C++ compiler, make and python3): npm run build:baseline says\n${last}`,
    { cause: error },
  );
}
