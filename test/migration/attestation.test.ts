import * as assert from 'uvu/assert';
import { EntityKeypair } from '../../lib/identity/index.js';
import { attestedBytes, type SnapshotAttestation, verifyAttestation } from '../../lib/migration/attestation.js';
import { encodeMigrationFrame } from '../../lib/wire/extension.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { refusal, suite } from '../support.js';
import { type Cluster, type Flight, inCluster, ORCHESTRATOR, ORIGIN, SOURCE, TARGET } from './cluster.js';

const daemon = EntityKeypair.generate();
const SIGNED = {
  origin: daemon.originHash,
  try: 3n,
  source: 1n,
  target: 2n,
  snapshotDigest: new Uint8Array(32).fill(1),
};
const signature = daemon.sign(attestedBytes(SIGNED));
const changed = (bytes: Uint8Array, at: number) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

const attestations = suite('an attestation');

attestations('is over a domain, origin, try, source, target and digest', () => {
  const domain = 'daemon-migration snapshot v1';
  const numbers = Buffer.alloc(32);
  [SIGNED.origin, SIGNED.try, SIGNED.source, SIGNED.target].forEach((value, i) => {
    numbers.writeBigUInt64LE(value, 8 * i);
  });
  assert.equal(
    Buffer.from(attestedBytes(SIGNED)),
    Buffer.concat([Buffer.from(domain), numbers, SIGNED.snapshotDigest]),
  );
});

/** What it holds, whether the source must have signed, and whether it is taken. */
const VERDICTS: ReadonlyArray<readonly [string, Partial<SnapshotAttestation>, required: boolean, isTaken: boolean]> = [
  ['as it was signed', {}, true, true],
  ['as it was signed, though it need not be', {}, false, true],
  ['not signed, where it need not be', { signature: undefined }, false, true],
  ['not signed', { signature: undefined }, true, false],
  ['for another try', { try: 4n }, true, false],
  ['for another target', { target: 3n }, true, false],
  ['of another source', { source: 3n }, true, false],
  ['of another daemon', { origin: 5n }, true, false],
  ['of another snapshot', { snapshotDigest: changed(SIGNED.snapshotDigest, 31) }, true, false],
  ['wrongly signed, though it need not be', { signature: changed(signature, 0) }, false, false],
  ['signed by another key', { signature: EntityKeypair.generate().sign(attestedBytes(SIGNED)) }, true, false],
  ['signed with no bytes', { signature: new Uint8Array(64) }, true, false],
];

for (const [what, change, required, isTaken] of VERDICTS) {
  attestations(`${what} is ${isTaken ? 'taken' : 'refused'}`, async () => {
    const verify = () => verifyAttestation(daemon.entityId, { ...SIGNED, signature, ...change }, required);
    if (isTaken) verify();
    else {
      const error = await refusal('invalid-attestation', verify);
      assert.match(
        error.message,
        change.signature === undefined && 'signature' in change ? /is not signed/ : /another/,
      );
    }
  });
}

/** What an orchestrator that lies does to a chunk that it forwards. */
interface Forgery {
  readonly trailer?: (trailer: Trailer) => Trailer;
  readonly payload?: (snapshotBytes: Uint8Array) => Uint8Array;
}

/** Inside the state, which begins behind a head of 85 bytes. */
const STATE_AT = 200;
const FORGERIES: Readonly<Record<string, Forgery>> = {
  'a byte of the state': { payload: (bytes) => changed(bytes, STATE_AT) },
  'a byte of the state, and digest and signature gone': {
    payload: (bytes) => changed(bytes, STATE_AT),
    trailer: ({ snapshotDigest: _, snapshotSignature: __, ...rest }) => rest,
  },
  'a byte of the state, and the digest made to fit': {
    payload: (bytes) => changed(bytes, STATE_AT),
    trailer: ({ snapshotDigest: _, ...rest }) => rest,
  },
  'the signature gone': { trailer: ({ snapshotSignature: _, ...rest }) => rest },
  'a byte of the signature': {
    trailer: (trailer) =>
      trailer.snapshotSignature ? { ...trailer, snapshotSignature: changed(trailer.snapshotSignature, 5) } : trailer,
  },
  'the digest': {
    trailer: (trailer) =>
      trailer.snapshotDigest ? { ...trailer, snapshotDigest: changed(trailer.snapshotDigest, 0) } : trailer,
  },
};

function forge(cluster: Cluster, flight: Flight, { trailer, payload }: Forgery): Flight {
  const decoded = cluster.decode(flight);
  if (decoded.message.kind !== 'SnapshotReady' || flight.from !== ORCHESTRATOR) return flight;
  const { snapshotBytes } = decoded.message;
  const message = { ...decoded.message, snapshotBytes: payload ? payload(snapshotBytes) : snapshotBytes };
  const forged = trailer ? trailer(decoded.trailer!) : decoded.trailer!;
  return { ...flight, payload: encodeMigrationFrame(cluster.source.codec, message, forged) };
}

const forgeries = suite('an orchestrator that changes');
for (const [what, forgery] of Object.entries(FORGERIES)) {
  for (const engine of ['native', 'typescript'] as const) {
    for (const history of [100, 1_000]) {
      forgeries(`${what} is found out, and the daemon goes on at its source: ${history} events, ${engine}`, () => {
        inCluster({ sealed: true, history, engine }, (cluster) => {
          cluster.start();
          let forged = 0;
          while (cluster.queue.length > 0) {
            const flight = cluster.queue.shift()!;
            const other = forge(cluster, flight, forgery);
            if (Buffer.compare(other.payload, flight.payload) !== 0) forged++;
            cluster.hand(other);
          }
          assert.ok(forged > 0);
          cluster.quiet();
          assert.is(cluster.whole(), SOURCE);
          assert.is(cluster.target.copy, undefined);
          assert.ok(cluster.target.ends[0]?.startsWith('target '));
        });
      });
    }
  }
}

const replays = suite('a snapshot that was recorded');
/** What an orchestrator says of a snapshot that the daemon signed for its first try and that target. */
const ELSEWHERE: Readonly<Record<string, { readonly to: bigint; readonly try: bigint }>> = {
  'is taken as what it is': { to: TARGET, try: 1n },
  'is refused as another try': { to: TARGET, try: 2n },
  'is refused at another target': { to: ORCHESTRATOR, try: 1n },
};

for (const [what, { to, try: attempt }] of Object.entries(ELSEWHERE)) {
  replays(what, () => {
    inCluster({}, (cluster) => {
      cluster.start();
      while (!cluster.queue.some(({ from }) => from === ORCHESTRATOR && cluster.sent.length > 2)) cluster.deliver();
      const flight = cluster.queue.find(({ from }) => from === ORCHESTRATOR)!;
      const { message, trailer } = cluster.decode(flight);
      assert.is(message.kind, 'SnapshotReady');
      const node = cluster.nodes.get(to)!;
      node.expect(ORIGIN);
      // Its own target has not seen it.
      cluster.queue.length = 0;
      cluster.cancel();
      cluster.elapse(10_000);
      const payload = encodeMigrationFrame(cluster.source.codec, message, { ...trailer, try: attempt });
      cluster.hand({ from: ORCHESTRATOR, to, payload });
      assert.is(node.copy?.gate, what.includes('taken') ? 'held' : undefined);
    });
  });
}
