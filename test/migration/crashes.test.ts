import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { type Cluster, type ClusterOptions, inCluster, ORCHESTRATOR, SOURCE, TARGET } from './cluster.js';

/** What ends a migration from outside, before one of its frames is delivered. */
interface Blow {
  readonly strike: (cluster: Cluster) => void;
  /** Where the orchestrator is. */
  readonly leaders: readonly bigint[];
}

const crash = (id: bigint) => (cluster: Cluster) => cluster.crash(id);
/** Those who are left are told so by their mesh. */
const crashKnown = (id: bigint) => (cluster: Cluster) => {
  cluster.crash(id);
  for (const { handler } of cluster.nodes.values()) handler.peerGone(id);
};

const BLOWS: Readonly<Record<string, Blow>> = {
  'it is cancelled': { strike: (cluster) => cluster.cancel(), leaders: [ORCHESTRATOR, SOURCE, TARGET] },
  'the target crashes': { strike: crash(TARGET), leaders: [ORCHESTRATOR, SOURCE, TARGET] },
  'the target crashes, and the mesh says so': { strike: crashKnown(TARGET), leaders: [ORCHESTRATOR, SOURCE] },
  'the orchestrator crashes': { strike: crash(ORCHESTRATOR), leaders: [ORCHESTRATOR] },
  'the orchestrator crashes, and the mesh says so': { strike: crashKnown(ORCHESTRATOR), leaders: [ORCHESTRATOR] },
};

/** Hooks that take their time: frames come while they do. */
const SLOW: NonNullable<ClusterOptions['node']> = () => {
  const later = () => new Promise<true>((resolve) => setImmediate(() => setImmediate(() => resolve(true))));
  const after = async () => void (await later());
  return { hooks: { authorize: later, readiness: later, postRestore: after, preCleanup: after } };
};

const WORLDS: Readonly<Record<string, ClusterOptions>> = {
  'without a register': { history: 1_000 },
  'without a register, live mode': { history: 1_000, known: true, mode: 'live' },
  'without extensions': { history: 1_000, extensions: false },
  'with a register': { history: 1_000, register: true },
  'with a register, live mode': { history: 1_000, register: true, known: true, mode: 'live' },
  'with a register and slow hooks': { history: 1_000, register: true, node: SLOW },
};

interface Struck {
  /** Whether the migration had as many frames. */
  readonly more: boolean;
  /** Whether the target was the daemon already. */
  readonly wasLive: boolean;
}

/** Delivers some frames of a migration, then strikes, and waits until nobody waits for anything more. */
async function strikeAfter(cluster: Cluster, frames: number, { strike }: Blow): Promise<Struck> {
  cluster.publish(1);
  cluster.start();
  let delivered = 0;
  for (; delivered < frames; delivered++) {
    for (let wait = 0; cluster.queue.length === 0 && wait < 4; wait++) await cluster.breathe();
    if (cluster.queue.length === 0) break;
    cluster.deliver();
    // Only what the source takes: a target that is live and crashes has lost what it took.
    if (cluster.source.isLive && delivered < 6) cluster.publish(1);
  }
  const wasLive = cluster.target.isLive || cluster.ownerOf() === TARGET;
  strike(cluster);
  await cluster.elapseLater(150_000);
  return { more: delivered === frames, wasLive };
}

/** Strikes once after each number of frames that a migration has. */
async function strikeAfterEach(
  options: ClusterOptions,
  blow: Blow,
  look: (cluster: Cluster, struck: Struck) => unknown,
) {
  for (let frames = 0, more = true; more; frames++) {
    await inCluster(options, async (cluster) => {
      try {
        const struck = await strikeAfter(cluster, frames, blow);
        more = struck.more;
        await look(cluster, struck);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`after ${frames} frames: ${why}; ${cluster.describe()}`, { cause: error });
      }
    });
  }
}

const blows = suite('a migration ends, whatever frame was the last, when');
for (const [what, blow] of Object.entries(BLOWS)) {
  for (const orchestrator of blow.leaders) {
    for (const [where, options] of Object.entries(WORLDS)) {
      blows(`${what}: orchestrator on node ${orchestrator}, ${where}`, () =>
        strikeAfterEach({ ...options, orchestrator }, blow, async (cluster, { wasLive }) => {
          const hasCrashed = wasLive && !cluster.nodes.has(TARGET);
          // One that was offered, or was live on the node that crashed: somebody knows that it will not be live there.
          const isFound = cluster.live() !== undefined || cluster.recover();
          await cluster.later();
          if (!hasCrashed) cluster.whole();
          // Once the target has confirmed, its crash is that of a daemon which lives there.
          else if (isFound) assert.is(cluster.seenAll(), SOURCE);
          else assert.equal(cluster.source.ends.includes('source completed'), true);
        }),
      );
    }
  }
}

const alone = suite('with an ownership register a daemon comes back by itself');
for (const [what, blow] of Object.entries(BLOWS)) {
  for (const orchestrator of blow.leaders) {
    alone(`until its target has claimed it: ${what}, orchestrator on node ${orchestrator}`, () =>
      strikeAfterEach({ register: true, orchestrator }, blow, (cluster) => {
        // A claim that was in the air may land after the crash.
        if (cluster.ownerOf() !== TARGET) assert.ok(cluster.live());
      }),
    );
  }
}
