import type { DaemonRuntime } from '../../lib/index.js';
import type { MigrationCodec } from '../../lib/wire/codec.js';
import type { CausalEvent, CausalLink } from '../../lib/wire/link.js';
import { type Ledger, outputsOf, publisherOf, sequenceOf } from './ledger-daemon.js';

/** A promise that was broken, and how. */
export interface Violation {
  /** `never-two`, `never-none`, `nothing-lost`, `nothing-twice`, `order`, `chain`, `it-ends`, `custody`, `bounded`, `stranger`, `disposal`, `error` */
  readonly promise: string;
  readonly text: string;
}

export type Complain = (promise: string, text: string) => void;

/** A node as checkers see it: what any user of its runtime can ask. */
export interface Observed {
  readonly number: number;
  readonly incarnation: number;
  readonly runtime: DaemonRuntime;
}

interface Seat {
  readonly incarnation: number;
  isLive: boolean;
  hasCopy: boolean;
  hasKey: boolean;
  /** This copy was live once: it is the daemon, or its backup. */
  wasLive: boolean;
  /** The epoch in which it was, last. */
  since: bigint;
  /** A daemon was made there since a copy was last seen to be gone. */
  mayCome: boolean;
}

export interface CopiesWitness {
  /** A copy has become live. */
  wentLive(daemon: number, node: number): void;
  /** A copy that was live is not any more, and its node is up. */
  stopped(daemon: number): void;
  /** How many copies of a daemon there may be: its own, one where it goes, and those that have not heard of an end. */
  mayHave(daemon: number): number;
  /** Whether the register names that node. */
  owns(daemon: number, node: number): boolean;
  /** That node has told its daemon's former home that it is live: that one's backup may go at any moment. */
  hasConfirmed(daemon: number, node: number): boolean;
  /** An offer of that node's was written since it had the daemon live: its copy is whole on its disk, if it has one. */
  hasOffered(daemon: number, node: number): boolean;
  /** Private halves of all daemons' keys that there are, shown or not; undefined: nobody knows. */
  secrets(): number | undefined;
  /** Whether the disk of that node has a copy. */
  hasFile(daemon: number, node: number): boolean;
  /** In the register. */
  epoch(daemon: number): bigint;
  /** A node has taken a copy up from its disk. */
  tookUp(daemon: number, node: number): void;
}

/** What a node has of its disk after a crash. */
export type DiskLeft = 'none' | 'kept' | 'lost';

/**
 * Where the copies of the daemons are, and with them their keys: at most one live, no more than may be, and one at least unless
 * the node crashed that had the only one.
 */
export class Copies {
  readonly #origins: readonly bigint[];
  readonly #complain: Complain;
  readonly #witness: CopiesWitness;
  readonly #seats: Array<Map<number, Seat>>;
  /** The daemon has been spawned. */
  readonly #isBorn: boolean[];
  /** Its last copy that could be the daemon went with a node. */
  readonly #isExcused: boolean[];
  /** Copies on disks of nodes that are down, or not ready yet, and the epoch after which they are old. */
  readonly #stored: Array<Map<number, bigint>>;
  /** Nodes that crashed when they had the daemon live: what their disk has of it is older. */
  readonly #olderAt: Array<Set<number>>;
  /** Where it was live last. */
  readonly #liveLast: Array<number | undefined>;
  /** Nodes that crashed when the daemon was theirs, and its epoch: what they let go of in that one is another copy. */
  readonly #lostIn: Array<Map<number, bigint>>;

  constructor(origins: readonly bigint[], complain: Complain, witness: CopiesWitness) {
    this.#origins = origins;
    this.#complain = complain;
    this.#witness = witness;
    this.#seats = origins.map(() => new Map());
    this.#isBorn = origins.map(() => false);
    this.#isExcused = origins.map(() => false);
    this.#stored = origins.map(() => new Map());
    this.#olderAt = origins.map(() => new Set());
    this.#lostIn = origins.map(() => new Map());
    this.#liveLast = origins.map(() => undefined);
  }

  born(daemon: number): void {
    this.#isBorn[daemon] = true;
  }

