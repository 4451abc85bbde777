import { hex } from '../vector-json.js';
import { Cluster } from './cluster.js';
import type { DaemonKind } from './daemons.js';
import { type Difference, difference } from './differences.js';
import type { Mode } from './node.js';
import { Player } from './player.js';
import { hintsOf } from './recording.js';
import type { Setup, Transcript } from './transcript.js';

const STEP_MS = 500;
/** Longer than any deadline, and than several of them one after another. */
const LONG_MS = 600_000;

/**
 * Plays a transcript as a scenario, lets time pass, and checks what ours promises (ARCHITECTURE.md): after every frame at
 * most one live copy and nothing for strangers; at the end one, with every event once and in order, and no record left.
 *
 * @returns where the daemon does not simply end up on the target: not completed, no copy live, a record left
 * @throws Error where a promise is broken
 */
export function runScenario(transcript: Transcript, mode: Mode): Difference[] {
  const cluster = new Cluster(transcript.setup, hintsOf(mode.codec, transcript), mode);
  try {
    const player = new Player(cluster, transcript);
    player.play();
    const end = passTime(cluster, player, 0);
    const found = shortfalls(cluster, transcript);
    if (cluster.live.length === 0) {
      // What a person does who knows that the target will never be live.
      player.send(cluster.recover(transcript.setup.source));
      player.drain();
      passTime(cluster, player, end);
    }
    requirePromises(cluster, transcript.setup);
    return found;
  } finally {
    cluster.dispose();
  }
}

/** Until nobody has a record, or for long. @returns what time it is then */
function passTime(cluster: Cluster, player: Player, from: number): number {
  let now = from;
  while (now < from + LONG_MS && !cluster.isIdle) {
    now += STEP_MS;
    player.send(cluster.tick(now));
    player.drain();
  }
  return now;
}

function shortfalls(cluster: Cluster, { setup }: Transcript): Difference[] {
  const found: Difference[] = [];
  if (cluster.live.length === 0) found.push(difference('live', 'nodes', 'one copy promised', 'no copy'));
  else if (!cluster.node(setup.target).isLive) found.push(difference('completed', 'target', 'the daemon', 'not there'));
  for (const node of cluster.nodes.values())
    for (const { role, phase } of node.handler.list())
      found.push(difference('record', cluster.roleOf(node.id), 'none promised', `${role}, ${phase}`));
  return found;
}

function requirePromises(cluster: Cluster, setup: Setup): void {
  const [node, ...others] = cluster.live;
  if (!node || others.length > 0) throw new Error(`${cluster.live.length} live copies at the end`);
  const { daemon, host } = node.copy!;
  if (host.gate !== 'live') throw new Error(`the copy at the ${cluster.roleOf(node.id)} is still ${host.gate}`);
  const state = stateAfter(setup.daemon, setup.initialState, cluster.accepted.length);
  if (hex(daemon.state ?? new Uint8Array(0)) !== hex(state))
    throw new Error(`the state is ${hex(daemon.state!)}, with every event once it would be ${hex(state)}`);
  const seen = daemon.seen.join(' ');
  const due = cluster.accepted.slice(cluster.accepted.length - daemon.seen.length).join(' ');
  if (seen !== due) throw new Error(`the last events were ${seen}, they were accepted as ${due}`);
  for (const { id, handler } of cluster.nodes.values())
    for (const { role, phase } of handler.list())
      throw new Error(`the ${cluster.roleOf(id)} keeps a record for ever: ${role}, ${phase}`);
}

/** What a daemon's state is after so many events. */
function stateAfter(kind: DaemonKind, initial: Uint8Array, events: number): Uint8Array {
  if (kind !== 'Counter') return initial;
  const state = initial.slice();
  const view = new DataView(state.buffer);
  view.setBigUint64(0, view.getBigUint64(0, true) + BigInt(events), true);
  return state;
}
