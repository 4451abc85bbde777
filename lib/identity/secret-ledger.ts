import { types } from 'node:util';
import { getEnvironmentData, isMainThread, setEnvironmentData, threadId, type Worker } from 'node:worker_threads';
import { IdentityError } from './errors.js';

/*
 * What all threads of the process hold in secrets, in one block of shared memory: mappings, which is what guarded memory
 * runs out of, are the process's and no thread's. Worker threads inherit the block from the thread that starts them (its
 * `environmentData`), and so do all copies of this package in one thread; a thread whose ancestors had none makes its own.
 *
 * Each copy of the package in each thread has a seat that only it writes, and totals are sums over the seats. So a thread
 * that is ended between any two steps takes with it exactly what it held, once its seat is given up for it.
 */

/** Under which threads find the block. The number is the layout's. */
export const SECRET_LEDGER = 'daemon-migration/secret-ledger/1';
/** Twice and a half the 100,000 daemons that a node must hold: 489 blocks of guarded memory, 8 MB. */
export const DEFAULT_MAX_SECRETS = 250_000;

const SEATS = 1_024;
const [MAX_SECRETS, REQUIRE_LOCKED, BLOCK_BUDGET, SEATS_USED, FIRST_SEAT] = [0, 1, 2, 3, 4];
const [OWNER, SECRETS, BYTES, LOCKED_BYTES, SEAT_WORDS] = [0, 1, 2, 3, 4];
const LEDGER_BYTES = 4 * (FIRST_SEAT + SEATS * SEAT_WORDS);
/** Thread ids begin at 0, which is what an empty seat holds. */
const SELF = (threadId + 1) | 0;

/** What a seat counts. */
export type Counted = 'secrets' | 'bytes' | 'lockedBytes';
const WORD_OF = { secrets: SECRETS, bytes: BYTES, lockedBytes: LOCKED_BYTES } as const;

const ledger = inherited() ?? founded();
let seat: number | undefined;

function inherited(): Int32Array | undefined {
  const memory = getEnvironmentData(SECRET_LEDGER) as unknown;
  if (!types.isSharedArrayBuffer(memory) || memory.byteLength !== LEDGER_BYTES) return undefined;
  return new Int32Array(memory);
}

function founded(): Int32Array {
  const memory = new SharedArrayBuffer(LEDGER_BYTES);
  const words = new Int32Array(memory);
  words[MAX_SECRETS] = DEFAULT_MAX_SECRETS;
  setEnvironmentData(SECRET_LEDGER, memory as never);
  return words;
}

const seatAt = (index: number) => FIRST_SEAT + index * SEAT_WORDS;

function takeSeat(): number {
  for (let index = 0; index < SEATS; index++) {
    if (Atomics.compareExchange(ledger, seatAt(index) + OWNER, 0, SELF) !== 0) continue;
    for (let used = Atomics.load(ledger, SEATS_USED); used <= index; ) {
      used = Atomics.compareExchange(ledger, SEATS_USED, used, index + 1);
    }
    return seatAt(index);
  }
  throw new IdentityError(
    'secure-memory-exhausted',
    `${SEATS} threads of this process hold secrets, which is the most`,
    {
      details: { threads: SEATS },
    },
  );
}

/** What a thread held is the system's again once it has ended. */
function giveUpSeats(owner: number): void {
  for (let index = 0; index < SEATS; index++) {
    const at = seatAt(index);
    if (Atomics.load(ledger, at + OWNER) !== owner) continue;
    for (let word = OWNER + 1; word < SEAT_WORDS; word++) Atomics.store(ledger, at + word, 0);
    Atomics.store(ledger, at + OWNER, 0);
  }
}

// A thread that is terminated cannot say so itself: the thread that started it does.
process.on('worker', (worker: Worker) => {
  const owner = (worker.threadId + 1) | 0;
  worker.once('exit', () => giveUpSeats(owner));
});
// Where that thread has not loaded this package, nobody else would.
if (!isMainThread) {
  process.once('exit', () => {
    giveUpSeats(SELF);
    seat = undefined;
  });
}

/** Adds to this thread's count, or takes from it. Throws `secure-memory-exhausted` where 1,024 threads have one. */
export function count(what: Counted, change: number): void {
  seat ??= takeSeat();
  Atomics.add(ledger, seat + WORD_OF[what], change);
}

/** Of all threads together. */
export function total(what: Counted): number {
  let sum = 0;
  const end = seatAt(Atomics.load(ledger, SEATS_USED));
  for (let at = FIRST_SEAT; at < end; at += SEAT_WORDS) sum += Atomics.load(ledger, at + WORD_OF[what]);
  return sum;
}

export function maxSecrets(): number {
  return Atomics.load(ledger, MAX_SECRETS);
}

export function setMaxSecrets(limit: number): void {
  Atomics.store(ledger, MAX_SECRETS, limit);
}

/** Whether pages that cannot be locked into RAM are refused, or used all the same. */
export function requireLocked(): boolean {
  return Atomics.load(ledger, REQUIRE_LOCKED) === 1;
}

export function setRequireLocked(required: boolean): void {
  Atomics.store(ledger, REQUIRE_LOCKED, required ? 1 : 0);
}

/** Takes one of the blocks that all threads may still ask the system for. @returns whether there was one */
export function takeFromBlockBudget(): boolean {
  return Atomics.sub(ledger, BLOCK_BUDGET, 1) > 0;
}

export function setBlockBudget(blocks: number): void {
  Atomics.store(ledger, BLOCK_BUDGET, blocks);
}
