import * as assert from 'uvu/assert';
import { createCodec, MigrationError } from '../../lib/index.js';
import { Rebind } from '../../lib/runtime/rebind.js';
import { rebindPolicy } from '../../lib/runtime/rebind-policy.js';
import type { SubscriptionLedger } from '../../lib/wire/ledger.js';
import { suite } from '../support.js';
import { ChannelWorld } from './channel-world.js';
import { ManualEnvironment, settled } from './manual-environment.js';

const slices = suite('many subscriptions are moved in slices');
const MANY = 3_000;

/** Counts what happens between two turns of the event loop. */
class PerTurn {
  most = 0;
  all = 0;
  #now = 0;
  #runs = true;

  constructor() {
    const next = () => {
      this.#now = 0;
      if (this.#runs) setImmediate(next);
    };
    next();
  }

  count(): void {
    this.all++;
    this.most = Math.max(this.most, ++this.#now);
  }

  stop(): void {
    this.#runs = false;
  }
}

slices('the target subscribes and the source unsubscribes a few per turn, in this order', () =>
  ChannelWorld.run({ channels: MANY }, async (world) => {
    const [source, target] = world.seats as [(typeof world.seats)[0], (typeof world.seats)[0]];
    const subscribed = new PerTurn();
    const unsubscribed = new PerTurn();
    const early: number[] = [];
    target.before = () => subscribed.count();
    source.onUnsubscribe = () => {
      unsubscribed.count();
      if (target.subscribed.length < MANY) early.push(target.subscribed.length);
    };
    world.publish(0, 3);
    const handle = await world.moved(1, 2);
    await world.until('the source has unsubscribed', () => source.subscribed.length === 0);
    for (const counts of [subscribed, unsubscribed]) counts.stop();
    assert.is(subscribed.all, MANY);
    assert.is(unsubscribed.all, MANY);
    assert.equal(early, [], 'nothing is let go before the target reads all');
    assert.ok(subscribed.most <= 200, `${subscribed.most} subscribed to in one turn`);
    assert.ok(unsubscribed.most <= 400, `${unsubscribed.most} let go in one turn`);
    assert.is(handle.rebind.done, MANY);
    await world.assertExactlyOnce(2);
  }),
);

slices('a source that has let go takes nothing more, though the mesh is told turn by turn', () =>
  ChannelWorld.run({ channels: MANY }, async (world) => {
    const [source] = world.seats;
    let given = 0;
    let begun = 0;
    let left = MANY;
    source!.onUnsubscribe = () => {
      // In a later turn than the first ones: the daemon has stopped there.
      if (left-- !== MANY / 2) return;
      given = source!.given;
      const { timers } = world.environment;
      // Those that the mesh has not been told of yet still hear this, and the target does too.
      for (let n = 0; n < MANY; n++) world.publish(n, 1);
      begun = world.environment.timers - timers;
    };
    await world.moved(1, 2);
    await world.until('the source has unsubscribed', () => source!.subscribed.length === 0);
    assert.ok(source!.given > given, 'some came to the source');
    assert.is(begun, 0, 'nothing waits to be taken there');
    await world.assertExactlyOnce(2);
  }),
);

for (const engine of ['native', 'typescript'] as const) {
  const bound = (ledger: SubscriptionLedger, environment: ManualEnvironment, open: () => Promise<void>) => {
    const errors: MigrationError[] = [];
    const rebind = new Rebind({
      origin: 5n,
      ledger,
      environment,
      policy: rebindPolicy({ deadlineMs: 400, waitMs: 1 }),
      open,
      onChange: () => {},
      report: (error) => errors.push(error),
    });
    return { rebind, errors };
  };

  const ledgerOf = (count: number) => {
    const ledger = createCodec({ engine }).createLedger();
    for (let n = 0; n < count; n++) ledger.record(9n, `feed/${n}`);
    return ledger;
  };

  slices(`what is away to the end is given up a few per turn; engine: ${engine}`, async () => {
    const ledger = ledgerOf(MANY);
    const environment = new ManualEnvironment();
    const { rebind, errors } = bound(ledger, environment, () => {
      throw new MigrationError('target-unavailable', 'away');
    });
    const failed = new PerTurn();
    const markFailed = ledger.markFailed.bind(ledger);
    ledger.markFailed = (publisher, channel, reason) => {
      failed.count();
      return markFailed(publisher, channel, reason);
    };
    await rebind.begin();
    for (let passed = 0; passed < 1_000 && errors.length === 0; passed += 50) {
      await environment.advance(50);
      await settled(60);
    }
    failed.stop();
    assert.equal(
      errors.map(({ kind, message }) => [kind, message.split(' ', 3).join(' ')]),
      [['timed-out', `${MANY} of ${MANY}`]],
    );
    assert.is(ledger.rebindCounts.failed, MANY);
    assert.ok(failed.most <= 200, `${failed.most} given up in one turn`);
    ledger.dispose();
  });

  slices(`what answers while others are given up is not; engine: ${engine}`, async () => {
    const ledger = ledgerOf(1_000);
    const environment = new ManualEnvironment();
    const answers: Array<() => void> = [];
    const { rebind, errors } = bound(ledger, environment, () => new Promise<void>((resolve) => answers.push(resolve)));
    const markFailed = ledger.markFailed.bind(ledger);
    ledger.markFailed = (publisher, channel, reason) => {
      answers.at(-1)?.();
      return markFailed(publisher, channel, reason);
    };
    const begun = rebind.begin();
    await settled(30);
    await environment.advance(1);
    await begun;
    for (let passed = 0; passed < 1_000 && errors.length === 0; passed += 50) {
      await environment.advance(50);
      await settled(60);
    }
    assert.match(errors[0]!.message, /^999 of 1000 subscriptions of daemon 5 /);
    assert.is(ledger.rebindState(9n, 'feed/999')!.state, 'done');
    assert.is(environment.timers, 0);
    ledger.dispose();
  });
}

slices('a rebind that is told to a leader is told now and then, not with each answer', () =>
  ChannelWorld.run({ channels: 300, rebind: { waitMs: 1 } }, async (world) => {
    const answers: Array<() => void> = [];
    world.seats[1]!.before = () => new Promise<void>((resolve) => answers.push(resolve));
    const handle = await world.moved(1, 2);
    let reports = 0;
    let last = handle.rebind;
    const look = () => {
      if (handle.rebind === last) return;
      last = handle.rebind;
      reports++;
    };
    for (const answer of answers) {
      answer();
      await world.environment.advance(1);
      look();
    }
    await world.until('all have answered', () => {
      look();
      return handle.rebind.done === 300;
    });
    assert.ok(reports >= 2 && reports <= 6, `${reports} reports of 300 answers in 300 ms`);
    world.seats[1]!.before = () => {};
    await world.assertExactlyOnce(2);
  }),
);
