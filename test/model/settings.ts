/** The models in docs/model, each `<name>.pml`. */
export type ModelName = 'ownership' | 'migration' | 'channels';

/** A promise, by the name that its assertion bears in the models. */
export type PromiseName =
  | 'never_two'
  | 'never_none'
  | 'nothing_lost'
  | 'nothing_stale'
  | 'outputs_once'
  | 'once_in_order'
  | 'it_ends';

/** A setting in which all rules hold. */
export interface Setting {
  readonly model: ModelName;
  /** What the model is made with: names, or `NAME=number`. */
  readonly flags: readonly string[];
  /** Too large for every day. */
  readonly long?: true;
}

/** A rule that is taken away by a switch: then a promise is broken. */
export interface Rule {
  readonly model: ModelName;
  readonly flags: readonly string[];
  readonly without: string;
  readonly breaks: PromiseName;
}

/** Rules of which each is enough as long as the others are there: only without all of them a promise is broken. */
export interface Locks {
  readonly model: ModelName;
  readonly flags: readonly string[];
  readonly without: readonly string[];
  readonly breaks: PromiseName;
  /** In which each may be away alone, where `flags` make too much of that for every day. */
  readonly alone?: readonly string[];
}

/** A situation that must be reached, or the model would show nothing. */
export interface Cover {
  readonly model: ModelName;
  readonly flags: readonly string[];
  readonly cover: number;
}

const LIAR = ['TRIES=2', 'LIAR'];
const BARE = ['TRIES=2', 'LIAR', 'BARE'];
const DELAYED = ['TRIES=2', 'LIAR', 'RDELAY'];
const DELAYED_3 = ['TRIES=3', 'RDELAY'];
const AHEAD = ['TRIES=2', 'LIAR', 'RDELAY', 'AHEAD'];
const LIVE = ['TRIES=2', 'LIAR', 'RDELAY', 'LIVE', 'NONDET'];
const SPOOL = ['TRIES=2', 'RDELAY', 'CRASHLIVE', 'SPOOL'];
const AWAY = ['TRIES=2', 'RDELAY', 'SPOOL', 'LIVE', 'ENDLESS'];
const CHANNELS = ['TRIES=3'];

export const SETTINGS: readonly Setting[] = [
  { model: 'ownership', flags: LIAR },
  { model: 'ownership', flags: BARE },
  { model: 'ownership', flags: ['TRIES=3'], long: true },
  { model: 'ownership', flags: ['TRIES=3', 'BARE'], long: true },
  { model: 'migration', flags: ['TRIES=3'] },
  { model: 'migration', flags: ['TRIES=3', 'RDELAY', 'TERM'] },
  { model: 'migration', flags: ['TRIES=3', 'LIAR', 'RDELAY'] },
  { model: 'migration', flags: ['TRIES=3', 'LIAR', 'RDELAY', 'LIVE', 'NONDET'] },
  { model: 'migration', flags: ['TRIES=2', 'E=3', 'LIAR', 'RDELAY'] },
  { model: 'migration', flags: AHEAD },
  { model: 'migration', flags: ['TRIES=2', 'LIAR', 'RDELAY', 'CRASHLIVE'] },
  { model: 'migration', flags: SPOOL },
  { model: 'migration', flags: AWAY },
  { model: 'migration', flags: ['TRIES=2', 'LIAR', 'RDELAY', 'CRASHLIVE', 'SPOOL'], long: true },
  { model: 'migration', flags: ['TRIES=4', 'LIAR', 'RDELAY'], long: true },
  { model: 'migration', flags: ['TRIES=3', 'E=3', 'LIAR', 'RDELAY'], long: true },
  { model: 'migration', flags: ['TRIES=3', 'LIAR', 'RDELAY', 'CRASHLIVE'], long: true },
  { model: 'migration', flags: ['TRIES=3', 'RDELAY', 'CRASHLIVE', 'SPOOL'], long: true },
  { model: 'migration', flags: ['TRIES=3', 'RDELAY', 'CRASHLIVE', 'SPOOL', 'LIVE'], long: true },
  { model: 'channels', flags: CHANNELS },
  { model: 'channels', flags: ['TRIES=3', 'D=0'] },
  { model: 'channels', flags: ['TRIES=3', 'LIVE'] },
  { model: 'channels', flags: ['TRIES=3', 'D=0', 'CRASHLIVE'] },
  { model: 'channels', flags: ['TRIES=4', 'E=4'], long: true },
  { model: 'channels', flags: ['TRIES=3', 'E=4', 'LIVE'], long: true },
  { model: 'channels', flags: ['TRIES=3', 'E=4', 'D=0', 'CRASHLIVE'], long: true },
];

const rules = (
  model: ModelName,
  flags: readonly string[],
  breaks: PromiseName,
  switches: readonly string[],
): readonly Rule[] => switches.map((without) => ({ model, flags, without, breaks }));

