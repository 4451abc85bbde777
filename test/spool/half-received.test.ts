import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { DaemonRuntime, type DaemonRuntimeOptions, EntityKeypair, InProcessMesh, NodeKeys } from '../../lib/index.js';
import type { MigrationHandle } from '../../lib/runtime/handle.js';
import { eventually, refusal, suite } from '../support.js';
import { Blob, fileIn, filesIn, Life } from './restarting-node.js';

const test = suite('spool: half-received snapshots');

const [SOURCE, TARGET] = [1n, 2n];
const CHUNK = 7_000;
const STATE_BYTES = 300 * CHUNK;

class World {
  readonly #mesh = new InProcessMesh();
  readonly #seat = this.#mesh.join(TARGET);
  readonly #keys = NodeKeys.generate();
  readonly source: DaemonRuntime;
  readonly state: Blob = new Blob(STATE_BYTES);
  origin = 0n;
  life: Life;

  constructor(
    readonly folder: string,
    private readonly targetOptions: Partial<DaemonRuntimeOptions>,
  ) {
    this.source = new DaemonRuntime({
      mesh: this.#mesh.join(SOURCE),
      policy: { source: { repeatMs: 150, patienceMs: 20_000 } },
      onError: () => {},
    });
    this.source.registerFactory('blob', () => this.state);
    this.source.start();
    this.life = this.live();
  }

