import * as assert from 'uvu/assert';
import {
  type OwnershipEntry,
  type OwnershipRegister,
  OwnershipTable,
  type RegisteredOwnership,
} from '../../lib/mesh/register.js';
import type { Offer } from '../../lib/migration/offer.js';
import { Ownership } from '../../lib/runtime/ownership.js';
import { refusal, suite } from '../support.js';

const ownership = suite('ownership');
const DAEMON = 100n;
const SOURCE = 1n;
const TARGET = 2n;

/** What happens to a write: it is lost before it lands, or lands and its answer is wrong or lost. */
type Fault = 'answers false' | 'rejects' | 'rejects before it lands';

/** A register as a node meets it: others write between its read and its write, and answers go astray. */
class Shared implements OwnershipRegister {
  readonly table = new OwnershipTable();
  /** Lands once, after the next read has been answered. */
  between: (() => void) | undefined;
  /** Befalls the next write. */
  fault: Fault | undefined;
  writes = 0;
  reads = 0;

  async read(origin: bigint): Promise<RegisteredOwnership | undefined> {
    this.reads++;
    const standing = this.table.read(origin);
    const { between } = this;
    this.between = undefined;
    between?.();
    return standing;
  }

  async compareAndSet(origin: bigint, expected: bigint, entry: OwnershipEntry | undefined): Promise<boolean> {
    const { fault } = this;
    this.fault = undefined;
    if (fault === 'rejects before it lands') throw new Error('the register is out of reach');
    const written = this.table.compareAndSet(origin, expected, entry);
    if (written) this.writes++;
    if (fault === 'rejects') throw new Error('no answer came');
    return fault ? false : written;
  }

  get entry(): OwnershipEntry | undefined {
    return this.table.read(DAEMON)?.entry;
  }

  /** Another node's write. */
  put(entry: OwnershipEntry): void {
    this.table.compareAndSet(DAEMON, this.table.read(DAEMON)?.revision ?? 0n, entry);
  }
}

const OFFER: Offer = {
  try: 1n,
  target: TARGET,
  snapshotDigest: new Uint8Array(32).fill(1),
  logCount: 10n,
  logDigest: new Uint8Array(32).fill(2),
};
const OWNED: OwnershipEntry = { epoch: 1n, owner: SOURCE, tries: 1n };
const OFFERED: OwnershipEntry = { ...OWNED, offer: OFFER };
const CLAIMED: OwnershipEntry = { epoch: 2n, owner: TARGET, tries: 1n };
const WITHDRAWN: OwnershipEntry = { epoch: 2n, owner: SOURCE, tries: 1n };
/** What is known to be gone where CLAIMED stands, and what a recovery makes of that. */
const LOST = { node: TARGET, epoch: 2n };
const RECOVERED: OwnershipEntry = { epoch: 3n, owner: SOURCE, tries: 1n };

function standing(entry: OwnershipEntry) {
  const register = new Shared();
  register.put(entry);
  return { register, source: new Ownership(register, SOURCE), target: new Ownership(register, TARGET) };
}

ownership('a daemon is created once, and removed by its owner alone', async () => {
  const register = new Shared();
  const source = new Ownership(register, SOURCE);
  assert.is(await source.create(DAEMON), 1n);
  assert.equal(register.entry, { epoch: 1n, owner: SOURCE, tries: 0n });
  const error = await refusal('already-exists', () => new Ownership(register, TARGET).create(DAEMON));
  assert.is(error.details.owner, SOURCE);
  await refusal('ownership-lost', () => new Ownership(register, TARGET).remove(DAEMON));
  assert.is(register.entry?.owner, SOURCE);
  await source.remove(DAEMON);
  assert.is(register.entry, undefined);
});

for (const fault of ['answers false', 'rejects'] as const) {
  ownership(`a creation that landed is one, where the register ${fault}`, async () => {
    const register = new Shared();
    register.fault = fault;
    assert.is(await new Ownership(register, SOURCE).create(DAEMON, { epoch: 4n, tries: 7n }), 4n);
    assert.equal(register.entry, { epoch: 4n, owner: SOURCE, tries: 7n });
  });
}

ownership('a creation that lands after nobody waited for it any more is taken up by the next', async () => {
  const register = new Shared();
  const source = new Ownership(register, SOURCE);
  register.fault = 'rejects before it lands';
  await refusal('register-unavailable', () => source.create(DAEMON, { tries: 7n }));
  register.put({ epoch: 1n, owner: SOURCE, tries: 7n });
  assert.is(await source.create(DAEMON, { epoch: 3n, tries: 7n }), 1n);
  // Another's is none of these.
  await refusal('already-exists', () => new Ownership(register, SOURCE).create(DAEMON, { tries: 8n }));
  await refusal('already-exists', () => source.create(DAEMON, { tries: 7n }));
});

