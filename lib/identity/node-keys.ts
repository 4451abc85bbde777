import { inspect } from 'node:util';
import { ENTITY_ID_BYTES, type EntityId } from './entity-id.js';
import { EntityKeypair, keypairFromScratch, loadSignKey } from './entity-keypair.js';
import { IdentityError } from './errors.js';
import { checkPath, readKeyFile, writeKeyFile } from './key-file.js';
import type { SecretInputOptions } from './secret-input.js';
import { withSecureScratch } from './secure-scratch.js';
import type { StaticKeypair } from './static-keypair.js';

/**
 * A node's keys: its Ed25519 key pair, which gives the node id, and the X25519 one converted from it, to which envelopes
 * for this node are sealed. Peers that know the node's entity id know both public halves.
 */
export class NodeKeys implements Disposable {
  readonly identity: EntityKeypair;
  readonly staticKeypair: StaticKeypair;

  private constructor(identity: EntityKeypair) {
    this.identity = identity;
    try {
      this.staticKeypair = identity.toStaticKeypair();
    } catch (cause) {
      identity.dispose();
      throw cause;
    }
  }

  static generate(): NodeKeys {
    return new NodeKeys(EntityKeypair.generate());
  }

  /** Of a 32-byte Ed25519 seed; see `EntityKeypair.fromSeed` for who wipes it. */
  static fromSeed(seed: Uint8Array, options: SecretInputOptions = {}): NodeKeys {
    return new NodeKeys(EntityKeypair.fromSeed(seed, options));
  }

  /**
   * Reads a key file (format: `docs/identity.md`) straight into guarded memory. Blocks, as start-up may. Throws
   * `IdentityError`: `key-file-not-found`, `key-file-not-regular` (symbolic links too), `key-file-exposed` (others can
   * reach it), `key-file-malformed`, `key-file-unreadable`.
   */
  static load(path: string): NodeKeys {
    checkPath(path);
    const identity = withSecureScratch((scratch) => {
      const publicKey = new Uint8Array(ENTITY_ID_BYTES);
      readKeyFile(path, scratch.text, scratch.seed, publicKey);
      const keypair = keypairFromScratch(scratch);
      if (keypair.id.equals(publicKey)) return keypair;
      keypair.dispose();
      throw new IdentityError(
        'key-file-malformed',
        `${path}: the public key on line 3 is not that of the seed on line 2: the file is damaged; restore it from a backup`,
        { details: { path } },
      );
    });
    return new NodeKeys(identity);
  }

  /**
   * Writes a new key file, mode 0600, whole or not at all. Blocks until it is on disk. Throws `IdentityError`:
   * `key-file-exists`, `key-file-not-found` (the folder), `key-file-unreadable`; `disposed` after `dispose`.
   */
  save(path: string): void {
    checkPath(path);
    withSecureScratch((scratch) => {
      loadSignKey(this.identity, scratch);
      writeKeyFile(path, scratch.text, scratch.seed, this.id.toBytes());
    });
  }

  get id(): EntityId {
    return this.identity.id;
  }

  /** u64 */
  get nodeId(): bigint {
    return this.identity.nodeId;
  }

  /** A copy of the 32-byte X25519 public key. */
  get staticPublic(): Uint8Array {
    return this.staticKeypair.publicKey;
  }

  /** Wipes both private halves. Again: nothing. */
  dispose(): void {
    try {
      this.identity.dispose();
    } finally {
      this.staticKeypair.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `NodeKeys(${this.id.hex})`;
  }

  toJSON(): { readonly entityId: string; readonly nodeId: string } {
    return { entityId: this.id.hex, nodeId: this.nodeId.toString() };
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
