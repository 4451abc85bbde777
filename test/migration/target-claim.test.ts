import * as assert from 'uvu/assert';
import type { MigrationError } from '../../lib/errors.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { SNAPSHOT_READY_HEADER_SIZE } from '../../lib/wire/message.js';
import { events, suite } from '../support.js';
import { chunkFrames, codec, EPOCH, HERE, Node, ORCHESTRATOR, ORIGIN, SOURCE, TRY, turns } from './harness.js';

const claims = suite("a target's claim");
const snapshots = suite("a target's snapshot");
const PUBLISHER = 7n;

/** A target that holds a restored copy. */
function holding(): Node {
  const node = new Node();
  for (const chunk of chunkFrames(100)) node.takesFrame(ORCHESTRATOR, chunk);
  assert.is(node.asks('restore').length, 1);
  return node;
}

/** Logged events `first` to `last`, by their log numbers. */
function feed(node: Node, first: number, last: number) {
  return node.takes(
    SOURCE,
    { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: events(PUBLISHER, first, last - first + 1) },
    { try: TRY, logFrom: BigInt(first) },
  );
}

const ACTIVATE = { kind: 'ActivateTarget', daemonOrigin: ORIGIN } as const;

/** The source has stopped behind so many logged events, and the orchestrator says so too. */
function activate(node: Node, logCount: bigint) {
  node.hearsOffer(logCount);
  return node.takes(ORCHESTRATOR, ACTIVATE, { try: TRY });
}

function logOf(logged: readonly CausalEvent[]): Uint8Array {
  const log = codec.createEventLog();
  for (const event of logged) log.append(event);
  return log.digest();
}

function replayed(node: Node): bigint[] {
  return node.replayed.map(({ link }) => link.sequence);
}

claims('waits for every event that the source has logged, though ActivateTarget overtakes them', () => {
  const node = holding();
  assert.equal(activate(node, 3n), []);
  assert.is(node.asks('claim').length, 0);
  feed(node, 1, 2);
  assert.is(node.asks('claim').length, 0);
  feed(node, 3, 3);
  const [claim, ...more] = node.asks('claim');
  assert.is(more.length, 0);
  assert.is(claim?.origin, ORIGIN);
  assert.is(claim?.offer.logCount, 3n);
  assert.equal(claim?.offer.logDigest, logOf(events(PUBLISHER, 1, 3)));
  assert.is(claim?.offer.try, TRY);
  assert.is(claim?.offer.target, HERE);
  assert.equal(replayed(node), [1n, 2n, 3n]);
});

claims('waits for the daemon to have applied them', async () => {
  const node = holding();
  const answers: Array<() => void> = [];
  node.answers.replay = () => new Promise((resolve) => answers.push(() => resolve(undefined)));
  feed(node, 1, 2);
  feed(node, 3, 3);
  activate(node, 3n);
  await turns();
  assert.is(node.asks('claim').length, 0);
  answers.shift()!();
  await turns();
  assert.is(node.asks('claim').length, 0);
  answers.shift()!();
  await turns();
  assert.is(node.asks('claim').length, 1);
});

claims(
  'is not made at the word of an orchestrator alone, whatever that says of the log: the source must have stopped',
  () => {
    const node = holding();
    feed(node, 1, 2);
    for (const said of [{}, { logCount: 2n, logDigest: logOf(events(PUBLISHER, 1, 2)) }]) {
      assert.equal(node.takes(ORCHESTRATOR, ACTIVATE, { try: TRY, ...said }), []);
      const message = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [] } as const;
      node.takes(ORCHESTRATOR, message, { try: TRY, ...said });
    }
    assert.is(node.asks('claim').length, 0);
    node.hearsOffer(2n);
    assert.is(node.asks('claim')[0]?.offer.logCount, 2n);
  },
);

claims('is made without the source’s word where the mesh knows that it is gone: the register decides', () => {
  const node = holding();
  feed(node, 1, 2);
  node.handler.peerGone(SOURCE);
  assert.is(node.asks('claim')[0]?.offer.logCount, 2n);
});

claims('does not count what came behind a gap, and takes what comes twice once', () => {
  const node = holding();
  activate(node, 4n);
  feed(node, 1, 1);
  feed(node, 3, 4);
  assert.is(node.asks('claim').length, 0);
  assert.equal(replayed(node), [1n]);
  feed(node, 1, 3);
  assert.is(node.asks('claim').length, 0);
  feed(node, 3, 4);
  assert.equal(replayed(node), [1n, 2n, 3n, 4n]);
  assert.equal(node.asks('claim')[0]?.offer.logDigest, logOf(events(PUBLISHER, 1, 4)));
});

