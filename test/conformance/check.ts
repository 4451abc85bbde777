import * as assert from 'uvu/assert';
import { CODEC_ERROR_KINDS, MigrationError } from '../../lib/errors.js';
import { fieldsOf, hex, NotUnderstood, text } from './vector-json.js';

export interface Failure {
  readonly vector: string;
  readonly message: string;
}

/** Counts the vectors of one file over one engine. */
export class Tally {
  run = 0;
  passed = 0;
  readonly failures: Failure[] = [];
  /** What a reader should know of vectors that passed. */
  readonly notes: string[] = [];
  readonly #isComplete: boolean;

  /** @param isComplete whether the file is the suite's own: then nothing in the suite may be there for no vector */
  constructor(isComplete = false) {
    this.#isComplete = isComplete;
  }

  /** Runs one vector; whatever it throws is its failure. What is not understood ends the file instead. */
  vector(name: string, body: () => void): void {
    this.run++;
    try {
      body();
      this.passed++;
    } catch (error) {
      if (error instanceof NotUnderstood) throw error;
      this.failures.push({ vector: name, message: describe(error) });
    }
  }

  note(text: string): void {
    this.notes.push(text);
  }

  /** Something in the suite that no vector of this file needs; a failure where the file is the suite's own. */
  unneeded(what: string, message: string): void {
    if (this.#isComplete) this.failures.push({ vector: what, message });
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { actual, expects } = error as { actual?: unknown; expects?: unknown };
  const detail = expects === undefined ? '' : ` (expected ${brief(expects)}, got ${brief(actual)})`;
  return `${error.name}: ${error.message}${detail}`;
}

function brief(value: unknown): string {
  const all = typeof value === 'string' ? value : String(JSON.stringify(value, bigintAsText));
  return all.length > 120 ? `${all.slice(0, 120)}…` : all;
}

function bigintAsText(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value;
}

export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.is(hex(actual), hex(expected), what);
}

const KINDS = new Set<string>(CODEC_ERROR_KINDS);

/**
 * That `body` is refused as the contract says: a MigrationError of a codec kind whose message says what and where.
 *
 * @param input the bytes refused; without any, nothing can be said of where
 */
export function refusal(body: () => unknown, what: string, input?: Uint8Array): MigrationError {
  let refused: unknown;
  try {
    body();
  } catch (error) {
    refused = error;
  }
  if (refused === undefined) throw new Error(`${what} was accepted`);
  if (!(refused instanceof MigrationError)) throw new Error(`${what} was refused with ${describe(refused)}`);
  assert.ok(KINDS.has(refused.kind), `${what}: kind ${refused.kind} is no codec kind`);
  assert.ok(refused.message.length > 10, `${what}: the message "${refused.message}" says nothing`);
  if (input !== undefined && input.length > 0) {
    assert.match(refused.message, /\d/, `${what}: the message "${refused.message}" does not say where`);
    const offset = refused.details.offset;
    if (offset !== undefined)
      assert.ok(BigInt(offset) <= BigInt(input.length), `${what}: offset ${offset} lies outside`);
  }
  return refused;
}

/** That the values which the reference's error names are among ours. Names differ, values do not. */
export function namesValues(error: MigrationError, fields: unknown, what: string): void {
  if (fields === undefined) return;
  const values = new Set(Object.values(error.details).map(String));
  for (const [name, value] of Object.entries(fieldsOf(fields, Object.keys(fields ?? {}), what))) {
    const wanted = text(value, `${what} error_fields.${name}`);
    assert.ok(values.has(wanted), `${what}: details ${[...values].join(', ')} lack ${name} = ${wanted}`);
  }
}
