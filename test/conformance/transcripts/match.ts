import * as assert from 'uvu/assert';
import { hex } from '../vector-json.js';
import { Cluster, type Frame } from './cluster.js';
import { finalDifferences } from './differences.js';
import type { Mode } from './node.js';
import { comparable, framesOf, hintsOf, isChunk, snapshotIn } from './recording.js';
import type { RecordedFrame, Step, Transcript } from './transcript.js';

/**
 * Feeds each node the frames that the reference's received; it must send the same. Free are an envelope's random parts
 * and a failure's text; the wall clock stands where the reference's stood.
 */
export function runMatch(transcript: Transcript, mode: Mode): void {
  const cluster = new Cluster(transcript.setup, hintsOf(mode.codec, transcript), mode);
  try {
    transcript.log.forEach((step, i) => {
      matchStep(cluster, transcript.log, step, i);
    });
    const differences = finalDifferences(cluster, transcript);
    if (differences.length > 0) throw new Error(differences.map(({ text }) => text).join('; '));
    sameHooks(cluster, transcript);
  } finally {
    cluster.dispose();
  }
}

function matchStep(cluster: Cluster, log: readonly Step[], step: Step, index: number): void {
  switch (step.op) {
    case 'deliver': {
      const wanted = emitted(log, step.emits);
      setClock(cluster, step.to, wanted);
      const sent = cluster.deliver(step);
      const what = `step ${index}, frame ${step.frame} to ${cluster.roleOf(step.to)}`;
      assert.is(sent === undefined, step.result === 'refused', `${what}: refused`);
      sameFrames(cluster, sent ?? [], wanted, what);
      return;
    }
    case 'tamper':
    case 'redeliver':
    case 'replace_started_frames':
      // The recorded frames that follow are what they ask for.
      return;
    case 'start_migration': {
      const wanted = replacement(log, index) ?? emitted(log, step.emits);
      setClock(cluster, step.at, wanted);
      const sent = cluster.act(step);
      assert.is(sent === undefined, step.refused, `step ${index}, start_migration: refused`);
      sameFrames(cluster, sent ?? [], wanted, `step ${index}, start_migration`);
      return;
    }
    default:
      cluster.act(step);
  }
}

function emitted(log: readonly Step[], numbers: readonly number[]): RecordedFrame[] {
  const frames = framesOf(log);
  return numbers.flatMap((number) => frames.find(({ frame }) => frame === number) ?? []);
}

/** The frames that the caller sealed and sent, where it replaced those that the start gave. */
function replacement(log: readonly Step[], index: number): RecordedFrame[] | undefined {
  if (log[index + 1]?.op !== 'replace_started_frames') return undefined;
  const frames = framesOf(log);
  const sent = new Set(frames.flatMap(({ emits }) => emits));
  return frames.filter(({ frame }) => !sent.has(frame));
}

/** The reference's clock, when it took the snapshot that these frames hold. */
function setClock(cluster: Cluster, at: bigint, frames: readonly RecordedFrame[]): void {
  const chunks = frames.map(({ payload }) => payload).filter(isChunk);
  const snapshot = snapshotIn(cluster.mode.codec, chunks);
  if (snapshot) cluster.node(at).clock = snapshot.createdAt;
}

function sameFrames(cluster: Cluster, sent: readonly Frame[], wanted: readonly Frame[], what: string): void {
  const { codec } = cluster.mode;
  const shown = (frames: readonly Frame[]) => {
    const payloads = comparable(
      codec,
      frames.map(({ payload }) => payload),
    );
    return frames.map(({ to }, i) => `${cluster.read(frames[i]!.payload).message.kind} to ${to}: ${hex(payloads[i]!)}`);
  };
  const [ours, theirs] = [shown(sent), shown(wanted)];
  for (let i = 0; i < Math.max(ours.length, theirs.length); i++)
    assert.is(ours[i] ?? 'nothing', theirs[i] ?? 'nothing', `${what}: sent frame ${i}`);
}

function sameHooks(cluster: Cluster, { final }: Transcript): void {
  for (const [id, { hooksCalled }] of final) {
    const wanted = hooksCalled.map((call) => call.replace(/\(.*/s, ''));
    const called = cluster.node(id).hooksCalled;
    assert.equal([...called].sort(), wanted.sort(), `hooks called at ${cluster.roleOf(id)}`);
  }
}
