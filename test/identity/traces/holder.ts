import { existsSync } from 'node:fs';
import process from 'node:process';
import { writeHeapSnapshot } from 'node:v8';
import { EntityKeypair, IdentityEnvelope, NodeKeys, StaticKeypair } from '../../../lib/identity/index.js';
import type { Command, Leak } from './leaks.js';
import { unmasked } from './masking.js';

/*
 * The process whose memory is searched. Its parent sends one command at a time and looks at it between them. Secrets come
 * in masked, because a message passes through strings and buffers that nobody can wipe, and are unmasked in guarded
 * memory byte by byte.
 */

const held: {
  daemon?: EntityKeypair;
  target?: StaticKeypair;
  node?: NodeKeys;
  opened: EntityKeypair[];
  leaks: unknown[];
} = { opened: [], leaks: [] };

const wiping = { wipeInput: true } as const;

/** V8 keeps an array's numbers as doubles once one of them is a fraction. */
function doublesOf(values: Iterable<number>): number[] {
  const doubles = [0.5];
  for (const value of values) doubles.push(value);
  return doubles;
}

/** Leaves a secret in ordinary memory, in a way that the search must find. */
function leak(masked: readonly number[], as: Leak): void {
  const bytes = Buffer.allocUnsafeSlow(masked.length);
  unmasked(masked, (secret) => bytes.set(secret));
  const ways: Record<Leak, () => unknown> = {
    bytes: () => bytes,
    hex: () => bytes.toString('hex'),
    'two-byte upper-case hex': () => `${bytes.toString('hex').toUpperCase()}→`.normalize(),
    'base64 + 1': () =>
      Buffer.from(` ${bytes.toString('latin1')}`, 'latin1')
        .subarray(2)
        .toString('base64'),
    decimals: () => bytes.join(','),
    'small integers bytes': () => [...bytes],
    'integers bytes': () => [...new Int32Array(bytes.buffer)],
    'small doubles bytes': () => doublesOf(bytes),
    'doubles bytes': () => doublesOf(new Int32Array(bytes.buffer)),
  };
  held.leaks.push(ways[as]());
}

/** What the parent gets to hear: bytes of an envelope, the kind of an error, or that it is done. */
function obey(command: Command): unknown {
  switch (command.do) {
    case 'hold-daemon':
      held.daemon = unmasked(command.masked, (seed) => EntityKeypair.fromSeed(seed, wiping));
      return 'done';
    case 'hold-target':
      held.target = unmasked(command.masked, (secret) => StaticKeypair.fromPrivate(secret, wiping));
      return 'done';
    case 'load-node':
      held.node = NodeKeys.load(command.path);
      return existsSync(command.path) ? 'done' : 'gone';
    case 'seal':
      return [
        ...IdentityEnvelope.seal(
          held.daemon!,
          Uint8Array.from(command.targetPublic),
          Uint8Array.from(command.link),
        ).toBytes(),
      ];
    case 'open':
      held.opened.push(
        IdentityEnvelope.fromBytes(Uint8Array.from(command.envelope)).open(held.target!, Uint8Array.from(command.link)),
      );
      return 'opened';
    case 'sign':
      for (const keypair of [held.daemon!, ...held.opened]) keypair.sign(new Uint8Array(100));
      return 'done';
    case 'wipe-daemon':
      held.daemon!.wipeSecret();
      return held.daemon!.canSign;
    case 'dispose':
      for (const holder of [held.daemon, held.target, held.node, ...held.opened]) holder?.dispose();
      return 'done';
    case 'leak':
      leak(command.masked, command.as);
      return 'done';
    case 'snapshot':
      return writeHeapSnapshot(command.path, { exposeInternals: true, exposeNumericValues: true } as never);
  }
}

process.on('message', (command: Command) => {
  try {
    process.send!({ answer: obey(command) });
  } catch (error) {
    process.send!({ answer: (error as { kind?: string }).kind ?? String(error) });
  }
});
process.send!('ready');
