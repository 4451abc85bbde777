import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeKeys } from '../../lib/index.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What a node of the demo finds again when it is started again. */
export interface NodePaths {
  readonly keyFile: string;
  readonly spool: string;
}

/** What the nodes keep on disk: a temporary folder, removed with the run, also where that is interrupted. */
export class RunFolder {
  readonly #path = mkdtempSync(join(tmpdir(), 'flights-'));

  constructor() {
    for (const signal of SIGNALS) process.once(signal, this.#interrupted);
  }

  /** Of a node, whose key file is written the first time. */
  pathsOf(name: string): NodePaths {
    const keyFile = join(this.#path, `${name}.key`);
    if (!existsSync(keyFile)) {
      using keys = NodeKeys.generate();
      keys.save(keyFile);
    }
    return { keyFile, spool: join(this.#path, `${name}.spool`) };
  }

  /** When no thread uses it any more. Idempotent. */
  remove(): void {
    for (const signal of SIGNALS) process.off(signal, this.#interrupted);
    // Where the run is interrupted, its threads may still write.
    rmSync(this.#path, { recursive: true, force: true, maxRetries: 5 });
  }

  readonly #interrupted = (signal: NodeJS.Signals): void => {
    this.remove();
    process.kill(process.pid, signal);
  };
}
