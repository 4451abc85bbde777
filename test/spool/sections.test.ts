import * as assert from 'uvu/assert';
import { createCodec, MigrationError } from '../../lib/index.js';
import { SectionReader, SectionWriter } from '../../lib/spool/sections.js';
import type { SpoolFile } from '../../lib/spool/storage.js';
import { refusal, suite } from '../support.js';
import { MemoryDisk } from './memory-disk.js';

const KIND = 7;
const SECTIONS = [new Uint8Array(0), Uint8Array.of(1), new Uint8Array(300 * 1024).fill(9), Uint8Array.of(2, 3)];
const codec = createCodec();
const hasher = () => codec.createBlake3();

async function opened(change: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes): Promise<SpoolFile> {
  const disk = new MemoryDisk();
  const storage = disk.storage();
  await storage.take();
  const file = await storage.create('one');
  const writer = await SectionWriter.begin(file, KIND, hasher);
  for (const [tag, bytes] of SECTIONS.entries()) {
    const half = bytes.length >> 1;
    await writer.section(tag, bytes.length, [bytes.subarray(0, half), bytes.subarray(half)]);
  }
  assert.is(await file.size(), writer.size);
  disk.edit('one', change);
  return storage.open('one');
}

/** The contents up to the end, or to where it is damaged. */
async function read(file: SpoolFile, isChecked = false): Promise<{ contents: Uint8Array[]; error: unknown }> {
  const contents: Uint8Array[] = [];
  try {
    const reader = await SectionReader.open(file, 'one', KIND, hasher);
    for (let head = await reader.next(); head; head = await reader.next()) {
      if (isChecked) await reader.check(head);
      const content = isChecked ? SECTIONS[head.tag]! : await reader.content(head);
      assert.is(head.tag, contents.length);
      contents.push(content);
    }
    return { contents, error: undefined };
  } catch (error) {
    return { contents, error };
  }
}

const sections = suite('the sections of a spool’s file');

sections('come back as they were written', async () => {
  for (const isChecked of [false, true]) {
    const { contents, error } = await read(await opened(), isChecked);
    assert.is(error, undefined);
    assert.equal(contents, SECTIONS);
  }
});

sections(
  'cut off at every byte around their bounds are damaged, but at a bound, and what is before is whole',
  async () => {
    const bounds = [16];
    for (const { length } of SECTIONS) bounds.push(bounds.at(-1)! + 16 + length + 32);
    for (const [index, bound] of bounds.entries()) {
      for (let at = Math.max(0, bound - 50); at < Math.min(bound + 50, bounds.at(-1)!); at++) {
        const { contents, error } = await read(await opened((bytes) => bytes.slice(0, at)), index % 2 === 0);
        const whole = Math.max(0, bounds.filter((b) => b <= at).length - 1);
        assert.equal(contents.length, whole, `cut at ${at}`);
        if (bounds.includes(at)) assert.is(error, undefined);
        else assert.is((error as MigrationError).kind, 'spool-damaged');
      }
    }
  },
);

sections('with one bit turned over anywhere are damaged there', async () => {
  const size = await (await opened()).size();
  for (let i = 0; i < 400; i++) {
    const at = i < 120 ? i : Math.floor((i / 400) * size);
    const { contents, error } = await read(
      await opened((bytes) => {
        bytes[at]! ^= 1 << (i % 8);
        return bytes;
      }),
    );
    assert.instance(error, MigrationError, `at ${at}`);
    const { kind } = error as MigrationError;
    assert.ok(kind === 'spool-damaged' || (kind === 'unsupported-version' && (at === 8 || at === 9)), `${at}: ${kind}`);
    for (const [n, content] of contents.entries()) assert.equal(content, SECTIONS[n]!);
  }
});

sections('in another order, or of another file, are damaged', async () => {
  const cut = (bytes: Uint8Array, from: number, to: number) => bytes.subarray(from, to);
  const first = 16 + 16 + 32;
  const second = first + 16 + 1 + 32;
  const swapped = await opened((bytes) =>
    Buffer.concat([
      cut(bytes, 0, 16),
      cut(bytes, first, second),
      cut(bytes, 16, first),
      cut(bytes, second, bytes.length),
    ]),
  );
  const { contents, error } = await read(swapped);
  assert.is(contents.length, 0);
  assert.is((error as MigrationError).kind, 'spool-damaged');
});

sections('of another kind, of none, and of a later version are told apart', async () => {
  const kind = await opened();
  await refusal('spool-damaged', () => SectionReader.open(kind, 'one', KIND + 1, hasher));
  const foreign = await opened(() => new TextEncoder().encode('{"a":1, "what": "is this?"}'));
  assert.match(
    (await refusal('spool-damaged', () => SectionReader.open(foreign, 'one', KIND, hasher))).message,
    /one is/,
  );
  const later = await opened((bytes) => {
    bytes[8] = 2;
    return bytes;
  });
  await refusal('unsupported-version', () => SectionReader.open(later, 'one', KIND, hasher));
});

sections('of another length than said are refused when they are written', async () => {
  const storage = new MemoryDisk().storage();
  await storage.take();
  const writer = await SectionWriter.begin(await storage.create('one'), KIND, hasher);
  for (const length of [3, 5]) {
    try {
      await writer.section(1, length, [new Uint8Array(4)]);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, RangeError);
    }
  }
});