  /** The target's next life. */
  live(options: Partial<DaemonRuntimeOptions> = {}, startMs = 0): Life {
    const policy = { target: { repeatMs: 300, patienceMs: 20_000 } };
    const all = { orchestrators: [SOURCE], policy, ...this.targetOptions, ...options };
    this.life = new Life(this.#seat, this.#keys, this.folder, all, startMs);
    return this.life;
  }

  async end(): Promise<void> {
    await this.source.shutdown().catch(() => {});
    await this.life.runtime.shutdown().catch(() => {});
    this.#keys.dispose();
  }

  /** A migration of which chunks below `synced` are synced and those up to `landed` have landed, then the target is gone. */
  async halfWay(synced: number, landed: number): Promise<MigrationHandle> {
    const { life } = this;
    life.takes = (index) => index < synced;
    const handle = this.source.startMigration(this.origin, SOURCE, TARGET);
    handle.wait().catch(() => {});
    await eventually('the first part has landed', () => life.chunks.length >= synced);
    await this.recordNames(synced);
    life.syncs = false;
    life.takes = (index) => index >= synced && index < landed;
    await eventually('the second part has landed', () => new Set(life.chunks).size >= landed);
    await life.crash();
    return handle;
  }

  /** Waits until the record names so many chunks. */
  async recordNames(count: number): Promise<void> {
    for (let tries = 0; (await this.#named()) !== count; tries++) {
      if (tries === 500) throw new Error(`the record names ${await this.#named()} chunks, not ${count}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async #named(): Promise<number | undefined> {
    const record = await fileIn(this.folder, '.record').catch(() => undefined);
    // The bits stand before the last digest.
    const bits = record?.bytes.subarray(-32 - 8 * Math.ceil(this.totalChunks / 64), -32) ?? [];
    return [...bits].reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
  }

  get totalChunks(): number {
    // The snapshot has a head and a tail of some hundred bytes.
    return STATE_BYTES / CHUNK + 1;
  }

  /** The daemon lives on the target with its state, and nothing of it is left in the folder. */
  async arrived(handle: MigrationHandle): Promise<void> {
    await handle.wait({ timeout: 20_000 });
    assert.is(this.source.has(this.origin), false);
    assert.is(this.life.runtime.has(this.origin), true);
    assert.ok(Buffer.compare(this.life.daemons.at(-1)!.bytes, this.state.bytes) === 0, 'the state arrived as it left');
    await this.isEmpty();
  }

  async isEmpty(): Promise<void> {
    for (let tries = 0; (await filesIn(this.folder)).length > 0 && tries < 500; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(await filesIn(this.folder), []);
  }

  /** How often each chunk has come in this life. */
  get came(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const index of this.life.chunks) counts.set(index, (counts.get(index) ?? 0) + 1);
    return counts;
  }
}

async function inWorld(
  run: (world: World) => Promise<void>,
  targetOptions: Partial<DaemonRuntimeOptions> = {},
): Promise<void> {
  const parent = await mkdtemp(join(tmpdir(), 'half-received-'));
  const world = new World(join(parent, 'spool'), targetOptions);
  try {
    await world.life.started;
    world.origin = await world.source.spawn('blob', EntityKeypair.generate());
    await run(world);
  } finally {
    await world.end();
    await rm(parent, { recursive: true });
  }
}

/** Chunks `first .. end` each came once, but for the last of all, which is sent again for its trailer. */
function cameOnce(world: World, first: number, end: number): void {
  const { came } = world;
  const last = world.totalChunks - 1;
  came.delete(last);
  const expected = Array.from({ length: end - first }, (_, i) => first + i).filter((index) => index !== last);
  assert.equal(
    [...came.keys()].sort((a, b) => a - b),
    expected,
    'which chunks were sent again',
  );
  assert.ok(
    [...came.values()].every((count) => count === 1),
    'each once',
  );
}

test('a snapshot is received in a file, of which its daemon gets a view', () =>
  inWorld(async (world) => {
    world.life.takes = (index) => index < 200;
    const handle = world.source.startMigration(world.origin, SOURCE, TARGET);
    await world.recordNames(200);
    const { path, bytes } = await fileIn(world.folder, '.chunks');
    assert.is((await stat(path)).mode & 0o777, 0o600);
    assert.match(path, /arrival-[0-9a-f]{16}-[0-9a-f]{16}-[0-9a-f]{16}\.chunks$/);
    // Behind the snapshot's head.
    const at = bytes.indexOf(world.state.bytes.subarray(0, 1_000));
    assert.ok(at > 0 && bytes.subarray(at, at + 199 * CHUNK).equals(world.state.bytes.subarray(0, 199 * CHUNK)));
    world.life.takes = () => true;
    await world.arrived(handle);
  }));

test('a target that restarts is sent what had not been synced, and nothing else', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(150, 220);
    world.live();
    await world.arrived(handle);
    cameOnce(world, 150, world.totalChunks);
    assert.equal(world.life.errors, []);
  }));

test('a source that sends on while it starts is not refused', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(150, 220);
    const life = world.live({}, 400);
    await eventually('the source has asked', () => life.chunks.length > 0);
    assert.is(life.runtime.isReady, false);
    await world.arrived(handle);
    cameOnce(world, 150, world.totalChunks);
  }));

test('it does so as often as it restarts', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(100, 120);
    const second = world.live();
    // The last chunk, sent again, is what the source asks by.
    second.takes = (index) => index < 200 || index === world.totalChunks - 1;
    await world.recordNames(200);
    await second.crash();
    cameOnce(world, 100, 200);
    world.live();
    await world.arrived(handle);
    cameOnce(world, 200, world.totalChunks);
  }));

test('what the disk lost is asked for again, all of it, once', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(200, 200);
    const file = await open((await fileIn(world.folder, '.chunks')).path, 'r+');
    await file.write(new Uint8Array(CHUNK), 0, CHUNK, 50 * CHUNK);
    await file.close();
    const life = world.live();
    await world.arrived(handle);
    assert.equal(
      life.errors.map(({ kind }) => kind),
      ['spool-damaged'],
    );
    const { came } = world;
    assert.is(came.get(0), 1);
    assert.is(came.get(50), 1);
    assert.is(came.get(250), 2);
  }));

test('a damaged record is set aside, and named', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(200, 200);
    const { path, bytes } = await fileIn(world.folder, '.record');
    const file = await open(path, 'r+');
    await file.write(Uint8Array.of(bytes[100]! ^ 1), 0, 1, 100);
    await file.close();
    const life = world.live();
    await handle.wait({ timeout: 20_000 });
    cameOnce(world, 0, world.totalChunks);
    assert.is(life.errors.length, 1);
    const [error] = life.errors;
    assert.is(error!.kind, 'spool-damaged');
    await eventually('what was received is gone', () => life.runtime.has(world.origin));
    for (let tries = 0; (await filesIn(world.folder)).length > 1 && tries < 500; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(await filesIn(world.folder), [error!.details.setAsideAs]);
  }));

test('another try begins with nothing', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(200, 200);
    await handle.cancel();
    const before = (await fileIn(world.folder, '.chunks')).path;
    const life = world.live();
    await life.started;
    life.takes = (index) => index < 250;
    const next = world.source.startMigration(world.origin, SOURCE, TARGET);
    await world.recordNames(250);
    assert.is.not((await fileIn(world.folder, '.chunks')).path, before);
    life.takes = () => true;
    await world.arrived(next);
    cameOnce(world, 0, world.totalChunks);
  }));

test('nothing is taken up for whom authorize does not allow', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(200, 200);
    const before = await filesIn(world.folder);
    const asked: bigint[] = [];
    const life = world.live({
      authorize: ({ orchestrator }) => {
        asked.push(orchestrator);
        return false;
      },
    });
    await handle.wait({ timeout: 20_000 }).then(
      () => assert.unreachable('it was not allowed'),
      () => {},
    );
    assert.ok(asked.length > 0);
    assert.equal(await filesIn(world.folder), before);
    assert.is(world.source.has(world.origin), true);
    assert.is(life.runtime.has(world.origin), false);
  }));

test('what nobody comes back for is removed', () =>
  inWorld(async (world) => {
    const handle = await world.halfWay(200, 200);
    await handle.cancel();
    assert.is((await filesIn(world.folder)).length, 2);
    world.live({ policy: { target: { patienceMs: 50 } } });
    await world.isEmpty();
  }));

test('a failed migration leaves nothing behind', () =>
  inWorld(async (world) => {
    world.life.takes = (index) => index < 200;
    const handle = world.source.startMigration(world.origin, SOURCE, TARGET);
    await world.recordNames(200);
    await handle.cancel();
    await world.isEmpty();
  }));

test('a shutdown ends what is half here, and leaves nothing of it behind', () =>
  inWorld(async (world) => {
    const { life } = world;
    life.takes = (index) => index < 170;
    const handle = world.source.startMigration(world.origin, SOURCE, TARGET, { retryNotReady: false });
    handle.wait().catch(() => {});
    await eventually('they have landed', () => new Set(life.chunks).size === 170);
    await world.recordNames(170);
    await life.runtime.shutdown();
    assert.equal(await filesIn(world.folder), []);
    await refusal('target-unavailable', () => handle.wait({ timeout: 5_000 }));
    assert.is(world.source.has(world.origin), true);
  }));
