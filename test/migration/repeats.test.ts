import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import {
  type Cluster,
  type ClusterOptions,
  type Flight,
  inCluster,
  numberOf,
  ORCHESTRATOR,
  SOURCE,
  TARGET,
} from './cluster.js';

interface World extends ClusterOptions {
  /** Events that are handed in while the daemon moves, one per frame. */
  readonly events: number;
}

/** What happens to one frame of a migration. */
interface Fault {
  /** In place of its delivery. */
  readonly meet: (cluster: Cluster, flight: Flight) => void;
  /** When nobody has a record any more. */
  readonly afterwards?: (cluster: Cluster, flight: Flight) => void;
  /** Whether the migration may be given up: the daemon is then at the source, whole. */
  readonly mayFail?: (world: World) => boolean;
}

const FAULTS: Readonly<Record<string, Fault>> = {
  'is delivered twice': {
    meet: (cluster, flight) => {
      cluster.deliver(flight);
      cluster.hand(flight);
    },
  },
  'comes again when nothing else is on its way': {
    meet: (cluster, flight) => {
      cluster.deliver(flight);
      cluster.queue.push(flight);
    },
  },
  'comes again a minute later': {
    meet: (cluster, flight) => {
      cluster.deliver(flight);
      cluster.drain();
      cluster.pass(60_000);
      cluster.hand(flight);
    },
    mayFail: () => true,
  },
  'is overtaken by the next': {
    meet: (cluster, flight) => {
      const next = cluster.queue[1];
      if (next) cluster.deliver(next);
      cluster.deliver(flight);
    },
  },
  'is overtaken by all others': {
    meet: (cluster, flight) => {
      cluster.queue.shift();
      cluster.drain();
      cluster.hand(flight);
    },
  },
  'comes three seconds late': {
    meet: (cluster, flight) => {
      cluster.queue.shift();
      for (let i = 0; i < 30; i++) {
        cluster.drain();
        cluster.pass(100);
      }
      cluster.hand(flight);
    },
  },
  'comes six minutes late': {
    meet: (cluster, flight) => {
      cluster.queue.shift();
      for (let i = 0; i < 180; i++) {
        cluster.drain();
        cluster.pass(2_000);
      }
      cluster.hand(flight);
    },
    mayFail: () => true,
  },
  'is lost': {
    meet: (cluster, flight) => {
      cluster.queue.shift();
      // Without extensions nobody notices that the last events did not arrive.
      if (cluster.options.extensions === false) loseEvents(cluster, flight);
    },
    // Nor can a chunk be asked for again.
    mayFail: ({ extensions }) => extensions === false,
  },
  'comes again after the end': {
    meet: (cluster, flight) => cluster.deliver(flight),
    afterwards: (cluster, flight) => {
      cluster.hand(flight);
      cluster.quiet();
      cluster.pass(10_000);
      cluster.hand(flight);
    },
  },
};

function loseEvents(cluster: Cluster, flight: Flight): void {
  const { message } = cluster.decode(flight);
  if (message.kind !== 'BufferedEvents') return;
  for (const event of message.events) cluster.lost.add(numberOf(event));
}

/** Moves the daemon; the frame with that number meets a fault. @returns that frame; undefined where there is none */
function moveWith(cluster: Cluster, { events, extensions }: World, fault: Fault, number: number): Flight | undefined {
  let hit: Flight | undefined;
  let left = events;
  // Without extensions events that come late at the target may stand behind newer ones: there are none then.
  const publish = () => {
    if (left-- > 0 && (extensions !== false || cluster.source.isLive)) cluster.publish(1);
  };
  cluster.publish(1);
  cluster.start();
  for (let flight = cluster.queue[0]; flight; flight = cluster.queue[0]) {
    if (flight.number === number && !hit) {
      hit = flight;
      fault.meet(cluster, flight);
    } else cluster.deliver();
    publish();
  }
  cluster.quiet();
  if (hit) fault.afterwards?.(cluster, hit);
  cluster.quiet();
  return hit;
}

const WIRES: readonly ClusterOptions[] = [
  { known: true },
  { known: true, mode: 'live' },
  { known: false },
  { extensions: false },
];
const WORLDS: World[] = [];
for (const orchestrator of [ORCHESTRATOR, SOURCE, TARGET]) {
  for (const events of [0, 6]) {
    for (const wire of WIRES) WORLDS.push({ ...wire, orchestrator, events, history: 1_000 });
  }
}

function title({ extensions = true, known, mode = 'pause', orchestrator, events }: World): string {
  const wire = extensions ? (known ? 'known' : 'shown') : 'off';
  return `extensions ${wire}, ${mode} mode, orchestrator on node ${orchestrator}, ${events} events logged`;
}

/** One migration per frame of it, with that fault; what goes wrong names the frame. */
function withEachFrame(world: World, fault: Fault): void {
  for (let number = 0, more = true; more; number++) {
    inCluster(world, (cluster) => {
      try {
        more = moveWith(cluster, world, fault, number) !== undefined;
        const node = cluster.whole();
        if (!fault.mayFail?.(world)) assert.is(node, TARGET, 'the migration was given up');
      } catch (error) {
        const frame = cluster.sent[number];
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`${frame ? cluster.name(frame) : number}: ${why}; ${cluster.describe()}`, { cause: error });
      }
    });
  }
}

const repeats = suite('a frame');
for (const [what, fault] of Object.entries(FAULTS))
  for (const world of WORLDS) repeats(`${what}: ${title(world)}`, () => withEachFrame(world, fault));
