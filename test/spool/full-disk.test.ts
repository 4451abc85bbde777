import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { createCodec, DaemonRuntime, EntityKeypair, InProcessMesh, NodeKeys } from '../../lib/index.js';
import { refusal, suite } from '../support.js';
import { Blob, filesIn, Life } from './restarting-node.js';

const test = suite('spool: a disk that is full');

const [SOURCE, TARGET] = [1n, 2n];
const CHUNK = 7_000;

/** CAP_SYS_ADMIN, in the capabilities as Linux tells them. */
const MAY_MOUNT = 1n << 21n;

function mayMount(): boolean {
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return (BigInt(`0x${capabilities}`) & MAY_MOUNT) !== 0n;
}

/** A small disk of memory, where this process may mount one. */
async function onSmallDisk(run: (folder: string, resize: (size: string) => void) => Promise<void>): Promise<void> {
  if (!mayMount()) {
    console.log('NOT RUN: a disk that fills up; it takes the right to mount a tmpfs (CAP_SYS_ADMIN)');
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'full-disk-'));
  const mounted = (options: string) => execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  try {
    mounted('size=2m,mode=0700');
    try {
      await run(folder, (size) => mounted(`remount,size=${size}`));
    } finally {
      // Lazily: a mapping goes when its memory is collected.
      execFileSync('umount', ['-l', folder]);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('refuses the chunk that finds no room, and goes on when there is', () =>
  onSmallDisk(async (folder, resize) => {
    const codec = createCodec({ engine: 'native' });
    const bytes = Uint8Array.from({ length: 600 * CHUNK }, (_, i) => i * 7);
    const chunk = (index: number) => bytes.subarray(index * CHUNK, (index + 1) * CHUNK);
    const reassembler = codec.createReassembler({ digest: true });
    reassembler.feed(1n, 1n, 0, 600, chunk(0));
    const file = codec.snapshotFiles!.create(join(folder, 'chunks'), 600);
    assert.is(reassembler.keep!(1n, file), undefined);
    let index = 1;
    const error = await refusal('spool-full', () => {
      for (; index < 600; index++) reassembler.feed(1n, 1n, index, 600, chunk(index));
    });
    assert.match(error.message, /no disk space for \d+ more bytes/);
    assert.ok(index > 200 && index < 310, `${index} chunks landed on 2 MiB`);
    assert.is(reassembler.progress(1n)!.receivedChunks, index);
    resize('8m');
    let whole: ReturnType<typeof reassembler.feed>;
    for (; index < 600; index++) whole = reassembler.feed(1n, 1n, index, 600, chunk(index));
    assert.ok(Buffer.compare(whole!.bytes, bytes) === 0);
    assert.equal(whole!.digest, codec.blake3(bytes));
    whole!.dispose();
    reassembler.dispose();
  }));

test('fails the migration with its reason, and the daemon goes on where it was', () =>
  onSmallDisk(async (folder, resize) => {
    const mesh = new InProcessMesh();
    const source = new DaemonRuntime({ mesh: mesh.join(SOURCE), onError: () => {} });
    source.registerFactory('blob', () => new Blob(600 * CHUNK));
    await source.start();
    const nodeKeys = NodeKeys.generate();
    const life = new Life(mesh.join(TARGET), nodeKeys, folder, { orchestrators: [SOURCE] });
    await life.started;
    assert.equal(life.errors, []);
    const origin = await source.spawn('blob', EntityKeypair.generate());
    const error = await refusal('spool-full', () => source.startMigration(origin, SOURCE, TARGET).wait());
    assert.match(error.message, /no disk space for \d+ more bytes/);
    assert.is(source.has(origin), true);
    for (let tries = 0; (await filesIn(folder)).length > 0 && tries < 300; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(await filesIn(folder), [], 'room is made');
    resize('16m');
    await source.startMigration(origin, SOURCE, TARGET).wait();
    assert.is(life.runtime.has(origin), true);
    await source.shutdown();
    await life.runtime.shutdown();
    nodeKeys.dispose();
  }));

test('is also a limit of how large files may be', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'small-files-'));
  try {
    const script = fileURLToPath(new URL('./small-files.js', import.meta.url));
    // In blocks of 512 bytes.
    const limited = `ulimit -f 2048; exec "${process.execPath}" "${script}" "${join(folder, 'spool')}"`;
    const { outcome, stays } = JSON.parse(execFileSync('sh', ['-c', limited], { encoding: 'utf8', timeout: 60_000 }));
    assert.match(outcome, /no disk space/);
    assert.is(stays, true);
  } finally {
    await rm(folder, { recursive: true });
  }
});
