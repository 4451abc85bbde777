import { MigrationError } from '../errors.js';
import { sameBytes, type Trailer } from '../wire/trailer.js';
import type { Examination, MigrationAnswer, ProbedSide, RequestTypes, RoleContext } from './core.js';
import { Deadlines } from './deadlines.js';
import { extensionsRequired } from './failure.js';
import {
  decodeObstacles,
  encodeObstacles,
  type MigrationObstacle,
  type ObstacleKind,
  obstacleOf,
} from './obstacles.js';
import type { MigrationOrchestrator } from './orchestrator.js';
import { requirePeer, type TransitionTable } from './role.js';
import { identityTransport, type MigrationSourceHandler } from './source.js';
import type { MigrationTargetHandler } from './target.js';

/** After so many milliseconds without an answer a node is asked again. */
const REPEAT_MS = 500;
/** How long a node has for its answer. */
const DEFAULT_DEADLINE_MS = 5_000;
/** Questions to one node that wait for their answers, at the most. */
const MAX_ASKED_PER_PEER = 64;
/** Questions of one node that are being looked into, at the most, and how long. */
const MAX_EXAMINED_PER_PEER = 16;
const EXAMINATION_MS = 10_000;

/** Whether a migration could go through. */
export interface ProbeQuestion {
  readonly origin: bigint;
  /** Node ids. */
  readonly source: bigint;
  readonly target: bigint;
  /** 16 random bytes, from outside. */
  readonly requestId: Uint8Array;
  /** As on TakeSnapshot. */
  readonly transportIdentity: bigint | undefined;
  /** How long each of the two nodes has for its answer. Default: 5,000. */
  readonly deadlineMs?: number | undefined;
}

/** What a node says of its part in a migration. */
interface Told {
  readonly obstacles: readonly MigrationObstacle[];
  readonly daemonKind: string | undefined;
  /** Source: bytes of the daemon's last snapshot, where one is known. */
  readonly snapshotLength: bigint | undefined;
  /** Target: bytes of the largest snapshot that it takes. */
  readonly snapshotLimit: bigint | undefined;
}

/** A question of this node: first its source is asked, which knows the daemon's kind and size, then its target. */
interface Check extends ProbeQuestion {
  readonly obstacles: MigrationObstacle[];
  readonly done: (obstacles: readonly MigrationObstacle[]) => void;
  side: ProbedSide;
  daemonKind: string | undefined;
  snapshotLength: bigint | undefined;
  /** The request whose answer it waits for, where this node asks itself. */
  awaiting: number | undefined;
  deadlineAt: number;
  dueAt: number;
}

/** A question of another node, being looked into. */
interface Inquiry {
  readonly from: bigint;
  readonly requestId: Uint8Array;
  readonly ask: RequestTypes['examine']['ask'];
  readonly until: number;
}

interface ProbeInputs {
  answered: Told;
  unanswered: MigrationObstacle;
  due: undefined;
}

type ProbeTable = TransitionTable<ProbedSide, ProbeInputs, Check>;

/**
 * Asks, before anything is begun, what a migration would be refused for, and answers who asks that: the two messages of
 * PROTOCOL.md §8. It changes nothing anywhere, and says nothing to whom `authorize` does not allow that migration.
 */
export class MigrationProber {
  readonly #orchestrator: MigrationOrchestrator;
  readonly #source: MigrationSourceHandler;
  readonly #target: MigrationTargetHandler;
  readonly #table: ProbeTable = this.#rules();
  readonly #checks = new Set<Check>();
  readonly #asked = new Map<bigint, number>();
  readonly #inquiries = new Map<number, Inquiry>();
  readonly #deadlines = new Deadlines<Check>();
  readonly #ctx: RoleContext;
  #isWindingDown = false;

  constructor(
    ctx: RoleContext,
    halves: {
      readonly orchestrator: MigrationOrchestrator;
      readonly source: MigrationSourceHandler;
      readonly target: MigrationTargetHandler;
    },
  ) {
    this.#ctx = ctx;
    this.#orchestrator = halves.orchestrator;
    this.#source = halves.source;
    this.#target = halves.target;
  }

  /** Questions of this node, and of others, that have no answer yet. */
  get pending(): number {
    return this.#checks.size + this.#inquiries.size;
  }

