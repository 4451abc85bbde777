import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What the addon exports: its typings are generated from the Rust sources. */
export type Addon = typeof import('./binding.js');

const PACKAGE = 'daemon-migration';

/** This package's folder: the nearest one above this file whose package.json has its name, compiled or not. */
function packageRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && (JSON.parse(readFileSync(manifest, 'utf8')) as { name?: unknown }).name === PACKAGE) {
      return folder;
    }
    if (dirname(folder) === folder) throw new Error(`no package.json of ${PACKAGE} above ${import.meta.url}`);
  }
}

/** Finds and loads the addon: a build of this checkout, else the prebuilt one for this platform. */
export function loadAddon(): Addon {
  const load = createRequire(import.meta.url)('node-gyp-build') as (root: string) => Addon;
  return load(packageRoot());
}
