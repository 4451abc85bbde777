import type { SnapshotArrival } from '../migration/core.js';
import { lengthOf } from '../parts.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, MAX_TOTAL_CHUNKS } from '../wire/message.js';
import { ByteReader, ByteWriter } from './bytes.js';
import { type CreateHasher, type SectionHead, SectionReader, SectionWriter } from './sections.js';
import { damaged } from './spool-error.js';
import type { SpoolFile } from './storage.js';

/** What stood on disk for certain when the record was written. */
export interface ArrivalRecord {
  readonly arrival: SnapshotArrival;
  /** Node id: this one. */
  readonly target: bigint;
  /** A bit per chunk, as `SnapshotReassembler.received` tells it. */
  readonly received: Uint8Array;
}

/** What the file's head says it is. */
const KIND = 2;
/** Sections, in this order, and nothing behind them. */
const Tag = { arrival: 1, received: 2 } as const;
/** origin, try, orchestrator, source, target, seqThrough, totalChunks, byteLength: u64 each. */
const ARRIVAL_SIZE = 64;

/** Bytes of the bits of so many chunks. */
export function receivedSize(totalChunks: number): number {
  return Math.ceil(totalChunks / 64) * 8;
}

/** The record as the bytes of its file. */
export async function encodeArrival(record: ArrivalRecord, hasher: CreateHasher): Promise<readonly Uint8Array[]> {
  const parts: Uint8Array[] = [];
  const writer = await SectionWriter.begin(collecting(parts), KIND, hasher);
  const { received } = record;
  await writer.section(Tag.arrival, ARRIVAL_SIZE, encodeFields(record));
  await writer.section(Tag.received, received.length, [received]);
  return parts;
}

/** @throws MigrationError `spool-damaged`, `unsupported-version` */
export async function readArrival(file: SpoolFile, name: string, hasher: CreateHasher): Promise<ArrivalRecord> {
  const reader = await SectionReader.open(file, name, KIND, hasher);
  const section = async (tag: number, size: number) => {
    const head = await reader.next();
    requireSection(name, reader.at, head, tag, size);
    return reader.content(head);
  };
  const fields = decodeFields(await section(Tag.arrival, ARRIVAL_SIZE));
  const { totalChunks, byteLength } = fields.arrival;
  if (totalChunks > MAX_TOTAL_CHUNKS || Math.ceil(byteLength / MAX_SNAPSHOT_CHUNK_SIZE) !== totalChunks)
    throw damaged(name, reader.at, `a snapshot of ${byteLength} bytes in ${totalChunks} chunks is none`);
  const record = { ...fields, received: await section(Tag.received, receivedSize(totalChunks)) };
  const more = await reader.next();
  if (more) throw damaged(name, reader.at, `section ${more.tag} follows the last`);
  return record;
}

function requireSection(
  name: string,
  at: number,
  head: SectionHead | undefined,
  tag: number,
  size: number,
): asserts head is SectionHead {
  if (head?.tag === tag && head.length === size) return;
  const found = head ? `section ${head.tag} of ${head.length} bytes` : 'its end';
  throw damaged(name, at, `stands ${found} where section ${tag} of ${size} bytes was expected`);
}

function encodeFields({ arrival, target }: ArrivalRecord): readonly Uint8Array[] {
  const { origin, try: attempt, orchestrator, source, seqThrough, totalChunks, byteLength } = arrival;
  const writer = new ByteWriter().u64(origin).u64(attempt).u64(orchestrator).u64(source).u64(target);
  return writer.u64(seqThrough).u64(BigInt(totalChunks)).u64(BigInt(byteLength)).parts;
}

function decodeFields(bytes: Uint8Array): Omit<ArrivalRecord, 'received'> {
  const reader = new ByteReader(bytes);
  const [origin, attempt, orchestrator, source, target, seqThrough] = Array.from({ length: 6 }, () => reader.u64());
  const [totalChunks, byteLength] = [Number(reader.u64()), Number(reader.u64())];
  const arrival = {
    origin: origin!,
    try: attempt!,
    orchestrator: orchestrator!,
    source: source!,
    seqThrough: seqThrough!,
    totalChunks,
    byteLength,
  };
  return { arrival, target: target! };
}

/** A file of which only the parts are wanted: sections are written one behind the other. */
function collecting(parts: Uint8Array[]): SpoolFile {
  const nothing = async () => {};
  return {
    size: async () => lengthOf(parts),
    read: async () => 0,
    write: async (_, more) => void parts.push(...more),
    sync: nothing,
    close: nothing,
  };
}
