import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { StateSnapshot } from '../../lib/wire/snapshot.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { comparable } from '../conformance/frames.js';
import * as any from './arbitraries.js';
import { agree, codecs, holds } from './support.js';

const test = suite(`snapshots and hashes on ${codecs.map((codec) => codec.engine).join(', ')}`);

const envelope = any
  .bytes(0)
  .chain(() => fc.nat())
  .map((seed) => {
    const bytes = any.noise(seed, 209);
    bytes[0] = 1;
    return bytes;
  });

const snapshot: fc.Arbitrary<StateSnapshot> = fc
  .record({
    entityId: fc.nat().map((seed) => any.noise(seed, 32)),
    chainLink: any.link,
    createdAt: any.u64,
    state: any.mostlyShort(20_000),
    bindings: any.mostlyShort(300),
    identityEnvelope: fc.option(envelope, { nil: undefined }),
  })
  .map(({ chainLink, ...rest }) => ({
    ...rest,
    chainLink: { ...chainLink, originHash: typescriptCodec.originHash(rest.entityId) },
    throughSeq: chainLink.sequence,
  }));

test('any snapshot → bytes → the same snapshot', () => {
  holds(snapshot, (one) => {
    const { value } = agree(codecs, (codec) => codec.encodeSnapshot(one)) as { value: string };
    const bytes = new Uint8Array(Buffer.from(value.slice(2), 'hex'));
    for (const codec of codecs) {
      assert.equal(comparable(codec.decodeSnapshot(bytes)), comparable(one));
      const { head, tail } = codec.encodeSnapshotParts(one, one.state.length);
      assert.is(Buffer.compare(Buffer.concat([head, one.state, tail]), bytes), 0);
    }
  });
});

test('snapshots that contradict themselves are refused alike on writing', () => {
  const broken = fc.tuple(snapshot, any.u64, any.u64, fc.nat({ max: 255 })).map(([one, seq, origin, version]) => {
    const identityEnvelope = one.identityEnvelope?.slice();
    if (identityEnvelope) identityEnvelope[0] = version;
    return { ...one, throughSeq: seq, chainLink: { ...one.chainLink, originHash: origin }, identityEnvelope };
  });
  holds(broken, (one) => {
    agree(codecs, (codec) => codec.encodeSnapshot(one));
    agree(codecs, (codec) => codec.encodeSnapshotParts(one, one.state.length));
  });
});

test('any bytes, and mutated valid ones: engines agree', () => {
  const valid = snapshot.map((one) => typescriptCodec.encodeSnapshot(one));
  const headed = any.bytes(400).map((rest) => Uint8Array.from([...Buffer.from('CDS1'), 2, ...rest]));
  holds(fc.oneof(any.mutated(valid), any.mutated(valid), any.bytes(300), headed), (bytes) => {
    agree(codecs, (codec) => codec.decodeSnapshot(bytes));
  });
});

test('links, parent hashes, next links and horizons: engines agree', () => {
  holds(fc.tuple(any.link, any.mostlyShort(9_000), any.u64, any.bytes(40)), ([link, payload, horizon, bytes]) => {
    agree(codecs, (codec) => {
      assert.equal(codec.decodeLink(codec.encodeLink(link)), comparable(link));
      return [codec.encodeLink(link), codec.parentHash(link, payload), codec.horizonBits(horizon)];
    });
    agree(codecs, (codec) => codec.nextLink(link, payload, horizon));
    agree(codecs, (codec) => codec.decodeLink(bytes));
  });
});

test('hashes: engines agree on any bytes', () => {
  const key = fc.integer({ min: 1, max: 32 }).map((length) => any.noise(length, length));
  holds(fc.tuple(any.mostlyShort(5_000), key, fc.nat()), ([bytes, key, seed]) => {
    const id = any.noise(seed, 32);
    agree(codecs, (codec) => [codec.xxh3(bytes), codec.blake3(bytes), codec.blake2sMac(key, bytes)]);
    agree(codecs, (codec) => [codec.originHash(id), codec.nodeId(id)]);
    for (const codec of codecs) {
      const hasher = codec.createBlake3();
      const at = seed % (bytes.length + 1);
      hasher.update(bytes.subarray(0, at));
      hasher.update(bytes.subarray(at));
      assert.equal(comparable(hasher.digest()), comparable(codec.blake3(bytes)), 'BLAKE3 in pieces');
      for (const again of [() => hasher.digest(), () => hasher.update(bytes)]) {
        assert.throws(
          again,
          (error: { kind?: string }) => error.kind === 'disposed',
          `${codec.engine} after its digest`,
        );
      }
    }
  });
});

test('XXH3 of every length, as another implementation has it', () => {
  // hash-wasm 4.13.0, over bytes (i·i·7 + n·31) mod 256 of lengths n = 0 .. 1,299, each hash as 8 LE bytes
  const expected = 3296077401254548427n;
  for (const codec of codecs) {
    const hashes = new BigUint64Array(1_300);
    for (let n = 0; n < 1_300; n++) {
      hashes[n] = codec.xxh3(Uint8Array.from({ length: n }, (_, i) => i * i * 7 + n * 31));
    }
    assert.is(codec.xxh3(new Uint8Array(hashes.buffer)), expected, codec.engine);
  }
});

/** A chain of events that hold together, each after the one before. */
const chain = fc
  .tuple(any.link, any.bytes(30), fc.array(fc.tuple(any.u64, any.mostlyShort(7_000)), { maxLength: 10 }))
  .map(([head, headPayload, rest]) => {
    let link = { ...head, sequence: head.sequence % 1_000n };
    const previous = link;
    let payload = headPayload;
    const events = rest.map(([horizon, next]) => {
      link = typescriptCodec.nextLink(link, payload, horizon);
      payload = next;
      return { link, payload, receivedAt: 1n };
    });
    return { previous, headPayload, events };
  });

test('chains hold as far as they are whole', () => {
  const field = fc.constantFrom('originHash', 'sequence', 'parentHash', 'horizon', 'payload');
  holds(fc.tuple(chain, fc.nat(), field), ([{ previous, headPayload, events }, place, field]) => {
    const at = events.length === 0 ? 0 : place % events.length;
    const broken = events.map((event, i) => {
      if (i !== at) return event;
      if (field === 'payload') return { ...event, payload: Uint8Array.from([...event.payload.subarray(0, 6_999), 1]) };
      return { ...event, link: { ...event.link, [field]: event.link[field] ^ 1n } };
    });
    const endsBehind = field === 'payload' || field === 'horizon';
    const expected = Math.min(events.length, endsBehind ? at + 1 : at);
    for (const codec of codecs) {
      const frame = codec.encode({ kind: 'BufferedEvents', daemonOrigin: 1n, events });
      assert.is(codec.verifyChain(previous, headPayload, events), events.length);
      assert.is(codec.verifyFrameChain(previous, headPayload, frame), events.length);
      const brokenFrame = codec.encode({ kind: 'BufferedEvents', daemonOrigin: 1n, events: broken });
      assert.is(codec.verifyChain(previous, headPayload, broken), expected, `${codec.engine} with ${field} broken`);
      assert.is(codec.verifyFrameChain(previous, headPayload, brokenFrame), expected, `${codec.engine} in a frame`);
    }
  });
});

test.run();
