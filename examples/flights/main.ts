// A daemon with 3,000,000 flights moves from one thread to another while they go on arriving: `npm run demo`.
import { type DemoResult, runDemo } from './demo.js';
import { parseOptions, USAGE, UsageError } from './options.js';
import { progressView } from './progress.js';

const MIB = 1024 * 1024;

function succeeded(result: DemoResult): boolean {
  return (
    result.outcome === 'completed' &&
    result.equal &&
    result.lost === 0 &&
    result.doubled === 0 &&
    result.summaryFault === null
  );
}

function stateOf({ equal, outcome }: DemoResult): string {
  if (equal) return 'equal to the control daemon’s, byte for byte';
  return outcome.startsWith('lost') ? 'GONE: no whole copy is left' : 'DIFFERS from the control daemon’s';
}

function print(result: DemoResult): void {
  const number = (value: number) => value.toLocaleString('en');
  const rows: Array<readonly [string, string]> = [
    ['outcome', result.outcome],
    ['flights published', number(result.records)],
    [
      'flights processed',
      `${number(result.processed)} (${number(result.lost)} lost, ${number(result.doubled)} doubled)`,
    ],
    ['state', stateOf(result)],
    ['summaries', result.summaryFault ?? `${number(result.summaries)}, no gap, no double, one chain`],
    ['snapshot', `${(result.snapshotBytes / MIB).toFixed(1)} MiB`],
    ['migration', `${number(result.transferMs)} ms until live on the target`],
    [
      'longest pause',
      `${number(result.pauseMs)} ms seen by the publisher (${number(result.controlPauseMs)} ms by that of the control daemon)`,
    ],
    ['throughput', `${number(result.throughput)} flights/s, to both daemons`],
    ['engine', result.engine],
  ];
  if (result.killed) {
    const { role, phase } = result.killed;
    rows.push([
      'killed',
      `the ${role} in phase ${phase}; ${number(result.tries)} migrations asked for, ${number(result.resent)} flights sent again`,
    ]);
  }
  const { dropped, doubled, delayed } = result.frames;
  if (dropped + doubled + delayed > 0)
    rows.push(['frames', `${number(dropped)} dropped, ${number(doubled)} doubled, ${number(delayed)} delayed`]);
  for (const [name, value] of rows) console.log(`  ${name.padEnd(18)} ${value}`);
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    console.log(USAGE);
    return 0;
  }
  if (!options.json)
    console.log(
      `Streaming ${options.records.toLocaleString('en')} flights to a daemon that moves ${options.back ? 'there and back' : 'halfway'}, and to one that does not.`,
    );
  const result = await runDemo(options, progressView(process.stderr));
  if (options.json) console.log(JSON.stringify(result));
  else print(result);
  return succeeded(result) ? 0 : 1;
}

// Whoever closes the pipe early has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: Error) => {
    console.error(`demo: ${error.message}${error instanceof UsageError ? ' (npm run demo -- --help)' : ''}`);
    process.exitCode = 1;
  },
);
