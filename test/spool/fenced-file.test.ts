import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type CausalEvent, createCodec, MigrationError } from '../../lib/index.js';
import {
  type FencedMigration,
  type FencedRecord,
  FencedWriter,
  readFenced,
  readMigration,
} from '../../lib/spool/fenced-file.js';
import { fencedName, parseFencedName, resumedName } from '../../lib/spool/fenced-name.js';
import { StatePipe } from '../../lib/spool/state-pipe.js';
import { settled } from '../runtime/manual-environment.js';
import { events, refusal, suite } from '../support.js';
import { MemoryDisk } from './memory-disk.js';

const codec = createCodec();
const MIGRATION: FencedMigration = {
  origin: 5n,
  try: 3n,
  epoch: 2n ** 64n - 1n,
  source: 1n,
  target: 2n,
  orchestrator: 3n,
  requestId: new Uint8Array(16).fill(7),
  mode: 'live',
  seqThrough: 40n,
  daemonKind: 'recorder é',
  entityId: new Uint8Array(32).fill(8),
  envelope: new Uint8Array(209).fill(9),
};
const STATE = {
  logDigest: new Uint8Array(32).fill(1),
  head: { originHash: 5n, horizon: 6n, sequence: 44n, parentHash: 7n },
  carried: [Uint8Array.of(1, 2, 3)],
};

interface Written {
  readonly disk: MemoryDisk;
  readonly read: () => Promise<FencedRecord>;
}

async function written(
  { migration = MIGRATION, snapshot = new Uint8Array(600_000).fill(4), logged = [] as readonly CausalEvent[][] } = {},
  isSealed = true,
): Promise<Written> {
  const disk = new MemoryDisk();
  const storage = disk.storage();
  await storage.take();
  const log = codec.createEventLog();
  const failed = (cause: unknown) => assert.unreachable(String(cause));
  const parts = { byteLength: snapshot.length, chunks: [snapshot.subarray(0, 1_000), snapshot.subarray(1_000)] };
  const writer = new FencedWriter(await storage.create('one'), codec, { migration, snapshot: parts, log }, failed);
  for (const batch of logged) {
    for (const event of batch) log.append(event);
    writer.logged();
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (isSealed) await writer.seal({ ...STATE, logCount: log.nextNumber - 1n });
  await writer.close();
  return { disk, read: async () => readFenced(await storage.open('one'), 'one', codec) };
}

const large = (sequence: bigint): CausalEvent => ({
  ...events(77n, Number(sequence), 1)[0]!,
  payload: new Uint8Array(20_000),
  receivedAt: 9n,
});
const LOG = [
  events(77n, 1, 700),
  [large(701n)],
  events(77n, 702, 2_000),
  [large(2_702n), large(2_703n)],
  events(77n, 2_704, 3),
];

const file = suite('the file of a fenced daemon');

file('holds all of it', async () => {
  const { read, disk } = await written({ logged: LOG });
  const { migration, snapshot, events: logged, state, damage } = await read();
  assert.equal(migration, MIGRATION);
  assert.equal(snapshot, new Uint8Array(600_000).fill(4));
  assert.equal(logged, LOG.flat());
  assert.equal(state, { ...STATE, logCount: 2_706n });
  assert.is(damage, undefined);
  // Most of the log was written while the daemon moved.
  const names = disk.operations.map(({ kind }) => kind);
  assert.is(names.filter((kind) => kind === 'sync').length, 1);
  assert.ok(names.indexOf('sync') > 6);
});

file('holds as little as there is', async () => {
  const migration = { ...MIGRATION, requestId: undefined, envelope: undefined, mode: 'pause' as const };
  const { read } = await written({ migration, snapshot: new Uint8Array(0) });
  assert.equal(await read(), {
    migration,
    snapshot: new Uint8Array(0),
    events: [],
    state: { ...STATE, logCount: 0n },
    damage: undefined,
  });
});

file('that was not sealed says what is in it', async () => {
  const { read } = await written({ logged: LOG }, false);
  const { state, damage, events: logged } = await read();
  assert.is(state, undefined);
  assert.is(damage, undefined);
  assert.ok(logged.length >= 700);
  assert.equal(logged, LOG.flat().slice(0, logged.length));
});

/** Where sections begin, and the end. */
function bounds(bytes: Uint8Array): number[] {
  const found = [16];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  while (found.at(-1)! < bytes.length)
    found.push(found.at(-1)! + 16 + Number(view.getBigUint64(found.at(-1)! + 8, true)) + 32);
  return found;
}

file('whose state is still to come is closed without waiting for that', async () => {
  const storage = new MemoryDisk().storage();
  await storage.take();
  const pipe = new StatePipe(100, () => {
    throw new Error('nothing is read back');
  });
  const snapshot = { byteLength: 100, chunks: pipe.pieces(), cancel: () => pipe.dispose() };
  const log = codec.createEventLog();
  const failures: unknown[] = [];
  const content = { migration: MIGRATION, snapshot, log };
  const writer = new FencedWriter(await storage.create('one'), codec, content, (cause) => failures.push(cause));
  await pipe.append(new Uint8Array(60));
  await settled();
  await writer.close();
  assert.equal(failures, []);
  try {
    await pipe.append(new Uint8Array(40));
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), /takes no more/);
  }
});