  /** Its home is gone: what was not spawned there is not. */
  neverBorn(daemon: number): void {
    if (!this.#isBorn[daemon]) this.#isExcused[daemon] = true;
  }

  /** A daemon has been made on a node: a copy of it may be there from now on. */
  made(daemon: number, { number, incarnation }: Pick<Observed, 'number' | 'incarnation'>): void {
    const seats = this.#seats[daemon]!;
    const before = seats.get(number);
    if (before?.incarnation === incarnation) before.mayCome = true;
    else {
      const nothing = { isLive: false, hasCopy: false, hasKey: false, wasLive: false, since: 0n };
      seats.set(number, { incarnation, ...nothing, mayCome: true });
    }
  }

  /** Looks at one node, at which something has happened. */
  look({ number, incarnation, runtime }: Observed): void {
    for (let daemon = 0; daemon < this.#origins.length; daemon++) {
      const seat = this.#seats[daemon]!.get(number);
      // Where none was made, none is: asking costs an error.
      if (seat?.incarnation === incarnation && (seat.hasCopy || seat.mayCome))
        this.#lookAt(daemon, number, seat, runtime);
    }
  }

  #lookAt(daemon: number, node: number, seat: Seat, runtime: DaemonRuntime): void {
    const origin = this.#origins[daemon]!;
    const key = keyAt(runtime, origin);
    const isLive = runtime.has(origin);
    const hadCopy = seat.hasCopy;
    seat.hasCopy = key !== 'none';
    // Another may have been made before the one that was there is gone.
    if (seat.hasCopy && !hadCopy) {
      seat.mayCome = false;
      this.#appeared(daemon, node, seat, runtime);
    }
    const hadKey = seat.hasKey;
    seat.hasKey = key === 'whole';
    const becomesLive = isLive && !seat.isLive;
    if (seat.isLive && !isLive) this.#witness.stopped(daemon);
    seat.isLive = isLive;
    seat.wasLive = seat.hasCopy && (seat.wasLive || isLive);
    if (becomesLive) {
      this.#isBorn[daemon] = true;
      this.#isExcused[daemon] = false;
      this.#liveLast[daemon] = node;
      this.#olderAt[daemon]!.delete(node);
      this.#stored[daemon]!.delete(node);
      seat.since = this.#witness.epoch(daemon);
      this.#witness.wentLive(daemon, node);
    }
    const isLost = this.#lostIn[daemon]!.get(node) === this.#witness.epoch(daemon);
    if (hadCopy && !seat.hasCopy && !isLost && this.#witness.owns(daemon, node))
      this.#complain('custody', `node ${node} has let go of daemon ${daemon}, which the register says that it has`);
    if (becomesLive || hadCopy !== seat.hasCopy) this.#check(daemon);
    else if (seat.hasKey !== hadKey) this.#checkKeys(daemon);
  }

  /** A copy from a disk is one that stood still: it is the daemon, or its backup. One that moves in leaves what the disk has there. */
  #appeared(daemon: number, node: number, seat: Seat, runtime: DaemonRuntime): void {
    const origin = this.#origins[daemon]!;
    if (!runtime.migrations().some((one) => one.role === 'source' && one.origin === origin)) return;
    const isOlder = this.#olderAt[daemon]!.delete(node);
    seat.since = this.#stored[daemon]!.get(node) ?? this.#stoppedIn(daemon, node);
    this.#stored[daemon]!.delete(node);
    this.#lostIn[daemon]!.delete(node);
    seat.wasLive = true;
    this.#witness.tookUp(daemon, node);
    if (isOlder)
      this.#complain('never-two', `node ${node} had daemon ${daemon} live, and takes up an older copy by itself`);
  }

