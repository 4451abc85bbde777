import type { BindingList, SubscriptionBinding } from '../ledger.js';
import { readU16, readU32, readU64 } from '../typescript/bytes.js';

/** The first binding stands behind the count. */
const FIRST_AT = 4;

/**
 * Subscriptions as the addon hands them over: bindings (PROTOCOL.md §5), of which an object is made when one is asked for.
 */
export class PackedBindings implements BindingList {
  readonly length: number;
  readonly #bytes: Buffer;
  /** Where each binding begins, once one was asked for by its index. */
  #starts: Uint32Array | undefined;

  /** @param bytes checked bindings, not changed while the list is in use */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.length = readU32(bytes, 0);
  }

  at(index: number): SubscriptionBinding | undefined {
    this.#starts ??= this.#findStarts();
    const start = this.#starts.at(index);
    return start === undefined ? undefined : readBinding(this.#bytes, start);
  }

  *[Symbol.iterator](): IterableIterator<SubscriptionBinding> {
    let at = FIRST_AT;
    for (let i = 0; i < this.length; i++) {
      yield readBinding(this.#bytes, at);
      at = bindingEnd(this.#bytes, at);
    }
  }

  #findStarts(): Uint32Array {
    const starts = new Uint32Array(this.length);
    let at = FIRST_AT;
    for (let i = 0; i < this.length; i++) {
      starts[i] = at;
      at = bindingEnd(this.#bytes, at);
    }
    return starts;
  }
}

function bindingEnd(bytes: Uint8Array, at: number): number {
  const flagAt = at + 10 + readU16(bytes, at + 8);
  return bytes[flagAt] === 0 ? flagAt + 1 : flagAt + 3 + readU16(bytes, flagAt + 1);
}

/** The binding at `at` of checked bindings. Its token is a copy. */
export function readBinding(bytes: Buffer, at: number): SubscriptionBinding {
  const flagAt = at + 10 + readU16(bytes, at + 8);
  const tokenAt = flagAt + 3;
  return {
    publisher: readU64(bytes, at),
    channel: bytes.toString('latin1', at + 10, flagAt),
    token:
      bytes[flagAt] === 0 ? undefined : new Uint8Array(bytes.subarray(tokenAt, tokenAt + readU16(bytes, flagAt + 1))),
  };
}
