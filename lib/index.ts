export type { DaemonFactory, DaemonOutputs, MeshDaemon } from './daemon/daemon.js';
export type { Acceptance } from './daemon/host.js';
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
  type SecureMemoryOptions,
  type SecureMemoryStatus,
  StaticKeypair,
  secureMemoryStatus,
  type TransportPrerequisiteInput,
  type TransportPrerequisiteKind,
  transportPrerequisites,
} from './identity/index.js';
export { InProcessMesh } from './mesh/in-process.js';
export type { ChannelListener, ChannelSubscription, Mesh, PeerInfo } from './mesh/mesh.js';
export type { OwnershipEntry, OwnershipRegister } from './mesh/register.js';
export { WorkerMesh, type WorkerNode } from './mesh/worker-mesh.js';
export { joinWorkerMesh } from './mesh/worker-node.js';
export type { AuthorizationRequest, MigrationPhase, MigrationProgress, MigrationReport } from './migration/core.js';
export { MigrationSubprotocolHandler, type OutboundMigrationMessage } from './migration/handler.js';
export { MigrationOrchestrator } from './migration/orchestrator.js';
export { MigrationSourceHandler } from './migration/source.js';
export { MigrationTargetHandler } from './migration/target.js';
export { type Environment, systemEnvironment } from './runtime/environment.js';
export { MigrationHandle } from './runtime/handle.js';
export { EventPublisher } from './runtime/publisher.js';
export { DaemonRuntime, type DaemonRuntimeOptions, type StartMigrationOptions } from './runtime/runtime.js';
export type { MigrationCodec } from './wire/codec.js';
export { createCodec } from './wire/engine.js';
export { MigrationFailureReason } from './wire/failure.js';
export type { CausalEvent, CausalLink } from './wire/link.js';
export { type MigrationMessage, SUBPROTOCOL_MIGRATION } from './wire/message.js';
