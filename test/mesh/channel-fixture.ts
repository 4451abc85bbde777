// A node in a thread, for tests: reads and writes channels as it is told over the thread's own port.
import { parentPort } from 'node:worker_threads';
import { joinWorkerMesh, type MigrationError } from '../../lib/index.js';
import { events } from '../support.js';

/** What the thread is asked. `goOn` lets the slow reader take its delivery. */
export type ChannelCommand =
  | { readonly op: 'read'; readonly after?: Uint8Array; readonly isSlow?: boolean }
  | { readonly op: 'goOn' }
  | { readonly op: 'publish'; readonly first: number; readonly count: number; readonly size: number }
  | { readonly op: 'heard' }
  | { readonly op: 'unsubscribe' };

/** What it has heard. */
export interface ChannelHeard {
  readonly sequences: bigint[];
  readonly calls: number;
  readonly position: Uint8Array | undefined;
  readonly expired: string | undefined;
}

const mesh = joinWorkerMesh();
let heard: ChannelHeard = { sequences: [], calls: 0, position: undefined, expired: undefined };
let goOn = () => {};
let unsubscribe = () => {};

async function read({ after, isSlow }: ChannelCommand & { op: 'read' }) {
  heard = { sequences: [], calls: 0, position: undefined, expired: undefined };
  const onExpired = ({ kind, details }: MigrationError) => {
    heard = { ...heard, expired: `${kind} ${details.oldest} ${details.newest}` };
  };
  try {
    const subscription = await mesh.subscribe(
      'out',
      after ? { after, onExpired } : { onExpired },
      (_, batch, position) => {
        heard = { ...heard, calls: heard.calls + 1, position };
        for (const { link } of batch) heard.sequences.push(link.sequence);
        return isSlow
          ? new Promise((resolve) => {
              goOn = resolve;
            })
          : undefined;
      },
    );
    unsubscribe = () => subscription.unsubscribe();
    return { position: subscription.position };
  } catch (error) {
    const { kind, details } = error as MigrationError;
    return { kind, oldest: details.oldest, newest: details.newest };
  }
}

/** @returns whether `publish` asked to wait */
async function publish({ first, count, size }: ChannelCommand & { op: 'publish' }) {
  const large = new Uint8Array(1024 * 1024);
  const batch = events(9n, first, count).map((event) => ({ ...event, payload: large.subarray(0, size) }));
  const room = mesh.publish('out', 1n, batch);
  await room;
  return room !== undefined;
}

parentPort!.on('message', async (command: ChannelCommand) => {
  const { op } = command;
  if (op === 'goOn') goOn();
  else if (op === 'unsubscribe') unsubscribe();
  const answer = op === 'read' ? await read(command) : op === 'publish' ? await publish(command) : heard;
  parentPort!.postMessage(answer);
});
