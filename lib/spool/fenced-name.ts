/** What a file's name says of it. */
export interface FencedName {
  readonly name: string;
  readonly origin: bigint;
  readonly try: bigint;
  /** In which the daemon was this node's when it was written. */
  readonly epoch: bigint;
  /** The daemon went on here after it was written, in that epoch; undefined: not as far as is known. */
  readonly resumedIn: bigint | undefined;
}

const HEX = '([0-9a-f]{16})';
const FENCED = new RegExp(`^fenced-${HEX}-${HEX}-${HEX}$`);
const RESUMED = new RegExp(`^resumed-${HEX}-${HEX}-${HEX}-${HEX}$`);

const hex = (value: bigint) => value.toString(16).padStart(16, '0');
const number = (digits: string | undefined) => BigInt(`0x${digits}`);

type Try = Pick<FencedName, 'origin' | 'try' | 'epoch'>;

/** A file of a daemon that moves, or stands still. */
export function fencedName({ origin, try: attempt, epoch }: Try): FencedName {
  const name = `fenced-${hex(origin)}-${hex(attempt)}-${hex(epoch)}`;
  return { name, origin, try: attempt, epoch, resumedIn: undefined };
}

/** The same with the mark *resumed at epoch e*: a name is changed whole, or not at all. */
export function resumedName({ origin, try: attempt, epoch }: Try, resumedIn: bigint): FencedName {
  const name = `resumed-${hex(origin)}-${hex(attempt)}-${hex(epoch)}-${hex(resumedIn)}`;
  return { name, origin, try: attempt, epoch, resumedIn };
}

/** Undefined where the name is another kind of file's. */
export function parseFencedName(name: string): FencedName | undefined {
  const match = FENCED.exec(name) ?? RESUMED.exec(name);
  if (!match) return undefined;
  const [, origin, attempt, epoch, resumedIn] = match;
  return {
    name,
    origin: number(origin),
    try: number(attempt),
    epoch: number(epoch),
    resumedIn: resumedIn === undefined ? undefined : number(resumedIn),
  };
}