claims(
  'is not made for other events than the source says that it has logged: without a register nobody else would notice',
  () => {
    const node = holding();
    feed(node, 1, 2);
    const word = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [] } as const;
    node.takes(SOURCE, word, { try: TRY, logFrom: 3n, logCount: 2n, logDigest: logOf(events(PUBLISHER, 2, 2)) });
    node.takes(ORCHESTRATOR, ACTIVATE, { try: TRY });
    assert.is(node.asks('claim').length, 0);
    assert.is(node.asks('discard').length, 1);
  },
);

/** What would end a copy that is not being claimed. */
const ENDS: Readonly<Record<string, (node: Node) => void>> = {
  'a failure that its source tells': (node) => fails(node, SOURCE),
  'a failure that its orchestrator tells': (node) => fails(node, ORCHESTRATOR),
  'a node that is gone': (node) => node.handler.peerGone(ORCHESTRATOR),
  'its own clock': (node) => {
    for (let now = 1_000; now <= 200_000; now += 1_000) node.handler.tick(now);
  },
  'a snapshot of a higher try': (node) => {
    for (const chunk of chunkFrames(100, TRY + 1n)) {
      assert.throws(
        () => node.takesFrame(ORCHESTRATOR, chunk),
        (error: MigrationError) => error.kind === 'already-migrating',
      );
    }
  },
};

function fails(node: Node, from: bigint): void {
  const reason = MigrationFailureReason.stateFailed('it is over');
  node.takes(from, { kind: 'MigrationFailed', daemonOrigin: ORIGIN, reason }, { try: TRY });
}

for (const [what, end] of Object.entries(ENDS)) {
  claims(`may have landed, so the copy stays while the register has not answered: ${what}`, async () => {
    const node = holding();
    let answer!: (won: { readonly epoch: bigint }) => void;
    node.answers.claim = () => new Promise((resolve) => (answer = resolve));
    activate(node, 0n);
    end(node);
    await turns();
    assert.is(node.asks('discard').length, 0);
    assert.is(node.asks('restore').length, 1);
    answer({ epoch: EPOCH + 1n });
    await turns();
    assert.is(node.asks('activate').length, 1);
  });
}

claims('names the digest of the snapshot that was restored', () => {
  const node = holding();
  activate(node, 0n);
  const [claim] = node.asks('claim');
  const restored = chunkFrames(100).map((chunk) => codec.decode(chunk));
  const bytes = restored.map((message) =>
    message.kind === 'SnapshotReady' ? message.snapshotBytes : assert.unreachable(),
  );
  assert.equal(claim?.offer.snapshotDigest, codec.blake3(Buffer.concat(bytes as Uint8Array[])));
});

/** Three chunks of which one has another byte in its state; `order` as they arrive. */
function tampered(order: readonly number[]): Uint8Array[] {
  const chunks = chunkFrames(15_000);
  assert.is(chunks.length, 3);
  chunks[1]![SNAPSHOT_READY_HEADER_SIZE + 1_000]! ^= 1;
  return order.map((index) => chunks[index]!);
}

snapshots('in several chunks is restored, in whatever order they come', () => {
  const node = new Node();
  const [first, second, third] = chunkFrames(15_000);
  node.takesFrame(ORCHESTRATOR, third!);
  node.takesFrame(ORCHESTRATOR, first!);
  assert.is(node.asks('restore').length, 0);
  const told = node.takesFrame(ORCHESTRATOR, second!);
  assert.equal(
    told.map(({ to, message }) => [to, message.kind]),
    [
      [ORCHESTRATOR, 'RestoreComplete'],
      [SOURCE, 'EventAck'],
    ],
  );
  assert.is(node.copies.size, 1);
});

for (const order of [
  [0, 1, 2],
  [2, 0, 1],
]) {
  snapshots(`with another state than its digest says is refused, and no copy held (chunks ${order})`, () => {
    const node = new Node();
    const told = tampered(order).flatMap((chunk) => node.takesFrame(ORCHESTRATOR, chunk));
    assert.equal(
      told.map(({ to, message, trailer }) => [to, message.kind, trailer?.try]),
      [[ORCHESTRATOR, 'MigrationFailed', TRY]],
    );
    assert.is(node.asks('restore').length, 0);
    assert.is(node.asks('discard').length, 1);
    assert.is(node.copies.size, 0);
    assert.not.ok(node.handler.isMigrating(ORIGIN));
    assert.is(node.reports.at(-1)?.kind, 'failed');
  });
}
