import {
  type EnvelopeErrorKind,
  type IdentityErrorKind,
  MigrationError,
  type MigrationErrorDetails,
} from '../errors.js';

interface ErrorOptions {
  readonly details?: MigrationErrorDetails;
  readonly cause?: unknown;
}

/** An identity envelope that was not sealed, not read or not opened. Never retriable; never holds a secret. */
export class EnvelopeError extends MigrationError {
  override readonly name = 'EnvelopeError';
  declare readonly kind: EnvelopeErrorKind;

  constructor(kind: EnvelopeErrorKind, message: string, options: ErrorOptions = {}) {
    super(kind, message, options);
  }
}

/** A refusal of a key pair, of a key file, or of the memory that holds secrets. Never holds a secret. */
export class IdentityError extends MigrationError {
  override readonly name = 'IdentityError';
  declare readonly kind: IdentityErrorKind;

  constructor(kind: IdentityErrorKind, message: string, options: ErrorOptions = {}) {
    super(kind, message, options);
  }
}
