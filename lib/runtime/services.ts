import type { DaemonHost } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import type { Mesh } from '../mesh/mesh.js';
import type { DaemonSnapshot, Examination, RequestTypes } from '../migration/core.js';
import { DaemonServices, type DaemonServicesOptions } from '../migration/daemon-services.js';
import type { FencedSpool } from './fenced-spool.js';
import type { Subscriptions } from './subscriptions.js';

/** How long a target's key is waited for. */
const KEY_PATIENCE_MS = 500;

export interface RuntimeServicesOptions extends DaemonServicesOptions {
  readonly mesh: Mesh;
  readonly subscriptions: Subscriptions;
  /** What is kept across a restart; undefined: nothing. */
  readonly spool: FencedSpool | undefined;
  /** Whether a copy of that epoch may yet come to life here, which is in no registry. */
  readonly mayComeBack: (origin: bigint, epoch: bigint) => boolean;
  readonly nowMs: () => number;
  readonly turn: () => Promise<void>;
}

type Ask<K extends keyof RequestTypes> = RequestTypes[K]['ask'];

/** What the dispatcher's core asks for, on a node of a mesh. */
export class RuntimeServices extends DaemonServices {
  readonly #options: RuntimeServicesOptions;

  constructor(options: RuntimeServicesOptions) {
    super(options);
    this.#options = options;
  }

  override takeSnapshot(ask: Ask<'takeSnapshot'>): MaybePromise<DaemonSnapshot> {
    const { mesh, registry, spool } = this.#options;
    return whenReady(this.#awaitKey(ask), () => {
      // What a node reads that is not in the mesh nobody knows: what the host carries along would stay behind.
      if (!mesh.peer(ask.target)) throw notInMesh(ask);
      return whenReady(super.takeSnapshot(ask), (taken) => {
        if (!spool) return taken;
        return spool.begin(registry.require(ask.origin), ask, taken).catch((error: unknown) => {
          taken.bytes.close();
          throw error;
        });
      });
    });
  }

  /** Only what would survive a crash of this node is offered. */
  override offer(ask: Ask<'offer'>): MaybePromise<undefined> {
    return whenReady(this.#sealed(ask.origin), () => super.offer(ask));
  }

  override setAside(ask: Ask<'setAside'>): MaybePromise<undefined> {
    return whenReady(this.#sealed(ask.origin), () => super.setAside(ask));
  }

  #sealed(origin: bigint): MaybePromise<void> {
    return this.#options.spool?.seal(this.#options.registry.require(origin));
  }

  protected override beforeGoingOn(host: DaemonHost, epoch: bigint): MaybePromise<void> {
    return this.#options.spool?.mark(host, epoch);
  }

  override release(ask: Ask<'release'>): undefined {
    super.release(ask);
    this.#options.spool?.drop(ask.origin);
  }

  override dropBackup(ask: Ask<'dropBackup'>): undefined {
    super.dropBackup(ask);
    this.#options.spool?.drop(ask.origin);
  }

  override missing(ask: Ask<'missing'>): MaybePromise<{ readonly epoch: bigint } | undefined> {
    return whenReady(super.missing(ask), (missing) =>
      missing && this.#options.mayComeBack(ask.origin, missing.epoch) ? undefined : missing,
    );
  }

  protected override examineTaking(ask: Ask<'examine'>): MaybePromise<Examination> {
    return whenReady(this.#awaitKey(ask), () => super.examineTaking(ask));
  }

  /** The copy reads its channels before its source stops reading them. */
  override restore(ask: Ask<'restore'>): MaybePromise<{ readonly restoredSeq: bigint }> {
    return whenReady(super.restore(ask), (restored) =>
      whenReady(this.#subscriptions('arrived', ask.origin), () => restored),
    );
  }

  override replay(ask: Ask<'replay'>): MaybePromise<undefined> {
    return whenReady(super.replay(ask), () => {
      void this.#subscriptions('replayed', ask.origin);
      return undefined;
    });
  }

  override activate(ask: Ask<'activate'>): undefined {
    super.activate(ask);
    // What was left of earlier moves from here is older than this.
    this.#options.spool?.drop(ask.origin);
    void this.#subscriptions('activated', ask.origin);
  }

  override discard(ask: Ask<'discard'>): undefined {
    // As there: a copy that lives here is none of this migration's.
    if (this.#options.registry.get(ask.origin)?.gate === 'held') void this.#subscriptions('leave', ask.origin);
    super.discard(ask);
  }

  override fence(ask: Ask<'fence'>): MaybePromise<undefined> {
    const stop = () => {
      void this.#subscriptions('leave', ask.origin);
      return super.fence(ask);
    };
    const { spool } = this.#options;
    return spool ? spool.caughtUp(ask.origin).then(stop) : stop();
  }

  override resume(ask: Ask<'resume'>): MaybePromise<undefined> {
    return whenReady(this.#subscriptions('returning', ask.origin), () =>
      whenReady(super.resume(ask), () => {
        void this.#subscriptions('returned', ask.origin);
        return undefined;
      }),
    );
  }

  /** A copy that was set aside is live again at once; one that is fenced goes on by `resume`. */
  override recover(ask: Ask<'recover'>): MaybePromise<{ readonly epoch: bigint }> {
    return whenReady(super.recover(ask), (recovered) => {
      if (this.#options.registry.get(ask.origin)?.gate !== 'live') return recovered;
      return whenReady(this.#subscriptions('returning', ask.origin), () => {
        void this.#subscriptions('returned', ask.origin);
        return recovered;
      });
    });
  }

  #subscriptions(
    step: 'arrived' | 'replayed' | 'activated' | 'leave' | 'returning' | 'returned',
    origin: bigint,
  ): MaybePromise<void> {
    const { registry, subscriptions } = this.#options;
    const host = registry.get(origin);
    return host && subscriptions[step](host);
  }

  /** A node that has just joined may be known before its key is: what must be sealed to it waits a moment for that. */
  #awaitKey({ target, identity }: Pick<Ask<'takeSnapshot'>, 'target' | 'identity'>): MaybePromise<void> {
    const { mesh, nowMs, turn } = this.#options;
    const isMissing = () =>
      identity === 'required' && mesh.peer(target) !== undefined && mesh.peer(target)?.staticKey === undefined;
    const until = nowMs() + KEY_PATIENCE_MS;
    const wait = (): Promise<void> => turn().then(() => (isMissing() && nowMs() < until ? wait() : undefined));
    return isMissing() ? wait() : undefined;
  }
}

function notInMesh({ origin, target }: Ask<'takeSnapshot'>): MigrationError {
  const message = `daemon ${origin} cannot go to node ${target}: it is not in the mesh`;
  return new MigrationError('target-unavailable', message, { details: { origin, node: target } });
}
