export { ENTITY_ID_BYTES, EntityId, SIGNATURE_BYTES } from './entity-id.js';
export { EntityKeypair } from './entity-keypair.js';
export { EnvelopeError, IdentityError } from './errors.js';
export {
  createMigrationIdentityContext,
  type EnvelopeSealFn,
  type EnvelopeUnsealFn,
  type MigrationIdentityContext,
  type MigrationIdentityContextOptions,
  type SealableSnapshot,
} from './identity-context.js';
export { ENVELOPE_VERSION, IdentityEnvelope } from './identity-envelope.js';
export { NodeKeys } from './node-keys.js';
export type { SecretInputOptions } from './secret-input.js';
export {
  configureSecureMemory,
  DEFAULT_MAX_SECRETS,
  MAX_SECRETS_CEILING,
  type SecureMemoryOptions,
  type SecureMemoryStatus,
  secureMemoryStatus,
} from './secure-memory.js';
export { STATIC_KEY_BYTES, StaticKeypair } from './static-keypair.js';
export {
  type MissingPrerequisite,
  type TransportPrerequisiteInput,
  type TransportPrerequisiteKind,
  transportPrerequisites,
} from './transport-prerequisites.js';
