import * as assert from 'uvu/assert';
import type { CancelOutcome, MigrationHandle } from '../../lib/index.js';
import { suite } from '../support.js';
import { inPhase, PHASES, PhaseWorld, ROLES, SOURCE, STOPS, TARGET } from './phase-world.js';

/** From the claim on it is too late; in all other phases the daemon goes on at its source. */
const TOO_LATE: ReadonlySet<string> = new Set([
  'target claiming',
  'target activating',
  'source releasing',
  'orchestrator Complete',
]);
/** While these hang nobody can say whether the daemon was offered, or taken up: the handle says that, and waits no longer. */
const UNKNOWN_WHILE_IT_HANGS: ReadonlySet<string> = new Set([
  'source fencing',
  'source offering',
  'source withdrawing',
  'source recovering',
  'target claiming',
]);

/** In these the source can say nothing while they hang: its daemon does, or it has heard of nothing. */
const WITHOUT_THE_SOURCES_WORD: ReadonlySet<string> = new Set([
  'source snapshotting',
  'source resuming',
  'orchestrator Snapshot',
  'orchestrator Rollback',
]);
/** Well under the deadline of a rollback. */
const AT_ONCE_MS = 400;

const cancel = suite('a migration that is cancelled');

cancel('has a way to be stopped in each phase that there is', () => {
  for (const role of ROLES) assert.equal(Object.keys(STOPS[role]).sort(), [...PHASES[role]].sort(), role);
});

interface Cancelled {
  readonly handle: MigrationHandle;
  readonly outcomes: Promise<CancelOutcome[]>;
}

/** Twice, at once; `cancelling` is not `cancelled`. */
function cancelTwice(handle: MigrationHandle): Cancelled {
  const isOver = handle.state === 'completed';
  const outcomes = Promise.all([handle.cancel(), handle.cancel()]);
  assert.is(handle.state, isOver ? 'completed' : 'cancelling');
  return { handle, outcomes };
}

async function assertSettled(world: PhaseWorld, { handle, outcomes }: Cancelled, expected: CancelOutcome) {
  const told = await world.outcome('each cancel is answered', outcomes);
  if (told.status === 'rejected') throw told.reason;
  for (const outcome of told.value) assert.is(outcome, expected);
  assert.is(handle.state, expected);
  const waited = await world.outcome('wait settles', handle.wait());
  const kind = waited.status === 'rejected' ? (waited.reason as { kind: string }).kind : 'completed';
  assert.is(kind, expected === 'failed' ? 'handed-over' : expected);
  assert.is(await handle.cancel(), expected, 'also when it is over');
}

async function assertConverges(world: PhaseWorld): Promise<void> {
  world.release();
  const isQuiet = () => [...world.nodes.values()].every((node) => node.migrations().length === 0);
  await world.until('nothing is under way', isQuiet, 130_000);
  await world.until('the daemon is live', () => world.homes.length === 1);
}

for (const role of ROLES) {
  for (const phase of PHASES[role]) {
    const name = `${role} ${phase}`;
    const outcome = TOO_LATE.has(name) ? 'completed' : 'cancelled';
    cancel(`in ${name}, twice: ${outcome}; and it can move elsewhere`, () =>
      PhaseWorld.run(async (world) => {
        const cancelled = await inPhase(world, role, phase, cancelTwice);
        await world.environment.advance(40);
        world.release();
        await assertSettled(world, cancelled, outcome);
        await assertConverges(world);
        assert.equal(world.homes, [outcome === 'completed' ? TARGET : SOURCE]);
        await world.whole();
      }),
    );

    if (STOPS[role][phase]?.passing || phase === 'Complete') continue;
    const hung = UNKNOWN_WHILE_IT_HANGS.has(name) ? 'failed' : 'cancelled';
    cancel(`in ${name} while that hangs: ${hung}, and nobody waits for it`, () =>
      PhaseWorld.run(async (world) => {
        const cancelled = await inPhase(world, role, phase, cancelTwice);
        const since = world.environment.nowMs();
        await assertSettled(world, cancelled, hung);
        const isAtOnce = hung === 'cancelled' && !WITHOUT_THE_SOURCES_WORD.has(name);
        if (isAtOnce) assert.ok(world.environment.nowMs() - since < AT_ONCE_MS, 'at once');
        await assertConverges(world);
        await world.whole();
      }),
    );
  }
}

cancel('after the claim says that it is done, though every word of the target on that was lost before', () =>
  PhaseWorld.run(async (world) => {
    world.hold('ActivateAck 2→3');
    const handle = world.move();
    await world.until('the target is live', () => world.homes.includes(TARGET));
    await world.until('the source has let go', () => world.phase('source') === undefined);
    world.lose('ActivateAck 2→3');
    assert.is(handle.state, 'running');
    await assertSettled(world, cancelTwice(handle), 'completed');
    await world.whole();
  }),
);
