import type { DaemonFactoryRegistry } from '../daemon/factories.js';
import { DaemonHost, type DaemonHostOptions } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { EntityId } from '../identity/entity-id.js';
import { EntityKeypair } from '../identity/entity-keypair.js';
import { IdentityEnvelope } from '../identity/identity-envelope.js';
import type { NodeKeys } from '../identity/node-keys.js';
import type { OwnershipEntry } from '../mesh/register.js';
import type { LostOwner, SourceMigration } from '../migration/core.js';
import { asMigrationError } from '../migration/failure.js';
import { BACKUP_MS } from '../migration/source.js';
import { type FencedMigration, type FencedRecord, readFenced, readMigration, sealLink } from '../spool/fenced-file.js';
import { type FencedName, parseFencedName } from '../spool/fenced-name.js';
import { setAside } from '../spool/set-aside.js';
import { spoolError } from '../spool/spool-error.js';
import type { SpoolFile, SpoolStorage } from '../spool/storage.js';
import { splitState } from '../state/carried-state.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { CausalLink } from '../wire/link.js';
import type { Environment } from './environment.js';
import type { FencedSpool } from './fenced-spool.js';
import type { Ownership } from './ownership.js';
import { fateOf, type StandingFate } from './standing-fate.js';

/** How often what could not be decided is looked at again. */
const ASK_AGAIN_MS = 1_000;

/** What `recover` brought back. */
export interface Recovery {
  /** In which the daemon is live here now. */
  readonly epoch: bigint;
  /**
   * False where the copy comes from a file in the spool that is older than the daemon was: it was live here again after that
   * was written, or was never stopped for it. What it processed from then on is not in it.
   */
  readonly isWhole: boolean;
}

export interface TakeUpOptions {
  readonly storage: SpoolStorage;
  readonly spool: FencedSpool;
  readonly codec: MigrationCodec;
  readonly localNode: bigint;
  readonly nodeKeys: NodeKeys;
  readonly factories: DaemonFactoryRegistry;
  readonly ownership: Ownership;
  readonly environment: Environment;
  readonly hostOptions: (
    keypair: EntityKeypair,
    kind: string,
    daemon: DaemonHostOptions['daemon'],
  ) => DaemonHostOptions;
  /** Whether a copy is on this node already. */
  readonly isHere: (origin: bigint) => boolean;
  /** A copy stands here from now on, fenced. @throws MigrationError `already-exists`, `not-ready` */
  readonly stand: (host: DaemonHost) => void;
  /** The migration of a copy that stands here goes on, or back where `back` says why. */
  readonly adopt: (migration: SourceMigration, back: MigrationError | undefined) => void;
  /** A copy that stands here is the daemon: it goes on. Where it cannot, it stands here no more. */
  readonly goOn: (host: DaemonHost, epoch: bigint) => Promise<void>;
  readonly report: (error: MigrationError) => void;
}

interface FoundFile {
  readonly file: FencedName;
  /** Undefined where the file is too damaged to say. */
  readonly target: bigint | undefined;
}

/** By origin, the latest try first. */
export type Found = ReadonlyMap<bigint, readonly FoundFile[]>;

interface Waiting extends FoundFile {
  readonly isOlder: boolean;
}

/** Takes up what an earlier run of this node left in its spool: daemons that stood still when it ended. */
export class TakeUp {
  readonly #options: TakeUpOptions;
  /** What only `recover` brings back, the newest first. */
  readonly #waiting = new Map<bigint, Waiting[]>();
  /** Of which the register could not be asked yet, or a copy is moving in. */
  readonly #undecided = new Map<bigint, readonly FoundFile[]>();
  #stopAsking: (() => void) | undefined;
  /** Of copies that have their time. */
  readonly #expiries = new Map<bigint, () => void>();
  #isStopped = false;

  constructor(options: TakeUpOptions) {
    this.#options = options;
  }

