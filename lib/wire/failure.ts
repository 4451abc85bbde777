/**
 * Why a migration failed, as MigrationFailed carries it (PROTOCOL.md §3). `code` is the u16 on the wire. Only NotReady
 * may be retried.
 */
export type MigrationFailureReason =
  | { readonly kind: 'NotReady'; readonly code: 0; readonly retriable: true }
  | { readonly kind: 'FactoryNotFound'; readonly code: 1; readonly retriable: false }
  | { readonly kind: 'ComputeNotSupported'; readonly code: 2; readonly retriable: false }
  /** `message`: at most 65,535 bytes of UTF-8. */
  | { readonly kind: 'StateFailed'; readonly code: 3; readonly retriable: false; readonly message: string }
  | { readonly kind: 'AlreadyMigrating'; readonly code: 4; readonly retriable: false }
  /** `message`: at most 65,535 bytes of UTF-8. */
  | { readonly kind: 'IdentityTransportFailed'; readonly code: 5; readonly retriable: false; readonly message: string }
  /** `attempts`: u8. */
  | { readonly kind: 'NotReadyTimeout'; readonly code: 6; readonly retriable: false; readonly attempts: number };

const NOT_READY = { kind: 'NotReady', code: 0, retriable: true } as const;
const FACTORY_NOT_FOUND = { kind: 'FactoryNotFound', code: 1, retriable: false } as const;
const COMPUTE_NOT_SUPPORTED = { kind: 'ComputeNotSupported', code: 2, retriable: false } as const;
const ALREADY_MIGRATING = { kind: 'AlreadyMigrating', code: 4, retriable: false } as const;

/** Makes each reason, so that `code` and `retriable` cannot be written wrong. */
export const MigrationFailureReason = {
  notReady: (): MigrationFailureReason => NOT_READY,
  factoryNotFound: (): MigrationFailureReason => FACTORY_NOT_FOUND,
  computeNotSupported: (): MigrationFailureReason => COMPUTE_NOT_SUPPORTED,
  stateFailed: (message: string): MigrationFailureReason => ({
    kind: 'StateFailed',
    code: 3,
    retriable: false,
    message,
  }),
  alreadyMigrating: (): MigrationFailureReason => ALREADY_MIGRATING,
  identityTransportFailed: (message: string): MigrationFailureReason => ({
    kind: 'IdentityTransportFailed',
    code: 5,
    retriable: false,
    message,
  }),
  notReadyTimeout: (attempts: number): MigrationFailureReason => ({
    kind: 'NotReadyTimeout',
    code: 6,
    retriable: false,
    attempts,
  }),

  /** Bytes after the code on the wire. */
  payloadLength(reason: MigrationFailureReason): number {
    switch (reason.kind) {
      case 'StateFailed':
      case 'IdentityTransportFailed':
        return 2 + Buffer.byteLength(reason.message, 'utf8');
      case 'NotReadyTimeout':
        return 1;
      default:
        return 0;
    }
  },

  /** One line for people. */
  describe(reason: MigrationFailureReason): string {
    switch (reason.kind) {
      case 'StateFailed':
        return `state failed: ${reason.message}`;
      case 'IdentityTransportFailed':
        return `identity transport failed: ${reason.message}`;
      case 'NotReadyTimeout':
        return `the target was not ready in ${reason.attempts} attempts`;
      case 'NotReady':
        return 'the target is not ready';
      case 'FactoryNotFound':
        return 'the target has no factory for this daemon';
      case 'ComputeNotSupported':
        return 'the target is not a compute node';
      case 'AlreadyMigrating':
        return 'the daemon is already migrating';
    }
  },
};
