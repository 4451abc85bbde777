export type {
  DaemonFactory,
  DaemonHealth,
  DaemonOutputs,
  MeshDaemon,
  StateChunks,
  StreamedState,
} from './daemon/daemon.js';
export { DaemonFactoryRegistry, type ExpectedDaemonOptions } from './daemon/factories.js';
export { type Acceptance, DaemonHost, type DaemonHostOptions } from './daemon/host.js';
export { DaemonRegistry } from './daemon/registry.js';
export { MigrationError, type MigrationErrorDetails, type MigrationErrorKind } from './errors.js';
export {
  configureSecureMemory,
  createMigrationIdentityContext,
  EntityId,
  EntityKeypair,
  EnvelopeError,
  type EnvelopeSealFn,
  type EnvelopeUnsealFn,
  IdentityEnvelope,
  IdentityError,
  type MigrationIdentityContext,
  type MigrationIdentityContextOptions,
  type MissingPrerequisite,
  NodeKeys,
  type SealableSnapshot,
  type SecretInputOptions,
  type SecureMemoryOptions,
  type SecureMemoryStatus,
  StaticKeypair,
  secureMemoryStatus,
  type TransportPrerequisiteInput,
  type TransportPrerequisiteKind,
  transportPrerequisites,
} from './identity/index.js';
export type { ChannelLimits } from './mesh/channel-history.js';
export { InProcessMesh } from './mesh/in-process.js';
export type { ChannelListener, ChannelSubscription, Mesh, PeerInfo, SubscribeOptions } from './mesh/mesh.js';
export type { OwnershipEntry, OwnershipRegister } from './mesh/register.js';
export { WorkerMesh, type WorkerNode } from './mesh/worker-mesh.js';
export { joinWorkerMesh } from './mesh/worker-node.js';
export { type CandidateRank, MIGRATION_TAG, type MigrationCandidate } from './migration/auto-target.js';
export type {
  AuthorizationRequest,
  MigrationMode,
  MigrationPhase,
  MigrationProgress,
  MigrationReport,
  MigrationRole,
  MigrationStatus,
} from './migration/core.js';
export {
  type MigrationHandlerOptions,
  MigrationSubprotocolHandler,
  type MigrationTransport,
  type OutboundMigrationMessage,
  type StartMigration,
} from './migration/handler.js';
export type {
  AuthorizeFn,
  FailureCallback,
  MigrationHandlerHooks,
  PostRestoreCallback,
  PreCleanupCallback,
  ReadinessCallback,
} from './migration/hooks.js';
export type { MigrationObstacle, ObstacleKind } from './migration/obstacles.js';
export { MigrationOrchestrator } from './migration/orchestrator.js';
export type {
  MigrationOrchestratorPolicy,
  OrchestratorPolicyOptions,
  ParticipantPolicy,
  ParticipantPolicyOptions,
  PhasePolicy,
} from './migration/policy.js';
export { MigrationSourceHandler } from './migration/source.js';
export { MigrationTargetHandler } from './migration/target.js';
export type { CanMigrateOptions } from './runtime/can-migrate.js';
export { type Environment, systemEnvironment } from './runtime/environment.js';
export { type CancelOutcome, MigrationHandle } from './runtime/handle.js';
export type { HandleProgress, MigrationState } from './runtime/progress.js';
export { EventPublisher } from './runtime/publisher.js';
export type { RebindPolicy, RebindPolicyOptions } from './runtime/rebind-policy.js';
export type { RebindReport, SubscriptionRebind } from './runtime/rebind-report.js';
export { DaemonRuntime } from './runtime/runtime.js';
export type {
  DaemonRuntimeOptions,
  ExpectMigrationOptions,
  RuntimePolicy,
  StartMigrationOptions,
  SubscribeChannelOptions,
} from './runtime/runtime-options.js';
export type { ShutdownOptions } from './runtime/shutdown.js';
export type { Recovery } from './runtime/take-up.js';
export { SpoolFolder } from './spool/folder.js';
export type { SpoolFile, SpoolStorage } from './spool/storage.js';
export type { MigrationCodec } from './wire/codec.js';
export { createCodec } from './wire/engine.js';
export { MigrationFailureReason } from './wire/failure.js';
export type { FrameProducer } from './wire/frame-producer.js';
export type { SubscriptionBinding } from './wire/ledger.js';
export type { CausalEvent, CausalLink } from './wire/link.js';
export { type MigrationMessage, SUBPROTOCOL_MIGRATION } from './wire/message.js';