  /** @param done called once, with all that is in the way; it must not throw */
  check(question: ProbeQuestion, done: Check['done']): void {
    const { origin, source, target } = question;
    const obstacles = this.#orchestrator.obstacles(origin, source, target).map((e) => obstacleOf(e, 'orchestrator'));
    const check: Check = {
      ...question,
      obstacles,
      done,
      side: 'source',
      daemonKind: undefined,
      snapshotLength: undefined,
      awaiting: undefined,
      deadlineAt: 0,
      dueAt: 0,
    };
    this.#checks.add(check);
    if (this.#isWindingDown) this.#abandon(check);
    else this.#ask(check, 'source');
  }

  /** A node asks. */
  probe(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const requestId = trailer?.requestId;
    if (!requestId) throw extensionsRequired('Probe', origin, from);
    const earlier = [...this.#inquiries.values()].filter((inquiry) => inquiry.from === from);
    // It is being looked into, and will be answered.
    if (earlier.some((inquiry) => sameBytes(inquiry.requestId, requestId))) return;
    if (earlier.length >= MAX_EXAMINED_PER_PEER) {
      const message = `Probe for daemon ${origin}: ${earlier.length} of node ${from} are being looked into, and no more are at once`;
      throw new MigrationError('too-many-migrations', message, { details: { origin, from } });
    }
    const ask = this.#askOf(origin, from, trailer);
    const id = this.#ctx.request('probe', 'examine', ask);
    this.#inquiries.set(id, { from, requestId, ask, until: this.#ctx.now + EXAMINATION_MS });
  }

  /** A node that was asked answers. */
  probeAnswer(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const check = this.#find((c) => c.origin === origin && sameBytes(c.requestId, trailer?.requestId));
    // Late, or once more.
    if (!check || trailer?.probedSide !== sideCode(check.side)) return;
    requirePeer(origin, 'ProbeAnswer', from, asked(check));
    const { daemonKind, snapshotLength, snapshotLimit } = trailer;
    const obstacles = decodeObstacles(trailer.obstacles ?? new Uint8Array(0), check.side);
    this.#apply(check, 'answered', { obstacles, daemonKind, snapshotLength, snapshotLimit });
  }

  /** What this node says of itself. */
  answer(answer: MigrationAnswer): void {
    const inquiry = this.#inquiries.get(answer.id);
    this.#inquiries.delete(answer.id);
    if (inquiry) this.#reply(inquiry, this.#told(inquiry.ask, answer));
    const check = this.#find((c) => c.awaiting === answer.id);
    if (check) this.#apply(check, 'answered', this.#told(this.#askBy(check), answer));
  }

  /** A node is gone for certain. */
  peerGone(node: bigint): void {
    for (const [id, { from }] of this.#inquiries) if (from === node) this.#inquiries.delete(id);
    for (const check of [...this.#checks]) {
      if (asked(check) === node) this.#apply(check, 'unanswered', this.#unavailable(check));
    }
  }

  tick(): void {
    const { now } = this.#ctx;
    // The oldest first, all with the same time to live.
    for (const [id, { until }] of this.#inquiries) {
      if (until > now) break;
      this.#inquiries.delete(id);
    }
    for (let check = this.#deadlines.take(now); check; check = this.#deadlines.take(now)) {
      if (this.#checks.has(check) && check.dueAt <= now) this.#apply(check, 'due', undefined);
    }
  }

  /** Nobody here asks any longer; who asks this node is answered. */
  windDown(): void {
    this.#isWindingDown = true;
    for (const check of [...this.#checks]) this.#abandon(check);
  }

  /** Nobody waits any longer. */
  dispose(): void {
    this.windDown();
    this.#inquiries.clear();
  }

  #abandon(check: Check): void {
    const message = `node ${this.#ctx.localNode} has shut down`;
    check.obstacles.push({ kind: 'not-ready', message, where: 'orchestrator' });
    this.#finish(check);
  }

  #rules(): ProbeTable {
    const due = (check: Check) => this.#due(check);
    return {
      source: {
        answered: (check, told) => {
          check.obstacles.push(...told.obstacles);
          check.daemonKind = told.daemonKind;
          check.snapshotLength = told.snapshotLength;
          this.#askTarget(check);
        },
        unanswered: (check, obstacle) => {
          check.obstacles.push(obstacle);
          this.#askTarget(check);
        },
        due,
      },
      target: {
        answered: (check, told) => {
          check.obstacles.push(...told.obstacles, ...tooLarge(check, told.snapshotLimit));
          this.#finish(check);
        },
        unanswered: (check, obstacle) => {
          check.obstacles.push(obstacle);
          this.#finish(check);
        },
        due,
      },
    };
  }

  #apply<K extends keyof ProbeInputs>(check: Check, kind: K, input: ProbeInputs[K]): void {
    if (kind !== 'due') this.#forget(check);
    const rule = this.#table[check.side][kind] as (check: Check, input: ProbeInputs[K]) => void;
    rule(check, input);
  }

  #askTarget(check: Check): void {
    const { origin, source, target } = check;
    if (source !== target) {
      this.#ask(check, 'target');
      return;
    }
    const message = `daemon ${origin} cannot migrate from node ${source} to itself; name another target`;
    check.obstacles.push({ kind: 'same-node', message, where: 'orchestrator' });
    this.#finish(check);
  }

  #ask(check: Check, side: ProbedSide): void {
    check.side = side;
    const node = asked(check);
    check.deadlineAt = this.#ctx.now + (check.deadlineMs ?? DEFAULT_DEADLINE_MS);
    const count = this.#asked.get(node) ?? 0;
    this.#asked.set(node, count + 1);
    if (node === this.#ctx.localNode) {
      check.awaiting = this.#ctx.request('probe', 'examine', this.#askBy(check));
      this.#lookAgain(check);
    } else if (this.#ctx.isPeer(node) === false) this.#apply(check, 'unanswered', this.#unavailable(check));
    else if (this.#ctx.speaks(node) !== true) this.#apply(check, 'unanswered', this.#notAskable(check));
    else if (count >= MAX_ASKED_PER_PEER) this.#apply(check, 'unanswered', this.#crowded(check));
    else this.#send(check);
  }

  #send(check: Check): void {
    const { origin, source, target, side, requestId, transportIdentity, daemonKind } = check;
    this.#ctx.send(
      asked(check),
      { kind: 'Probe', daemonOrigin: origin },
      {
        requestId,
        probedSide: sideCode(side),
        source,
        target,
        ...(transportIdentity === undefined ? {} : { transportIdentity }),
        ...(daemonKind === undefined ? {} : { daemonKind }),
      },
    );
    this.#lookAgain(check);
  }

  #lookAgain(check: Check): void {
    check.dueAt = Math.min(this.#ctx.now + REPEAT_MS, check.deadlineAt);
    this.#deadlines.add(check.dueAt, check);
  }

  #due(check: Check): void {
    if (this.#ctx.now >= check.deadlineAt) this.#apply(check, 'unanswered', this.#noAnswer(check));
    else if (check.awaiting === undefined) this.#send(check);
    else this.#lookAgain(check);
  }

  /** It waits no longer for whom it has asked. */
  #forget(check: Check): void {
    const node = asked(check);
    const left = (this.#asked.get(node) ?? 0) - 1;
    if (left > 0) this.#asked.set(node, left);
    else this.#asked.delete(node);
    check.awaiting = undefined;
  }

  #finish(check: Check): void {
    this.#checks.delete(check);
    check.done(check.obstacles);
  }

  #find(isMeant: (check: Check) => boolean): Check | undefined {
    for (const check of this.#checks) if (isMeant(check)) return check;
    return undefined;
  }

  #reply({ from, requestId, ask }: Inquiry, told: Told): void {
    const { daemonKind, snapshotLength, snapshotLimit, obstacles } = told;
    this.#ctx.send(
      from,
      { kind: 'ProbeAnswer', daemonOrigin: ask.origin },
      {
        requestId,
        probedSide: sideCode(ask.side),
        obstacles: encodeObstacles(obstacles),
        ...(daemonKind === undefined ? {} : { daemonKind }),
        ...(snapshotLength === undefined ? {} : { snapshotLength }),
        ...(snapshotLimit === undefined ? {} : { snapshotLimit }),
      },
    );
  }

  #askBy({ origin, source, target, side, daemonKind, transportIdentity }: Check): Inquiry['ask'] {
    const identity = identityTransport(transportIdentity);
    return { side, origin, orchestrator: this.#ctx.localNode, source, target, daemonKind, identity };
  }

  #askOf(origin: bigint, from: bigint, trailer: Trailer): Inquiry['ask'] {
    const { localNode } = this.#ctx;
    const { source, target = localNode, daemonKind } = trailer;
    const identity = identityTransport(trailer.transportIdentity);
    return trailer.probedSide === sideCode('source')
      ? { side: 'source', origin, orchestrator: from, source: localNode, target, daemonKind, identity }
      : { side: 'target', origin, orchestrator: from, source, target: localNode, daemonKind, identity };
  }

  #told(ask: Inquiry['ask'], answer: MigrationAnswer): Told {
    const nothing = { daemonKind: undefined, snapshotLength: undefined, snapshotLimit: undefined };
    if (answer.error) return { ...nothing, obstacles: [this.#refusal(ask, answer.error)] };
    const { obstacles, daemonKind, snapshotLength } = answer.value as Examination;
    const { origin, orchestrator, side } = ask;
    const half = side === 'source' ? this.#source : this.#target;
    const all = [...obstacles, ...half.obstacles(origin, orchestrator)];
    return {
      obstacles: all.map((error) => obstacleOf(error, side)),
      daemonKind,
      snapshotLength: snapshotLength === undefined ? undefined : BigInt(snapshotLength),
      snapshotLimit: side === 'target' ? BigInt(this.#target.snapshotLimit) : undefined,
    };
  }

  /** What went wrong here is this node's, and none of the asker's business: it may be a stranger. */
  #refusal({ side, origin, orchestrator }: Inquiry['ask'], error: MigrationError): MigrationObstacle {
    const { localNode } = this.#ctx;
    const isRefused = error.kind === 'not-authorised';
    if (!isRefused || error.cause !== undefined) this.#ctx.fault(error);
    const message = isRefused
      ? `node ${orchestrator} may not ${side === 'source' ? 'take' : 'place'} daemon ${origin}: node ${localNode} does not authorise it`
      : `node ${localNode} could not look into daemon ${origin}; it has reported why itself`;
    return { kind: isRefused ? 'not-authorised' : 'state-failed', message, where: side };
  }

  #unavailable(check: Check): MigrationObstacle {
    const message = `node ${asked(check)} is not in the mesh of node ${this.#ctx.localNode}`;
    return obstacle(check, check.side === 'source' ? 'source-unavailable' : 'target-unavailable', message);
  }

  #notAskable(check: Check): MigrationObstacle {
    const message = `node ${asked(check)} is not known to speak extensions, so it cannot be asked; only a migration shows what it refuses`;
    return obstacle(check, 'not-askable', message);
  }

  #crowded(check: Check): MigrationObstacle {
    const message = `${MAX_ASKED_PER_PEER} questions to node ${asked(check)} wait for answers already; ask again when they have come`;
    return obstacle(check, 'not-askable', message);
  }

  #noAnswer(check: Check): MigrationObstacle {
    const message = `node ${asked(check)} did not answer in ${check.deadlineMs ?? DEFAULT_DEADLINE_MS} ms`;
    return obstacle(check, 'no-answer', message);
  }
}

function asked({ side, source, target }: Check): bigint {
  return side === 'source' ? source : target;
}

/** As the wire has it. */
function sideCode(side: ProbedSide): bigint {
  return side === 'source' ? 0n : 1n;
}

function obstacle({ side: where }: Check, kind: ObstacleKind, message: string): MigrationObstacle {
  return { kind, message, where };
}

/** By the daemon's last snapshot: the next one may be of another size. */
function tooLarge({ origin, target, snapshotLength }: Check, limit: bigint | undefined): MigrationObstacle[] {
  if (snapshotLength === undefined || limit === undefined || snapshotLength <= limit) return [];
  const message = `the last snapshot of daemon ${origin} had ${snapshotLength} bytes, and node ${target} takes at most ${limit}; raise maxSnapshotBytes or maxPendingBytes there`;
  return [{ kind: 'snapshot-too-large', message, where: 'target' }];
}