file('cut off anywhere is never taken for whole', async () => {
  const { disk } = await written({ snapshot: new Uint8Array(50), logged: LOG });
  const whole = disk.contents().get('one')!.slice();
  const ends = bounds(whole);
  assert.ok(ends.length > 6);
  for (const end of ends.flatMap((bound) => [bound - 1, bound, bound + 1, bound + 40])) {
    if (end < 0 || end >= whole.length) continue;
    disk.edit('one', () => whole.slice(0, end));
    const storage = disk.storage();
    disk.crash('kept');
    await storage.take();
    const handle = await storage.open('one');
    if (end < ends[2]!) await refusal('spool-damaged', () => readFenced(handle, 'one', codec));
    else {
      const { state, events: logged, damage } = await readFenced(handle, 'one', codec);
      assert.is(state, undefined);
      assert.is(damage?.kind, ends.includes(end) ? undefined : 'spool-damaged');
      assert.equal(logged, LOG.flat().slice(0, logged.length));
    }
    if (end < ends[1]!) await refusal('spool-damaged', () => readMigration(handle, 'one', codec));
    else assert.equal(await readMigration(handle, 'one', codec), MIGRATION);
  }
});

file('with any bits turned over is never taken for whole, nor for another', async () => {
  const { disk, read } = await written({ snapshot: new Uint8Array(5_000), logged: [events(77n, 1, 40)] });
  const whole = disk.contents().get('one')!.slice();
  const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(flips, async (changes) => {
      const bytes = whole.slice();
      for (const [at, bits] of changes) bytes[at]! ^= bits;
      fc.pre(Buffer.compare(bytes, whole) !== 0);
      disk.edit('one', () => bytes);
      try {
        const { migration, snapshot, state, damage, events: logged } = await read();
        assert.equal(migration, MIGRATION);
        assert.equal(snapshot, new Uint8Array(5_000));
        assert.equal(logged, events(77n, 1, 40).slice(0, logged.length));
        assert.is(state, undefined);
        assert.is(damage?.kind, 'spool-damaged');
        assert.match(damage!.message, /^one is damaged: at byte \d+/);
      } catch (error) {
        if (!(error instanceof MigrationError)) throw error;
        assert.ok(['spool-damaged', 'unsupported-version'].includes(error.kind), error.message);
      }
    }),
    { numRuns: 500 },
  );
});

file('with something behind its end is damaged', async () => {
  const { disk, read } = await written();
  disk.edit('one', (bytes) => Buffer.concat([bytes, new Uint8Array(100)]));
  const { state, damage } = await read();
  assert.is(state, undefined);
  assert.is(damage?.kind, 'spool-damaged');
});

file('has a name that says whose it is, and in which epoch it was resumed', () => {
  const name = fencedName({ origin: 2n ** 64n - 1n, try: 1n, epoch: 2n });
  assert.is(name.name, `fenced-${'f'.repeat(16)}-${'0'.repeat(15)}1-${'0'.repeat(15)}2`);
  assert.equal(parseFencedName(name.name), name);
  assert.equal(parseFencedName(resumedName(name, 3n).name), resumedName(name, 3n));
  assert.is(parseFencedName(`damaged-${name.name}`), undefined);
  assert.is(parseFencedName('fenced-1-2-3'), undefined);
});
