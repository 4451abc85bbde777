import * as assert from 'uvu/assert';
import { EnvelopeError } from '../../lib/identity/errors.js';
import type { MigrationIdentityContext } from '../../lib/identity/index.js';
import type { AuthorizationRequest } from '../../lib/migration/core.js';
import type { MigrationHandlerHooks } from '../../lib/migration/hooks.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import { suite } from '../support.js';
import {
  Cluster,
  type ClusterOptions,
  inCluster,
  ORCHESTRATOR,
  ORIGIN,
  OTHER,
  SOURCE,
  STRANGER,
  TARGET,
} from './cluster.js';
import { turns } from './harness.js';

const LEADERS = [ORCHESTRATOR, SOURCE, TARGET];
type HookName = keyof MigrationHandlerHooks;

/** Notes each call as `hook@node`, for the daemon that is tested. */
class Calls {
  readonly made: string[] = [];
  readonly reasons: MigrationFailureReason[] = [];
  readonly asked: AuthorizationRequest[] = [];

  /** All hooks of a node, each of which does what it should. */
  of(
    id: bigint,
    identity: MigrationIdentityContext | undefined,
  ): Required<Omit<MigrationHandlerHooks, 'identity'>> & MigrationHandlerHooks {
    const note = (hook: string, origin = ORIGIN) => {
      if (origin === ORIGIN) this.made.push(`${hook}@${id}`);
    };
    return {
      ...(identity ? { identity: this.#noting(identity, note) } : {}),
      postRestore: (origin) => note('postRestore', origin),
      preCleanup: (origin) => note('preCleanup', origin),
      readiness: () => {
        note('readiness');
        return true;
      },
      failure: (origin, reason) => {
        note('failure', origin);
        this.reasons.push(reason);
      },
      authorize: ({ role, origin, orchestrator, source, target }) => {
        note('authorize', origin);
        this.asked.push({ role, origin, orchestrator, source, target });
        return true;
      },
    };
  }

  #noting(identity: MigrationIdentityContext, note: (hook: string, origin: bigint) => void): MigrationIdentityContext {
    const { unsealSnapshot, sealSnapshot, peerStaticLookup } = identity;
    return {
      peerStaticLookup,
      unsealSnapshot: (snapshot) => {
        note('unseal', snapshot.chainLink.originHash);
        return unsealSnapshot(snapshot);
      },
      sealSnapshot: (snapshot, ...keys) => {
        note('seal', snapshot.chainLink.originHash);
        return sealSnapshot!(snapshot, ...keys);
      },
    };
  }
}

const fires = suite('a hook fires');
const ONCE = [
  `authorize@${SOURCE}`,
  `seal@${SOURCE}`,
  `authorize@${TARGET}`,
  `readiness@${TARGET}`,
  `unseal@${TARGET}`,
  `postRestore@${TARGET}`,
  `preCleanup@${SOURCE}`,
];

for (const doubled of [false, true]) {
  for (const orchestrator of LEADERS) {
    for (const extensions of [true, false]) {
      const frames = doubled ? 'frames that come twice' : 'frames that come once';
      fires(
        `once, on its side and in its turn: ${frames}, orchestrator ${orchestrator}, extensions ${extensions}`,
        () => {
          const calls = new Calls();
          const node: ClusterOptions['node'] = (id, identity) => ({ hooks: calls.of(id, identity) });
          inCluster({ doubled, orchestrator, extensions, sealed: true, node, history: 1_000 }, (cluster) => {
            cluster.start();
            cluster.quiet();
            assert.is(cluster.whole(), TARGET);
            assert.equal(calls.made, ONCE);
            const whose = { origin: ORIGIN, orchestrator, target: TARGET };
            assert.equal(calls.asked, [
              { ...whose, role: 'source', source: SOURCE },
              { ...whose, role: 'target', source: extensions ? SOURCE : undefined },
            ]);
          });
        },
      );
    }
  }
}

fires('before its step is done: the copy is not live at postRestore, and logs at preCleanup', () => {
  const gates: unknown[] = [];
  const note = (cluster: Cluster, id: bigint) => gates.push(cluster.nodes.get(id)!.copy?.gate);
  const node = (id: bigint) => ({
    hooks: {
      postRestore: () => void note(cluster, id),
      preCleanup: () => void note(cluster, id),
    },
  });
  const cluster = new Cluster({ node });
  cluster.start();
  cluster.quiet();
  // At postRestore nobody can reach the copy: it is not in the registry yet.
  assert.equal(gates, [undefined, 'logging']);
  cluster.dispose();
});

const HOOKS: readonly HookName[] = ['identity', 'postRestore', 'preCleanup', 'readiness', 'failure', 'authorize'];

for (const hook of HOOKS) {
  fires(`without any other: ${hook}`, () => {
    const calls = new Calls();
    const node: ClusterOptions['node'] = (id, identity) => {
      const all = calls.of(id, identity);
      return { hooks: { [hook]: all[hook] } };
    };
    inCluster({ node, sealed: hook === 'identity' }, (cluster) => {
      cluster.start();
      cluster.quiet();
      assert.is(cluster.whole(), TARGET);
      const expected = hook === 'identity' ? /^(un)?seal@/ : new RegExp(`^${hook}@`);
      assert.equal(calls.made, hook === 'failure' ? [] : ONCE.filter((call) => expected.test(call)));
    });
  });
}

/** A hook that goes wrong, and where. */
interface Trouble {
  readonly at: bigint;
  readonly hooks: (fail: () => never, identity: MigrationIdentityContext | undefined) => MigrationHandlerHooks;
  /** What the orchestrator hears. Default: StateFailed with what was thrown. */
  readonly reason?: MigrationFailureReason['kind'];
  readonly thrown?: Error;
  /** Nodes whose failure hook hears of it. */
  readonly heard: readonly bigint[];
}

const EVERYBODY = [SOURCE, TARGET, ORCHESTRATOR];
const envelopeError = new EnvelopeError('seal-open-failed', 'as a test wants it');
const TROUBLES: Readonly<Record<string, Trouble>> = {
  'peerStaticLookup throws': {
    at: SOURCE,
    hooks: (fail, identity) => ({ identity: { ...identity!, peerStaticLookup: fail } }),
    heard: [SOURCE, ORCHESTRATOR],
  },
  'sealSnapshot throws': {
    at: SOURCE,
    hooks: (fail, identity) => ({ identity: { ...identity!, sealSnapshot: fail } }),
    heard: [SOURCE, ORCHESTRATOR],
  },
  'unsealSnapshot throws': {
    at: TARGET,
    hooks: (fail, identity) => ({ identity: { ...identity!, unsealSnapshot: fail } }),
    heard: EVERYBODY,
  },
  'unsealSnapshot refuses an envelope': {
    at: TARGET,
    hooks: (fail, identity) => ({ identity: { ...identity!, unsealSnapshot: fail } }),
    thrown: envelopeError,
    reason: 'IdentityTransportFailed',
    heard: EVERYBODY,
  },
  'postRestore throws': { at: TARGET, hooks: (fail) => ({ postRestore: fail }), heard: EVERYBODY },
  'postRestore rejects': { at: TARGET, hooks: (fail) => ({ postRestore: async () => fail() }), heard: EVERYBODY },
  'preCleanup throws': { at: SOURCE, hooks: (fail) => ({ preCleanup: fail }), heard: EVERYBODY },
  'preCleanup rejects': { at: SOURCE, hooks: (fail) => ({ preCleanup: async () => fail() }), heard: EVERYBODY },
  'readiness throws': { at: TARGET, hooks: (fail) => ({ readiness: fail }), heard: [SOURCE, ORCHESTRATOR] },
  'readiness rejects': {
    at: TARGET,
    hooks: (fail) => ({ readiness: async () => fail() }),
    heard: [SOURCE, ORCHESTRATOR],
  },
  'authorize throws at the source': { at: SOURCE, hooks: (fail) => ({ authorize: fail }), heard: [ORCHESTRATOR] },
  'authorize rejects at the source': {
    at: SOURCE,
    hooks: (fail) => ({ authorize: async () => fail() }),
    heard: [ORCHESTRATOR],
  },
  'authorize throws at the target': {
    at: TARGET,
    hooks: (fail) => ({ authorize: fail }),
    heard: [SOURCE, ORCHESTRATOR],
  },
  'authorize rejects at the target': {
    at: TARGET,
    hooks: (fail) => ({ authorize: async () => fail() }),
    heard: [SOURCE, ORCHESTRATOR],
  },
};

/** A hook that throws as long as it is told to, and for the one daemon. */
function troubled({ at, hooks, thrown = new Error('as a test wants it') }: Trouble, isOn: () => boolean, calls: Calls) {
  const node: ClusterOptions['node'] = (id, identity) => {
    const good = calls.of(id, identity);
    if (id !== at) return { hooks: good };
    const bad = hooks(() => {
      throw thrown;
    }, identity);
    const either = Object.entries(bad).map(([name, hook]) => [name, choose(hook, good[name as HookName], isOn)]);
    return { hooks: { ...good, ...Object.fromEntries(either) } };
  };
  return node;
}

/** The bad one for the daemon that is tested, the good one for all others. Functions, or objects of them. */
function choose(bad: unknown, good: unknown, isOn: () => boolean): unknown {
  if (typeof bad !== 'function') {
    const entries = Object.entries(bad as object);
    return Object.fromEntries(entries.map(([name, hook]) => [name, choose(hook, (good as never)[name], isOn)]));
  }
  return (...given: unknown[]) => (isOn() && !isOfOther(given[0]) ? bad : (good as typeof bad))(...given);
}

/** Of a hook's first argument: an origin, a request or a snapshot. */
function isOfOther(given: unknown): boolean {
  const { origin = given, chainLink } = (given ?? {}) as { origin?: unknown; chainLink?: { originHash: bigint } };
  return origin === OTHER || chainLink?.originHash === OTHER;
}

const throws = suite('a hook that goes wrong');
for (const [what, trouble] of Object.entries(TROUBLES)) {
  for (const doubled of [false, true]) {
    throws(`fails its migration and nothing else: ${what}${doubled ? ', frames come twice' : ''}`, async () => {
      const calls = new Calls();
      let isOn = false;
      await inCluster({ node: troubled(trouble, () => isOn, calls), sealed: true, doubled }, async (cluster) => {
        cluster.startOther();
        while (!cluster.target.registry.get(OTHER)) cluster.deliver();
        isOn = true;
        cluster.publish(2);
        cluster.start();
        cluster.publish(3);
        await cluster.later();
        isOn = false;
        assert.is(cluster.whole(), SOURCE);
        assert.is(cluster.target.copy, undefined);
        assert.is(cluster.target.registry.get(OTHER)?.gate, 'live', 'the other migration went on');
        assert.equal([...new Set(calls.reasons.map(({ kind }) => kind))], [trouble.reason ?? 'StateFailed']);
        assert.match(
          JSON.stringify(calls.reasons),
          what.startsWith('authorize') ? /not authorised/ : /as a test wants it/,
        );
        const heard = calls.made.filter((call) => call.startsWith('failure@')).sort();
        assert.equal(heard, trouble.heard.map((id) => `failure@${id}`).sort());
        cluster.publish(1);
        cluster.start();
        await cluster.later();
        assert.is(cluster.whole(), TARGET, 'the next try goes through');
      });
    });
  }
}

const failures = suite('failure');
for (const orchestrator of LEADERS) {
  for (const hook of ['postRestore', 'preCleanup'] as const) {
    failures(
      `fires once on each node, whatever its roles: orchestrator on node ${orchestrator}, ${hook} throws`,
      () => {
        const calls = new Calls();
        const fail = () => {
          throw new Error('as a test wants it');
        };
        const node: ClusterOptions['node'] = (id) => ({ hooks: { ...calls.of(id, undefined), [hook]: fail } });
        inCluster({ orchestrator, node, doubled: true }, (cluster) => {
          for (const round of [1, 2]) {
            cluster.start();
            cluster.quiet();
            assert.is(cluster.whole(), SOURCE);
            const told = calls.made.filter((call) => call.startsWith('failure@')).sort();
            const nodes = [...new Set([SOURCE, TARGET, orchestrator])];
            assert.equal(told, nodes.flatMap((id) => Array.from({ length: round }, () => `failure@${id}`)).sort());
          }
        });
      },
    );
  }
}

/** What is not ours and only listens. */
const LISTENERS: Readonly<Record<string, (fail: () => never) => ReturnType<NonNullable<ClusterOptions['node']>>>> = {
  'failure throws': (fail) => ({ hooks: { failure: fail } }),
  'failure rejects': (fail) => ({ hooks: { failure: async () => fail() } }),
  'onReport throws': (fail) => ({ onReport: fail }),
  'onReport rejects': (fail) => ({ onReport: async () => fail() }),
  'onRefused throws': (fail) => ({ onRefused: fail }),
  'onRefused rejects': (fail) => ({ onRefused: async () => fail() }),
};

const listens = suite('a listener that goes wrong');
for (const [what, listener] of Object.entries(LISTENERS)) {
  listens(`changes nothing, and is reported: ${what}`, async () => {
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on('warning', warn);
    let isReady = false;
    const node = () => {
      const { hooks, ...rest } = listener(() => {
        throw new Error('as a test wants it');
      });
      return { hooks: { readiness: () => isReady, ...hooks }, ...rest };
    };
    await inCluster({ node }, async (cluster) => {
      cluster.start();
      await cluster.later();
      assert.is(cluster.whole(), SOURCE);
      isReady = true;
      cluster.start();
      await cluster.later();
      assert.is(cluster.whole(), TARGET);
      // A frame that nobody waits for, in a batch: refused, and reported.
      const frame = cluster.sent.find((flight) => cluster.decode(flight).message.kind === 'ReplayComplete')!;
      cluster.source.handler.handleBatch(
        Buffer.concat([Uint8Array.of(frame.payload.length, 0, 0, 0), frame.payload]),
        STRANGER,
      );
      await turns();
      const told = [...warnings, ...[...cluster.nodes.values()].flatMap(({ refused }) => refused)];
      assert.ok(
        told.some(({ message }) => /as a test wants it/.test(message)),
        told.join(),
      );
    });
    process.off('warning', warn);
  });
}

const withdrawals = suite('preCleanup');

/** A source that has offered the daemon, and an orchestrator that has not heard of it and gives up. */
async function givenUpAfterTheOffer(cluster: Cluster): Promise<void> {
  cluster.publish(1);
  cluster.start();
  cluster.publish(2);
  while (cluster.source.handler.list()[0]?.phase !== 'offered') {
    if (cluster.queue.length > 0) cluster.deliver();
    await cluster.breathe();
  }
  assert.is(cluster.source.copy?.gate, 'fenced');
  cluster.queue.length = 0;
  cluster.cancel();
}

withdrawals('is followed by failure where the offer is withdrawn: the daemon goes on at the source', async () => {
  const calls = new Calls();
  await inCluster({ register: true, node: (id) => ({ hooks: calls.of(id, undefined) }) }, async (cluster) => {
    await givenUpAfterTheOffer(cluster);
    await cluster.later();
    assert.is(cluster.whole(), SOURCE);
    const atSource = calls.made.filter((call) => call.endsWith(`@${SOURCE}`));
    assert.equal(
      atSource,
      ['authorize', 'preCleanup', 'failure'].map((call) => `${call}@${SOURCE}`),
    );
    assert.is(cluster.table.read(ORIGIN)?.entry.epoch, 2n);
  });
});

withdrawals(
  'is followed by failure without a register when recover brings the daemon back, and not before',
  async () => {
    const calls = new Calls();
    await inCluster({ node: (id) => ({ hooks: calls.of(id, undefined) }) }, async (cluster) => {
      await givenUpAfterTheOffer(cluster);
      cluster.elapse(100_000);
      assert.is(cluster.source.copy?.gate, 'fenced', 'nobody can say whether the target is live');
      assert.ok(cluster.source.refused.some(({ kind }) => kind === 'register-unavailable'));
      assert.not.ok(calls.made.includes(`failure@${SOURCE}`));
      assert.ok(cluster.recover());
      cluster.quiet();
      assert.is(cluster.whole(), SOURCE);
      assert.is(cluster.source.copy?.epoch, 2n);
      assert.is(calls.made.filter((call) => call === `failure@${SOURCE}`).length, 1);
      assert.is(calls.made.at(-1), `failure@${SOURCE}`);
      assert.not.ok(cluster.recover(), 'there is nothing more to bring back');
    });
  },
);

const readiness = suite('a target that is not ready');
for (const orchestrator of LEADERS) {
  for (const extensions of [true, false]) {
    const where = `orchestrator on node ${orchestrator}, extensions ${extensions}`;
    readiness(`answers NotReady, which may be tried again: ${where}`, () => {
      const reasons: MigrationFailureReason[] = [];
      let isReady: unknown = false;
      const node = () => ({
        hooks: {
          readiness: () => isReady as boolean,
          failure: (_: bigint, reason: MigrationFailureReason) => void reasons.push(reason),
        },
      });
      inCluster({ orchestrator, extensions, node }, (cluster) => {
        for (const answer of [false, undefined, 1, 'yes']) {
          isReady = answer;
          cluster.start();
          cluster.quiet();
          assert.is(cluster.whole(), SOURCE);
          const report = cluster.orchestrator.reports.findLast(({ kind }) => kind === 'failed');
          assert.ok(report?.kind === 'failed' && report.error.kind === 'not-ready' && report.error.retriable);
        }
        assert.ok(reasons.length >= 4);
        assert.ok(reasons.every((reason) => reason.kind === 'NotReady' && reason.retriable));
        isReady = true;
        cluster.start();
        cluster.quiet();
        assert.is(cluster.whole(), TARGET);
      });
    });
  }
}

/** Who leads, whom source and target list, and who refuses. */
const RULES: ReadonlyArray<
  readonly [leader: bigint, source: bigint[], target: bigint[], refusedAt: bigint | undefined]
> = [
  [ORCHESTRATOR, [ORCHESTRATOR], [ORCHESTRATOR], undefined],
  [ORCHESTRATOR, [], [ORCHESTRATOR], SOURCE],
  [ORCHESTRATOR, [SOURCE, TARGET, STRANGER], [ORCHESTRATOR], SOURCE],
  [ORCHESTRATOR, [ORCHESTRATOR], [], TARGET],
  [ORCHESTRATOR, [ORCHESTRATOR], [SOURCE, TARGET, STRANGER], TARGET],
  [SOURCE, [], [SOURCE], undefined],
  [SOURCE, [], [], TARGET],
  [TARGET, [TARGET], [], undefined],
  [TARGET, [], [], SOURCE],
];

const authorises = suite('who may move a daemon');
for (const [leader, source, target, refusedAt] of RULES) {
  for (const extensions of [true, false]) {
    const lists = `source lists [${source}], target [${target}]`;
    const name = `${leader} leads, ${lists}, extensions ${extensions}: ${refusedAt ? `refused by ${refusedAt}` : 'moves'}`;
    authorises(name, () => {
      const node = (id: bigint) => ({ orchestrators: id === SOURCE ? source : id === TARGET ? target : [] });
      inCluster({ orchestrator: leader, extensions, node }, (cluster) => {
        cluster.start();
        cluster.quiet();
        assert.is(cluster.whole(), refusedAt ? SOURCE : TARGET);
        if (refusedAt) assertToldNotAuthorised(cluster, refusedAt);
      });
    });
  }
}

/** The refusal went out as a frame, or stayed on the node that leads; and it was heard. */
function assertToldNotAuthorised(cluster: Cluster, refusedAt: bigint): void {
  const report = cluster.orchestrator.reports.findLast(({ kind }) => kind === 'failed');
  assert.ok(report?.kind === 'failed');
  assert.match(report.error.message, /not authorised/);
  const frames = cluster.sent.filter(({ from, to }) => from === refusedAt && to === cluster.leader);
  const messages = frames.map((flight) => cluster.decode(flight).message);
  if (refusedAt === cluster.leader) return;
  const failed = messages.find(({ kind }) => kind === 'MigrationFailed');
  assert.equal(failed, {
    kind: 'MigrationFailed',
    daemonOrigin: ORIGIN,
    reason: MigrationFailureReason.stateFailed('not authorised'),
  });
}

authorises('nobody whom authorize does not plainly allow, whatever the list says', () => {
  for (const answer of [false, undefined, null, 1, 'yes', {}]) {
    for (const at of [SOURCE, TARGET]) {
      const node = (id: bigint) => (id === at ? { hooks: { authorize: () => answer as boolean } } : {});
      inCluster({ node }, (cluster) => {
        cluster.start();
        cluster.quiet();
        assert.is(cluster.whole(), SOURCE);
        assertToldNotAuthorised(cluster, at);
      });
    }
  }
});

authorises('whom authorize allows, whatever the list says, and later too', async () => {
  const node = () => ({ orchestrators: [], hooks: { authorize: async () => true } });
  await inCluster({ node }, async (cluster) => {
    cluster.start();
    await cluster.later();
    assert.is(cluster.whole(), TARGET);
  });
});