ownership('every change asks for a daemon that stands there', async () => {
  const source = new Ownership(new Shared(), SOURCE);
  await refusal('daemon-not-found', () => source.beginTry(DAEMON));
  await refusal('daemon-not-found', () => source.offer(DAEMON, 1n, OFFER));
  await refusal('daemon-not-found', () => source.claim(DAEMON, OFFER));
});

ownership('a try gets a number higher than any before', async () => {
  const { register, source } = standing(OWNED);
  assert.equal(await source.beginTry(DAEMON), { try: 2n, epoch: 1n });
  assert.equal(await source.beginTry(DAEMON), { try: 3n, epoch: 1n });
  assert.is(register.entry?.tries, 3n);
});

ownership('no two tries get one number, though their writes cross', async () => {
  const { register, source } = standing(OWNED);
  register.between = () => register.put({ ...OWNED, tries: 7n });
  assert.is((await source.beginTry(DAEMON)).try, 8n);
});

ownership('a try that was given up before it had its number counts no further, once the next has begun', async () => {
  const { register, source } = standing(OWNED);
  let next: Promise<{ try: bigint }> | undefined;
  register.between = () => {
    next = source.beginTry(DAEMON);
  };
  // Read before the next one wrote: its own write is refused, and it does not try again.
  const first = source.beginTry(DAEMON);
  await refusal('cancelled', () => first);
  assert.is((await next!).try, 2n);
  assert.equal(register.entry, { ...OWNED, tries: 2n });
  assert.is((await source.beginTry(DAEMON)).try, 3n);
});

ownership('only the owner begins a try, also where it lost the daemon between read and write', async () => {
  const { register, source, target } = standing(OWNED);
  await refusal('ownership-lost', () => target.beginTry(DAEMON));
  assert.equal(register.entry, OWNED);
  register.between = () => register.put(CLAIMED);
  await refusal('ownership-lost', () => source.beginTry(DAEMON));
  assert.equal(register.entry, CLAIMED);
});

ownership('only the owner offers, and only in the epoch that it knows', async () => {
  const { register, source, target } = standing(OWNED);
  await refusal('ownership-lost', () => target.offer(DAEMON, 1n, OFFER));
  await refusal('ownership-lost', () => source.offer(DAEMON, 2n, OFFER));
  await refusal('ownership-lost', () => source.offer(DAEMON, 0n, OFFER));
  assert.equal(register.entry, OWNED);
  await source.offer(DAEMON, 1n, OFFER);
  assert.equal(register.entry, OFFERED);
});

ownership('an offer is not written over another owner that came between read and write', async () => {
  const { register, source } = standing(OWNED);
  register.between = () => register.put(CLAIMED);
  await refusal('ownership-lost', () => source.offer(DAEMON, 1n, OFFER));
  assert.equal(register.entry, CLAIMED);
});

ownership('a withdrawal takes the offer back, in a new epoch', async () => {
  const { register, source, target } = standing(OFFERED);
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'withdrawn');
  assert.equal(register.entry, WITHDRAWN);
  await refusal('ownership-lost', () => target.claim(DAEMON, OFFER));
  assert.equal(register.entry, WITHDRAWN);
});

ownership('a withdrawal after the claim learns of it and changes nothing', async () => {
  const { register, source } = standing(CLAIMED);
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'claimed');
  assert.equal(register.entry, CLAIMED);
});

ownership('a withdrawal learns that the target has begun a further try, offered or not', async () => {
  const { register, source } = standing({ ...CLAIMED, tries: 2n });
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'lived-on');
  register.put({ ...CLAIMED, tries: 2n, offer: { ...OFFER, try: 2n, target: SOURCE } });
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'lived-on');
});

ownership(
  'a withdrawal that comes when somebody else has had the daemon since, or it has ended, learns that it is over',
  async () => {
    const onwards = { epoch: 3n, owner: 3n, tries: 2n };
    const { register, source } = standing(onwards);
    assert.is(await source.withdraw(DAEMON, 1n, 1n), 'superseded');
    assert.equal(register.entry, onwards);
    await new Ownership(register, 3n).remove(DAEMON);
    assert.is(await source.withdraw(DAEMON, 1n, 1n), 'superseded');
    assert.is(register.entry, undefined);
  },
);

