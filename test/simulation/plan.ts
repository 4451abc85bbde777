import type { MigrationMode } from '../../lib/migration/core.js';
import type { BrokerFaults } from './broker.js';
import { Random } from './chance.js';
import type { LedgerTraits } from './ledger-daemon.js';
import type { NetworkFaults } from './network.js';
import type { DiskFaults } from './simulated-disk.js';
import type { RegisterFaults } from './simulated-register.js';

export interface PlannedDaemon extends LedgerTraits {
  /** Where it is spawned. */
  readonly home: number;
  /** Channels that it reads, by number. */
  readonly feeds: readonly number[];
  readonly mode: MigrationMode;
  readonly transportIdentity: boolean;
}

/** Sends events to a daemon, from a node. */
export interface PlannedPublisher {
  readonly daemon: number;
  readonly home: number;
}

/** Who takes part in a migration, for faults that are about one. */
export type Part = 'source' | 'target' | 'orchestrator';

export type Deed =
  | { readonly do: 'migrate'; readonly daemon: number; readonly by: number; readonly to: number }
  | { readonly do: 'cancel'; readonly daemon: number }
  | { readonly do: 'ask'; readonly daemon: number; readonly by: number; readonly to: number }
  | { readonly do: 'burst'; readonly publisher: number; readonly events: number }
  | { readonly do: 'feed'; readonly feed: number; readonly events: number }
  | {
      readonly do: 'crash';
      readonly node: number | Part;
      readonly daemon: number;
      readonly downMs: number;
      /** Once more, so many milliseconds after it was started again. */
      readonly againMs?: number;
    }
  | {
      readonly do: 'part';
      readonly from: number | Part;
      readonly to: number | Part | 'all';
      readonly daemon: number;
      readonly bothWays: boolean;
      readonly forMs: number;
    }
  | { readonly do: 'lose-register'; readonly node: number | Part; readonly daemon: number; readonly forMs: number }
  | { readonly do: 'lie'; readonly daemon: number };

/** Something that happens at a time, or some milliseconds after something was seen for the nth time. */
export interface Planned {
  readonly name: string;
  readonly at?: number;
  readonly when?: { readonly seen: string; readonly nth: number; readonly thenMs: number };
  readonly deed: Deed;
}

/** All of a run that its seed decides beforehand. */
export interface Plan {
  readonly seed: number;
  readonly profile: string;
  readonly engine: 'native' | 'typescript';
  readonly nodes: number;
  /** Nodes that start later. */
  readonly lateStarts: ReadonlyMap<number, number>;
  readonly stretch: number;
  readonly daemons: readonly PlannedDaemon[];
  readonly publishers: readonly PlannedPublisher[];
  readonly feeds: number;
  /** How long things may go wrong. */
  readonly faultsMs: number;
  readonly network: NetworkFaults;
  readonly register: RegisterFaults;
  readonly broker: BrokerFaults;
  /** Snapshots leave a node no faster than so many bytes a second; 0: as fast as they can. */
  readonly maxBytesPerSecond: number;
  /** Events that a log of a migration takes; 0: as many as it does by itself. */
  readonly maxLogEvents: number;
  /** The mesh tells when a node is gone. */
  readonly knowsDeath: boolean;
  /** `publish` resolves when the channels have it, or at once. */
  readonly waitsForPublish: boolean;
  /** How often a call of a daemon throws that may. */
  readonly throws: number;
  readonly planned: readonly Planned[];
  /** Whether a node takes part that lies, and whether it is trusted. */
  readonly liar: 'none' | 'trusted' | 'stranger';
  /** Nodes with a spool. */
  readonly spools: ReadonlySet<number>;
  readonly disk: DiskFaults;
}

const PROFILES = ['calm', 'network', 'crashes', 'register', 'partitions', 'liar', 'everything', 'everything'] as const;

/** What is waited for by planned faults: sent, arrived, written. */
const MOMENTS = [
  'arrived TakeSnapshot',
  'arrived SnapshotReady',
  'arrived RestoreComplete',
  'arrived BufferedEvents',
  'arrived ReplayComplete',
  'arrived CutoverNotify',
  'arrived CleanupComplete',
  'sent CleanupComplete',
  'arrived ActivateTarget',
  'sent ActivateAck',
  'sent ActivationConfirmed',
  'wrote offer',
  'wrote offer',
  'wrote claim',
  'wrote claim',
  'wrote withdraw',
] as const;

/** The liar's node, and the first node's, are numbers that never change. */
export const LIAR = 60;
/** Whom a trusted liar gives what passes through it: nobody trusts that one. */
export const STRANGER = 61;

