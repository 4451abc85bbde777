import * as assert from 'uvu/assert';
import { EntityKeypair } from '../../../lib/identity/index.js';
import { sameBytes } from '../check.js';
import type { Runner } from '../runner.js';
import { bytes, fieldsOf, listOf, u64 } from '../vector-json.js';

const ORIGIN_KEY = Buffer.from('net-origin-v1');
const NODE_ID_KEY = Buffer.from('net-node-id-v1');

/** Public key → origin hash and node id, by the engine; seed → all of it and the signature, which is no engine's work. */
export const identity: Runner = {
  file: 'identity',
  level: 'codec',
  run(vectors, codec, tally) {
    listOf(vectors, 'identity').forEach((value, i) => {
      const names = ['message', 'node_id', 'origin_hash', 'public_key', 'seed', 'signature'];
      const f = fieldsOf(value, names, `identity[${i}]`);
      tally.vector(`[${i}]`, () => {
        const entityId = bytes(f.public_key, 'public_key');
        const originHash = u64(f.origin_hash, 'origin_hash');
        const nodeId = u64(f.node_id, 'node_id');
        assert.is(codec.originHash(entityId), originHash, 'originHash');
        assert.is(codec.nodeId(entityId), nodeId, 'nodeId');
        const first8 = (mac: Uint8Array) => Buffer.from(mac).readBigUInt64LE();
        assert.is(first8(codec.blake2sMac(ORIGIN_KEY, entityId)), originHash, 'blake2sMac with the origin key');
        assert.is(first8(codec.blake2sMac(NODE_ID_KEY, entityId)), nodeId, 'blake2sMac with the node id key');

        const keypair = EntityKeypair.fromSeed(bytes(f.seed, 'seed'));
        const [message, signature] = [bytes(f.message, 'message'), bytes(f.signature, 'signature')];
        sameBytes(keypair.entityId, entityId, "the seed's public key");
        sameBytes(keypair.sign(message), signature, 'signature');
        assert.ok(keypair.id.verify(message, signature), 'verified');
        assert.is(keypair.originHash, originHash, "the key pair's originHash");
        assert.is(keypair.nodeId, nodeId, "the key pair's nodeId");
      });
    });
  },
};
