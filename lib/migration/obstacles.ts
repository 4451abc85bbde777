import { MigrationError, type MigrationErrorKind } from '../errors.js';

/** What can stand in the way of a migration. */
export const OBSTACLE_KINDS = [
  /** A node is not in the mesh, or has gone. */
  'source-unavailable',
  'target-unavailable',
  /** Source and target are one node. */
  'same-node',
  /** A node that is known to speak no extensions, or not known to, cannot be asked: what it would refuse shows only by trying. */
  'not-askable',
  /** A node was asked, and said nothing until the deadline. */
  'no-answer',
  'not-authorised',
  'not-ready',
  'daemon-not-found',
  'pinned',
  'already-migrating',
  /** As many migrations as the node takes on at once are under way there. */
  'too-many-migrations',
  /** A copy is on the target already. */
  'already-exists',
  /** The daemon's last snapshot is larger than what the target takes. */
  'snapshot-too-large',
  'factory-not-found',
  'compute-not-supported',
  /** The daemon's private key cannot travel along. */
  'identity-transport-failed',
  /** Anything else; `message` says what. */
  'state-failed',
] as const;

export type ObstacleKind = (typeof OBSTACLE_KINDS)[number];

/** One reason why a migration would be refused. */
export interface MigrationObstacle {
  /** For programs. */
  readonly kind: ObstacleKind;
  /** For people: what is wrong, where, and what to do. */
  readonly message: string;
  /** At whom it lies: what must change there, or who could not be asked. */
  readonly where: 'source' | 'target' | 'orchestrator';
}

const KINDS: ReadonlySet<string> = new Set(OBSTACLE_KINDS);

function obstacleKind(kind: MigrationErrorKind | string): ObstacleKind {
  return KINDS.has(kind) ? (kind as ObstacleKind) : 'state-failed';
}

/** What an attempt would be refused with. */
export function obstacleOf(error: MigrationError, where: MigrationObstacle['where']): MigrationObstacle {
  return { kind: obstacleKind(error.kind), message: error.message, where };
}

const text = { encoder: new TextEncoder(), decoder: new TextDecoder('utf-8', { fatal: true }) };
/** Bytes of one message in a probe's answer, at the most. */
const MAX_MESSAGE_BYTES = 2_000;

/** As a probe's answer carries them: per obstacle `kind (u8 length, text) | message (u16 length, text)`. */
export function encodeObstacles(obstacles: readonly MigrationObstacle[]): Uint8Array {
  const parts = obstacles.flatMap(({ kind, message }) => {
    const name = text.encoder.encode(kind);
    const words = new Uint8Array(MAX_MESSAGE_BYTES);
    // Cuts between characters, never within one.
    const { written } = text.encoder.encodeInto(message, words);
    return [Uint8Array.of(name.length), name, Uint8Array.of(written & 255, written >> 8), words.subarray(0, written)];
  });
  return new Uint8Array(Buffer.concat(parts));
}

/**
 * @param where who has answered
 * @throws MigrationError `truncated`, `invalid-utf8`
 */
export function decodeObstacles(bytes: Uint8Array, where: MigrationObstacle['where']): MigrationObstacle[] {
  const obstacles: MigrationObstacle[] = [];
  let at = 0;
  const take = (length: number): Uint8Array => {
    at += length;
    if (at <= bytes.length) return bytes.subarray(at - length, at);
    throw new MigrationError(
      'truncated',
      `an answer to a probe is cut off: ${at} bytes expected, ${bytes.length} are here`,
      {
        details: { offset: bytes.length },
      },
    );
  };
  while (at < bytes.length) {
    const kind = decodeText(take(take(1)[0]!));
    const [low, high] = take(2);
    obstacles.push({ kind: obstacleKind(kind), message: decodeText(take(low! + 256 * high!)), where });
  }
  return obstacles;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return text.decoder.decode(bytes);
  } catch (cause) {
    throw new MigrationError('invalid-utf8', 'an answer to a probe holds text that is not UTF-8', { cause });
  }
}
