import * as assert from 'uvu/assert';
import type { MigrationCodec } from '../../../lib/wire/codec.js';
import { type CausalEvent, type CausalLink, genesisLink } from '../../../lib/wire/link.js';
import { refusal, sameBytes, type Tally } from '../check.js';
import { comparable } from '../frames.js';
import type { Runner } from '../runner.js';
import { bytes, fieldsOf, link, listOf, text, truth, u64 } from '../vector-json.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;
const NOTHING = new Uint8Array(0);

/** A link ↔ its bytes. */
function linkVector(codec: MigrationCodec, value: unknown, where: string): CausalLink {
  const { link: expected, bytes: encoded } = link(value, where);
  sameBytes(codec.encodeLink(expected), encoded, `${where} encodeLink`);
  assert.equal(codec.decodeLink(encoded), expected, `${where} decodeLink`);
  return expected;
}

/** That a whole chain is found whole, and one with a link broken ends there. */
function chainHolds(codec: MigrationCodec, genesis: CausalLink, events: readonly CausalEvent[]): void {
  assert.is(codec.verifyChain(genesis, NOTHING, events), events.length, 'verifyChain');
  const frame = codec.encode({ kind: 'BufferedEvents', daemonOrigin: 1n, events });
  assert.is(codec.verifyFrameChain(genesis, NOTHING, frame), events.length, 'verifyFrameChain');
  events.forEach((event, i) => {
    const link = { ...event.link, parentHash: event.link.parentHash ^ 1n };
    const broken = events.with(i, { ...event, link });
    assert.is(codec.verifyChain(genesis, NOTHING, broken), i, `verifyChain broken at ${i}`);
    const brokenFrame = codec.encode({ kind: 'BufferedEvents', daemonOrigin: 1n, events: broken });
    assert.is(codec.verifyFrameChain(genesis, NOTHING, brokenFrame), i, `verifyFrameChain broken at ${i}`);
  });
}

function chain(codec: MigrationCodec, value: unknown, where: string, tally: Tally): void {
  const f = fieldsOf(value, ['events', 'genesis', 'next_parent_hash_after_last', 'origin'], where);
  const origin = u64(f.origin, 'origin');
  let head = genesisLink(origin);
  let headPayload: Uint8Array = NOTHING;
  const events: CausalEvent[] = [];
  tally.vector(`${where} genesis`, () => {
    assert.equal(linkVector(codec, f.genesis, 'genesis'), head, 'genesisLink');
  });
  listOf(f.events, 'events').forEach((one, i) => {
    tally.vector(`${where} event ${i}`, () => {
      const e = fieldsOf(one, ['horizon', 'link', 'payload', 'prev_link'], 'event');
      sameBytes(codec.encodeLink(head), bytes(e.prev_link, 'prev_link'), 'prev_link');
      const expected = linkVector(codec, e.link, 'link');
      const next = codec.nextLink(head, headPayload, u64(e.horizon, 'horizon'));
      assert.equal(comparable(next), comparable(expected), 'nextLink');
      assert.is(codec.parentHash(head, headPayload), expected.parentHash, 'parentHash');
      head = expected;
      headPayload = bytes(e.payload, 'payload');
      events.push({ link: head, payload: headPayload, receivedAt: BigInt(i) });
    });
  });
  tally.vector(`${where} next_parent_hash_after_last`, () => {
    const expected = u64(f.next_parent_hash_after_last, 'next_parent_hash_after_last');
    assert.is(codec.parentHash(head, headPayload), expected, 'parentHash');
    chainHolds(codec, genesisLink(origin), events);
  });
}

/** The vector gives the last possible link but not what came before it, so its parent hash is held to nothing. */
function lastSequence(codec: MigrationCodec, value: unknown, isNone: unknown, tally: Tally): void {
  tally.vector('next_at_u64_max_minus_1', () => {
    const last = linkVector(codec, value, 'next_at_u64_max_minus_1');
    assert.is(last.sequence, U64_MAX, 'sequence');
    const before = { ...last, sequence: U64_MAX - 1n };
    const next = codec.nextLink(before, NOTHING, last.horizon);
    assert.equal(next, { ...last, parentHash: codec.parentHash(before, NOTHING) }, 'nextLink');
  });
  tally.vector('next_at_u64_max_is_none', () => {
    assert.ok(truth(isNone, 'next_at_u64_max_is_none'));
    const { link: last } = link(value, 'next_at_u64_max_minus_1');
    const error = refusal(() => codec.nextLink(last, NOTHING, 0n), 'a link after the last sequence');
    assert.is(error.kind, 'sequence-overflow');
  });
}

/** Chains with their links, parent hashes over random links and payloads, the last possible sequence. */
export const causal: Runner = {
  file: 'causal',
  level: 'codec',
  run(vectors, codec, tally) {
    const names = ['chains', 'next_at_u64_max_is_none', 'next_at_u64_max_minus_1', 'note', 'parent_hashes'];
    const f = fieldsOf(vectors, names, 'causal');
    text(f.note, 'note');
    listOf(f.chains, 'chains').forEach((value, i) => {
      chain(codec, value, `chains[${i}]`, tally);
    });
    listOf(f.parent_hashes, 'parent_hashes').forEach((value, i) => {
      tally.vector(`parent_hashes[${i}]`, () => {
        const p = fieldsOf(value, ['hash', 'link', 'payload'], `parent_hashes[${i}]`);
        const payload = bytes(p.payload, 'payload');
        const parent = linkVector(codec, p.link, 'link');
        assert.is(codec.parentHash(parent, payload), u64(p.hash, 'hash'), 'parentHash');
        const joined = Buffer.concat([codec.encodeLink(parent), payload]);
        assert.is(codec.xxh3(joined), u64(p.hash, 'hash'), 'xxh3 of link and payload');
      });
    });
    lastSequence(codec, f.next_at_u64_max_minus_1, f.next_at_u64_max_is_none, tally);
  },
};
