/** The most bytes of a channel name (PROTOCOL.md §5). */
export const MAX_CHANNEL_NAME_BYTES = 255;

/** What a mesh's frame header carries of a channel: the low 16 bits of its hash. */
export function channelWireHash(channelHash: bigint): number {
  return Number(channelHash & 0xffffn);
}

/** How many segments a valid channel name has: 1 for `a`, 2 for `a/b`. */
export function channelDepth(name: string): number {
  let depth = 1;
  for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) depth++;
  return depth;
}
