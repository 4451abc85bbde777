import { Random } from '../simulation/chance.js';
import type { DaemonShape, Role, Trap } from './messages.js';

/** Where a message is when its node is killed. */
export interface MessageSpot {
  readonly kind: 'frame' | 'operation' | 'answer';
  readonly name: string;
  /** Which of those that pass. */
  readonly nth: number;
  /** `before`: it is lost; `after`: it is passed on; `late`: it is passed on once the node is back. */
  readonly when: 'before' | 'after' | 'late';
  /** Who sends it; undefined: whoever does. */
  readonly from?: Role;
  /** How long after it the blow falls. Default: at once. */
  readonly delayMs?: number;
}

export interface Blow {
  readonly spot: Trap | MessageSpot;
  readonly victims: readonly Role[];
  /** Whether the others hear for certain that they are gone. */
  readonly isTold: boolean;
  /** It falls when the victims of the one before are back, while they take up what they had. */
  readonly isAfterRestart?: boolean;
}

/** What leads a migration off its common way. */
export type Detour =
  | 'none'
  /** Cancelled while it is on its way. */
  | 'cancelled'
  /** The target hears of no offer, and the migration is cancelled. */
  | 'withdrawn'
  /** Cancelled when the target has claimed, and the source does not hear of it. */
  | 'outrun'
  /** The target's acknowledgements are lost while a thousand events and more come. */
  | 'crowded';

export interface Plan {
  readonly seed: number;
  readonly blows: readonly Blow[];
  readonly detour: Detour;
  readonly shape: DaemonShape;
  readonly mode: 'pause' | 'live';
  /** The daemon lives on the one of the two that is named first, or on the other. */
  readonly isSouthward: boolean;
  /** From the last kill to the restart. */
  readonly downMs: number;
}

/** What a round of the tests is about. */
interface Subject {
  readonly spot: Trap | MessageSpot;
  readonly detour?: Detour;
  readonly victims?: readonly Role[];
  /** What comes first. */
  readonly first?: Blow;
}

const TARGET_AFTER_CLAIM: Blow = {
  spot: { kind: 'operation', name: 'claim', nth: 1, when: 'after' },
  victims: ['target'],
  isTold: true,
};

const SOURCE_PHASES: ReadonlyArray<readonly [phase: string, detour?: Detour, first?: Blow]> = [
  ['authorising'],
  ['beginning'],
  ['snapshotting'],
  ['transferring'],
  ['streaming'],
  ['draining', 'crowded'],
  ['fencing'],
  ['offering'],
  ['offered'],
  ['withdrawing', 'withdrawn'],
  ['withdrawing', 'outrun'],
  ['recovering', 'none', TARGET_AFTER_CLAIM],
  ['releasing'],
  ['resuming', 'cancelled'],
  ['resuming', 'withdrawn'],
];

const TARGET_PHASES: ReadonlyArray<readonly [phase: string, detour?: Detour]> = [
  ['authorising'],
  ['assembling'],
  ['restoring'],
  ['holding'],
  ['claiming'],
  ['activating'],
  ['discarding', 'cancelled'],
];

const FRAMES = [
  'TakeSnapshot',
  'SnapshotReady',
  'RestoreComplete',
  'EventAck',
  'BufferedEvents',
  'ReplayComplete',
  'CutoverNotify',
  'Offer',
  'CleanupComplete',
  'ActivateTarget',
  'ActivateAck',
  'ActivationConfirmed',
];

const FAILED = { kind: 'frame', name: 'MigrationFailed', nth: 1, when: 'after' } as const;

const OPERATIONS: ReadonlyArray<readonly [name: string, by: Role, detour?: Detour]> = [
  ['begin', 'source'],
  ['offer', 'source'],
  ['claim', 'target'],
  ['withdraw', 'source', 'withdrawn'],
];

/** Every phase of each side, and every step of the hand-over in the register. */
export const SUBJECTS: readonly Subject[] = [
  ...SOURCE_PHASES.map(([phase, detour = 'none', first]): Subject => {
    const spot: Trap = { role: 'source', phase, step: 1 };
    return first ? { spot, detour, first } : { spot, detour };
  }),
  ...TARGET_PHASES.map(([phase, detour = 'none']): Subject => ({ spot: { role: 'target', phase, step: 1 }, detour })),
  ...OPERATIONS.flatMap(([name, by, detour = 'none']) =>
    (['before', 'after', 'late'] as const).map(
      (when): Subject => ({ spot: { kind: 'operation', name, nth: 1, when }, detour, victims: [by] }),
    ),
  ),
  // Live again, and it has taken more since.
  ...(['cancelled', 'withdrawn'] as const).map((detour): Subject => {
    const spot = {
      kind: 'frame',
      name: 'MigrationFailed',
      nth: 1,
      when: 'after',
      from: 'source',
      delayMs: 60,
    } as const;
    return { spot, detour, victims: ['source'] };
  }),
  // The source has asked the register, and stays what it is: a backup.
  { spot: { ...FAILED, delayMs: 80 }, detour: 'outrun', victims: ['target'] },
  { spot: { kind: 'answer', name: 'offer', nth: 1, when: 'after' }, victims: ['source'] },
  { spot: { kind: 'answer', name: 'claim', nth: 1, when: 'after' }, victims: ['target'] },
];

