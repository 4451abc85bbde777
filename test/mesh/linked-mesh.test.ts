import * as assert from 'uvu/assert';
import { BATCH_BYTES, type Batch } from '../../lib/mesh/link.js';
import { LinkedMesh, type PeerPort } from '../../lib/mesh/linked-mesh.js';
import { OwnershipTable } from '../../lib/mesh/register.js';
import { connectPort, type LinkMessage, type LinkPort } from '../../lib/mesh/worker-protocol.js';
import { suite } from '../support.js';

const linked = suite('a linked mesh');
const SUBPROTOCOL = 7;
const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};
const noChannels = { publish() {}, subscribe: () => ({ position: new Uint8Array(0), unsubscribe() {} }), forget() {} };

/** A mesh with one peer, and what that peer was given back. */
function withPeer() {
  const mesh = new LinkedMesh(1n, new OwnershipTable(), noChannels);
  const given: Array<readonly [bytes: number, memory: Uint8Array | undefined]> = [];
  const port: PeerPort = {
    post() {},
    credit: (bytes, memory) => void given.push([bytes, memory]),
    announce() {},
    close() {},
  };
  mesh.addPeer({ nodeId: 2n, extensions: true }, port);
  return { mesh, given };
}

function large(): Batch {
  return { subprotocol: SUBPROTOCOL, bytes: new Uint8Array(BATCH_BYTES).subarray(0, BATCH_BYTES - 10) };
}

linked('gives the memory of a batch back where its listener does not keep it, and of a small one never', () => {
  const { mesh, given } = withPeer();
  mesh.listen(SUBPROTOCOL, () => {}, { keepsBatches: false });
  const batch = large();
  mesh.receive(2n, batch);
  mesh.receive(2n, { subprotocol: SUBPROTOCOL, bytes: new Uint8Array(100) });
  assert.is(given[0]![1], batch.bytes);
  assert.equal(
    given.map(([bytes, memory]) => [bytes, memory !== undefined]),
    [
      [BATCH_BYTES - 10, true],
      [100, false],
    ],
  );
});

linked('leaves a listener what it may keep: by default, and where it says so', () => {
  const { mesh, given } = withPeer();
  mesh.listen(SUBPROTOCOL, () => {});
  mesh.receive(2n, large());
  mesh.listen(SUBPROTOCOL, () => {}, { keepsBatches: true });
  mesh.receive(2n, large());
  assert.equal(
    given.map(([bytes, memory]) => [bytes, memory]),
    [
      [BATCH_BYTES - 10, undefined],
      [BATCH_BYTES - 10, undefined],
    ],
  );
});

linked('gives memory back no sooner than the listener’s promise has settled, whichever way', async () => {
  for (const settle of ['resolve', 'reject'] as const) {
    const { mesh, given } = withPeer();
    let settled = () => {};
    const pending = new Promise<void>((resolve, reject) => {
      settled = () => (settle === 'resolve' ? resolve() : reject(new Error('as a test wants it')));
    });
    const handled = pending.catch(() => {});
    mesh.listen(SUBPROTOCOL, () => handled, { keepsBatches: false });
    mesh.receive(2n, large());
    await turns();
    assert.equal(given, []);
    settled();
    await turns();
    assert.is(given.length, 1);
    assert.ok(given[0]![1]);
  }
});

linked('over a port memory goes back by moving, not by copying', () => {
  const mesh = new LinkedMesh(1n, new OwnershipTable(), noChannels);
  const posted: Array<{ readonly message: LinkMessage; readonly transfer: readonly ArrayBuffer[] | undefined }> = [];
  let deliver = (_: LinkMessage) => {};
  const port: LinkPort = {
    postMessage: (message, transfer) => void posted.push({ message, transfer }),
    on: (_, listener) => {
      deliver = listener;
    },
    close() {},
  };
  connectPort(mesh, 2n, port);
  mesh.listen(SUBPROTOCOL, () => {}, { keepsBatches: false });
  const batch = large();
  deliver(batch);
  assert.equal(posted.at(-1), {
    message: { credit: BATCH_BYTES - 10, memory: batch.bytes },
    transfer: [batch.bytes.buffer],
  });
  deliver({ subprotocol: SUBPROTOCOL, bytes: new Uint8Array(5) });
  assert.equal(posted.at(-1), { message: { credit: 5, memory: undefined }, transfer: undefined });
});
