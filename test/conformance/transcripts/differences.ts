import { MessageType } from '../../../lib/wire/message.js';
import { hex } from '../vector-json.js';
import type { Cluster } from './cluster.js';
import { framesOf } from './recording.js';
import type { FinalNode, Transcript } from './transcript.js';

/** What may differ between the reference's end of a transcript and ours. */
export type Aspect =
  | 'daemonRegistered'
  | 'daemonState'
  | 'chainHead'
  | 'canSign'
  | 'subscriptions'
  | 'factoryRegistered'
  | 'record'
  | 'failure'
  | 'start'
  | 'completed'
  | 'live';

export interface Difference {
  readonly aspect: Aspect;
  /** Which node it shows at: its role or roles; `nodes` where it is not one's. */
  readonly at: string;
  readonly reference: unknown;
  readonly ours: unknown;
  /** All of it, for people. */
  readonly text: string;
}

export function difference(aspect: Aspect, at: string, reference: unknown, ours: unknown): Difference {
  const text = `${aspect} at ${at}: ${String(reference)} in the reference, ${String(ours)} in ours`;
  return { aspect, at, reference, ours, text };
}

const LINK_WITHOUT_PARENT = 24;
const COMPARED = ['daemonRegistered', 'daemonState', 'canSign', 'subscriptions', 'factoryRegistered'] as const;

/** Where our nodes do not stand as the reference's do. */
export function finalDifferences(cluster: Cluster, { final }: Transcript): Difference[] {
  return [...final].flatMap(([id, theirs]) => nodeDifferences(cluster, id, theirs));
}

function nodeDifferences(cluster: Cluster, id: bigint, theirs: FinalNode): Difference[] {
  const ours = cluster.node(id).final;
  const at = cluster.roleOf(id);
  const found = COMPARED.filter((aspect) => ours[aspect] !== theirs[aspect]).map((aspect) =>
    difference(aspect, at, theirs[aspect], ours[aspect]),
  );
  // Ours carries the last output along, so that its next link has the right parent.
  const length = cluster.mode.extensions ? LINK_WITHOUT_PARENT : undefined;
  const [head, wanted] = [ours.chainHead, theirs.chainHead].map((link) => link && hex(link.subarray(0, length)));
  if (head !== wanted) found.push(difference('chainHead', at, wanted, head));
  for (const role of ours.records) if (!theirs.records.has(role)) found.push(difference('record', at, 'none', role));
  return found;
}

const CODE_AT = 9;
const STATE_FAILED = 3;
const IDENTITY_FAILED = 5;

/** The first failure that a node told another: the same code, or a more fitting one. */
export function failureDifferences(cluster: Cluster, { log }: Transcript): Difference[] {
  const told = framesOf(log).find(({ payload }) => payload[0] === MessageType.MigrationFailed);
  if (!told) return [];
  const code = told.payload[CODE_AT]! | (told.payload[CODE_AT + 1]! << 8);
  const ours = cluster.failures[0]?.code;
  if (ours === code || (code === STATE_FAILED && ours === IDENTITY_FAILED)) return [];
  return [difference('failure', cluster.roleOf(told.from), code, ours)];
}