/** One in so many rounds has no subject but a frame that chance picks. */
const FRAMES_EVERY = 4;

/** The round of a seed. Seeds that differ by the number of subjects are about the same one, but for every fourth. */
export function planOf(seed: number): Plan {
  const random = new Random(seed);
  const subject = seed % FRAMES_EVERY === 0 ? frameOf(random) : SUBJECTS[seed % SUBJECTS.length]!;
  const { detour = 'none', first } = subject;
  const spot = 'phase' in subject.spot ? { ...subject.spot, step: stepOf(random, subject.spot) } : subject.spot;
  const victims = victimsOf(random, subject);
  const second: Blow = { spot, victims, isTold: random.chance(0.5) };
  const blows = [...(first ? [first] : []), second, ...againOf(random, spot)];
  // Only a snapshot of several batches is half here for longer than a turn.
  const isLarge = ('phase' in spot && spot.phase === 'assembling') || random.chance(0.25);
  return {
    seed,
    blows,
    detour,
    shape: {
      padding: isLarge ? 1_500_000 : random.between(0, 60_000),
      isAsync: random.chance(0.4),
      isStreamed: random.chance(0.3),
    },
    // In live mode a target that activates has nothing to publish.
    mode: 'phase' in spot && spot.phase === 'activating' ? 'pause' : random.chance(0.3) ? 'live' : 'pause',
    isSouthward: random.chance(0.5),
    downMs: random.pick([0, 0, 50, 400]),
  };
}

/** Phases in which a node takes several steps of its own. */
const LONG = new Set(['transferring', 'streaming', 'offering', 'offered', 'withdrawing', 'restoring', 'holding']);

function stepOf(random: Random, { phase }: Trap): number {
  const step = random.pick([1, 1, 2, 3, 4]);
  return LONG.has(phase) ? step : 1;
}

/** A source that has stopped is now and then killed again, while it takes up what it finds in its spool. */
function againOf(random: Random, spot: Trap | MessageSpot): Blow[] {
  const phase = random.pick(['offered', 'withdrawing', 'resuming']);
  const isStopped = 'phase' in spot ? STOPPED.has(spot.phase) : spot.name === 'offer' || spot.name === 'withdraw';
  if (!isStopped || random.chance(0.6)) return [];
  const again: Trap = { role: 'source', phase, step: random.between(1, 3) };
  return [{ spot: again, victims: ['source'], isTold: random.chance(0.5), isAfterRestart: true }];
}

const STOPPED = new Set(['offering', 'offered', 'withdrawing', 'recovering', 'resuming']);

function frameOf(random: Random): Subject {
  const when = random.pick(['before', 'after'] as const);
  const spot: MessageSpot = { kind: 'frame', name: random.pick(FRAMES), nth: random.pick([1, 1, 1, 2]), when };
  return { spot, victims: random.pick([['source'], ['target'], ['source', 'target']]) };
}

/** One kills both at once now and then. */
function victimsOf(random: Random, { spot, victims, first }: Subject): readonly Role[] {
  const [victim] = victims ?? ['phase' in spot ? spot.role : 'source'];
  if (victims && victims.length > 1) return victims;
  return !first && random.chance(0.3) ? ['source', 'target'] : [victim!];
}

/** What must be struck at least once: each phase of each side, and each step in the register. */
export const TO_BE_STRUCK: ReadonlyMap<string, number> = new Map(
  SUBJECTS.map(({ spot }, index) => [
    'phase' in spot ? `${spot.role} ${spot.phase}` : `${spot.when} ${spot.kind} ${spot.name}`,
    index,
  ]),
);

/** The `n`th seed of the round that is about that subject. */
export function seedOf(subject: number, n: number): number {
  let seed = subject;
  for (let left = n; left > 0 || seed % FRAMES_EVERY === 0; seed += SUBJECTS.length)
    if (seed % FRAMES_EVERY !== 0) left--;
  return seed;
}
