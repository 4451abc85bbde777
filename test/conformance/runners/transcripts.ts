import type { MigrationCodec } from '../../../lib/wire/codec.js';
import type { Tally } from '../check.js';
import type { Runner } from '../runner.js';
import type { Difference } from '../transcripts/differences.js';
import { runIdle } from '../transcripts/idle.js';
import { runMatch } from '../transcripts/match.js';
import { runOutcome } from '../transcripts/outcome.js';
import { runScenario } from '../transcripts/promises.js';
import { REASONS, type Reason, type Run } from '../transcripts/reasons.js';
import {
  type IdleTranscript,
  readTranscript,
  type Transcript,
  type TranscriptClass,
} from '../transcripts/transcript.js';
import { listOf } from '../vector-json.js';

const CLASSES: readonly TranscriptClass[] = ['match', 'outcome', 'reference-only'];

/** Whole migrations: frame by frame, by their end, or as scenarios, as the class of each says. */
export const transcripts: Runner = {
  file: 'transcripts',
  level: 'codec',
  run(vectors, codec, tally) {
    runTranscripts(vectors, codec, tally, REASONS);
  },
};

/** @param reasons why ours may end differently; over a complete file, each must be needed */
export function runTranscripts(
  vectors: unknown,
  codec: MigrationCodec,
  tally: Tally,
  reasons: readonly Reason[],
): void {
  const all = listOf(vectors, 'transcripts').map((value, i) => readTranscript(value, `transcripts[${i}]`));
  const needed = new Set<Reason>();
  tally.note(CLASSES.map((name) => `${all.filter((one) => one.class === name).length} ${name}`).join(', '));
  all.forEach((transcript, i) => {
    const name = `[${i}] ${transcript.name}`;
    tally.vector(name, () => {
      for (const { run, found } of runOne(transcript, codec)) excuse(name, run, found, reasons, needed, tally);
    });
  });
  for (const { name } of reasons.filter((reason) => !needed.has(reason)))
    tally.unneeded(`the reason "${name}"`, 'no transcript needs it');
}

/** Notes why what was found is right. @throws Error where no reason says so */
function excuse(
  name: string,
  run: Run,
  found: readonly Difference[],
  reasons: readonly Reason[],
  needed: Set<Reason>,
  tally: Tally,
): void {
  const excused = new Map<Reason, string[]>();
  for (const difference of found) {
    const reason = reasons.find(({ covers }) => covers(run, difference));
    if (!reason) throw new Error(`${modeOf(run)}: ${difference.text}, and no reason says that this is right`);
    excused.set(reason, [...(excused.get(reason) ?? []), difference.text]);
  }
  for (const [reason, texts] of excused) {
    needed.add(reason);
    tally.note(`${name}, ${modeOf(run)}: ${texts.join('; ')}. This is right because ${reason.text}.`);
  }
}

function modeOf({ extensions }: Pick<Run, 'extensions'>): string {
  return `extensions ${extensions ? 'on' : 'off'}`;
}

interface Played {
  readonly run: Run;
  readonly found: readonly Difference[];
}

function runOne(transcript: Transcript | IdleTranscript, codec: MigrationCodec): Played[] {
  if ('rows' in transcript) {
    for (const extensions of [false, true]) inMode({ extensions }, () => runIdle(transcript, { codec, extensions }));
    return [];
  }
  if (transcript.class === 'match') {
    runMatch(transcript, { codec, extensions: false });
    return [];
  }
  const play = transcript.class === 'outcome' ? runOutcome : runScenario;
  return [false, true].map((extensions) => {
    const run = { transcript, extensions };
    return { run, found: inMode(run, () => play(transcript, { codec, extensions })) };
  });
}

/** Says in which mode something went wrong. */
function inMode<T>(run: Pick<Run, 'extensions'>, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof Error) error.message = `${modeOf(run)}: ${error.message}`;
    throw error;
  }
}
