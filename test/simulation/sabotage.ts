import { DaemonHost } from '../../lib/daemon/host.js';
import type { Acceptance, CausalEvent, EntityKeypair } from '../../lib/index.js';
import { createCodec, MigrationSourceHandler, MigrationTargetHandler } from '../../lib/index.js';
import { type MaybePromise, whenReady } from '../../lib/maybe-promise.js';
import { DaemonServices } from '../../lib/migration/daemon-services.js';
import type { Offer } from '../../lib/migration/offer.js';
import { FencedSpool } from '../../lib/runtime/fenced-spool.js';
import { Ownership } from '../../lib/runtime/ownership.js';
import { RuntimeServices } from '../../lib/runtime/services.js';
import { TakeUp } from '../../lib/runtime/take-up.js';
import type { SpoolStorage } from '../../lib/spool/storage.js';
import { CausalChain } from '../../lib/state/chain.js';
import { ChannelPositions } from '../../lib/state/channel-positions.js';
import { Horizon } from '../../lib/state/horizon.js';
import type { FrameProducer } from '../../lib/wire/frame-producer.js';
import type { StateSnapshot } from '../../lib/wire/snapshot.js';
import { SimulatedDisk } from './simulated-disk.js';
import { SimulatedMesh } from './simulated-mesh.js';

/** A rule that the code relies on, broken from outside: what the checkers must notice. */
export interface Sabotage {
  readonly name: string;
  /** What is wrong with the code then. */
  readonly what: string;
  /** Which promises that is to break, one or the other: any other violation shows something else. */
  readonly breaks: readonly string[];
  /** Where the search for a seed that shows it begins. */
  readonly near: number;
  /** @returns takes it back */
  readonly commit: () => () => void;
}

// biome-ignore lint/suspicious/noExplicitAny: what is replaced here is of every type
type Any = any;

/** Puts another function in the place of a method, which gets the one that was there. */
function replace(owner: Any, name: string, make: (original: (...args: Any[]) => Any) => (...args: Any[]) => Any) {
  const original = owner[name];
  owner[name] = make(original);
  return () => {
    owner[name] = original;
  };
}

/** A half's record of a migration. */
function recordOf(half: Any, origin: bigint): Any {
  return half.records.get(origin);
}

/** Keys that nobody has wiped, and that are not collected either. */
const kept: EntityKeypair[] = [];

const claimAnyhow = () =>
  replace(
    Ownership.prototype,
    'claim',
    () =>
      function (this: Ownership, origin: bigint) {
        return this.recover(origin, undefined);
      },
  );

/** A claim of whatever the register says that was offered, as far as these fields go. */
const claimWith = (fields: ReadonlyArray<keyof Offer>) =>
  replace(
    Ownership.prototype,
    'claim',
    (original) =>
      async function (this: Ownership, origin: bigint, offer: Offer) {
        const offered = (await this.entry(origin))?.offer;
        const same = offered && Object.fromEntries(fields.map((field) => [field, offered[field]]));
        return original.call(this, origin, { ...offer, ...same });
      },
  );

const both = (undo: () => void, undoToo: () => void) => () => {
  undo();
  undoToo();
};