/** When nodes with a spool crash, besides. */
const SPOOL_MOMENTS = [
  'arrived TakeSnapshot',
  'arrived RestoreComplete',
  'arrived CutoverNotify',
  'wrote offer',
  'wrote offer',
  'wrote offer',
  'wrote claim',
  'wrote claim',
  'wrote withdraw',
  'wrote withdraw',
  'sent ActivationConfirmed',
  'arrived ActivationConfirmed',
] as const;

const NO_SPOOLS: Pick<Plan, 'spools' | 'disk'> = {
  spools: new Set(),
  disk: { slow: 0, failed: 0, full: 0, crashes: 0, lost: 0 },
};

export function planOf(seed: number): Plan {
  return withSpools(planWithoutSpools(seed));
}

/** Almost half of the seeds have nodes with a spool, which crash more often than others. */
function withSpools(plan: Plan): Plan {
  const { seed, nodes, daemons, faultsMs, profile } = plan;
  const random = new Random(seed, 8);
  if (profile === 'calm' || !random.chance(0.5)) return plan;
  const spools = new Set(Array.from({ length: nodes }, (_, n) => n + 1).filter(() => random.chance(0.8)));
  const isBad = random.chance(0.5);
  const crashes = Array.from({ length: random.between(2, 5) }, (_, n): Planned => {
    const seen = random.pick(SPOOL_MOMENTS);
    const thenMs = random.chance(0.3) ? 0.001 : random.fraction() * random.pick([4, 20, 200]);
    const moment = random.chance(0.2)
      ? { at: random.between(10, faultsMs) }
      : { when: { seen, nth: random.between(1, 4), thenMs } };
    const deed: Deed = {
      do: 'crash',
      node: random.pick<Part>(['source', 'source', 'source', 'target']),
      daemon: random.between(0, daemons.length - 1),
      downMs: random.pick([1, 20, 100, 400, 2_000]),
      ...(random.chance(0.3) && { againMs: random.fraction() * random.pick([3, 30, 300]) }),
    };
    return { name: `crash-spool:${n}`, deed, ...moment };
  });
  return {
    ...plan,
    planned: [...plan.planned, ...crashes],
    spools,
    disk: {
      slow: random.pick([0, 0.02, 0.2]),
      failed: isBad ? random.pick([0.005, 0.03]) : 0,
      full: isBad ? random.pick([0, 0.01]) : 0,
      crashes: random.pick([0, 0.005, 0.02]),
      lost: random.pick([0, 0.15, 0.4]),
    },
  };
}

/** What the seed was before there were spools. */
export function planWithoutSpools(seed: number): Plan {
  const random = new Random(seed);
  const profile = random.pick(PROFILES);
  const has = (what: string, otherwise = 0) => profile === what || profile === 'everything' || random.chance(otherwise);
  const nodes = random.between(3, profile === 'calm' ? 4 : 7);
  const node = () => random.between(1, nodes);
  const feeds = random.between(0, 2);
  const daemons = Array.from({ length: random.between(1, 3) }, (): PlannedDaemon => {
    const mode = random.chance(0.35) ? 'live' : 'pause';
    return {
      home: node(),
      isAsync: random.chance(0.3),
      padding: random.chance(0.3) ? random.between(1, 5) * 24_000 : random.between(0, 600),
      streams: random.chance(0.25) ? random.pick(['once', 'again'] as const) : 'no',
      isFickle: mode === 'live' && random.chance(0.1),
      feeds: feeds > 0 && random.chance(0.6) ? Array.from({ length: feeds }, (_, n) => n) : [],
      mode,
      transportIdentity: random.chance(0.85),
    };
  });
  const publishers = daemons.flatMap((_, daemon) =>
    Array.from({ length: random.between(1, 2) }, () => ({ daemon, home: node() })),
  );
  const faultsMs = random.between(600, 2_500);
  const isBad = has('network', 0.1);
  const registerIsBad = has('register', 0.1);
  return {
    seed,
    profile,
    engine: random.chance(0.5) ? 'native' : 'typescript',
    nodes,
    lateStarts: new Map(random.chance(0.15) ? [[node(), random.between(100, 1_500)]] : []),
    stretch: random.pick([1, 1, 2, 4]),
    daemons,
    publishers,
    feeds,
    faultsMs,
    network: {
      lost: isBad ? random.pick([0.01, 0.05, 0.15]) : 0,
      doubled: isBad ? random.pick([0.01, 0.05, 0.1]) : 0,
      delayed: isBad ? random.pick([0, 0.02, 0.1]) : 0,
      overtaken: isBad ? random.pick([0, 0.05, 0.25]) : 0,
      longestDelayMs: random.pick([40, 300, 1_500]),
      partitionsLose: random.chance(0.5),
      deliveriesToo: random.chance(0.5),
      batches: random.chance(0.5),
    },
    register: {
      slow: registerIsBad ? random.pick([0, 0.1, 0.5]) : 0,
      refused: registerIsBad ? random.pick([0, 0.1]) : 0,
      unanswered: registerIsBad ? random.pick([0.02, 0.15]) : 0,
      late: registerIsBad ? random.pick([0, 0.1]) : 0,
    },
    broker: {
      subscribeRefused: has('everything') ? random.pick([0, 0.2]) : 0,
      subscribeUnanswered: has('everything') ? random.pick([0, 0.1]) : 0,
    },
    maxBytesPerSecond: random.chance(0.15) ? random.pick([60_000, 300_000]) : 0,
    maxLogEvents: random.chance(0.15) ? random.between(3, 12) : 0,
    knowsDeath: random.chance(0.5),
    waitsForPublish: random.chance(0.5),
    throws: random.chance(0.15) ? 0.2 : 0,
    planned: planned(random, { profile, nodes, daemons, publishers, feeds, faultsMs }),
    liar: has('liar') ? (random.chance(0.7) ? 'trusted' : 'stranger') : 'none',
    ...NO_SPOOLS,
  };
}

