import type { ExpectedDaemonOptions } from '../daemon/factories.js';
import { NodeKeys } from '../identity/node-keys.js';
import { millisecondsFromZero, numberFromOne, wholeFromOne } from '../limits.js';
import type { Mesh } from '../mesh/mesh.js';
import type {
  OrchestratorPolicyOptions,
  ParticipantPolicyOptions,
  PhasePolicy,
  WaitingPhase,
} from '../migration/policy.js';
import { type Check, type Checks, checkBoolean, checkFunction, checkMethods, checkOptions } from '../options.js';
import type { SpoolStorage } from '../spool/storage.js';
import { MAX_POSITION_BYTES } from '../state/channel-positions.js';
import { checkArray, checkBytes, checkInteger, checkU32, checkU64, isObject, wrongType } from '../wire/arguments.js';
import type { EventLogOptions } from '../wire/event-log.js';
import { MAX_SNAPSHOT_BYTES } from '../wire/reassembler.js';
import type { CanMigrateOptions } from './can-migrate.js';
import type { Environment } from './environment.js';
import { checkRate } from './pacer.js';
import type { RebindPolicy } from './rebind-policy.js';
import { retryBudget } from './retry.js';
import type {
  DaemonRuntimeOptions,
  ExpectMigrationOptions,
  RuntimePolicy,
  StartMigrationOptions,
  SubscribeChannelOptions,
} from './runtime-options.js';

/** What the options of a runtime and of its calls take: looked at before anything has changed. */

const within =
  <T extends object>(checks: Checks<T>): Check =>
  (value: T, name: string) =>
    checkOptions(value, name, checks);
const integer =
  (min: number, max: number): Check =>
  (value: number, name: string) =>
    checkInteger(value, name, min, max);

const PHASE = within<PhasePolicy>({ deadlineMs: numberFromOne, tries: wholeFromOne });
const PARTICIPANT: Checks<ParticipantPolicyOptions> = {
  patienceMs: numberFromOne,
  repeatMs: numberFromOne,
  maxMigrations: wholeFromOne,
  maxPerPeer: wholeFromOne,
};
const POLICY: Checks<RuntimePolicy> = {
  orchestrator: within<OrchestratorPolicyOptions>({
    phases: within<Record<WaitingPhase, PhasePolicy>>({
      Snapshot: PHASE,
      Transfer: PHASE,
      Restore: PHASE,
      Replay: PHASE,
      Cutover: PHASE,
      Rollback: PHASE,
    }),
    maxMigrations: wholeFromOne,
    maxPerPeer: wholeFromOne,
  }),
  source: within(PARTICIPANT),
  target: within<NonNullable<RuntimePolicy['target']>>({
    ...PARTICIPANT,
    maxSnapshotBytes: integer(1, MAX_SNAPSHOT_BYTES),
    maxPendingBytes: integer(0, Number.MAX_SAFE_INTEGER),
  }),
};
const ENVIRONMENT: ReadonlyArray<keyof Environment> = ['nowMs', 'wallNs', 'randomBytes', 'every', 'after', 'turn'];
const MESH: ReadonlyArray<keyof Mesh> = [
  'peer',
  'announce',
  'send',
  'stream',
  'ready',
  'listen',
  'publish',
  'subscribe',
  'forget',
  'onPeerGone',
  'close',
];
const STORAGE: ReadonlyArray<keyof SpoolStorage> = [
  'take',
  'letGo',
  'names',
  'create',
  'open',
  'replace',
  'rename',
  'remove',
];
const RUNTIME: Checks<DaemonRuntimeOptions> = {
  mesh: checkMesh,
  // As createCodec says it.
  engine: () => {},
  orchestrators: (value: readonly bigint[], name: string) => {
    checkArray(value, name);
    for (const node of value) checkU64(node, `each of ${name}`);
  },
  authorize: checkFunction,
  onError: checkFunction,
  eventLog: within<EventLogOptions>({ maxEvents: checkU32, maxBytes: integer(0, Number.MAX_SAFE_INTEGER) }),
  maxConcurrentMigrations: wholeFromOne,
  environment: (value: unknown, name: string) =>
    checkMethods(value, name, 'an object with the functions of an Environment', ENVIRONMENT),
  nodeKeys: (value: unknown, name: string) => {
    if (!(value instanceof NodeKeys)) throw wrongType(name, 'NodeKeys (NodeKeys.generate() makes them)', value);
  },
  spool: (value: unknown, name: string) => {
    if (typeof value === 'string' && value !== '') return;
    checkMethods(value, name, "a folder's path, or an object with the functions of a SpoolStorage", STORAGE);
  },
  maxBytesPerSecond: checkRate,
  policy: within(POLICY),
  rebind: within<RebindPolicy>({
    deadlineMs: numberFromOne,
    tryMs: numberFromOne,
    waitMs: numberFromOne,
    aheadBytes: numberFromOne,
  }),
};