export const SABOTAGES: readonly Sabotage[] = [
  {
    name: 'goes-on-after-cutover',
    what: 'the source does not stop when it makes its offer',
    breaks: ['never-two'],
    near: 1,
    commit: () => replace(DaemonHost.prototype, 'fence', () => () => undefined),
  },
  {
    name: 'forgets-the-horizon',
    what: 'what a daemon has seen does not travel with it',
    breaks: ['nothing-twice'],
    near: 11,
    commit: () => replace(Horizon, 'decode', () => () => new Horizon()),
  },
  {
    name: 'activates-before-the-tail',
    what: 'the target goes live at ActivateTarget, whatever of the log is still on its way',
    breaks: ['nothing-lost', 'never-two'],
    near: 8,
    commit: () => {
      const undo = claimAnyhow();
      const undoToo = replace(
        MigrationTargetHandler.prototype,
        'activateTarget',
        (original) =>
          function (this: Any, origin: bigint, ...rest: Any[]) {
            const record = recordOf(this, origin);
            if (record) record.offered = {};
            return original.call(this, origin, ...rest);
          },
      );
      return () => {
        undo();
        undoToo();
      };
    },
  },
  {
    name: 'claims-without-an-offer',
    what: 'the target becomes the owner whether it is offered the daemon or not',
    breaks: ['never-two'],
    near: 66,
    commit: claimAnyhow,
  },
  {
    name: 'withdraws-without-the-register',
    what: 'the source goes back on its own word',
    breaks: ['never-two'],
    near: 2,
    commit: () => replace(Ownership.prototype, 'withdraw', () => async () => 'withdrawn'),
  },
  {
    name: 'resumes-without-its-log',
    what: 'the source goes on without the events that it has logged',
    breaks: ['nothing-lost', 'order'],
    near: 8,
    commit: () =>
      replace(
        DaemonHost.prototype,
        'resume',
        (original) =>
          function (this: DaemonHost) {
            this.log.clear();
            return original.call(this);
          },
      ),
  },
  {
    name: 'goes-on-without-its-channels',
    what: 'a source that goes on does not subscribe again',
    breaks: ['it-ends'],
    near: 3,
    commit: () => replace(RuntimeServices.prototype, 'resume', () => DaemonServices.prototype.resume),
  },
  {
    name: 'forgets-at-acknowledgement',
    what: 'the source lets an event go when the target has acknowledged it',
    breaks: ['nothing-lost', 'order'],
    near: 3,
    commit: () =>
      replace(
        MigrationSourceHandler.prototype,
        'eventAck',
        (original) =>
          function (this: Any, origin: bigint, ...rest: Any[]) {
            original.call(this, origin, ...rest);
            const record = recordOf(this, origin);
            if (record) this.registry.get(origin)?.log.truncate(record.ackThrough);
          },
      ),
  },
  {
    name: 'acknowledges-twice',
    what: 'a target counts events that come again as further ones',
    breaks: ['nothing-twice'],
    near: 8,
    commit: () =>
      replace(
        MigrationTargetHandler.prototype,
        'bufferedEvents',
        (original) =>
          function (this: Any, message: Any, from: bigint, trailer: Any) {
            const record = recordOf(this, message.daemonOrigin);
            const count = BigInt(message.events.length);
            const isNumbered = record && trailer?.logFrom !== undefined && trailer.try === record.try;
            if (isNumbered && trailer.logFrom + count - 1n <= record.appliedThrough) record.appliedThrough += count;
            return original.call(this, message, from, trailer);
          },
      ),
  },
  {
    name: 'publishes-before-the-claim',
    what: 'a copy that is not live publishes what its replay puts out',
    breaks: ['never-two'],
    near: 2,
    commit: () =>
      replace(
        DaemonHost.prototype,
        'replay',
        (original) =>
          function (this: DaemonHost, events: readonly CausalEvent[]) {
            return whenReady(original.call(this, events), () => {
              this.goLive(this.epoch);
              this.hold();
            });
          },
      ),
  },
  {
    name: 'is-confirmed-by-anybody',
    what: 'the source lets go at a confirmation that is not its target’s',
    breaks: ['custody'],
    near: 11,
    commit: () =>
      replace(
        MigrationSourceHandler.prototype,
        'activationConfirmed',
        (original) =>
          function (this: Any, origin: bigint, from: bigint, trailer: Any) {
            const record = recordOf(this, origin);
            if (!record) return original.call(this, origin, from, trailer);
            return original.call(this, origin, record.target, { ...trailer, epoch: record.epoch + 1n });
          },
      ),
  },
  {
    name: 'higher-try-ends-a-source',
    what: 'a second TakeSnapshot makes the source forget the migration that is under way',
    breaks: ['it-ends'],
    near: 1,
    commit: () =>
      replace(
        MigrationSourceHandler.prototype,
        'takeSnapshot',
        (original) =>
          function (this: Any, origin: bigint, target: bigint, from: bigint, trailer: Any) {
            const record = recordOf(this, origin);
            if (record && record.orchestrator !== from) this.remove(record);
            return original.call(this, origin, target, from, trailer);
          },
      ),
  },
  {
    name: 'accepts-and-drops',
    what: 'a copy that refuses events says that it has accepted them',
    breaks: ['nothing-lost'],
    near: 2,
    commit: () =>
      replace(
        DaemonHost.prototype,
        'accept',
        (original) =>
          function (this: DaemonHost, events: readonly CausalEvent[]): MaybePromise<Acceptance> {
            return whenReady(original.call(this, events), () => ({
              accepted: events.length,
              duplicates: 0,
              refusal: undefined,
            }));
          },
      ),
  },
  {
    name: 'drops-while-it-claims',
    what: 'a target that is told of a failure while its claim is in the air drops its copy',
    breaks: ['never-none', 'custody'],
    near: 15,
    commit: () =>
      replace(
        MigrationTargetHandler.prototype,
        'migrationFailed',
        (original) =>
          function (this: Any, origin: bigint, ...rest: Any[]) {
            if (recordOf(this, origin)?.phase === 'claiming') this.registry.remove(origin)?.dispose();
            return original.call(this, origin, ...rest);
          },
      ),
  },
  {
    name: 'breaks-the-chain',
    what: 'the last output’s payload does not travel',
    breaks: ['chain'],
    near: 1,
    commit: () =>
      replace(CausalChain, 'after', (original) => (codec, head) => original.call(CausalChain, codec, head, 0n)),
  },
  {
    name: 'reads-channels-from-now',
    what: 'a copy that has moved reads its channels from where they are, not from where it was',
    breaks: ['order', 'it-ends'],
    near: 3,
    commit: () => replace(ChannelPositions.prototype, 'get', () => () => undefined),
  },
  {
    name: 'trusts-strangers',
    what: 'whoever asks is given a daemon',
    breaks: ['stranger'],
    near: 1,
    commit: () =>
      replace(
        MigrationSourceHandler.prototype,
        'takeSnapshot',
        (original) =>
          function (this: Any, ...args: Any[]) {
            const [origin] = args as [bigint];
            original.apply(this, args);
            const record = recordOf(this, origin);
            if (record?.phase !== 'authorising') return;
            const id = record.awaiting;
            this.answer({ kind: 'authorize', id, role: 'source', origin, value: undefined });
          },
      ),
  },
  {
    name: 'admits-whoever-asks',
    what: 'a target takes a snapshot from whoever sends one',
    breaks: ['stranger'],
    near: 56,
    commit: () =>
      replace(
        MigrationTargetHandler.prototype,
        'snapshotReady',
        (original) =>
          function (this: Any, message: Any, ...rest: Any[]) {
            const { daemonOrigin: origin } = message;
            original.call(this, message, ...rest);
            const record = recordOf(this, origin);
            if (record?.phase !== 'authorising') return;
            this.answer({ kind: 'admit', id: record.awaiting, role: 'target', origin, value: undefined });
          },
      ),
  },
  {
    name: 'verifies-no-attestation',
    what: 'a target restores a snapshot whatever its daemon has signed',
    breaks: ['attested'],
    near: 23,
    commit: () =>
      replace(
        DaemonServices.prototype,
        'restore',
        (original) =>
          function (this: DaemonServices, ask: Any) {
            return original.call(this, { ...ask, attestation: undefined });
          },
      ),
  },
  {
    name: 'compares-no-snapshot-digest',
    what: 'neither a target nor the register compares the snapshot with the one that was offered',
    breaks: ['it-ends', 'order', 'nothing-lost'],
    near: 23,
    commit: () =>
      both(
        claimWith(['snapshotDigest']),
        replace(
          MigrationTargetHandler.prototype,
          'snapshotReady',
          (original) =>
            function (this: Any, message: Any, from: bigint, trailer: Any) {
              return original.call(this, message, from, trailer && { ...trailer, snapshotDigest: undefined });
            },
        ),
      ),
  },
  {
    name: 'compares-no-log-digest',
    what: 'neither a target nor the register compares the events with those that were offered, but for their number',
    breaks: ['order', 'nothing-twice', 'nothing-lost'],
    near: 56,
    commit: () =>
      both(
        claimWith(['logDigest']),
        replace(
          MigrationTargetHandler.prototype,
          'bufferedEvents',
          (original) =>
            function (this: Any, message: Any, from: bigint, trailer: Any) {
              return original.call(this, message, from, trailer && { ...trailer, logDigest: undefined });
            },
        ),
      ),
  },
  {
    name: 'copies-travel-live',
    what: 'a restored copy takes events before it has claimed the daemon',
    breaks: ['never-two'],
    near: 1,
    commit: () =>
      replace(
        DaemonHost.prototype,
        'restore',
        (original) =>
          function (this: DaemonHost, snapshot: StateSnapshot) {
            return whenReady(original.call(this, snapshot), () => this.goLive(this.epoch));
          },
      ),
  },
  {
    name: 'offers-before-it-is-sealed',
    what: 'the source makes its offer while its spool is still being written',
    breaks: ['never-none'],
    near: 173,
    commit: () =>
      replace(
        FencedSpool.prototype,
        'seal',
        (original) =>
          async function (this: FencedSpool, host: DaemonHost) {
            void original.call(this, host).catch(() => {});
          },
      ),
  },
  {
    name: 'stands-without-its-log',
    what: 'what was logged is not brought back from the spool',
    breaks: ['nothing-lost', 'order'],
    near: 123,
    commit: () =>
      replace(
        DaemonHost.prototype,
        'standWhere',
        (original) =>
          function (this: DaemonHost, stood: unknown, _: readonly CausalEvent[], isLive: boolean) {
            return original.call(this, stood, [], isLive);
          },
      ),
  },
  {
    name: 'calls-an-older-copy-whole',
    what: 'a copy that was live after its file was written is brought back as if nothing were missing',
    breaks: ['nothing-lost'],
    near: 3,
    commit: () =>
      replace(
        TakeUp.prototype,
        'recover',
        (original) =>
          async function (this: TakeUp, ...args: Any[]) {
            return { ...(await original.apply(this, args)), isWhole: true };
          },
      ),
  },
  {
    name: 'keeps-what-was-confirmed',
    what: 'the file of a daemon that was confirmed elsewhere stays in the spool',
    breaks: ['custody'],
    near: 3,
    commit: () => replace(FencedSpool.prototype, 'drop', () => () => undefined),
  },
  {
    name: 'keeps-the-key',
    what: 'a copy that is given up leaves its key in memory',
    breaks: ['custody'],
    near: 2,
    commit: () => {
      const undo = replace(
        DaemonHost.prototype,
        'dispose',
        () =>
          function (this: DaemonHost) {
            kept.push(this.keypair);
            this.free();
          },
      );
      return () => {
        undo();
        for (const keypair of kept.splice(0)) keypair.dispose();
      };
    },
  },
  {
    name: 'logs-without-end',
    what: 'a log takes events beyond its limit',
    breaks: ['bounded'],
    near: 52,
    commit: () => {
      // The other engine's log shares its memory with others, which this would spoil for good.
      const log = createCodec({ engine: 'typescript' }).createEventLog();
      const { prototype } = log.constructor;
      log.dispose();
      return replace(prototype, 'ensureRoom', () => () => {});
    },
  },
  {
    name: 'sends-all-at-once',
    what: 'a stream does not wait for what is on its way',
    breaks: ['bounded'],
    near: 17,
    commit: () =>
      replace(
        SimulatedMesh.prototype,
        'stream',
        (original) =>
          function (this: SimulatedMesh, to: bigint, subprotocol: number, frames: FrameProducer) {
            const room = new Uint8Array(frames.maxFrameLength);
            for (let length = 1; !frames.done && length > 0; ) {
              length = frames.writeNext(room, 0);
              if (length > 0) this.send(to, subprotocol, room.slice(0, length));
            }
            if (!frames.done) original.call(this, to, subprotocol, frames);
          },
      ),
  },
  {
    name: 'stops-at-the-snapshot',
    what: 'the source stops when its snapshot is taken, not when its target has it',
    breaks: ['bounded'],
    near: 13,
    commit: () =>
      replace(
        RuntimeServices.prototype,
        'takeSnapshot',
        (original) =>
          function (this: RuntimeServices, ask: Any) {
            return whenReady(original.call(this, ask), (taken: Any) => whenReady(this.fence(ask), () => taken));
          },
      ),
  },
  {
    name: 'leaves-no-mark',
    what: 'a daemon goes on at its source, and its file does not say so',
    breaks: ['never-two'],
    near: 3,
    commit: () =>
      replace(
        SimulatedDisk.prototype,
        'storage',
        (original) =>
          function (this: SimulatedDisk): SpoolStorage {
            const storage: SpoolStorage = original.call(this);
            const rename = async (from: string, to: string) => {
              if (!to.startsWith('resumed-')) await storage.rename(from, to);
            };
            return { ...storage, rename };
          },
      ),
  },
];
