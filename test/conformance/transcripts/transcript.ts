import type { CausalEvent } from '../../../lib/wire/link.js';
import { bytes, type Fields, fieldsOf, link, listOf, NotUnderstood, number, text, truth, u64 } from '../vector-json.js';
import { DAEMON_KINDS, type DaemonKind } from './daemons.js';

/** A transcript, read strictly: whatever this suite does not know is not understood, never passed over. */

export type TranscriptClass = 'match' | 'outcome' | 'reference-only';

export interface Setup {
  readonly origin: bigint;
  readonly source: bigint;
  readonly orchestrator: bigint;
  readonly target: bigint;
  readonly daemon: DaemonKind;
  readonly seed: Uint8Array;
  readonly entityId: Uint8Array;
  readonly initialState: Uint8Array;
  readonly delivered: ReadonlyArray<{ readonly input: CausalEvent; readonly outputs: readonly RecordedOutput[] }>;
  /** Undefined: the target makes no such daemon. */
  readonly factory: { readonly kind: DaemonKind; readonly placeholder: boolean } | undefined;
  /** X25519 private keys; undefined where the side has no identity context. */
  readonly sourceIdentity: Uint8Array | undefined;
  readonly targetIdentity: Uint8Array | undefined;
}

export interface RecordedOutput {
  readonly link: Uint8Array;
  readonly payload: Uint8Array;
}

/** A frame of the reference, and what its receiver did. */
export interface RecordedFrame {
  readonly op: 'deliver';
  readonly frame: number;
  readonly from: bigint;
  readonly to: bigint;
  readonly payload: Uint8Array;
  /** Numbers of the frames that it made its receiver send. */
  readonly emits: readonly number[];
  readonly result: 'ok' | 'refused' | 'dropped';
}

export type Step =
  | RecordedFrame
  | {
      readonly op: 'start_migration';
      readonly at: bigint;
      readonly source: bigint;
      readonly target: bigint;
      readonly emits: readonly number[];
      readonly refused: boolean;
    }
  | { readonly op: 'source.buffer_event'; readonly at: bigint; readonly event: CausalEvent; readonly accepted: boolean }
  | { readonly op: 'tamper'; readonly frame: number; readonly edits: readonly Edit[]; readonly seqThroughAdd: bigint }
  | { readonly op: 'redeliver'; readonly frame: number }
  | { readonly op: 'set_ready'; readonly at: bigint; readonly ready: boolean }
  | { readonly op: 'unregister_daemon' | 'register_daemon'; readonly at: bigint }
  | { readonly op: 'bind_expected_orchestrator'; readonly at: bigint; readonly node: bigint }
  | { readonly op: 'replace_started_frames' };

export type Edit = (snapshot: Uint8Array) => Uint8Array;

/** What is compared of a node at the end. */
export interface FinalNode {
  readonly daemonRegistered: boolean;
  readonly daemonState: string | null;
  readonly chainHead: Uint8Array | null;
  readonly canSign: boolean | null;
  readonly subscriptions: number | null;
  readonly factoryRegistered: boolean;
  /** Roles of which the node still had a record. */
  readonly records: ReadonlySet<'source' | 'orchestrator' | 'target'>;
  readonly hooksCalled: readonly string[];
}

export interface Transcript {
  readonly name: string;
  readonly class: TranscriptClass;
  readonly setup: Setup;
  readonly log: readonly Step[];
  readonly final: ReadonlyMap<bigint, FinalNode>;
}

/** Messages to a node that has no migration. */
export interface IdleTranscript {
  readonly name: string;
  readonly class: TranscriptClass;
  readonly node: bigint;
  readonly rows: ReadonlyArray<{ readonly from: bigint; readonly frame: Uint8Array; readonly kind: string }>;
}

const CLASSES: readonly string[] = ['match', 'outcome', 'reference-only'];