export const RULES: readonly Rule[] = [
  ...rules('ownership', LIAR, 'never_two', ['NO_REGISTER', 'NO_OFFER', 'TRUST_FAILED', 'BLIND_WITHDRAW']),
  ...rules('ownership', LIAR, 'nothing_lost', ['NO_TAIL', 'NO_WORD']),
  ...rules('ownership', LIAR, 'never_none', ['FORGED_CONFIRM']),
  ...rules('ownership', BARE, 'never_two', ['TRUST_FAILED', 'BLIND_WITHDRAW', 'NO_ATTEST']),
  ...rules('ownership', BARE, 'nothing_lost', ['NO_TAIL', 'NO_WORD']),
  ...rules('ownership', BARE, 'never_none', ['FORGED_CONFIRM']),
  ...rules('migration', DELAYED, 'never_two', [
    'NO_REGISTER',
    'NO_OFFER',
    'TRUST_FAILED',
    'BLIND_WITHDRAW',
    'NO_WEPOCH',
  ]),
  ...rules('migration', AHEAD, 'never_two', ['CLAIM_BLIND', 'OFFER_BLIND']),
  ...rules('migration', DELAYED, 'never_none', [
    'FORGED_CONFIRM',
    'HIGHER_ENDS_SOURCE',
    'LITERAL_LETGO',
    'RECOVER_LITERAL',
    'OWN_FURTHER',
  ]),
  ...rules('migration', DELAYED_3, 'never_none', ['CONFIRM_ANY']),
  ...rules('migration', DELAYED, 'nothing_lost', [
    'NO_COUNT',
    'COUNT_ONLY',
    'NO_DIGEST',
    'ACK_FORGETS',
    'NO_PROCESS_LOG',
    'FENCED_ACCEPT',
    'EARLY_ACCEPT',
  ]),
  ...rules('migration', DELAYED, 'outputs_once', ['OUT_EARLY']),
  ...rules('migration', DELAYED, 'it_ends', ['NO_RECOVER', 'NO_FURTHER']),
  ...rules('migration', DELAYED_3, 'it_ends', ['DROP_CLAIMING']),
  ...rules('migration', LIVE, 'outputs_once', ['LIVE_PUBLISHES', 'LIVE_PROCESS_LOG']),
  ...rules('migration', LIVE, 'nothing_stale', ['NO_HEAD']),
  ...rules('migration', SPOOL, 'nothing_stale', [
    'NO_MARK',
    'MARK_LATE',
    'MARK_IGNORED',
    'NO_TRIES',
    'RESTART_LIVE',
    'OWNER_ONLY',
  ]),
  ...rules('migration', AWAY, 'nothing_lost', ['RECOVER_LIVED_ON']),
  ...rules('migration', SPOOL, 'never_none', ['SPOOL_LATE', 'RESTART_FORGETS']),
  ...rules('migration', SPOOL, 'it_ends', ['OWN_FURTHER']),
  ...rules('channels', CHANNELS, 'once_in_order', [
    'NO_HORIZON',
    'HORIZON_STAYS',
    'FROM_NOW',
    'UNSUB_FIRST',
    'READAHEAD_ACK',
    'READAHEAD_APPLY',
    'POSITION_FIRST',
    'PRUNE_UNSEEN',
    'NO_RESUB',
    'RESUB_NOW',
    'LOG_LAST',
  ]),
];

export const LOCKS: readonly Locks[] = [
  { model: 'migration', flags: DELAYED_3, without: ['OWNER_ONLY', 'BESIDE_FENCED'], breaks: 'never_two' },
  { model: 'migration', flags: DELAYED_3, without: ['TRY_RESTART', 'CONFIRM_TRY'], breaks: 'never_none' },
  {
    model: 'migration',
    flags: ['TRIES=3', 'LIAR', 'RDELAY'],
    without: ['NO_TRY', 'CONFIRM_TRY', 'BESIDE_FENCED'],
    breaks: 'it_ends',
    alone: DELAYED_3,
  },
];

export const COVERS: readonly Cover[] = [
  { model: 'ownership', flags: LIAR, cover: 1 },
  { model: 'ownership', flags: BARE, cover: 1 },
  { model: 'migration', flags: LIAR, cover: 1 },
  { model: 'migration', flags: ['TRIES=3'], cover: 2 },
  { model: 'migration', flags: ['TRIES=3'], cover: 3 },
  { model: 'migration', flags: DELAYED, cover: 4 },
  { model: 'migration', flags: SPOOL, cover: 5 },
  { model: 'migration', flags: SPOOL, cover: 6 },
  { model: 'migration', flags: SPOOL, cover: 7 },
  { model: 'migration', flags: AHEAD, cover: 8 },
  { model: 'channels', flags: CHANNELS, cover: 1 },
  { model: 'channels', flags: CHANNELS, cover: 2 },
  { model: 'channels', flags: CHANNELS, cover: 3 },
];

/** Everything that a model can be made with, by the name alone. */
export function knownFlags(): ReadonlySet<string> {
  const flags = [
    ...[...SETTINGS, ...RULES, ...LOCKS, ...COVERS].flatMap((run) => run.flags),
    ...RULES.map(({ without }) => without),
    ...LOCKS.flatMap(({ without }) => without),
    'COVER',
  ];
  return new Set(flags.map((flag) => flag.split('=')[0]!));
}