  /**
   * Takes up what was found. What goes wrong with one daemon is reported, and keeps no other from being taken up.
   *
   * @param found of `find`
   */
  async run(found: Found): Promise<void> {
    for (const [origin, files] of found) if (!this.#isStopped) await this.#takeUp(origin, files);
  }

  /** Nothing is asked again, and nothing expires. */
  stop(): void {
    this.#isStopped = true;
    this.#stopAsking?.();
    for (const stop of this.#expiries.values()) stop();
  }

  /** Whether a copy of that epoch, or a later one, may come back here. */
  mayComeBack(origin: bigint, epoch: bigint): boolean {
    if (this.#undecided.has(origin)) return true;
    return this.#of(origin).some(({ file }) => (file.resumedIn ?? file.epoch) >= epoch);
  }

  /** Whether `recover` has something here to bring back. */
  waits(origin: bigint): boolean {
    return this.#of(origin).length > 0;
  }

  /** What waits of a daemon, and has not been dropped since because it lives elsewhere. */
  #of(origin: bigint): readonly Waiting[] {
    return (this.#waiting.get(origin) ?? []).filter(({ file }) => this.#options.spool.keeps(file));
  }

  /**
   * Brings a daemon back from the newest file that is whole enough.
   *
   * @param owner who has it, as the register says, and will never be live
   * @throws MigrationError `ownership-lost`, `already-exists`, `register-unavailable`, `spool-damaged`, `factory-not-found`,
   * `state-failed`
   */
  async recover(origin: bigint, owner: LostOwner | undefined): Promise<Recovery> {
    let failure: unknown;
    for (const found of this.#of(origin)) {
      try {
        const record = await this.#read(found.file, readFenced);
        const host = await this.#make(record);
        return await this.#bringBack(found, host, record.state !== undefined, owner);
      } catch (error) {
        if (!isDamage(error)) throw error;
        failure = error;
        await this.#complain(found.file, error);
        this.#noLonger(found);
      }
    }
    throw failure;
  }

  #noLonger(found: Waiting): void {
    const { origin } = found.file;
    const rest = this.#waiting.get(origin)!.filter((other) => other !== found);
    if (rest.length > 0) this.#waiting.set(origin, rest);
    else this.#waiting.delete(origin);
  }

  async #bringBack(
    { file, isOlder }: Waiting,
    host: DaemonHost,
    isSealed: boolean,
    owner: LostOwner | undefined,
  ): Promise<Recovery> {
    const { ownership, spool, environment, stand, goOn } = this.#options;
    const { origin } = file;
    try {
      // Beyond any epoch in which it can have lived, as far as is known here.
      const beyond = { epoch: (file.resumedIn ?? file.epoch + 1n) + 1n, tries: environment.wallNs() };
      const epoch = owner ? (await ownership.recover(origin, owner)).epoch : await ownership.create(origin, beyond);
      stand(host);
      spool.adopt(file);
      await goOn(host, epoch);
      this.#waiting.delete(origin);
      return { epoch, isWhole: isSealed && !isOlder };
    } catch (error) {
      host.dispose();
      throw error;
    }
  }

  /**
   * Reads of whom each file is; one that cannot be read is reported.
   *
   * @throws what the storage refuses with
   */
  async find(): Promise<Found> {
    const { storage } = this.#options;
    const byOrigin = new Map<bigint, FoundFile[]>();
    const add = (file: FencedName, target: bigint | undefined) => {
      this.#options.spool.note(file);
      byOrigin.set(file.origin, [...(byOrigin.get(file.origin) ?? []), { file, target }]);
    };
    for (const name of await storage.names()) {
      const file = parseFencedName(name);
      if (!file) continue;
      try {
        const migration = await this.#read(file, readMigration);
        if (!this.#isOurs(file, migration)) continue;
        add(file, migration.target);
      } catch (error) {
        // It may be one that a crash cut short, and no loss: the register tells.
        if (isDamage(error)) add(file, undefined);
        else await this.#complain(file, error);
      }
    }
    for (const files of byOrigin.values()) files.sort((a, b) => (a.file.try < b.file.try ? 1 : -1));
    return byOrigin;
  }

  #isOurs({ name, origin, try: attempt, epoch }: FencedName, migration: FencedMigration): boolean {
    const isNamed = migration.origin === origin && migration.try === attempt && migration.epoch === epoch;
    if (isNamed && migration.source === this.#options.localNode) return true;
    const message = `${name} in the spool ${this.#options.storage.label} is node ${migration.source}'s, of daemon ${migration.origin} and try ${migration.try}; it is left where it is. Give each node a spool of its own`;
    this.#options.report(new MigrationError('spool-unusable', message, { details: { file: name } }));
    return false;
  }

  async #takeUp(origin: bigint, files: readonly FoundFile[]): Promise<void> {
    let entry: OwnershipEntry | undefined;
    try {
      entry = await this.#options.ownership.entry(origin);
    } catch {
      this.#decideLater(origin, files);
      return;
    }
    this.#undecided.delete(origin);
    const waiting: Waiting[] = [];
    // It may have lived here since they were found, and they are gone.
    const kept = files.filter(({ file }) => this.#options.spool.keeps(file));
    for (const [index, found] of kept.entries()) {
      const fate = fateOf(found.file, found.target, entry, this.#options.localNode);
      if (fate.kind === 'gone') this.#options.spool.remove(found.file);
      else if (fate.kind === 'waits') waiting.push({ ...found, isOlder: fate.isOlder });
      // Of several, only the latest can be the daemon.
      else if (index > 0) waiting.push({ ...found, isOlder: true });
      else {
        const outcome = await this.#stand(found, fate, entry!);
        if (outcome === 'later') this.#decideLater(origin, kept);
        if (outcome === 'stands' || outcome === 'later') return;
        if (outcome !== 'lost') waiting.push({ ...found, isOlder: outcome === 'older' });
      }
    }
    if (waiting.length === 0) return;
    this.#waiting.set(origin, waiting);
    // Let go to a peer without extensions: kept no longer than in memory.
    if (entry?.offer?.try === 0n) this.#expire(origin);
  }

  /** Only what waits from before: of a daemon that has come back it may be moving again. */
  #expire(origin: bigint): void {
    if (this.#isStopped) return;
    const { environment, spool } = this.#options;
    const stop = environment.after(BACKUP_MS, () => {
      for (const { file } of this.#of(origin)) spool.remove(file);
      this.#waiting.delete(origin);
      this.#expiries.delete(origin);
    });
    this.#expiries.set(origin, stop);
  }

  /**
   * @returns `stands`: it is in this node's hands again; `whole`: it could not be made, and waits in its file; `older`: it was
   * live when the node ended; `lost`: the file is damaged and set aside, holds nothing, or is needed no more; `later`: a copy is
   * on this node, which moves in, and makes the file old or comes to nothing
   */
  async #stand(
    found: FoundFile,
    fate: StandingFate & { readonly kind: 'stands' | 'goes-on' },
    entry: OwnershipEntry,
  ): Promise<'stands' | 'whole' | 'older' | 'lost' | 'later'> {
    const { file } = found;
    const { spool, isHere, stand, adopt } = this.#options;
    if (isHere(file.origin)) return 'later';
    // What was offered, or went further, was whole on disk before that.
    const wasWhole = fate.kind === 'goes-on' || entry.owner !== this.#options.localNode || entry.offer !== undefined;
    try {
      const record = await this.#read(file, readFenced);
      if (!record.state && wasWhole) throw record.damage ?? unsealed(file.name);
      if (!record.state) return 'older';
      const host = await this.#make(record);
      // It may be moving in by now, or live here, with a file of its own: that would go for this one's.
      if (!spool.keeps(file) || isHere(file.origin)) {
        host.dispose();
        return spool.keeps(file) ? 'later' : 'lost';
      }
      try {
        stand(host);
        spool.adopt(file);
        adopt(...this.#goingOn(record.migration, fate));
      } catch (error) {
        host.dispose();
        throw error;
      }
      return 'stands';
    } catch (error) {
      if (!spool.keeps(file)) return 'lost';
      // A crash while the daemon was live cut it short: nobody has relied on it.
      if (isDamage(error) && !wasWhole) this.#options.spool.remove(file);
      else await this.#complain(file, error);
      return isDamage(error) ? 'lost' : 'whole';
    }
  }

  /** The migration as its source goes on with it, and why it goes back. */
  #goingOn(
    { source: _, daemonKind: __, entityId: ___, envelope: ____, ...migration }: FencedMigration,
    fate: StandingFate & { readonly kind: 'stands' | 'goes-on' },
  ): [SourceMigration, MigrationError | undefined] {
    const { origin, requestId } = migration;
    const why = `node ${this.#options.localNode} was started again while it took daemon ${origin} back`;
    const back = new MigrationError('cancelled', why, { details: { origin } });
    // As if it were asked to withdraw in the epoch before: what stands in the register is that withdrawal.
    if (fate.kind === 'goes-on') return [{ ...migration, epoch: fate.epoch - 1n }, back];
    // Without extensions nobody asks a source again, and nobody confirms.
    return [migration, requestId ? undefined : back];
  }

  /** Damage is set aside; whatever else went wrong, the file stays. */
  async #complain({ name }: FencedName, cause: unknown): Promise<void> {
    const { storage, report } = this.#options;
    const error = asMigrationError(cause);
    if (isDamage(error)) {
      report(await setAside(storage, name, error));
      return;
    }
    const message = `${name} in the spool ${storage.label} stays where it is, and its daemon does not live: ${error.message}`;
    report(new MigrationError(error.kind, message, { details: { ...error.details, file: name }, cause }));
  }

  async #read<T>(
    { name }: FencedName,
    read: (file: SpoolFile, name: string, codec: MigrationCodec) => Promise<T>,
  ): Promise<T> {
    const { storage, codec } = this.#options;
    try {
      const file = await storage.open(name);
      try {
        return await read(file, name, codec);
      } finally {
        await file.close();
      }
    } catch (cause) {
      throw spoolError(storage.label, `reading ${name}`, cause);
    }
  }

  /** The daemon as it stood, in a copy that is fenced. */
  async #make(record: FencedRecord): Promise<DaemonHost> {
    const { codec, environment, factories, hostOptions } = this.#options;
    const { migration, state } = record;
    const carried = state && (await splitState(state.carried[0]!, () => environment.turn())).carried;
    const expected = factories.expected(migration.origin, migration.daemonKind);
    const keypair = this.#openKey(migration);
    let host: DaemonHost | undefined;
    try {
      // Behind the key, so that no daemon is made where that does not open.
      const daemon = factories.create(expected?.kind ?? migration.daemonKind, expected?.config);
      host = new DaemonHost(hostOptions(keypair, migration.daemonKind, daemon));
      await host.restore(codec.decodeSnapshot(record.snapshot));
      const stood = state && carried && { head: state.head, carried };
      const led = await host.standWhere(stood, record.events, migration.mode === 'live');
      if (stood && Buffer.compare(codec.encodeLink(led), codec.encodeLink(stood.head)) !== 0)
        this.#options.report(notDeterministic(migration, led, stood.head));
      host.movingTo = migration.target;
      return host;
    } catch (error) {
      if (host) void host.dispose();
      else keypair.dispose();
      throw error;
    }
  }

