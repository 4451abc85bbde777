/** What a file's name says of it. */
export interface FencedName {
  readonly name: string;
  readonly origin: bigint;
  readonly try: bigint;
  /** The daemon went on here after it was written, in that epoch; undefined: not as far as is known. */
  readonly resumedIn: bigint | undefined;
}

const HEX = '([0-9a-f]{16})';
const FENCED = new RegExp(`^fenced-${HEX}-${HEX}$`);
const RESUMED = new RegExp(`^resumed-${HEX}-${HEX}-${HEX}$`);

const hex = (value: bigint) => value.toString(16).padStart(16, '0');
const number = (digits: string | undefined) => BigInt(`0x${digits}`);

/** A file of a daemon that moves, or stands still. */
export function fencedName(origin: bigint, attempt: bigint): FencedName {
  return { name: `fenced-${hex(origin)}-${hex(attempt)}`, origin, try: attempt, resumedIn: undefined };
}

/** The same with the mark *resumed at epoch e*: a name is changed whole, or not at all. */
export function resumedName({ origin, try: attempt }: FencedName, epoch: bigint): FencedName {
  const name = `resumed-${hex(origin)}-${hex(attempt)}-${hex(epoch)}`;
  return { name, origin, try: attempt, resumedIn: epoch };
}

/** Undefined where the name is another kind of file's. */
export function parseFencedName(name: string): FencedName | undefined {
  const match = FENCED.exec(name) ?? RESUMED.exec(name);
  if (!match) return undefined;
  const [, origin, attempt, epoch] = match;
  return {
    name,
    origin: number(origin),
    try: number(attempt),
    resumedIn: epoch === undefined ? undefined : number(epoch),
  };
}
