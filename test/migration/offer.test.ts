import * as assert from 'uvu/assert';
import { type Offer, sameOffer } from '../../lib/migration/offer.js';
import { suite } from '../support.js';

const offers = suite('offers');

function offer(changes: Partial<Offer> = {}): Offer {
  const digests = { snapshotDigest: new Uint8Array(32).fill(1), logDigest: new Uint8Array(32).fill(2) };
  return { try: 4n, target: 2n, logCount: 30n, ...digests, ...changes };
}

/** A digest that differs in its last bit alone. */
function nearly(byte: number): Uint8Array {
  const digest = new Uint8Array(32).fill(byte);
  digest[31]! ^= 1;
  return digest;
}

offers('are the same where all their fields are, whoever holds the bytes', () => {
  assert.ok(sameOffer(offer(), offer()));
});

const CHANGES: Required<{ readonly [K in keyof Offer]: Offer[K] }> = {
  try: 5n,
  target: 3n,
  logCount: 29n,
  snapshotDigest: nearly(1),
  logDigest: nearly(2),
  head: nearly(3),
};

for (const [field, value] of Object.entries(CHANGES)) {
  offers(`differ where only ${field} does`, () => {
    assert.not.ok(sameOffer(offer(), offer({ [field]: value })));
    assert.not.ok(sameOffer(offer({ [field]: value }), offer()));
  });
}
