/**
 * Where a node keeps what must outlive it: a folder, or what a test hands in to have disks that fail and nodes that crash.
 * What it throws or rejects with is the system's (an error with a `code`, as ENOSPC); {@link spoolError} makes it ours.
 *
 * Names are flat: 1 to 200 of `a-z 0-9 . -`, beginning with a letter.
 */
export interface SpoolStorage {
  /** For people: what errors call it. A folder's path. */
  readonly label: string;

  /**
   * Takes the folder for this node alone, until `letGo`; what a crashed process left behind keeps nobody out.
   *
   * @throws MigrationError `spool-in-use`, `spool-unusable`
   */
  take(): Promise<void>;
  /** Lets the folder go, with all that stands in it. Idempotent. */
  letGo(): Promise<void>;

  /** Every name that is here, in no order. */
  names(): Promise<readonly string[]>;
  /** A new, empty file; one of that name is emptied. Its name survives a crash once the file has been synced. */
  create(name: string): Promise<SpoolFile>;
  /** A file that is here, to be read and written. */
  open(name: string): Promise<SpoolFile>;
  /** Makes a file hold exactly that. Whenever the node crashes, it holds this or what it held before; this, once it resolves. */
  replace(name: string, content: readonly Uint8Array[]): Promise<void>;
  /** Gives a file another name, in place of a file that has it. Survives a crash once it resolves. */
  rename(from: string, to: string): Promise<void>;
  /** Idempotent. After a crash the file may be here again. */
  remove(name: string): Promise<void>;
  /** Where the file is in the system's own tree, for who wants to map it; absent where it is in none. */
  path?(name: string): string;
}

/** One open file. Its calls do not overlap, but that bytes may be read while others are written. */
export interface SpoolFile {
  /** Bytes. */
  size(): Promise<number>;
  /** Fills `target` from byte `at` on. @returns bytes read: fewer only at the file's end */
  read(at: number, target: Uint8Array): Promise<number>;
  /** Writes all parts, one behind the other, from byte `at` on; past the end there are zeros between. */
  write(at: number, parts: readonly Uint8Array[]): Promise<void>;
  /** Resolves when all that has been written, and the file's name, survive a crash. */
  sync(): Promise<void>;
  /** Idempotent. Syncs nothing. */
  close(): Promise<void>;
}
