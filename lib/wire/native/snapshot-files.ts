import { checkBytes, checkString, checkU32, wrongType } from '../arguments.js';
import type { SnapshotFile, SnapshotFiles } from '../reassembler.js';
import type { Addon } from './addon.js';
import type { NativeSnapshotFile } from './binding.js';
import { refusal } from './refusal.js';

class MappedSnapshotFile implements SnapshotFile {
  readonly receivedChunks: number;
  readonly native: NativeSnapshotFile;

  /** @throws MigrationError what it was refused with */
  constructor(native: NativeSnapshotFile) {
    try {
      this.receivedChunks = native.received();
    } catch (error) {
      throw refusal(error);
    }
    this.native = native;
  }

  dispose(): void {
    this.native.dispose();
  }
}

/** What the addon knows a file as. @throws TypeError where it is none of its own */
export function nativeOf(file: SnapshotFile): NativeSnapshotFile {
  if (file instanceof MappedSnapshotFile) return file.native;
  throw wrongType('file', 'one of snapshotFiles', file);
}

/** {@link SnapshotFiles} over the addon. */
export class SnapshotFilesOverAddon implements SnapshotFiles {
  readonly #addon: Addon;

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  create(path: string, totalChunks: number): SnapshotFile {
    checkString(path, 'path');
    checkU32(totalChunks, 'totalChunks');
    try {
      return new MappedSnapshotFile(this.#addon.createSnapshotFile(path, totalChunks));
    } catch (error) {
      throw refusal(error);
    }
  }

  async takeUp(path: string, totalChunks: number, received: Uint8Array): Promise<SnapshotFile> {
    checkString(path, 'path');
    checkU32(totalChunks, 'totalChunks');
    checkBytes(received, 'received');
    return new MappedSnapshotFile(await this.#addon.takeUpSnapshotFile(path, totalChunks, received));
  }
}
