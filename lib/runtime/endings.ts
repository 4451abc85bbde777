import { MigrationError } from '../errors.js';

interface Ending {
  readonly origin: bigint;
  readonly name: string;
}

/** Daemons that have been told that their copies here are over, and are not done with it. */
export class Endings {
  readonly #underWay = new Map<Promise<void>, Ending>();

  /** @param ended never rejects */
  add(ending: Ending, ended: Promise<void>): void {
    this.#underWay.set(ended, ending);
    void ended.then(() => this.#underWay.delete(ended));
  }

  /** Resolves when none is under way. */
  async whenOver(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay.keys());
  }

  /** What is under way now, as what it is where it is waited for no longer. */
  unfinished(): readonly MigrationError[] {
    return [...this.#underWay.values()].map(({ origin, name }) => {
      const message = `daemon "${name}" (origin ${origin}) was not disposed of in time: a call of it, or its [Symbol.asyncDispose](), has not come back`;
      return new MigrationError('timed-out', message, { details: { origin } });
    });
  }
}
