import * as assert from 'uvu/assert';
import { MigrationError, type MigrationErrorKind } from '../../lib/errors.js';
import { errorOf, told } from '../../lib/migration/failure.js';
import { suite } from '../support.js';

const failures = suite('a failure that a peer is told');

/** What a peer makes of it: with the kind that travels, or with the protocol's reason alone. */
function heard(kind: MigrationErrorKind, { withKind = true } = {}): MigrationError {
  const { reason, kind: failureKind } = told(new MigrationError(kind, `why it is ${kind}`));
  return errorOf(7n, reason, withKind ? failureKind : undefined);
}

const LOST_WITHOUT_KIND = ['too-many-migrations', 'snapshot-too-large', 'daemon-not-found', 'timed-out'] as const;
const IN_THE_BASE_FRAME = [
  'not-ready',
  'factory-not-found',
  'compute-not-supported',
  'already-migrating',
  'identity-transport-failed',
  'not-authorised',
  'pinned',
] as const;

failures('keeps its kind, and whether it may be tried again', () => {
  for (const kind of [...LOST_WITHOUT_KIND, ...IN_THE_BASE_FRAME]) {
    assert.is(heard(kind).kind, kind);
    assert.is(heard(kind).retriable, new MigrationError(kind, '').retriable);
  }
  assert.match(heard('too-many-migrations').message, /daemon 7 failed: why it is too-many-migrations$/);
});

failures('keeps what its code and its text tell where no kind travels', () => {
  for (const kind of LOST_WITHOUT_KIND) assert.is(heard(kind, { withKind: false }).kind, 'state-failed');
  for (const kind of IN_THE_BASE_FRAME) assert.is(heard(kind, { withKind: false }).kind, kind);
});

failures('is passed on as it came, over any number of nodes', () => {
  for (const kind of [...LOST_WITHOUT_KIND, ...IN_THE_BASE_FRAME]) {
    const first = told(new MigrationError(kind, 'why'));
    const second = told(errorOf(7n, first.reason, first.kind));
    assert.equal(second, first);
  }
});

failures('is a failed state where the peer names a kind that there is not, or one that its code belies', () => {
  const { reason } = told(new MigrationError('timed-out', 'why'));
  for (const kind of ['', 'no-such-kind', 'toString', '__proto__'])
    assert.is(errorOf(7n, reason, kind).kind, 'state-failed');
  assert.is(
    errorOf(7n, told(new MigrationError('factory-not-found', '')).reason, 'not-ready').kind,
    'factory-not-found',
  );
});
