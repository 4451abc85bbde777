import { MigrationError } from '../../../lib/errors.js';
import { EntityKeypair } from '../../../lib/identity/index.js';
import type { OutboundMigrationMessage } from '../../../lib/migration/handler.js';
import { decodeMigrationFrame } from '../../../lib/wire/extension.js';
import type { CausalEvent } from '../../../lib/wire/link.js';
import { encodeLink } from '../../../lib/wire/typescript/chain.js';
import { hex, NotUnderstood } from '../vector-json.js';
import { nameOf } from './daemons.js';
import { type Mode, TranscriptNode } from './node.js';
import type { Hints } from './recording.js';
import type { Setup, Step } from './transcript.js';

/** A frame on its way. */
export interface Frame {
  readonly from: bigint;
  readonly to: bigint;
  readonly payload: Uint8Array;
}

/** More than any transcript needs: beyond it, frames call forth frames for ever. */
const MAX_DELIVERIES = 20_000;
/** Frames that tell a stranger nothing. */
const HARMLESS = new Set<string>(['MigrationFailed']);

/** The nodes of a transcript, and what must hold of them after every single step. */
export class Cluster {
  readonly setup: Setup;
  readonly mode: Mode;
  readonly nodes = new Map<bigint, TranscriptNode>();
  /** Every event that some copy has answered for, in order. */
  readonly accepted: string[] = [];
  /** Failure codes in the order in which they were sent. */
  readonly failures: Array<{ readonly from: bigint; readonly to: bigint; readonly code: number }> = [];
  readonly #others = new Set<bigint>();
  #deliveries = 0;

  constructor(setup: Setup, hints: Hints, mode: Mode) {
    this.setup = setup;
    this.mode = mode;
    for (const id of [setup.source, setup.orchestrator, setup.target])
      if (!this.nodes.has(id)) this.nodes.set(id, new TranscriptNode(id, setup, hints, mode));
    requireEntity(setup);
    this.node(setup.source).host(setup.daemon, setup.initialState, hints.bindings);
    this.#deliverBefore();
  }

  /** @throws NotUnderstood where a step names another */
  node(id: bigint): TranscriptNode {
    const node = this.nodes.get(id);
    if (!node) throw new NotUnderstood(`node ${id} is none of the transcript's`);
    return node;
  }

  /** What a node is in this transcript, for people. */
  roleOf(id: bigint): string {
    const { source, orchestrator, target } = this.setup;
    const roles = { source, orchestrator, target };
    const names = Object.entries(roles).flatMap(([role, node]) => (node === id ? [role] : []));
    return names.join(' and ') || `stranger ${id}`;
  }

