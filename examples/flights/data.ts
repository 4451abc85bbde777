import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type AsyncBuffer, asyncBufferFromFile, type FileMetaData, parquetMetadataAsync, parquetRead } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { encodeFlight, FLIGHT_SIZE } from './flight.js';
import { UsageError } from './options.js';

/** The data set's file in the npm package vega-datasets. @throws UsageError where it is not installed */
function packagedFile(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('vega-datasets')), '../data/flights-3m.parquet');
  } catch {
    throw new UsageError(
      'the npm package vega-datasets is not installed; run `npm ci` (it is a development dependency)',
    );
  }
}

/** Flights as payloads, one behind the other, a row group at a time: the whole file would take half a gigabyte. */
export type Flights = AsyncIterable<Uint8Array>;

/**
 * The first `records` flights of a parquet file, as payloads of events.
 *
 * @throws UsageError where the file is not there, cannot be read, or holds fewer flights
 */
export async function openFlights(records: number, path = packagedFile()): Promise<Flights> {
  if (!existsSync(path)) {
    throw new UsageError(
      `the flights are not there: ${path} does not exist; name the file by --data, or run \`npm ci\``,
    );
  }
  const file = await asyncBufferFromFile(path);
  const metadata = await readMetadata(file, path);
  if (Number(metadata.num_rows) < records) {
    throw new UsageError(
      `${path} holds ${metadata.num_rows} flights, fewer than the ${records} asked for; lower --records`,
    );
  }
  return readGroups(file, metadata, records);
}

async function* readGroups(file: AsyncBuffer, metadata: FileMetaData, records: number): Flights {
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = Math.min(records, rowStart + Number(group.num_rows));
    if (rowEnd <= rowStart) return;
    const columns = new Map<string, ArrayLike<unknown>>();
    await parquetRead({
      file,
      metadata,
      compressors,
      rowStart,
      rowEnd,
      onChunk: ({ columnName, columnData }) => void columns.set(columnName, columnData),
    });
    yield payloads(columns, rowEnd - rowStart);
    rowStart = rowEnd;
  }
}

async function readMetadata(file: AsyncBuffer, path: string): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file);
  } catch (cause) {
    throw new UsageError(`${path} is no parquet file of flights: ${(cause as Error).message}`);
  }
}

function payloads(columns: ReadonlyMap<string, ArrayLike<unknown>>, count: number): Uint8Array {
  const column = (name: string) => {
    const found = columns.get(name);
    if (!found || found.length < count) throw new UsageError(`the file has no column "${name}" of ${count} rows`);
    return found;
  };
  const [date, delay, distance] = [column('date'), column('delay'), column('distance')];
  const [origin, destination] = [column('origin'), column('destination')];
  const bytes = new Uint8Array(count * FLIGHT_SIZE);
  for (let i = 0; i < count; i++) {
    encodeFlight(bytes, i * FLIGHT_SIZE, {
      date: date[i] as Date,
      delay: Number(delay[i]),
      distance: Number(distance[i]),
      origin: origin[i] as string,
      destination: destination[i] as string,
    });
  }
  return bytes;
}
