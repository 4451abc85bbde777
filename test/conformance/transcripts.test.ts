import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { MigrationCodec } from '../../lib/wire/codec.js';
import { createCodec } from '../../lib/wire/engine.js';
import { suite } from '../support.js';
import { Tally } from './check.js';
import { runTranscripts } from './runners/transcripts.js';
import { REASONS, type Reason } from './transcripts/reasons.js';
import { NotUnderstood } from './vector-json.js';

const FILE = join(dirname(fileURLToPath(import.meta.url)), '../../../test/vectors/transcripts.json');

/** As far as these tests change one. */
interface Json {
  name: string;
  class: string;
  setup: Record<string, unknown>;
  log: Array<Record<string, unknown>>;
  final: Record<string, Record<string, unknown>>;
}

function vectors(): Json[] {
  return JSON.parse(readFileSync(FILE, 'utf8'));
}

/** The first transcript whose name begins so. */
function transcript(name: string): Json {
  const found = vectors().find((one) => one.name.startsWith(name));
  if (!found) throw new Error(`no transcript is called ${name}…`);
  return found;
}

const codec = createCodec({ engine: 'typescript' });

function run(
  what: unknown,
  {
    reasons = REASONS,
    isComplete = false,
    over = codec,
  }: { reasons?: readonly Reason[]; isComplete?: boolean; over?: MigrationCodec } = {},
): Tally {
  const tally = new Tally(isComplete);
  runTranscripts(what, over, tally, reasons);
  return tally;
}

/** That the transcript fails, and says so. */
function fails(changed: Json, says: RegExp, reasons: readonly Reason[] = REASONS): void {
  const { failures, passed } = run([changed], { reasons });
  assert.is(failures.length, 1, `${changed.name} must fail`);
  assert.is(passed, 0);
  assert.match(failures[0]!.message, says);
}

const all = suite('the transcripts');

for (const engine of ['native', 'typescript'] as const) {
  all(`pass on ${engine}, and every reason is needed`, () => {
    const tally = run(vectors(), { isComplete: true, over: createCodec({ engine }) });
    assert.equal(tally.failures, []);
    assert.is(tally.run, vectors().length);
    assert.is(tally.passed, tally.run);
    assert.is(tally.notes[0], '11 match, 43 outcome, 98 reference-only');
  });
}

all('fail where ours ends differently and no reason is given, and only there', () => {
  const { notes } = run(vectors());
  const excused = new Set(notes.slice(1).map((note) => note.slice(0, note.indexOf(']') + 1)));
  const { failures } = run(vectors(), { reasons: [] });
  assert.equal(new Set(failures.map(({ vector }) => vector.slice(0, vector.indexOf(']') + 1))), excused);
  assert.ok(excused.size > 0);
  for (const { message } of failures) assert.match(message, /extensions (on|off): .*no reason says that this is right/);
});

all('fail for a reason that none of them needs, where they are all that there are', () => {
  const idle: Reason = { name: 'idle', text: 'nobody needs it', covers: () => false };
  const { failures } = run(vectors(), { reasons: [...REASONS, idle], isComplete: true });
  assert.equal(failures, [{ vector: 'the reason "idle"', message: 'no transcript needs it' }]);
  assert.equal(run([transcript('plain')], { reasons: [idle] }).failures, []);
});

const wrong = suite('a wrong transcript');

wrong('of class match fails where a frame, its receiver, a refusal or a hook differs', () => {
  const plain = () => transcript('plain / three nodes');
  const byte = plain();
  const ack = byte.log.at(-1)!;
  ack.payload = `${(ack.payload as string).slice(0, -2)}ff`;
  fails(byte, /frame 8 to target: sent frame 0/);
  const missing = plain();
  missing.log[1]!.emits = [];
  fails(missing, /frame 0 to source: sent frame 0.*nothing/s);
  const refused = plain();
  refused.log[1]!.result = 'error';
  fails(refused, /frame 0 to source: refused/);
  const hooks = plain();
  hooks.final['8738']!.hooks_called = [];
  fails(hooks, /hooks called at target/);
  const time = plain();
  const state = time.setup.initial_state as string;
  time.setup.initial_state = `65${state.slice(2)}`;
  fails(time, /gave the outputs/);
});

wrong('of class outcome fails where the end or the failure differs', () => {
  const ended = transcript('3 buffered events, FIFO / three nodes');
  ended.final['8738']!.daemon_state = '6b00000000000000';
  fails(ended, /daemonState at target: 6b0{14} in the reference, 6c0{14} in ours/);
  const failed = transcript('failure: FactoryNotFound');
  const told = failed.log.at(-1)!;
  told.payload = `${(told.payload as string).slice(0, -4)}0200`;
  fails(failed, /failure at target: 2 in the reference, 1 in ours/);
  const record = transcript('failure: FactoryNotFound');
  record.final['4369']!.daemon_registered = false;
  fails(record, /daemonRegistered at source/);
});

wrong('of class reference-only fails where the daemon does not come to live on the target, or anywhere', () => {
  const homeless = transcript('delivery 3 lost');
  homeless.setup.target_factory = null;
  fails(homeless, /completed at target/);
  const gone = transcript('delivery 3 lost');
  gone.log.unshift({ op: 'unregister_daemon', at: gone.setup.source });
  const always: Reason = { name: 'always', text: 'whatever', covers: () => true };
  fails(gone, /0 live copies at the end/, [always]);
});

wrong('in which a changed snapshot is taken up fails in any class', () => {
  const changed = transcript('tampered on O->T: state byte changed');
  const always: Reason = { name: 'always', text: 'whatever', covers: () => true };
  assert.equal(run([changed], { reasons: [always] }).failures, []);
  const tamper = changed.log.find(({ op }) => op === 'tamper')!;
  // An edit that changes nothing: the target goes live.
  tamper.snapshot_edits = [{ from: 'start', offset: 89, xor: 0 }];
  fails(changed, /extensions on: the target is live with a snapshot that was changed on the way/, [always]);
});

const unknown = suite('a transcript that the suite does not know');

for (const [what, change, says] of [
  ['an op', (t) => t.log.push({ op: 'teleport', at: '1' }), /unknown op "teleport"/],
  ['a class', (t) => (t.class = 'roughly'), /class is "roughly"/],
  ['a daemon', (t) => (t.setup.daemon = 'Teapot'), /daemon is "Teapot"/],
  ['a field', (t) => (t.setup.colour = 'red'), /unknown field "colour"/],
  ['a result', (t) => (t.log.at(-1)!.result = 'perhaps'), /result is "perhaps"/],
  ['a node', (t) => t.log.push({ op: 'register_daemon', at: '1' }), /node 1 is none of the transcript's/],
  ['an edit', (t) => t.log.push({ op: 'tamper', frame: 1, snapshot_edits: [{ swap: 1 }] }), /unknown field "swap"/],
] as ReadonlyArray<[string, (t: Json) => unknown, RegExp]>) {
  unknown(`for ${what} is not understood`, () => {
    const strange = transcript('plain / three nodes');
    change(strange);
    assert.throws(
      () => run([strange]),
      (error: unknown) => error instanceof NotUnderstood && says.test(error.message),
    );
  });
}
