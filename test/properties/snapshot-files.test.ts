import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AssembledSnapshot, SnapshotReassembler } from '../../lib/wire/reassembler.js';
import { codecs, RUNS } from './support.js';

const test = suite('snapshots received in files');

const CHUNK = 7_000;
const [ORIGIN, SEQ] = [7n, 3n];
const native = codecs.find(({ snapshotFiles }) => snapshotFiles !== undefined)!;
const files = native.snapshotFiles!;
const folder = mkdtempSync(join(tmpdir(), 'snapshot-files-'));
test.after(() => rmSync(folder, { recursive: true }));

type Step =
  | { readonly kind: 'feed'; readonly at: number; readonly fill: number }
  /** What has landed is on disk, and written down. */
  | { readonly kind: 'sync' }
  /** What has not been synced is lost, as in a crash of the machine. */
  | { readonly kind: 'restart' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 40, arbitrary: fc.record({ kind: fc.constant('feed' as const), at: fc.nat(999), fill: fc.nat(1) }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'sync' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
);

const script = fc.record({
  total: fc.integer({ min: 2, max: 300 }),
  lastLength: fc.integer({ min: 1, max: CHUNK }),
  steps: fc.array(step, { maxLength: 400 }),
});

let nextFile = 1;

/** A reassembler in a file, and beside it one in memory that is given what the file must hold. */
class Pair {
  readonly #path = join(folder, String(nextFile++));
  readonly #chunks: readonly Uint8Array[];
  #inFile = this.#begin();
  #inMemory = this.#begin();
  /** What was fed of each chunk, and what of it was synced: by which fill it is told. */
  #fed = new Map<number, number>();
  #synced = new Map<number, number>();
  #received: Uint8Array | undefined;
  whole: readonly [AssembledSnapshot, AssembledSnapshot] | undefined;

  constructor(
    readonly total: number,
    private readonly lastLength: number,
  ) {
    this.#chunks = Array.from({ length: total }, (_, i) =>
      Uint8Array.from({ length: this.#lengthOf(i) }, (_, j) => (i * 31 + j * 7) & 0xff),
    );
  }

  #lengthOf(index: number): number {
    return index === this.total - 1 ? this.lastLength : CHUNK;
  }

  #begin(): SnapshotReassembler {
    return native.createReassembler({ digest: true });
  }

  begin(): void {
    this.feed(0, 0);
    if (!this.whole) this.#inFile.keep!(ORIGIN, files.create(this.#path, this.total));
  }

  /** @param fill 1: with other bytes than in the end */
  feed(index: number, fill: number): void {
    const chunk = fill === 0 ? this.#chunks[index]! : this.#chunks[index]!.map((byte) => byte ^ 1);
    const [a, b] = [this.#inFile, this.#inMemory].map((one) => one.feed(ORIGIN, SEQ, index, this.total, chunk));
    assert.is(a === undefined, b === undefined, 'both are whole, or none');
    this.#fed.set(index, fill);
    if (a && b) this.whole = [a, b];
    else this.#same();
  }

  sync(): void {
    this.#received = this.#inFile.received!(ORIGIN);
    this.#synced = new Map(this.#fed);
    this.#synced.delete(this.total - 1);
  }

  async restart(): Promise<void> {
    this.#inFile.dispose();
    this.#inMemory.dispose();
    this.#lose();
    this.#fed = this.#synced;
    [this.#inFile, this.#inMemory] = [this.#begin(), this.#begin()];
    const received = this.#received ?? new Uint8Array(8 * Math.ceil(this.total / 64));
    // What the source asks by.
    this.#inFile.feed(ORIGIN, SEQ, this.total - 1, this.total, this.#chunks.at(-1)!);
    const file = await files.takeUp(this.#path, this.total, received);
    assert.is(file.receivedChunks, this.#synced.size);
    const a = this.#inFile.keep!(ORIGIN, file);
    let b: AssembledSnapshot | undefined;
    for (const [index, fill] of [...this.#synced, [this.total - 1, 0] as const]) {
      const chunk = fill === 0 ? this.#chunks[index]! : this.#chunks[index]!.map((byte) => byte ^ 1);
      b = this.#inMemory.feed(ORIGIN, SEQ, index, this.total, chunk);
    }
    this.#fed = new Map([...this.#synced, [this.total - 1, 0]]);
    assert.is(a === undefined, b === undefined, 'both are whole, or none');
    if (a && b) this.whole = [a, b];
    else this.#same();
  }

  /** Chunks that came after the last sync, or came again with other bytes, are on disk as they were, or nothing. */
  #lose(): void {
    const fd = openSync(this.#path, 'r+');
    for (const [index, fill] of this.#fed) {
      const kept = this.#synced.get(index);
      if (kept === fill) continue;
      const chunk = this.#chunks[index]!;
      const before = kept === undefined ? new Uint8Array(chunk.length) : kept === 0 ? chunk : chunk.map((b) => b ^ 1);
      writeSync(fd, before, 0, before.length, index * CHUNK);
    }
    closeSync(fd);
  }

  #same(): void {
    const runs = [this.#inFile, this.#inMemory].map((one) => [...one.missing(ORIGIN, 1_000)]);
    assert.equal(runs[0], runs[1], 'what is missing');
    const [a, b] = [this.#inFile, this.#inMemory].map((one) => one.progress(ORIGIN));
    assert.equal(a, b);
  }

  /** All that is missing, in the order in which it is named. */
  complete(): void {
    while (!this.whole) this.feed(this.#inFile.missing(ORIGIN, 1)[0]!, 0);
    const [a, b] = this.whole;
    assert.ok(Buffer.compare(a.bytes, b.bytes) === 0, 'the same bytes');
    assert.equal(a.digest, b.digest);
    assert.equal(a.digest, native.blake3(a.bytes));
    for (const whole of this.whole) whole.dispose();
    this.#inFile.dispose();
    this.#inMemory.dispose();
    rmSync(this.#path, { force: true });
  }
}

test('hold what memory would, whatever comes in which order, and after each restart what was synced', () =>
  fc.assert(
    fc.asyncProperty(script, async ({ total, lastLength, steps }) => {
      const pair = new Pair(total, lastLength);
      pair.begin();
      for (const one of steps) {
        if (pair.whole) break;
        if (one.kind === 'feed') pair.feed(one.at % total, one.fill);
        else if (one.kind === 'sync') pair.sync();
        else await pair.restart();
      }
      pair.complete();
    }),
    { numRuns: Math.max(1, Math.round(RUNS / 20)) },
  ));

test('refuse what is not theirs, and change nothing', async () => {
  const path = join(folder, 'refusals');
  const reassembler = native.createReassembler();
  reassembler.feed(ORIGIN, SEQ, 0, 50, new Uint8Array(CHUNK));
  const used = files.create(path, 50);
  assert.throws(() => files.create(path, 50), /it cannot be made/);
  assert.throws(() => reassembler.keep!(ORIGIN, {} as never), TypeError);
  assert.throws(() => files.create(7 as never, 50), TypeError);
  assert.throws(() => files.create(path, -1), TypeError);
  reassembler.keep!(ORIGIN, used);
  assert.throws(() => reassembler.keep!(ORIGIN, used), /disposed/);
  assert.equal([...reassembler.missing(ORIGIN, 5)], [1, 50]);
  for (const received of [new Uint8Array(7), new Uint8Array(8).fill(0xff)]) {
    const error = await files.takeUp(path, 50, received).then(
      () => undefined,
      (refused) => refused,
    );
    assert.is(error?.kind, 'spool-failed');
  }
  reassembler.dispose();
  const unused = files.create(`${path}-2`, 50);
  unused.dispose();
  unused.dispose();
});

test.run();
