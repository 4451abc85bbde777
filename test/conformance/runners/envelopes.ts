import * as assert from 'uvu/assert';
import {
  EntityId,
  EntityKeypair,
  EnvelopeError,
  IdentityEnvelope,
  StaticKeypair,
} from '../../../lib/identity/index.js';
import { sameBytes } from '../check.js';
import type { Runner } from '../runner.js';
import { bytes, type Fields, fieldsOf, link, listOf, NotUnderstood, text } from '../vector-json.js';

const ENVELOPE_FIELDS = [
  'envelope',
  'link',
  'recovered_seed',
  'signer_pub',
  'signer_seed',
  'tampered',
  'target_private',
  'target_public',
];
const SIGNATURE_AT = 145;
const MESSAGE = Buffer.from('who signs this holds the seed');

/** The kind of the error that was thrown, or what came of it. */
function kindOf(body: () => unknown): string {
  try {
    body();
    return 'accepted';
  } catch (error) {
    if (error instanceof EnvelopeError) return error.kind;
    throw error;
  }
}

/** That the key pair is the seed's: key pairs do not give their seed out, but only its holder signs alike. */
function isOfSeed(keypair: EntityKeypair, seed: Uint8Array, what: string): void {
  const expected = EntityKeypair.fromSeed(seed);
  sameBytes(keypair.entityId, expected.entityId, `${what}: entity id`);
  sameBytes(keypair.sign(MESSAGE), expected.sign(MESSAGE), `${what}: signature`);
}

function untouched(f: Fields, where: string): void {
  const envelope = bytes(f.envelope, `${where}.envelope`);
  const chainLink = link(f.link, `${where}.link`).bytes;
  const keys = StaticKeypair.fromPrivate(bytes(f.target_private, `${where}.target_private`));
  const signer = EntityKeypair.fromSeed(bytes(f.signer_seed, `${where}.signer_seed`));
  const seed = bytes(f.recovered_seed, `${where}.recovered_seed`);
  sameBytes(signer.entityId, bytes(f.signer_pub, `${where}.signer_pub`), 'signer_pub');
  sameBytes(keys.publicKey, bytes(f.target_public, `${where}.target_public`), 'target_public');
  sameBytes(IdentityEnvelope.fromBytes(envelope).toBytes(), envelope, 'encoded again');
  isOfSeed(IdentityEnvelope.fromBytes(envelope).open(keys, chainLink, signer.id), seed, 'opened');

  const ours = IdentityEnvelope.seal(signer, keys.publicKey, chainLink);
  isOfSeed(ours.open(keys, chainLink, signer.id), seed, 'sealed by ours and opened');
  sameBytes(ours.toBytes().subarray(SIGNATURE_AT), envelope.subarray(SIGNATURE_AT), 'attestation');
}

/** The same outcome at the same stage as the reference's. */
function tampered(value: unknown, where: string): void {
  const f = fieldsOf(value, ['bytes', 'expected_signer', 'link', 'name', 'outcome', 'target_private'], where);
  const o = fieldsOf(f.outcome, ['stage', 'result', 'seed?', 'error_kind?', 'display?'], `${where}.outcome`);
  const name = text(f.name, `${where}.name`);
  const envelope = bytes(f.bytes, `${where}.bytes`);
  const stage = text(o.stage, `${where}.outcome.stage`);
  if (stage === 'from_bytes') {
    const kind = envelope.length === 209 ? 'unsupported-version' : 'invalid-length';
    assert.is(
      kindOf(() => IdentityEnvelope.fromBytes(envelope)),
      kind,
      name,
    );
    return;
  }
  if (stage !== 'open') throw new NotUnderstood(`${where}.outcome.stage is ${stage}`);
  const keys = StaticKeypair.fromPrivate(bytes(f.target_private, `${where}.target_private`));
  const chainLink = bytes(f.link, `${where}.link`);
  const expected =
    f.expected_signer === null ? undefined : EntityId.fromBytes(bytes(f.expected_signer, `${where}.expected_signer`));
  const open = () => IdentityEnvelope.fromBytes(envelope).open(keys, chainLink, expected);
  if (o.result === 'ok') isOfSeed(open(), bytes(o.seed, `${where}.outcome.seed`), name);
  else assert.is(kindOf(open), text(o.error_kind, `${where}.outcome.error_kind`), name);
}

/** The reference seals to such a key; ours must not. */
function lowOrder(value: unknown, where: string): void {
  const f = fieldsOf(value, ['seal_result', 'target_public'], where);
  const target = bytes(f.target_public, `${where}.target_public`);
  const seal = () => IdentityEnvelope.seal(EntityKeypair.generate(), target, new Uint8Array(32));
  assert.is(kindOf(seal), 'low-order-target');
}

/** Sealed envelopes: opened, sealed again, tampered with; keys that nothing may be sealed to or by. */
export const envelopes: Runner = {
  file: 'envelopes',
  level: 'package',
  run(vectors, tally) {
    const file = fieldsOf(vectors, ['envelopes', 'low_order_targets', 'seal_with_public_only'], 'envelopes');
    listOf(file.envelopes, 'envelopes').forEach((value, i) => {
      const where = `envelopes[${i}]`;
      const f = fieldsOf(value, ENVELOPE_FIELDS, where);
      tally.vector(where, () => {
        untouched(f, where);
        listOf(f.tampered, `${where}.tampered`).forEach((one, j) => void tampered(one, `${where}.tampered[${j}]`));
      });
    });
    listOf(file.low_order_targets, 'low_order_targets').forEach((value, i) => {
      tally.vector(`low_order_targets[${i}]`, () => lowOrder(value, `low_order_targets[${i}]`));
    });
    const refused = fieldsOf(file.seal_with_public_only, ['display', 'error_kind'], 'seal_with_public_only');
    tally.vector('seal_with_public_only', () => {
      const publicOnly = EntityKeypair.generate().publicOnly();
      const seal = () => IdentityEnvelope.seal(publicOnly, StaticKeypair.generate().publicKey, new Uint8Array(32));
      assert.is(kindOf(seal), text(refused.error_kind, 'seal_with_public_only.error_kind'));
    });
  },
};