ownership('a withdrawal that the claim overtakes reads again and learns of it', async () => {
  const { register, source } = standing(OFFERED);
  register.between = () => register.put(CLAIMED);
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'claimed');
  assert.equal(register.entry, CLAIMED);
});

ownership('a claim makes the target the owner, in a new epoch, and leaves no offer', async () => {
  const { register, target } = standing(OFFERED);
  assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
  assert.equal(register.entry, CLAIMED);
});

const OTHERS: Partial<Offer>[] = [
  { try: 2n },
  { target: 3n },
  { logCount: 9n },
  { snapshotDigest: new Uint8Array(32) },
  { logDigest: new Uint8Array(32) },
];
for (const other of OTHERS) {
  ownership(`a claim with another ${Object.keys(other)} than was offered is refused`, async () => {
    const { register, target } = standing(OFFERED);
    await refusal('ownership-lost', () => target.claim(DAEMON, { ...OFFER, ...other }));
    assert.equal(register.entry, OFFERED);
  });
}

ownership('a claim without an offer is refused', async () => {
  const { register, target } = standing(OWNED);
  await refusal('ownership-lost', () => target.claim(DAEMON, OFFER));
  assert.equal(register.entry, OWNED);
});

ownership('a claim that a withdrawal overtakes reads again and is refused', async () => {
  const { register, target } = standing(OFFERED);
  register.between = () => register.put(WITHDRAWN);
  await refusal('ownership-lost', () => target.claim(DAEMON, OFFER));
  assert.equal(register.entry, WITHDRAWN);
});

ownership('a claim that a write without meaning overtakes reads again and wins', async () => {
  const { register, target } = standing(OFFERED);
  register.between = () => register.put({ ...OFFERED, tries: 2n });
  assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
  assert.equal(register.entry, { ...CLAIMED, tries: 2n });
});

for (const fault of ['answers false', 'rejects'] as const) {
  ownership(`a claim that took effect and ${fault} is a win`, async () => {
    const { register, target } = standing(OFFERED);
    register.fault = fault;
    assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
    assert.equal(register.entry, CLAIMED);
    assert.is(register.writes, 1);
  });

  ownership(`a withdrawal that took effect and ${fault} is one`, async () => {
    const { register, source } = standing(OFFERED);
    register.fault = fault;
    assert.is(await source.withdraw(DAEMON, 1n, 1n), 'withdrawn');
    assert.equal(register.entry, WITHDRAWN);
    assert.is(register.writes, 1);
  });

  ownership(`a recovery that took effect and ${fault} is a win`, async () => {
    const { register, source } = standing(CLAIMED);
    register.fault = fault;
    assert.equal(await source.recover(DAEMON, LOST), { epoch: 3n });
    assert.equal(register.entry, RECOVERED);
    assert.is(register.writes, 1);
    assert.equal(await source.recover(DAEMON, LOST), { epoch: 3n }, 'asked again, it is the same recovery');
    assert.is(register.writes, 1);
  });
}

for (const fault of ['answers false', 'rejects'] as const) {
  ownership(`a recovery from whoever has the daemon that took effect and ${fault} is not made twice`, async () => {
    const { register, source } = standing(CLAIMED);
    register.fault = fault;
    assert.equal(await source.recover(DAEMON, undefined), { epoch: 3n });
    assert.equal(register.entry, RECOVERED);
    assert.is(register.writes, 1);
  });
}

ownership('a recovery from another than the owner that is known to be gone is refused', async () => {
  const { register, source } = standing(CLAIMED);
  await refusal('ownership-lost', () => source.recover(DAEMON, { ...LOST, epoch: 1n }));
  await refusal('ownership-lost', () => source.recover(DAEMON, { ...LOST, node: 3n }));
  assert.equal(register.entry, CLAIMED);
  // Of the next epoch, but another node's.
  await refusal('ownership-lost', () => source.recover(DAEMON, { node: SOURCE, epoch: 1n }));
  assert.equal(register.entry, CLAIMED);
});

ownership('what had no answer and no effect is written again', async () => {
  const { register, source, target } = standing(OFFERED);
  register.fault = 'rejects before it lands';
  assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
  assert.equal(register.entry, CLAIMED);
  register.put(OFFERED);
  register.fault = 'rejects before it lands';
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'withdrawn');
  assert.equal(register.entry, WITHDRAWN);
});

ownership('a claim without an answer that a withdrawal had overtaken is refused', async () => {
  const { register, target } = standing(OFFERED);
  register.between = () => register.put(WITHDRAWN);
  register.fault = 'rejects';
  await refusal('ownership-lost', () => target.claim(DAEMON, OFFER));
  assert.equal(register.entry, WITHDRAWN);
});

