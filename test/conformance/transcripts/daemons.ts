import type { MeshDaemon } from '../../../lib/daemon/daemon.js';
import type { CausalEvent } from '../../../lib/wire/link.js';

/** The daemons of the transcripts, as the vectors' README describes them. */

export const DAEMON_KINDS = ['Counter', 'Blob', 'Stateless', 'BadRestore'] as const;
export type DaemonKind = (typeof DAEMON_KINDS)[number];

/** One that tells what it went through: `publisher:sequence` of each event, in order. */
export interface TranscriptDaemon extends MeshDaemon {
  readonly seen: readonly string[];
  /** What a snapshot would hold; null where it has no state. */
  readonly state: Uint8Array | null;
}

export function makeDaemon(kind: DaemonKind, state: Uint8Array = new Uint8Array(0)): TranscriptDaemon {
  switch (kind) {
    case 'Counter':
      return new Counter(state);
    case 'Blob':
      return new Blob(state);
    case 'Stateless':
      return new Stateless();
    case 'BadRestore':
      return new BadRestore();
  }
}

/** What a daemon notes of an event. */
export function nameOf({ link }: CausalEvent): string {
  return `${link.originHash}:${link.sequence}`;
}

abstract class Noting implements TranscriptDaemon {
  abstract readonly name: string;
  readonly seen: string[] = [];

  abstract get state(): Uint8Array | null;

  process(event: CausalEvent): Uint8Array[] {
    this.seen.push(nameOf(event));
    return [];
  }

  snapshot(): Uint8Array | undefined {
    return this.state ?? undefined;
  }

  restore(_state: Uint8Array): void {}
}

/** One u64; an event adds 1 and gives the new state as its only output. */
class Counter extends Noting {
  readonly name = 'Counter';
  #count = 0n;

  constructor(state: Uint8Array) {
    super();
    if (state.length > 0) this.restore(state);
  }

  get state(): Uint8Array {
    const state = new Uint8Array(8);
    new DataView(state.buffer).setBigUint64(0, this.#count, true);
    return state;
  }

  override process(event: CausalEvent): Uint8Array[] {
    super.process(event);
    this.#count++;
    return [this.state];
  }

  override restore(state: Uint8Array): void {
    if (state.length !== 8) throw new RangeError(`a counter's state has 8 bytes, not ${state.length}`);
    this.#count = new DataView(state.buffer, state.byteOffset, 8).getBigUint64(0, true);
  }
}

/** Bytes that never change. */
class Blob extends Noting {
  readonly name: string = 'Blob';
  #state: Uint8Array;

  constructor(state: Uint8Array) {
    super();
    this.#state = state;
  }

  get state(): Uint8Array | null {
    return this.#state;
  }

  override restore(state: Uint8Array): void {
    this.#state = state.slice();
  }
}

class Stateless extends Noting {
  readonly name = 'Stateless';

  get state(): null {
    return null;
  }
}

class BadRestore extends Blob {
  override readonly name = 'BadRestore';

  constructor() {
    super(new Uint8Array(0));
  }

  override restore(): void {
    throw new Error('this daemon refuses every state');
  }
}
