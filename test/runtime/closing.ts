import { Recorder } from '../support.js';

/** Notes how often it is told of its end, and whatever is asked of it at the wrong time. */
export class Closing extends Recorder {
  told = 0;
  readonly wrong: string[] = [];
  /** What it waits for, or throws, when it is told. */
  onEnd: () => void | Promise<void> = () => {};
  #running = 0;

  constructor() {
    super();
    this.process = this.#watched('process', this.process);
    this.snapshot = this.#watched('snapshot', this.snapshot);
    this.restore = this.#watched('restore', this.restore);
    this.onControl = this.#watched('onControl', this.onControl);
  }

  onControl(message: unknown): unknown {
    return typeof message === 'function' ? message() : message;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#running > 0) this.wrong.push('told while a call ran');
    this.told++;
    await this.onEnd();
  }

  [Symbol.dispose](): void {
    this.wrong.push('both were called');
  }

  #watched<A extends unknown[], R>(name: string, call: (...args: A) => R): (...args: A) => R {
    return (...args) => {
      if (this.told > 0) this.wrong.push(`${name} behind its end`);
      this.#running++;
      const over = () => {
        this.#running--;
      };
      let result: R;
      try {
        result = call.apply(this, args);
      } catch (error) {
        over();
        throw error;
      }
      if (result instanceof Promise) result.then(over, over);
      else over();
      return result;
    };
  }
}