  #deliverBefore(): void {
    const { source, delivered } = this.setup;
    const node = this.node(source);
    for (const { input, outputs } of delivered) {
      node.published.length = 0;
      this.#accept(source, input);
      const given = node.published.map(({ link, payload }) => `${hex(encodeLink(link))} ${hex(payload)}`);
      const wanted = outputs.map(({ link, payload }) => `${hex(link)} ${hex(payload)}`);
      if (given.join() !== wanted.join())
        throw new Error(
          `event ${nameOf(input)} gave the outputs ${given.join()}, the reference's are ${wanted.join()}`,
        );
    }
  }

  #accept(at: bigint, event: CausalEvent): boolean {
    const isTaken = this.node(at).buffer(event);
    if (isTaken) this.accepted.push(nameOf(event));
    return isTaken;
  }

  /**
   * Delivers a frame.
   *
   * @param isForged whether it may change nothing; default: whether its sender is none of the nodes
   * @returns what the receiver sends; undefined where it refused
   */
  deliver({ from, to, payload }: Frame, isForged = !this.nodes.has(from)): Frame[] | undefined {
    if (++this.#deliveries > MAX_DELIVERIES) throw new Error(`after ${MAX_DELIVERIES} frames there are still more`);
    const receiver = this.nodes.get(to);
    if (!receiver) return [];
    const before = standing(receiver);
    const sent = this.#receive(receiver, payload, from);
    if (isForged && standing(receiver) !== before)
      throw new Error(
        `a frame from ${this.roleOf(from)} changed the ${this.roleOf(to)}: ${before} → ${standing(receiver)}`,
      );
    return this.#after(sent && this.#from(to, sent));
  }

  #receive(receiver: TranscriptNode, payload: Uint8Array, from: bigint): OutboundMigrationMessage[] | undefined {
    let sent: OutboundMigrationMessage[] | undefined;
    try {
      // A copy, as a network gives one: nobody may keep a view of it.
      sent = receiver.handler.handleMessage(payload.slice(), from);
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      sent = receiver.handler.takeOutbound();
      if (sent.length === 0) sent = undefined;
    }
    return sent;
  }

  /** Does what a step says, where it is no frame. @returns what is sent; undefined where it was refused */
  act(step: Exclude<Step, { op: 'deliver' | 'tamper' | 'redeliver' | 'replace_started_frames' }>): Frame[] | undefined {
    return this.#after(this.#act(step));
  }

  #act(step: Parameters<Cluster['act']>[0]): Frame[] | undefined {
    const { origin } = this.setup;
    const node = this.node(step.at);
    switch (step.op) {
      case 'start_migration':
        try {
          return this.#from(step.at, node.handler.startMigration(origin, step.source, step.target));
        } catch {
          return undefined;
        }
      case 'source.buffer_event':
        if (!this.#accept(step.at, step.event)) return undefined;
        return this.#from(step.at, node.handler.takeOutbound());
      case 'set_ready':
        node.ready = step.ready;
        return [];
      case 'unregister_daemon':
        node.registry.remove(origin)?.dispose();
        this.accepted.length = 0;
        return [];
      case 'register_daemon':
        // The vectors do not say which: any one that was there before.
        node.host(this.setup.daemon, Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0));
        this.#others.add(step.at);
        return [];
      case 'bind_expected_orchestrator':
        node.factories.bindOrchestrator(origin, step.node);
        return [];
    }
  }

  /** Time passes at every node. */
  tick(now: number): Frame[] {
    return [...this.nodes.values()].flatMap((node) => this.#after(this.#from(node.id, node.handler.tick(now)))!);
  }

  /** Somebody knows that the other side will never be live. */
  recover(at: bigint): Frame[] {
    const { handler } = this.node(at);
    handler.recover(this.setup.origin);
    return this.#after(this.#from(at, handler.takeOutbound()))!;
  }

  #from(from: bigint, sent: readonly OutboundMigrationMessage[]): Frame[] {
    return sent.map(({ destNode: to, payload }) => ({ from, to, payload }));
  }

  #after(sent: Frame[] | undefined): Frame[] | undefined {
    for (const frame of sent ?? []) this.#inspect(frame);
    const live = this.live;
    if (live.length > 1) throw new Error(`two live copies: at ${live.map(({ id }) => this.roleOf(id)).join(', ')}`);
    return sent;
  }

  #inspect({ from, to, payload }: Frame): void {
    const { message } = this.read(payload);
    if (message.kind === 'MigrationFailed') this.failures.push({ from, to, code: message.reason.code });
    if (this.nodes.has(to) || HARMLESS.has(message.kind)) return;
    throw new Error(`${this.roleOf(from)} sent ${message.kind} to ${this.roleOf(to)}`);
  }

  read(payload: Uint8Array) {
    return decodeMigrationFrame(this.mode.codec, payload);
  }

  /** Nodes with a live copy, those that a step put there apart. */
  get live(): TranscriptNode[] {
    return [...this.nodes.values()].filter((node) => node.isLive && !this.#others.has(node.id));
  }

  /** Whether no node has a record of a migration. */
  get isIdle(): boolean {
    return [...this.nodes.values()].every((node) => node.records.size === 0);
  }

  dispose(): void {
    for (const node of this.nodes.values()) node.dispose();
  }
}

/** All of a node that a forged frame could change. */
function standing({ handler, copy, hooksCalled }: TranscriptNode): string {
  const records = handler.list().map(({ origin, role, phase }) => `${role} of ${origin} in ${phase}`);
  const gate = copy?.host.gate ?? 'no copy';
  return [...records, gate, ...hooksCalled].join(', ');
}

function requireEntity({ seed, entityId, origin }: Setup): void {
  const keypair = EntityKeypair.fromSeed(seed);
  const { id, originHash } = keypair;
  keypair.dispose();
  if (id.hex !== hex(entityId) || originHash !== origin)
    throw new Error(`the seed gives entity ${id.hex} with origin ${originHash}, not the transcript's`);
}