export function readTranscript(value: unknown, where: string): Transcript | IdleTranscript {
  const isIdle = typeof value === 'object' && value !== null && 'rows' in value;
  if (isIdle) return readIdle(value, where);
  const f = fieldsOf(
    value,
    ['name', 'class', 'setup', 'log', 'final', 'undelivered?', 'completed?', 'emitted?'],
    where,
  );
  return {
    name: text(f.name, `${where}.name`),
    class: readClass(f.class, where),
    setup: readSetup(f.setup, `${where}.setup`),
    log: listOf(f.log, `${where}.log`).map((step, i) => readStep(step, `${where}.log[${i}]`)),
    final: readFinal(f.final, `${where}.final`),
  };
}

function readIdle(value: unknown, where: string): IdleTranscript {
  const f = fieldsOf(value, ['name', 'class', 'node', 'rows', 'log?'], where);
  const rows = listOf(f.rows, `${where}.rows`).map((row, i) => {
    const at = `${where}.rows[${i}]`;
    const { from, message } = fieldsOf(row, ['from', 'message', 'result', 'emitted'], at);
    const m = fieldsOf(message, ['encoded', 'fields', 'kind', 'len', 'type'], `${at}.message`);
    return { from: u64(from, at), frame: bytes(m.encoded, `${at}.encoded`), kind: text(m.kind, `${at}.kind`) };
  });
  return {
    name: text(f.name, `${where}.name`),
    class: readClass(f.class, where),
    node: u64(f.node, `${where}.node`),
    rows,
  };
}

function readClass(value: unknown, where: string): TranscriptClass {
  const name = text(value, `${where}.class`);
  if (!CLASSES.includes(name)) throw new NotUnderstood(`${where}.class is "${name}", not one of ${CLASSES.join(', ')}`);
  return name as TranscriptClass;
}

const SETUP = [
  ...['daemon', 'daemon_seed', 'delivered_before_migration', 'entity_id', 'initial_state', 'orchestrator', 'origin'],
  ...['source', 'source_identity_private', 'target', 'target_factory', 'target_identity_private'],
];

function readSetup(value: unknown, where: string): Setup {
  const f = fieldsOf(value, SETUP, where);
  return {
    origin: u64(f.origin, `${where}.origin`),
    source: u64(f.source, `${where}.source`),
    orchestrator: u64(f.orchestrator, `${where}.orchestrator`),
    target: u64(f.target, `${where}.target`),
    daemon: daemonKind(f.daemon, `${where}.daemon`),
    seed: bytes(f.daemon_seed, `${where}.daemon_seed`),
    entityId: bytes(f.entity_id, `${where}.entity_id`),
    initialState: readState(f.initial_state, `${where}.initial_state`),
    delivered: listOf(f.delivered_before_migration, `${where}.delivered_before_migration`).map((one, i) =>
      readDelivered(one, `${where}.delivered_before_migration[${i}]`),
    ),
    factory: readFactory(f.target_factory, `${where}.target_factory`),
    sourceIdentity: orNothing(f.source_identity_private, bytes, `${where}.source_identity_private`),
    targetIdentity: orNothing(f.target_identity_private, bytes, `${where}.target_identity_private`),
  };
}

function orNothing<T>(value: unknown, read: (value: unknown, where: string) => T, where: string): T | undefined {
  return value === null || value === undefined ? undefined : read(value, where);
}

function daemonKind(value: unknown, where: string): DaemonKind {
  const kind = text(value, where);
  if (!(DAEMON_KINDS as readonly string[]).includes(kind))
    throw new NotUnderstood(`${where} is "${kind}", not one of ${DAEMON_KINDS.join(', ')}`);
  return kind as DaemonKind;
}

function readState(value: unknown, where: string): Uint8Array {
  if (typeof value === 'string') return bytes(value, where);
  const f = fieldsOf(value, ['hex', 'len', 'pat'], where);
  const state = bytes(f.hex, `${where}.hex`);
  if (state.length !== number(f.len, `${where}.len`)) throw new NotUnderstood(`${where}.len is not that of its hex`);
  return state;
}

function readFactory(value: unknown, where: string): Setup['factory'] {
  if (value === null) return undefined;
  const f = fieldsOf(value, ['kind', 'placeholder'], where);
  return {
    kind: daemonKind(f.kind, `${where}.kind`),
    placeholder: truth(f.placeholder, `${where}.placeholder`),
  };
}

