import * as assert from 'uvu/assert';
import { DEFAULT_PATIENCE_MS } from '../../lib/migration/target.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { events, suite } from '../support.js';
import { chunkFrames, Node, ORCHESTRATOR, ORIGIN, SOURCE, TRY, turns } from './harness.js';

const patience = suite('the patience of a target');
const PUBLISHER = 77n;
const STEP_MS = 5_000;

/** A node that holds a copy, of which its orchestrator knows. */
function holding(): Node {
  const node = new Node();
  node.takesFrame(ORCHESTRATOR, chunkFrames(100)[0]!);
  sends(node, ORCHESTRATOR, 0, {});
  assert.is(node.handler.list()[0]?.phase, 'holding');
  return node;
}

function sends(node: Node, from: bigint, count: number, trailer: Trailer, first = 1): void {
  const message = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: events(PUBLISHER, first, count) } as const;
  node.takes(from, message, { try: TRY, ...trailer });
}

/** @returns after how long the copy went, where that is within three times the patience */
async function heldFor(node: Node, each: (round: number) => void): Promise<number | undefined> {
  for (let now = STEP_MS, round = 1; now <= 3 * DEFAULT_PATIENCE_MS; now += STEP_MS, round++) {
    node.handler.tick(now);
    await turns();
    if (node.asks('discard').length > 0) return now;
    each(round);
  }
  return undefined;
}

/** What an orchestrator that is not the source can say again and again. */
const REPEATED: ReadonlyArray<readonly [what: string, say: (node: Node, round: number) => void]> = [
  ['an event that it made up once', (node) => sends(node, ORCHESTRATOR, 1, { logFrom: 1n })],
  [
    'one event after another that it makes up',
    (node, round) => sends(node, ORCHESTRATOR, 1, { logFrom: BigInt(round) }, round),
  ],
  ['that it has heard of the restore', (node) => sends(node, ORCHESTRATOR, 0, {})],
  ['the snapshot', (node) => void node.takesFrame(ORCHESTRATOR, chunkFrames(100)[0]!)],
];

for (const [what, say] of REPEATED) {
  patience(`is not renewed by an orchestrator that repeats ${what}`, async () => {
    const node = holding();
    const ms = await heldFor(node, (round) => say(node, round));
    assert.ok(ms !== undefined && ms <= DEFAULT_PATIENCE_MS + STEP_MS, `the copy went after ${ms} ms`);
    assert.is(node.copies.size, 0);
    const end = node.reports.findLast(({ kind }) => kind === 'failed');
    assert.is(end?.kind === 'failed' && end.error.kind, 'timed-out');
  });
}

patience('is renewed once by ActivateTarget, and not by its repetition', async () => {
  const node = holding();
  const activate = () => node.takes(ORCHESTRATOR, { kind: 'ActivateTarget', daemonOrigin: ORIGIN }, { try: TRY });
  const ms = await heldFor(node, (round) => round >= 6 && activate());
  assert.is(ms, DEFAULT_PATIENCE_MS + 6 * STEP_MS);
});

for (const [what, trailer] of [
  ['of its offer', { logFrom: 2n, logCount: 1n }],
  ['of events that are here', { logFrom: 1n }],
] as const) {
  patience(`is renewed by its source's reminders ${what}: it waits for a slow register`, async () => {
    const node = holding();
    sends(node, SOURCE, 1, { logFrom: 1n });
    const count = what === 'of its offer' ? 0 : 1;
    assert.is(await heldFor(node, () => sends(node, SOURCE, count, trailer)), undefined);
    assert.is(node.handler.list()[0]?.phase, 'holding');
  });
}

patience('ends where a chunk comes again and again, and no other', async () => {
  const node = new Node();
  const [first, second] = chunkFrames(20_000);
  node.takesFrame(ORCHESTRATOR, first!);
  const ms = await heldFor(node, (round) => void node.takesFrame(ORCHESTRATOR, round === 4 ? second! : first!));
  assert.ok(ms !== undefined && ms <= DEFAULT_PATIENCE_MS + 5 * STEP_MS, `it went after ${ms} ms`);
  assert.is(node.asks('restore').length, 0);
});