  #openKey(migration: FencedMigration): EntityKeypair {
    const { codec, nodeKeys } = this.#options;
    const { entityId, envelope } = migration;
    if (!envelope) return EntityKeypair.fromEntityId(entityId.slice());
    const link = codec.encodeLink(sealLink(migration));
    return IdentityEnvelope.fromBytes(envelope).open(nodeKeys.staticKeypair, link, EntityId.fromBytes(entityId));
  }

  #decideLater(origin: bigint, files: readonly FoundFile[]): void {
    this.#undecided.set(origin, files);
    this.#askAgain();
  }

  #askAgain(): void {
    if (this.#isStopped || this.#stopAsking) return;
    this.#stopAsking = this.#options.environment.after(ASK_AGAIN_MS, () => {
      this.#stopAsking = undefined;
      void this.#again();
    });
  }

  async #again(): Promise<void> {
    for (const [origin, files] of [...this.#undecided]) if (!this.#isStopped) await this.#takeUp(origin, files);
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof MigrationError && error.kind === 'spool-damaged';
}

function unsealed(name: string): MigrationError {
  const message = `${name} is damaged: it ends before what was written when its daemon stood still`;
  return new MigrationError('spool-damaged', message, { details: { file: name } });
}

function notDeterministic({ origin }: FencedMigration, led: CausalLink, stood: CausalLink): MigrationError {
  const message = `daemon ${origin} was brought back from its snapshot and its log, and put out something else than before (${led.sequence} outputs, ${stood.sequence} were published): it is not deterministic, and should move in pause mode. It stands behind what was published, with the state that the replay led to`;
  return new MigrationError('state-failed', message, {
    details: { origin, got: led.sequence, expected: stood.sequence },
  });
}
