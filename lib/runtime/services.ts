import { type MaybePromise, whenReady } from '../maybe-promise.js';
import type { Mesh } from '../mesh/mesh.js';
import type { DaemonSnapshot, RequestTypes } from '../migration/core.js';
import { DaemonServices, type DaemonServicesOptions } from '../migration/daemon-services.js';

/** How long a target's key is waited for. */
const KEY_PATIENCE_MS = 500;

export interface RuntimeServicesOptions extends DaemonServicesOptions {
  readonly mesh: Mesh;
  readonly nowMs: () => number;
  readonly turn: () => Promise<void>;
}

/** What the dispatcher's core asks for, on a node of a mesh. */
export class RuntimeServices extends DaemonServices {
  readonly #options: RuntimeServicesOptions;

  constructor(options: RuntimeServicesOptions) {
    super(options);
    this.#options = options;
  }

  override takeSnapshot(ask: RequestTypes['takeSnapshot']['ask']): MaybePromise<DaemonSnapshot> {
    return whenReady(this.#awaitKey(ask), () => super.takeSnapshot(ask));
  }

  /** A node that has just joined may be known before its key is: what must be sealed to it waits a moment for that. */
  #awaitKey({ target, identity }: RequestTypes['takeSnapshot']['ask']): MaybePromise<void> {
    const { mesh, nowMs, turn } = this.#options;
    const isMissing = () =>
      identity === 'required' && mesh.peer(target) !== undefined && mesh.peer(target)?.staticKey === undefined;
    const until = nowMs() + KEY_PATIENCE_MS;
    const wait = (): Promise<void> => turn().then(() => (isMissing() && nowMs() < until ? wait() : undefined));
    return isMissing() ? wait() : undefined;
  }
}
