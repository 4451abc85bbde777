/** What a run did: always a digest of it, and its lines where somebody is to read them. */
export class Trace {
  readonly lines: string[] | undefined;
  /** The time of what happens now; set by who owns time. */
  now: () => number = () => 0;
  #a = 0x811c9dc5;
  #b = 0x01000193;

  constructor(keepsLines = false) {
    this.lines = keepsLines ? [] : undefined;
  }

  /** Adds to the digest. */
  digest(a: number, b: number): void {
    this.#a = Math.imul(this.#a ^ a, 0x01000193) >>> 0;
    this.#b = Math.imul(this.#b ^ Math.round(b * 1_000) ^ (this.#a >>> 7), 0x85ebca6b) >>> 0;
  }

  /** Bytes of a frame: their number, and the first ones, in which nothing is drawn by chance that is not the simulation's. */
  digestFrame(from: number, to: number, frame: Uint8Array): void {
    this.digest(from * 64 + to, frame.length);
    for (let at = 0; at < frame.length && at < 17; at++) this.digest(frame[at]!, at);
  }

  note(line: () => string): void {
    this.lines?.push(`${this.now().toFixed(3).padStart(10)}  ${line()}`);
  }

  get hash(): string {
    return this.#a.toString(16).padStart(8, '0') + this.#b.toString(16).padStart(8, '0');
  }
}