/** @throws TypeError, RangeError */
export function checkRuntimeOptions(options: DaemonRuntimeOptions): void {
  checkOptions(options, 'options', RUNTIME, '{ mesh }');
  // What is not there was not looked at.
  checkMesh(options.mesh, 'mesh');
}

function checkMesh(mesh: Mesh, name: string): void {
  const wanted = "one node's place in a mesh, as InProcessMesh.join() or joinWorkerMesh() gives it";
  if (isObject(mesh) && 'join' in mesh && !('register' in mesh))
    throw new TypeError(`${name} must be ${wanted}, got the mesh itself; give its join()`);
  checkMethods(mesh, name, wanted, MESH);
  checkU64(mesh.nodeId, `${name}.nodeId`);
  checkMethods(mesh.register, `${name}.register`, 'an OwnershipRegister', ['read', 'compareAndSet']);
}

const EXPECTED: Checks<ExpectMigrationOptions> = { orchestrator: checkU64 };

/** @throws TypeError */
export function checkExpectOptions(options: ExpectMigrationOptions): Pick<ExpectedDaemonOptions, 'orchestrator'> {
  checkOptions(options, 'options', EXPECTED, '{ orchestrator: 7n }');
  return options;
}

const START: Checks<StartMigrationOptions> = {
  transportIdentity: checkBoolean,
  retryNotReady: retryBudget,
  mode: (value: unknown) => {
    if (value !== 'pause' && value !== 'live')
      throw new TypeError(`mode must be 'pause' or 'live', got ${String(value)}`);
  },
  signal: (value: unknown, name: string) => {
    if (!(value instanceof AbortSignal)) throw wrongType(name, 'an AbortSignal', value);
  },
  onProgress: checkFunction,
};

/** @throws TypeError, RangeError */
export function checkStartOptions(options: StartMigrationOptions): void {
  checkOptions(options, 'options', START, "{ mode: 'live' }");
}

const CAN_MIGRATE: Checks<CanMigrateOptions> = {
  source: checkU64,
  transportIdentity: checkBoolean,
  timeout: millisecondsFromZero,
};

/** @throws TypeError, RangeError */
export function checkCanMigrateOptions(options: CanMigrateOptions): void {
  checkOptions(options, 'options', CAN_MIGRATE, '{ source: 1n }');
}

const SUBSCRIBE: Checks<SubscribeChannelOptions> = {
  token: checkBytes,
  after: (value: Uint8Array, name: string) => {
    checkBytes(value, name);
    if (value.length > MAX_POSITION_BYTES)
      throw new TypeError(`${name} must be at most ${MAX_POSITION_BYTES} bytes, got ${value.length}`);
  },
};

/** @throws TypeError */
export function checkSubscribeOptions(options: SubscribeChannelOptions): void {
  checkOptions(options, 'options', SUBSCRIBE, '{ token }');
}

/** Whether the caller answers for what may still live elsewhere must not come of a slip. @throws TypeError */
export function checkForceOptions(options: { readonly force?: boolean }): void {
  checkOptions(options, 'options', { force: checkBoolean }, '{ force: true }');
}