function readEvent(value: unknown, where: string): CausalEvent {
  const f = fieldsOf(value, ['link', 'payload', 'received_at'], where);
  return {
    link: link(f.link, `${where}.link`).link,
    payload: bytes(f.payload, `${where}.payload`),
    receivedAt: u64(f.received_at, `${where}.received_at`),
  };
}

function readDelivered(value: unknown, where: string): Setup['delivered'][number] {
  const f = fieldsOf(value, ['input', 'outputs'], where);
  const outputs = listOf(f.outputs, `${where}.outputs`).map((output, i) => {
    const o = fieldsOf(output, ['link', 'payload'], `${where}.outputs[${i}]`);
    return { link: link(o.link, where).bytes, payload: bytes(o.payload, where) };
  });
  return { input: readEvent(f.input, `${where}.input`), outputs };
}

function readStep(value: unknown, where: string): Step {
  if (typeof value === 'object' && value !== null && !('op' in value)) return readFrame(value, where);
  const op = text((value as Fields | null)?.op, `${where}.op`);
  const read = STEPS[op];
  if (!read) throw new NotUnderstood(`${where} has the unknown op "${op}"`);
  return read(value, where);
}

const STEPS: Readonly<Record<string, (value: unknown, where: string) => Step>> = {
  start_migration: (value, where) => {
    const f = fieldsOf(value, ['op', 'at', 'source', 'target', 'emits?', 'error_kind?'], where);
    return {
      op: 'start_migration',
      at: u64(f.at, `${where}.at`),
      source: u64(f.source, `${where}.source`),
      target: u64(f.target, `${where}.target`),
      emits: numbers(f.emits, `${where}.emits`),
      refused: f.error_kind !== undefined,
    };
  },
  'source.buffer_event': (value, where) => {
    const f = fieldsOf(value, ['op', 'at', 'event', 'result'], where);
    const event = readEvent(f.event, `${where}.event`);
    return { op: 'source.buffer_event', at: u64(f.at, where), event, accepted: truth(f.result, `${where}.result`) };
  },
  tamper: (value, where) => {
    const f = fieldsOf(value, ['op', 'frame', 'snapshot_edits?', 'seq_through_add?', 'note?'], where);
    const edits = f.snapshot_edits === undefined ? [] : listOf(f.snapshot_edits, `${where}.snapshot_edits`);
    return {
      op: 'tamper',
      frame: number(f.frame, `${where}.frame`),
      edits: edits.map((edit, i) => readEdit(edit, `${where}.snapshot_edits[${i}]`)),
      seqThroughAdd: BigInt(
        f.seq_through_add === undefined ? 0 : number(f.seq_through_add, `${where}.seq_through_add`),
      ),
    };
  },
  redeliver: (value, where) => {
    const f = fieldsOf(value, ['op', 'frame'], where);
    return { op: 'redeliver', frame: number(f.frame, `${where}.frame`) };
  },
  set_ready: (value, where) => {
    const f = fieldsOf(value, ['op', 'at', 'ready'], where);
    return { op: 'set_ready', at: u64(f.at, `${where}.at`), ready: truth(f.ready, `${where}.ready`) };
  },
  unregister_daemon: (value, where) => ({
    op: 'unregister_daemon',
    at: u64(fieldsOf(value, ['op', 'at'], where).at, `${where}.at`),
  }),
  register_daemon: (value, where) => ({
    op: 'register_daemon',
    at: u64(fieldsOf(value, ['op', 'at'], where).at, `${where}.at`),
  }),
  bind_expected_orchestrator: (value, where) => {
    const f = fieldsOf(value, ['op', 'at', 'node'], where);
    return { op: 'bind_expected_orchestrator', at: u64(f.at, `${where}.at`), node: u64(f.node, `${where}.node`) };
  },
  replace_started_frames: (value, where) => {
    fieldsOf(value, ['op', 'note?'], where);
    return { op: 'replace_started_frames' };
  },
};

