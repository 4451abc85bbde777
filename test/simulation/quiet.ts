import { type Plan, planWithoutSpools } from './plan.js';

/** A daemon, a publisher, and nothing that happens: what a scenario needs is put into it. */
export function quiet(changes: Partial<Plan>): Plan {
  const daemon = {
    ...planWithoutSpools(1).daemons[0]!,
    isAsync: false,
    isFickle: false,
    streams: 'no' as const,
    feeds: [],
  };
  return {
    ...planWithoutSpools(1),
    nodes: 3,
    lateStarts: new Map(),
    stretch: 1,
    daemons: [{ ...daemon, home: 1, padding: 0, mode: 'pause', transportIdentity: true }],
    publishers: [{ daemon: 0, home: 3 }],
    feeds: 0,
    faultsMs: 3_000,
    network: { ...planWithoutSpools(1).network, lost: 1, doubled: 0, delayed: 0, overtaken: 0 },
    register: { slow: 0, refused: 0, unanswered: 1, late: 0 },
    broker: { subscribeRefused: 0, subscribeUnanswered: 0 },
    maxBytesPerSecond: 0,
    maxLogEvents: 0,
    throws: 0,
    planned: [],
    liar: 'none',
    ...changes,
  };
}
