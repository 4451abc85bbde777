import type { DaemonHost } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import { sealSnapshot } from '../identity/identity-context.js';
import type { NodeKeys } from '../identity/node-keys.js';
import type { DaemonSnapshot, SourceMigration } from '../migration/core.js';
import { type SnapshotBytes, SnapshotParts, StreamedSnapshot } from '../migration/snapshot-bytes.js';
import { lengthOf } from '../parts.js';
import { FencedWriter, type SpooledContent, sealLink } from '../spool/fenced-file.js';
import { type FencedName, fencedName, resumedName } from '../spool/fenced-name.js';
import { spoolError } from '../spool/spool-error.js';
import { StatePipe } from '../spool/state-pipe.js';
import type { SpoolFile, SpoolStorage } from '../spool/storage.js';
import { encodeCarriedState } from '../state/carried-state.js';
import type { MigrationCodec } from '../wire/codec.js';
import { AHEAD_BYTES, PacedSnapshot } from './paced-snapshot.js';

export interface FencedSpoolOptions {
  readonly storage: SpoolStorage;
  readonly codec: MigrationCodec;
  readonly localNode: bigint;
  /** To these a daemon's key is sealed. */
  readonly nodeKeys: NodeKeys;
  /** Burns a number of that daemon's tries, so that the register says that what was written in an earlier one is old. */
  readonly outdate: (origin: bigint) => Promise<unknown>;
  /** Writing in the background has failed: that migration must end. */
  readonly onFailure: (origin: bigint, attempt: bigint, error: MigrationError) => void;
  readonly report: (error: MigrationError) => void;
  /** Resolves in a later turn of the event loop. */
  readonly turn: () => Promise<void>;
}

/** The file of a daemon that moves from here. */
interface Standing {
  readonly file: FencedName;
  /** Undefined once it is sealed, and for one that an earlier run sealed. */
  writer: FencedWriter | undefined;
}

/** The daemons that move from a node, in its spool: one file per try, from the snapshot to the confirmation. */
export class FencedSpool {
  readonly #options: FencedSpoolOptions;
  readonly #standing = new Map<bigint, Standing>();
  /** Every file that may be there, per daemon. */
  readonly #files = new Map<bigint, Map<string, FencedName>>();
  /** What is under way, and nobody waits for. */
  readonly #pending = new Set<Promise<void>>();
  #isClosed = false;

  constructor(options: FencedSpoolOptions) {
    this.#options = options;
  }

  /**
   * A snapshot has been taken, and the daemon's log has begun: both are written from now on, in the background.
   *
   * @returns the snapshot as it is to leave
   * @throws MigrationError `spool-full`, `spool-failed`
   */
  async begin(host: DaemonHost, migration: SourceMigration, snapshot: DaemonSnapshot): Promise<DaemonSnapshot> {
    const { storage, codec, localNode: source } = this.#options;
    const { origin, try: attempt } = migration;
    const file = fencedName(migration);
    const { keypair } = host;
    const record = {
      ...migration,
      source,
      seqThrough: snapshot.seqThrough,
      daemonKind: snapshot.daemonKind,
      entityId: keypair.entityId,
      envelope: this.#sealKey(host, migration),
    };
    const failed = (cause: unknown) =>
      this.#options.onFailure(origin, attempt, spoolError(storage.label, `writing ${file.name}`, cause));
    this.note(file);
    const created = await this.#reported(() => this.#attempt(`creating ${file.name}`, () => this.#create(file)));
    if (!created) throw new MigrationError('cancelled', `node ${source} shut down`);
    const readBack = (from: number, to: number) => writer.readBack(from, to);
    const content = { migration: record, snapshot: contentOf(snapshot.bytes, readBack), log: host.log };
    const writer: FencedWriter = new FencedWriter(created, codec, content, failed);
    this.#standing.set(origin, { file, writer });
    const { bytes } = snapshot;
    // A state that is streamed is paced already: it leaves when the file has taken it.
    const isPaced = bytes instanceof SnapshotParts && bytes.byteLength > AHEAD_BYTES;
    return isPaced ? { ...snapshot, bytes: new PacedSnapshot(bytes, writer) } : snapshot;
  }

