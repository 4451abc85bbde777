import * as assert from 'uvu/assert';
import { DaemonRegistry } from '../../lib/daemon/registry.js';
import { refusal, suite } from '../support.js';
import { EPOCH, Node, ORIGIN, SOURCE, sent, TRY, turns } from './harness.js';

const missing = suite('a node that is told of an offer of which it has no record');

missing('refuses the frame, and says that it has no copy where the register has the daemon as its own', async () => {
  const node = new Node();
  let known: (answer: { epoch: bigint } | undefined) => void = () => {};
  node.answers.missing = () =>
    new Promise((resolve) => {
      known = resolve;
    });
  await refusal('daemon-not-found', () => node.hearsOffer(3n));
  await refusal('daemon-not-found', () => node.hearsOffer(3n));
  assert.equal(node.asks('missing').length, 1, 'one question at a time');
  assert.equal(sent(node.handler.takeOutbound()), []);
  known({ epoch: EPOCH });
  await turns();
  const message = { kind: 'CopyMissing', daemonOrigin: ORIGIN };
  assert.equal(sent(node.handler.takeOutbound()), [{ to: SOURCE, message, trailer: { try: TRY, epoch: EPOCH } }]);
  await refusal('daemon-not-found', () => node.hearsOffer(3n));
  known(undefined);
  await turns();
  assert.equal(sent(node.handler.takeOutbound()), []);
  assert.is(node.asks('missing').length, 2);
});

missing('asks nothing at events that are no offer', async () => {
  const node = new Node();
  const message = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [] } as const;
  await refusal('daemon-not-found', () => node.takes(SOURCE, message, { try: TRY, logFrom: 1n }));
  await refusal('daemon-not-found', () => node.takes(SOURCE, message));
  assert.is(node.asks('missing').length, 0);
});

missing('counts a copy that stopped in an earlier epoch as none', () => {
  const registry = new DaemonRegistry();
  const host = { origin: ORIGIN, gate: 'fenced', epoch: EPOCH, dispose() {} };
  assert.is(registry.mayBeIn(ORIGIN, EPOCH), false);
  registry.add(host as never);
  assert.is(registry.mayBeIn(ORIGIN, EPOCH + 1n), false);
  assert.is(registry.mayBeIn(ORIGIN, EPOCH), true);
  host.gate = 'held';
  assert.is(registry.mayBeIn(ORIGIN, EPOCH + 1n), true);
  registry.setAside(ORIGIN);
  assert.is(registry.mayBeIn(ORIGIN, EPOCH + 1n), true);
});
