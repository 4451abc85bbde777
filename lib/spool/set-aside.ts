import { MigrationError } from '../errors.js';
import { spoolError } from './spool-error.js';
import type { SpoolStorage } from './storage.js';

const PREFIX = 'damaged-';

/**
 * Keeps a damaged file under a name at which nobody looks any more, for a person.
 *
 * @returns what to report: the damage, and where the file is now
 */
export async function setAside(storage: SpoolStorage, name: string, damage: MigrationError): Promise<MigrationError> {
  const aside = `${PREFIX}${name}`;
  const details = { ...damage.details, file: name, setAsideAs: aside };
  try {
    await storage.rename(name, aside);
  } catch (cause) {
    return spoolError(storage.label, `setting ${name} aside (${damage.message})`, cause);
  }
  const message = `in the spool ${storage.label}, ${damage.message}; it is kept as ${aside} and not used`;
  return new MigrationError('spool-damaged', message, { details, cause: damage });
}