  /** @returns undefined where this has been closed meanwhile: the file is gone again then */
  #create(file: FencedName): Promise<SpoolFile | undefined> {
    const created = this.#options.storage.create(file.name).then(async (made) => {
      if (!this.#isClosed) return made;
      await made.close();
      this.remove(file);
      return undefined;
    });
    // Whoever closes this waits for it, and hears no more of it than who asked.
    const over = created.then(
      () => {},
      () => {},
    );
    this.#inBackground(`creating ${file.name}`, () => over);
    return created;
  }

  /** Resolves when a daemon may stand still: little is left to be written of it. @throws MigrationError `spool-full`, `spool-failed` */
  async caughtUp(origin: bigint): Promise<void> {
    const { writer, file } = this.#standing.get(origin) ?? {};
    if (writer) await this.#attempt(`writing ${file!.name}`, () => writer.caughtUp());
  }

  #sealKey({ keypair }: DaemonHost, migration: SourceMigration): Uint8Array | undefined {
    if (!keypair.canSign) return undefined;
    const sealable = { entityId: keypair.entityId, chainLink: sealLink(migration) };
    return sealSnapshot(sealable, keypair, this.#options.nodeKeys.staticPublic);
  }

  /** Events have been logged for a daemon. */
  logged(origin: bigint): void {
    this.#standing.get(origin)?.writer?.logged();
  }

  /**
   * The daemon stands still. Resolves when all of it survives a crash of this node.
   *
   * @throws MigrationError `spool-full`, `spool-failed`
   */
  async seal(host: DaemonHost): Promise<void> {
    const { origin, log, head } = host;
    const standing = this.#standing.get(origin);
    const writer = standing?.writer;
    if (!writer) return;
    const state = {
      logCount: log.nextNumber - 1n,
      logDigest: log.digest(),
      head,
      carried: await encodeCarriedState(host.carried, this.#options.turn),
    };
    const sealed = () => this.#attempt(`writing ${standing.file.name}`, () => writer.seal(state));
    await (writer.hasFailed ? sealed() : this.#reported(sealed));
    standing.writer = undefined;
    this.#removeAll(origin, standing.file.name);
  }

  /**
   * The daemon is about to be live here again, in that epoch: from then on the file is not the daemon any more. Resolves when
   * a restarted node would know that.
   *
   * @throws MigrationError where neither the disk nor the register can be told
   */
  async mark({ origin }: DaemonHost, epoch: bigint): Promise<void> {
    const standing = this.#standing.get(origin);
    if (!standing) return;
    const { file, writer } = standing;
    // A node that found it whole would take it for the daemon.
    const marked = !writer || writer.mayBeWhole ? await this.#markFile(file, epoch) : file;
    this.#standing.delete(origin);
    this.#close(standing);
    if (writer) this.remove(marked);
  }

  async #markFile(file: FencedName, epoch: bigint): Promise<FencedName> {
    const { storage, report, outdate } = this.#options;
    const marked = resumedName(file, epoch);
    try {
      await this.#attempt(`marking ${file.name} as resumed`, () => storage.rename(file.name, marked.name));
    } catch (error) {
      // A disk that is broken must not keep the daemon from going on: the register can say the same.
      await outdate(file.origin);
      report(error as MigrationError);
      return file;
    }
    this.#forget(file);
    this.note(marked);
    return marked;
  }

  /** The daemon lives elsewhere, or has ended: nothing here is needed any more. */
  drop(origin: bigint): void {
    const standing = this.#standing.get(origin);
    this.#standing.delete(origin);
    if (standing) this.#close(standing);
    this.#removeAll(origin, undefined);
  }

  /** Whether a file is there and needed, as far as is known. */
  keeps({ origin, name }: FencedName): boolean {
    return this.#files.get(origin)?.has(name) === true;
  }

  /** A file is there. */
  note(file: FencedName): void {
    const files = this.#files.get(file.origin) ?? new Map<string, FencedName>();
    this.#files.set(file.origin, files.set(file.name, file));
  }

  /** A file of an earlier run is that daemon, which stands still here. */
  adopt(file: FencedName): void {
    this.note(file);
    this.#standing.set(file.origin, { file, writer: undefined });
    this.#removeAll(file.origin, file.name);
  }

  /** Resolves when nothing is under way any more; of daemons that still move, nothing more is written. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const standing of this.#standing.values()) this.#close(standing);
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #close({ writer }: Standing): void {
    if (writer) this.#inBackground('closing a file', () => writer.close());
  }

  #removeAll(origin: bigint, but: string | undefined): void {
    for (const file of [...(this.#files.get(origin)?.values() ?? [])]) if (file.name !== but) this.remove(file);
  }

  /** A file is needed no more. */
  remove(file: FencedName): void {
    this.#forget(file);
    this.#inBackground(`removing ${file.name}`, () => this.#options.storage.remove(file.name));
  }

  #forget({ origin, name }: FencedName): void {
    const files = this.#files.get(origin);
    files?.delete(name);
    if (files?.size === 0) this.#files.delete(origin);
  }

  #inBackground(doing: string, work: () => Promise<void>): void {
    const pending = this.#attempt(doing, work)
      .catch((error: unknown) => this.#options.report(error as MigrationError))
      .then(() => void this.#pending.delete(pending));
    this.#pending.add(pending);
  }

  /** Whoever leads the migration hears of it; so does this node, whose disk it is. */
  async #reported<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#options.report(error as MigrationError);
      throw error;
    }
  }

  async #attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw spoolError(this.#options.storage.label, doing, cause);
    }
  }
}

/**
 * What is sent is what is kept. A state that is streamed is read once: on its way into the file.
 *
 * @param readBack the snapshot's bytes from there to there, out of the file
 */
function contentOf(
  bytes: SnapshotBytes,
  readBack: (from: number, to: number) => AsyncIterable<Uint8Array>,
): SpooledContent {
  const { byteLength } = bytes;
  if (bytes instanceof SnapshotParts) return { byteLength, chunks: bytes.parts };
  if (!(bytes instanceof StreamedSnapshot)) throw new TypeError('bytes must be SnapshotParts or a StreamedSnapshot');
  const { before, state, behind } = bytes.fields;
  const begin = lengthOf(before);
  const pipe = new StatePipe(state.byteLength, (from) => readBack(begin + from, begin + state.byteLength));
  bytes.keepIn(() => pipe);
  const chunks = async function* () {
    yield* before;
    yield* pipe.pieces();
    yield* behind;
  };
  return { byteLength, chunks: chunks(), cancel: () => pipe.dispose() };
}
