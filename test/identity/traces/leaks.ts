/** Ways to leave a secret behind, named as the search names them. */
export const LEAKS = [
  'bytes',
  'hex',
  'two-byte upper-case hex',
  'base64 + 1',
  'decimals',
  'small integers bytes',
  'integers bytes',
  'small doubles bytes',
  'doubles bytes',
] as const;

export type Leak = (typeof LEAKS)[number];

/** What the holder can be told to do. */
export type Command =
  | { readonly do: 'hold-daemon' | 'hold-target'; readonly masked: readonly number[] }
  | { readonly do: 'load-node'; readonly path: string }
  | { readonly do: 'seal'; readonly targetPublic: readonly number[]; readonly link: readonly number[] }
  | { readonly do: 'open'; readonly envelope: readonly number[]; readonly link: readonly number[] }
  | { readonly do: 'sign' | 'wipe-daemon' | 'dispose' }
  | { readonly do: 'leak'; readonly masked: readonly number[]; readonly as: Leak }
  | { readonly do: 'snapshot'; readonly path: string };