type Cast = Pick<Plan, 'profile' | 'nodes' | 'daemons' | 'publishers' | 'feeds' | 'faultsMs'>;

function planned(random: Random, cast: Cast): Planned[] {
  const all: Planned[] = [];
  const add = (deed: Deed, moment: Pick<Planned, 'at' | 'when'>) =>
    all.push({ name: `${deed.do}:${all.length}`, deed, ...moment });
  const { nodes, daemons, publishers, feeds, faultsMs, profile } = cast;
  const has = (what: string) => profile === what || profile === 'everything';
  const node = () => random.between(1, nodes);
  const anyTime = () => random.between(10, faultsMs);
  const anyDaemon = () => random.between(0, daemons.length - 1);
  const moment = (): Pick<Planned, 'at' | 'when'> =>
    random.chance(0.25)
      ? { at: anyTime() }
      : {
          when: {
            seen: random.pick(MOMENTS),
            nth: random.between(1, 3),
            thenMs: random.chance(0.5) ? 0.001 : random.fraction() * 4,
          },
        };
  const who = () => (random.chance(0.2) ? node() : random.pick<Part>(['source', 'target', 'target', 'orchestrator']));
  daemons.forEach((_, daemon) => {
    for (let n = random.between(1, 4); n > 0; n--) {
      const at = anyTime();
      add({ do: 'migrate', daemon, by: node(), to: node() }, { at });
      if (random.chance(0.2))
        add({ do: 'migrate', daemon, by: node(), to: node() }, { at: at + random.between(0, 60) });
      if (random.chance(0.1)) add({ do: 'ask', daemon, by: node(), to: node() }, { at: at + random.between(-30, 60) });
      if (random.chance(0.3))
        add({ do: 'cancel', daemon }, random.chance(0.5) ? { at: at + random.between(1, 120) } : moment());
    }
  });
  publishers.forEach((_, publisher) => {
    for (let n = random.between(2, 10); n > 0; n--)
      add({ do: 'burst', publisher, events: random.between(1, 8) }, random.chance(0.7) ? { at: anyTime() } : moment());
  });
  for (let feed = 0; feed < feeds; feed++) {
    for (let n = random.between(2, 8); n > 0; n--)
      add({ do: 'feed', feed, events: random.between(1, 5) }, random.chance(0.7) ? { at: anyTime() } : moment());
  }
  if (has('crashes')) {
    for (let n = random.between(1, 3); n > 0; n--)
      add({ do: 'crash', node: who(), daemon: anyDaemon(), downMs: random.pick([1, 50, 400, 2_000]) }, moment());
  }
  if (has('partitions')) {
    for (let n = random.between(1, 3); n > 0; n--) {
      const to = random.chance(0.4) ? 'all' : who();
      const bothWays = random.chance(0.5);
      add({ do: 'part', from: who(), to, daemon: anyDaemon(), bothWays, forMs: random.between(20, 1_200) }, moment());
    }
  }
  if (has('register')) {
    for (let n = random.between(0, 2); n > 0; n--)
      add({ do: 'lose-register', node: who(), daemon: anyDaemon(), forMs: random.between(50, 1_200) }, moment());
  }
  if (has('liar')) {
    for (let n = random.between(2, 12); n > 0; n--) add({ do: 'lie', daemon: anyDaemon() }, moment());
  }
  return all;
}
