/** One of the two files of a snapshot that is being received. */
export interface ArrivalFile {
  /** What both names begin with. */
  readonly arrival: string;
  /** Given once only, so that no file takes another's place. */
  readonly number: bigint;
}

const HEX = '([0-9a-f]{16})';
const NAME = new RegExp(`^(arrival-${HEX}-${HEX}-${HEX})\\.(?:chunks|record)$`);

const hex = (value: bigint) => value.toString(16).padStart(16, '0');

export function arrivalName(origin: bigint, attempt: bigint, number: bigint): string {
  return `arrival-${hex(origin)}-${hex(attempt)}-${hex(number)}`;
}

/** The snapshot's bytes as far as they have come, each chunk in its place. */
export function chunksOf(arrival: string): string {
  return `${arrival}.chunks`;
}

/** Of what snapshot they are, and which of them stand there. */
export function recordOf(arrival: string): string {
  return `${arrival}.record`;
}

/** Undefined where the name is another kind of file's. */
export function parseArrivalFile(name: string): ArrivalFile | undefined {
  const match = NAME.exec(name);
  return match ? { arrival: match[1]!, number: BigInt(`0x${match[4]}`) } : undefined;
}