const FRAME = [
  ...['frame', 'from', 'to', 'payload', 'result', 'kind?', 'emits?', 'caused_by?', 'text_is_free?'],
  ...['error_kind?', 'error_fields?', 'note?'],
];

function readFrame(value: unknown, where: string): RecordedFrame {
  const f = fieldsOf(value, FRAME, where);
  const result = text(f.result, `${where}.result`);
  if (result !== 'ok' && result !== 'error' && result !== 'dropped')
    throw new NotUnderstood(`${where}.result is "${result}"`);
  return {
    op: 'deliver',
    frame: number(f.frame, `${where}.frame`),
    from: u64(f.from, `${where}.from`),
    to: u64(f.to, `${where}.to`),
    payload: bytes(f.payload, `${where}.payload`),
    emits: numbers(f.emits, `${where}.emits`),
    result: result === 'error' ? 'refused' : result,
  };
}

function numbers(value: unknown, where: string): readonly number[] {
  return value === undefined ? [] : listOf(value, where).map((one) => number(one, where));
}

function readEdit(value: unknown, where: string): Edit {
  const f = fieldsOf(value, ['from?', 'offset?', 'xor?', 'set?', 'drop_last?', 'keep_first?', 'append?'], where);
  if (f.drop_last !== undefined) {
    const count = number(f.drop_last, `${where}.drop_last`);
    return (snapshot) => snapshot.slice(0, Math.max(0, snapshot.length - count));
  }
  if (f.keep_first !== undefined) {
    const count = number(f.keep_first, `${where}.keep_first`);
    return (snapshot) => snapshot.slice(0, count);
  }
  if (f.append !== undefined) {
    const more = bytes(f.append, `${where}.append`);
    return (snapshot) => Uint8Array.of(...snapshot, ...more);
  }
  return readByteEdit(f, where);
}

function readByteEdit(f: Fields, where: string): Edit {
  const offset = number(f.offset, `${where}.offset`);
  const from = text(f.from, `${where}.from`);
  if (from !== 'start' && from !== 'end') throw new NotUnderstood(`${where}.from is "${from}"`);
  const xor = f.xor === undefined ? undefined : number(f.xor, `${where}.xor`);
  const set = xor === undefined ? number(f.set, `${where}.set`) : 0;
  return (snapshot) => {
    const edited = snapshot.slice();
    const at = from === 'start' ? offset : edited.length - offset;
    edited[at] = xor === undefined ? set : edited[at]! ^ xor;
    return edited;
  };
}

const FINAL = [
  ...['can_sign', 'chain_head', 'daemon_registered', 'daemon_state', 'factory_registered', 'hooks_called'],
  ...['orchestrator_phase', 'source_buffered', 'source_phase', 'subscriptions', 'target_orchestrator'],
  ...['target_phase', 'target_replayed_through'],
];

function readFinal(value: unknown, where: string): ReadonlyMap<bigint, FinalNode> {
  if (typeof value !== 'object' || value === null) throw new NotUnderstood(`${where} is not an object`);
  return new Map(
    Object.entries(value).map(([id, node]) => [u64(id, where), readFinalNode(fieldsOf(node, FINAL, where), where)]),
  );
}

function readFinalNode(f: Fields, where: string): FinalNode {
  const records = new Set<'source' | 'orchestrator' | 'target'>();
  for (const role of ['source', 'orchestrator', 'target'] as const) if (f[`${role}_phase`] !== null) records.add(role);
  return {
    daemonRegistered: truth(f.daemon_registered, `${where}.daemon_registered`),
    daemonState: orNothing(f.daemon_state, text, `${where}.daemon_state`) ?? null,
    chainHead: orNothing(f.chain_head, (head, at) => link(head, at).bytes, `${where}.chain_head`) ?? null,
    canSign: orNothing(f.can_sign, truth, `${where}.can_sign`) ?? null,
    subscriptions: orNothing(f.subscriptions, number, `${where}.subscriptions`) ?? null,
    factoryRegistered: truth(f.factory_registered, `${where}.factory_registered`),
    records,
    hooksCalled: listOf(f.hooks_called, `${where}.hooks_called`).map((hook) => text(hook, `${where}.hooks_called`)),
  };
}