ownership('a register that never takes a change is given up', async () => {
  const { register, source } = standing(OWNED);
  const always = { read: () => register.table.read(DAEMON), compareAndSet: () => false };
  await refusal('register-unavailable', () => new Ownership(always, SOURCE).beginTry(DAEMON));
  assert.is((await source.beginTry(DAEMON)).try, 2n);
});

ownership('a withdrawal says where the daemon has gone further than its target', async () => {
  const { register, source } = standing({ epoch: 3n, owner: 3n, tries: 2n });
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'superseded');
  register.put({ epoch: 3n, owner: SOURCE, tries: 2n });
  assert.is(await source.withdraw(DAEMON, 1n, 1n), 'superseded', 'by a further try');
  register.put({ epoch: 3n, owner: SOURCE, tries: 1n });
  assert.equal(await source.withdraw(DAEMON, 1n, 1n), { epoch: 3n }, 'a recovery that had no answer');
});

ownership('a recovery and a creation that had no answer are won where they stand', async () => {
  for (const fault of ['answers false', 'rejects'] as const) {
    const { register, source } = standing(CLAIMED);
    register.fault = fault;
    assert.equal(await source.recover(DAEMON, { node: TARGET, epoch: 2n }), { epoch: 3n });
    assert.equal(register.entry, { epoch: 3n, owner: SOURCE, tries: 1n });
    const fresh = new Shared();
    fresh.fault = fault;
    assert.is(await new Ownership(fresh, SOURCE).create(DAEMON, { epoch: 1n, tries: 77n }), 1n);
    await refusal('already-exists', () => new Ownership(fresh, SOURCE).create(DAEMON, { epoch: 1n, tries: 78n }));
  }
});

ownership('a claim shows as that of its try, until the daemon goes further', async () => {
  const { register, target } = standing(CLAIMED);
  assert.is(await target.claimedIn(DAEMON, 1n), 2n);
  assert.is(await target.claimedIn(DAEMON, 2n), undefined);
  register.put({ ...CLAIMED, offer: OFFER });
  assert.is(await target.claimedIn(DAEMON, 1n), undefined);
  register.put(WITHDRAWN);
  assert.is(await target.claimedIn(DAEMON, 1n), undefined);
});

ownership('what was read ahead spares the offer and the claim their reading', async () => {
  const { register, source, target } = standing(OWNED);
  await source.readAhead(DAEMON);
  await source.offer(DAEMON, 1n, OFFER);
  await target.readAhead(DAEMON);
  assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
  assert.equal(register.entry, CLAIMED);
  assert.is(register.reads, 2);
});

ownership('what was read ahead is no more than a hint: where it has changed, what stands there decides', async () => {
  const early = standing(OWNED);
  await early.target.readAhead(DAEMON);
  early.register.put(OFFERED);
  assert.equal(await early.target.claim(DAEMON, OFFER), { epoch: 2n });

  const late = standing(OFFERED);
  await late.target.readAhead(DAEMON);
  late.register.put(WITHDRAWN);
  await refusal('ownership-lost', () => late.target.claim(DAEMON, OFFER));
  assert.equal(late.register.entry, WITHDRAWN);

  const lost = standing(OWNED);
  await lost.source.readAhead(DAEMON);
  lost.register.put({ ...CLAIMED });
  await refusal('ownership-lost', () => lost.source.offer(DAEMON, 1n, OFFER));
  assert.equal(lost.register.entry, CLAIMED);
});

ownership('a daemon that began anew is not taken for the one that was read ahead', async () => {
  const { register, target } = standing(OFFERED);
  await target.readAhead(DAEMON);
  register.table.compareAndSet(DAEMON, register.table.read(DAEMON)!.revision, undefined);
  register.put(OWNED);
  await refusal('ownership-lost', () => target.claim(DAEMON, OFFER));
  assert.equal(register.entry, OWNED);
});

for (const fault of ['answers false', 'rejects'] as const) {
  ownership(`a claim by what was read ahead that took effect and ${fault} is a win`, async () => {
    const { register, target } = standing(OFFERED);
    await target.readAhead(DAEMON);
    register.fault = fault;
    assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
    assert.equal(register.entry, CLAIMED);
  });
}

ownership('a register that cannot be read ahead is read when it must be', async () => {
  const { register, target } = standing(OFFERED);
  const read = register.read.bind(register);
  register.read = () => Promise.reject(new Error('the register is out of reach'));
  await target.readAhead(DAEMON);
  register.read = read;
  assert.equal(await target.claim(DAEMON, OFFER), { epoch: 2n });
});
