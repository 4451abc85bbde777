import type { Mesh } from '../../lib/index.js';
import { decodeMigrationFrame } from '../../lib/wire/extension.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';

/** A frame on its way. */
export interface Sent {
  readonly to: bigint;
  readonly frame: Uint8Array;
}

/** The same mesh, except that confirmations of activations go to `take` instead of their receiver. */
export function withoutConfirmations(mesh: Mesh, take: (sent: Sent) => void): Mesh {
  const send: Mesh['send'] = (to, subprotocol, frame) => {
    const kind = subprotocol === SUBPROTOCOL_MIGRATION && decodeMigrationFrame(typescriptCodec, frame).message.kind;
    if (kind === 'ActivationConfirmed') take({ to, frame: frame.slice() });
    else mesh.send(to, subprotocol, frame);
  };
  return new Proxy(mesh, {
    get(target, name) {
      if (name === 'send') return send;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
