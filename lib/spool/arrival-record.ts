import { MAX_SNAPSHOT_CHUNK_SIZE, MAX_TOTAL_CHUNKS } from '../wire/message.js';
import { type CreateHasher, type SectionHead, SectionReader, SectionWriter } from './sections.js';
import { damaged } from './spool-error.js';
import type { SpoolFile } from './storage.js';

/** A snapshot on its way to this node, as `SnapshotArrival` of lib/migration names it. */
export interface ArrivalId {
  readonly origin: bigint;
  readonly try: bigint;
  readonly orchestrator: bigint;
  readonly source: bigint;
  readonly seqThrough: bigint;
  readonly totalChunks: number;
  readonly byteLength: number;
}

/** What stood on disk for certain when the record was written. */
export interface ArrivalRecord {
  readonly arrival: ArrivalId;
  /** A bit per chunk, as `SnapshotReassembler.received` tells it. */
  readonly received: Uint8Array;
}

/** Of what the file is, in its head. */
const KIND = 16;
/** origin, try, orchestrator, source, seqThrough, byteLength (u64 each), totalChunks u32, zeros 4. */
const ID = 1;
const ID_SIZE = 56;
/** Chunks received: their bits. */
const RECEIVED = 2;

/** Bytes of the bits of so many chunks. */
export function receivedSize(totalChunks: number): number {
  return Math.ceil(totalChunks / 64) * 8;
}

/** The record as the bytes of its file. */
export async function encodeArrival(record: ArrivalRecord, hasher: CreateHasher): Promise<readonly Uint8Array[]> {
  const parts: Uint8Array[] = [];
  const writer = await SectionWriter.begin(collecting(parts), KIND, hasher);
  await writer.section(ID, ID_SIZE, [encodeId(record.arrival)]);
  await writer.section(RECEIVED, record.received.length, [record.received]);
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
  const arrival = decodeId(await section(ID, ID_SIZE));
  const { totalChunks: total, byteLength: length } = arrival;
  const isPossible = total > 0 && total <= MAX_TOTAL_CHUNKS && Math.ceil(length / MAX_SNAPSHOT_CHUNK_SIZE) === total;
  if (!isPossible) throw damaged(name, reader.at, `a snapshot of ${length} bytes in ${total} chunks is none`);
  return { arrival, received: await section(RECEIVED, receivedSize(total)) };
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

function encodeId({ origin, try: attempt, orchestrator, source, seqThrough, ...sizes }: ArrivalId): Uint8Array {
  const view = new DataView(new ArrayBuffer(ID_SIZE));
  [origin, attempt, orchestrator, source, seqThrough, BigInt(sizes.byteLength)].forEach((word, i) => {
    view.setBigUint64(8 * i, word, true);
  });
  view.setUint32(48, sizes.totalChunks, true);
  return new Uint8Array(view.buffer);
}

function decodeId(bytes: Uint8Array): ArrivalId {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (i: number) => view.getBigUint64(8 * i, true);
  return {
    origin: word(0),
    try: word(1),
    orchestrator: word(2),
    source: word(3),
    seqThrough: word(4),
    byteLength: Number(word(5)),
    totalChunks: view.getUint32(48, true),
  };
}

/** A file of which only the parts are wanted: sections are written one behind the other. */
function collecting(parts: Uint8Array[]): SpoolFile {
  const nothing = async () => {};
  return {
    size: async () => parts.reduce((sum, part) => sum + part.length, 0),
    read: async () => 0,
    write: async (_, more) => void parts.push(...more),
    sync: nothing,
    close: nothing,
  };
}
