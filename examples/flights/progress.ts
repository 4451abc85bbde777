import { Presets, SingleBar } from 'cli-progress';
import type { MigrationProgress } from '../../lib/index.js';

const MIB = 1024 * 1024;
const PLAIN_EVERY_MS = 250;

/** Shows how a migration goes: a bar on a terminal, plain lines elsewhere. */
export interface ProgressView {
  show(progress: MigrationProgress): void;
  end(): void;
}

export function progressView(stream: NodeJS.WriteStream): ProgressView {
  return stream.isTTY ? new BarView(stream) : new LineView(stream);
}

/** Bytes per second since the first byte moved. */
class Rate {
  #since: number | undefined;

  mibPerSecond(bytesDone: number): number {
    this.#since ??= performance.now();
    const seconds = (performance.now() - this.#since) / 1000;
    return seconds > 0 ? bytesDone / MIB / seconds : 0;
  }
}

class BarView implements ProgressView {
  readonly #bar: SingleBar;
  readonly #rate = new Rate();
  #started = false;

  constructor(stream: NodeJS.WriteStream) {
    const format = '  {phase} |{bar}| {done} of {all} MiB  {rate} MiB/s  {waiting} events waiting';
    this.#bar = new SingleBar({ format, stream, hideCursor: true, fps: 20 }, Presets.shades_classic);
  }

  show(progress: MigrationProgress): void {
    const fields = payload(progress, this.#rate);
    if (this.#started) {
      this.#bar.setTotal(progress.bytesTotal || 1);
      this.#bar.update(progress.bytesDone, fields);
    } else {
      this.#bar.start(progress.bytesTotal || 1, progress.bytesDone, fields);
      this.#started = true;
    }
  }

  end(): void {
    if (this.#started) this.#bar.stop();
  }
}

class LineView implements ProgressView {
  readonly #stream: NodeJS.WriteStream;
  readonly #rate = new Rate();
  #phase = '';
  #shownAt = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  show(progress: MigrationProgress): void {
    if (progress.phase === this.#phase && performance.now() - this.#shownAt < PLAIN_EVERY_MS) return;
    this.#phase = progress.phase;
    this.#shownAt = performance.now();
    const { phase, done, all, rate, waiting } = payload(progress, this.#rate);
    this.#stream.write(`  ${phase} ${done} of ${all} MiB, ${rate} MiB/s, ${waiting} events waiting\n`);
  }

  end(): void {}
}

function payload(progress: MigrationProgress, rate: Rate) {
  return {
    phase: progress.phase.padEnd(8),
    done: (progress.bytesDone / MIB).toFixed(1),
    all: (progress.bytesTotal / MIB).toFixed(1),
    rate: rate.mibPerSecond(progress.bytesDone).toFixed(0),
    waiting: progress.eventsWaiting.toLocaleString('en'),
  };
}