  /**
   * A node is gone, with all that it had in memory, and perhaps its disk.
   *
   * @returns the daemons of which it had the copy that was live, or had stopped last, and that its disk does not have. Whom
   * the register names does not tell: a target may have claimed it that was gone by then
   */
  crashed(node: number, disk: DiskLeft): Array<{ readonly daemon: number; readonly wasLive: boolean }> {
    const lost: Array<{ readonly daemon: number; readonly wasLive: boolean }> = [];
    this.#seats.forEach((seats, daemon) => {
      const seat = seats.get(node);
      seats.delete(node);
      if (this.#witness.owns(daemon, node)) this.#lostIn[daemon]!.set(node, this.#witness.epoch(daemon));
      const stored = this.#stored[daemon]!;
      if (disk !== 'kept') this.#olderAt[daemon]!.delete(node);
      const isStoredLost = disk === 'lost' && stored.delete(node);
      if (!seat?.hasCopy && !isStoredLost) return;
      const isLive = seat?.isLive === true;
      const wasLive = seat?.wasLive === true || isStoredLost;
      if (disk === 'kept' && isLive) this.#olderAt[daemon]!.add(node);
      if (disk === 'kept' && !isLive && wasLive && this.#witness.hasOffered(daemon, node)) {
        stored.set(node, this.#stoppedIn(daemon, node));
        return;
      }
      if (isLive || (wasLive && this.#liveLast[daemon] === node)) lost.push({ daemon, wasLive: isLive });
      // A backup goes without a confirmation where the register says that whoever it was offered to has offered it onwards.
      const isKept = (other: Seat) => other.wasLive && this.#witness.epoch(daemon) <= other.since + 1n;
      const isBackedUp = stored.size > 0 || [...seats.values()].some(isKept);
      const mayBeReleased = !isBackedUp || this.#witness.hasConfirmed(daemon, node);
      if (wasLive && mayBeReleased) this.#isExcused[daemon] = true;
      this.#check(daemon);
    });
    return lost;
  }

  /** The register names another, in that epoch: what stands on disks may be old by that. */
  owned(daemon: number, owner: number, epoch: bigint): void {
    for (const [node, since] of this.#stored[daemon]!)
      if (node !== owner && epoch > since + 1n) this.#stored[daemon]!.delete(node);
  }

  /** The epoch in which a node has stopped it: its own, or the one before its target's. */
  #stoppedIn(daemon: number, node: number): bigint {
    return this.#witness.epoch(daemon) - (this.#witness.owns(daemon, node) ? 0n : 1n);
  }

  /** Whether a node had it live when it crashed last, so that its disk has only an older one. */
  isOlderAt(daemon: number, node: number): boolean {
    return this.#olderAt[daemon]!.has(node);
  }

  /** It was given up, and begins anew. */
  forgotten(daemon: number): void {
    this.#stored[daemon]!.clear();
    this.#olderAt[daemon]!.clear();
  }

  live(daemon: number): number[] {
    return this.#where(daemon, ({ isLive }) => isLive);
  }

  all(daemon: number): number[] {
    return this.#where(daemon, ({ hasCopy }) => hasCopy);
  }

  /** Nodes that have the private half of its key. */
  keys(daemon: number): number[] {
    return this.#where(daemon, ({ hasKey }) => hasKey);
  }

  /** It went with a node that crashed, and nothing is left that could be it. */
  isGone(daemon: number): boolean {
    return this.#isExcused[daemon]! && this.all(daemon).length === 0;
  }

  #where(daemon: number, what: (seat: Seat) => boolean): number[] {
    return [...this.#seats[daemon]!].filter(([, seat]) => what(seat)).map(([node]) => node);
  }

  #check(daemon: number): void {
    const live = this.live(daemon);
    if (live.length > 1) this.#complain('never-two', `daemon ${daemon} is live on nodes ${live.join(' and ')}`);
    const all = this.all(daemon);
    if (all.length > this.#witness.mayHave(daemon))
      this.#complain('custody', `copies of daemon ${daemon} are on nodes ${all.join(', ')}`);
    this.#checkKeys(daemon);
    const isStored = [...this.#stored[daemon]!.keys()].some((node) => this.#witness.hasFile(daemon, node));
    const isSomewhere = all.length > 0 || isStored;
    if (this.#isBorn[daemon] && !isSomewhere && !this.#isExcused[daemon])
      this.#complain('never-none', `no copy of daemon ${daemon} is left anywhere`);
  }

  /** Nobody has a private half but copies, and those that are being made or given up. */
  #checkKeys(daemon: number): void {
    const keys = this.keys(daemon);
    if (keys.length > this.#witness.mayHave(daemon))
      this.#complain('custody', `the key of daemon ${daemon} is on nodes ${keys.join(', ')}`);
    const mayBe = this.#origins.reduce((sum, _, one) => sum + this.#witness.mayHave(one), 0);
    const secrets = this.#witness.secrets() ?? 0;
    if (secrets > mayBe)
      this.#complain('custody', `there are ${secrets} private halves of keys, and may be ${mayBe} copies of daemons`);
  }
}

function keyAt(runtime: DaemonRuntime, origin: bigint): 'none' | 'public' | 'whole' {
  try {
    return runtime.keypair(origin).canSign ? 'whole' : 'public';
  } catch {
    return 'none';
  }
}

interface Account {
  /** What the publisher has sent ever, and of that was told that it was accepted. */
  sent: number;
  accepted: number;
  /** Sequences up to this may be missing: a node crashed with the copy that had accepted them. */
  excused: number;
  /** Those at which the daemon throws. */
  readonly throwing: Set<number>;
}

/** What publishers were told, against what copies have processed: each event once, in order, none missing. */
export class History {
  readonly #complain: Complain;
  /** By sender. */
  readonly #accounts = new Map<number, Account>();
  /** Per daemon, who sends to it. */
  readonly #publishers: Array<readonly number[]>;

  /** @param publishers per daemon, the numbers of who sends to it, channels included */
  constructor(publishers: ReadonlyArray<readonly number[]>, complain: Complain) {
    this.#publishers = [...publishers];
    this.#complain = complain;
  }

  /** A daemon was spawned anew: others send to it from now on. */
  anew(daemon: number, publishers: readonly number[]): void {
    this.#publishers[daemon] = publishers;
  }

  #account(publisher: number): Account {
    let account = this.#accounts.get(publisher);
    if (!account) {
      account = { sent: 0, accepted: 0, excused: 0, throwing: new Set() };
      this.#accounts.set(publisher, account);
    }
    return account;
  }

  sent(publisher: number, sequence: number, throws: boolean): void {
    const account = this.#account(publisher);
    account.sent = Math.max(account.sent, sequence);
    if (throws) account.throwing.add(sequence);
  }

  accepted(publisher: number, through: number): void {
    const account = this.#account(publisher);
    account.accepted = Math.max(account.accepted, through);
    if (account.accepted > account.sent)
      this.#complain(
        'nothing-twice',
        `publisher ${publisher} sent ${account.sent} events, and ${through} were accepted`,
      );
  }

  acceptedBy(publisher: number): number {
    return this.#account(publisher).accepted;
  }

  throwsAt(entry: number): boolean {
    return this.#account(publisherOf(entry)).throwing.has(sequenceOf(entry));
  }

  /** What a copy can have accepted so far, per publisher. Channels are read again. */
  sentTo(daemon: number, isChannel: (publisher: number) => boolean): ReadonlyMap<number, number> {
    const publishers = this.#publishers[daemon]!.filter((publisher) => !isChannel(publisher));
    return new Map(publishers.map((publisher) => [publisher, this.#account(publisher).sent]));
  }

  /** The copy is gone that alone had accepted what was sent up to there: it may be missing. */
  lost(sent: ReadonlyMap<number, number>): void {
    for (const [publisher, through] of sent) {
      const account = this.#account(publisher);
      account.excused = Math.max(account.excused, through);
    }
  }

  /** A copy has processed one more event; what a held one processes is looked at when that goes live. */
  processed(ledger: Ledger): void {
    if (ledger.isHeld) return;
    while (ledger.judged < ledger.entries.length) this.#judge(ledger, ledger.judged++);
  }

  /** A copy is live, and has processed what was logged for it: all that is owed is in it. */
  wentLive(ledger: Ledger, owed: ReadonlyMap<number, number>): void {
    ledger.isHeld = false;
    this.processed(ledger);
    for (const [publisher, through] of owed) this.#requireAll(ledger, publisher, through);
  }

  #judge(ledger: Ledger, at: number): void {
    const entry = ledger.entries[at]!;
    const publisher = publisherOf(entry);
    const sequence = sequenceOf(entry);
    const { excused, sent } = this.#account(publisher);
    const last = lastOf(ledger.entries, publisher, at);
    const where = `daemon ${ledger.daemon} on node ${ledger.node}`;
    if (sequence > sent)
      this.#complain('nothing-twice', `${where} processed event ${sequence} of ${publisher}, which nobody sent`);
    else if (sequence <= last)
      this.#complain('nothing-twice', `${where} processed event ${sequence} of publisher ${publisher} behind ${last}`);
    else if (sequence > last + 1 && sequence - 1 > excused)
      this.#complain('order', `${where} processed event ${sequence} of publisher ${publisher} right behind ${last}`);
  }

  /** What a copy owes that goes live now: everything that was accepted before, per publisher. */
  owed(daemon: number, isChannel: (publisher: number) => boolean): ReadonlyMap<number, number> {
    const publishers = this.#publishers[daemon]!.filter((publisher) => !isChannel(publisher));
    return new Map(publishers.map((publisher) => [publisher, this.#account(publisher).accepted]));
  }

  /** Nothing is under way any more: all that these have sent is in the copy that is left. */
  end(ledger: Ledger, publishers: readonly number[]): void {
    for (const publisher of publishers) this.#requireAll(ledger, publisher, this.#account(publisher).sent);
  }

  #requireAll(ledger: Ledger, publisher: number, through: number): void {
    const last = lastOf(ledger.entries, publisher, ledger.entries.length);
    if (last >= through || this.#account(publisher).excused >= through) return;
    this.#complain(
      'nothing-lost',
      `daemon ${ledger.daemon}, live on node ${ledger.node}, has events of publisher ${publisher} up to ${last}; accepted were those up to ${through}`,
    );
  }
}

function lastOf(entries: readonly number[], publisher: number, before: number): number {
  for (let at = before - 1; at >= 0; at--) if (publisherOf(entries[at]!) === publisher) return sequenceOf(entries[at]!);
  return 0;
}

/** What a reader of a daemon's channel sees, from its first output to the last. */
export class OutputChain {
  readonly #daemon: number;
  readonly #codec: MigrationCodec;
  readonly #complain: Complain;
  #head: CausalLink;
  #payload: Uint8Array = new Uint8Array(0);
  /** Outputs so far: which entry, and which output of the ledger it says that it is. */
  readonly #seen: Array<{ readonly entry: number; readonly number: number }> = [];
  #mayFork = false;
  hasForked = false;

  constructor(daemon: number, origin: bigint, codec: MigrationCodec, complain: Complain) {
    this.#daemon = daemon;
    this.#codec = codec;
    this.#complain = complain;
    this.#head = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
  }

  get length(): number {
    return this.#seen.length;
  }

  read(events: readonly CausalEvent[]): void {
    for (const { link, payload } of events) {
      const parent = this.#codec.parentHash(this.#head, this.#payload);
      const follows = link.sequence === this.#head.sequence + 1n && link.parentHash === parent;
      if (!follows && !this.#mayFork) {
        const what = `output ${link.sequence} does not follow output ${this.#head.sequence}`;
        this.#complain('chain', `daemon ${this.#daemon}: ${what} in its chain`);
      }
      if (!follows) {
        this.#mayFork = false;
        this.hasForked = true;
      }
      this.#head = link;
      this.#payload = payload;
      const view = new DataView(payload.buffer, payload.byteOffset);
      this.#seen.push({ number: view.getUint32(0, true), entry: view.getUint32(4, true) });
    }
  }

  /** The copy that published last is gone with its node: what it had published, the next one may publish otherwise. */
  crashed(): void {
    this.#mayFork = true;
    this.hasForked = true;
  }

  /** Nothing is under way any more: each entry of the copy that is left was published, once. */
  end(ledger: Ledger, throws: (entry: number) => boolean): void {
    if (this.hasForked) return;
    const expected = ledger.entries.flatMap((entry) => Array<number>(outputsOf(entry, throws(entry))).fill(entry));
    const at = expected.findIndex((entry, i) => this.#seen[i]?.entry !== entry || this.#seen[i]?.number !== i + 1);
    if (at < 0 && expected.length === this.#seen.length) return;
    const what = at < 0 ? `${this.#seen.length} outputs instead of ${expected.length}` : `another output ${at + 1}`;
    this.#complain('chain', `a reader of daemon ${this.#daemon} saw ${what}`);
  }
}

/** Who publishes in an epoch: one copy, and no other. */
export class Epochs {
  readonly #complain: Complain;
  readonly #publishers = new Map<string, string>();
  /** Per daemon, how often it was spawned anew: its epochs begin again. */
  readonly #lives = new Map<number, number>();

  constructor(complain: Complain) {
    this.#complain = complain;
  }

  anew(daemon: number): void {
    this.#lives.set(daemon, (this.#lives.get(daemon) ?? 0) + 1);
  }

  published(daemon: number, epoch: bigint, node: string): void {
    const key = `${daemon} ${this.#lives.get(daemon) ?? 0} ${epoch}`;
    const before = this.#publishers.get(key);
    if (before === undefined) this.#publishers.set(key, node);
    else if (before !== node)
      this.#complain('never-two', `nodes ${before} and ${node} both published for daemon ${daemon} in epoch ${epoch}`);
  }
}
