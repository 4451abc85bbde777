import { isRate, type Measurement, type QuotedFigure } from './definition.js';
import type { Machine } from './machine.js';
import type { Outcome, Run } from './run.js';
import { comparedWith, digits, spread, verdict } from './text.js';

const REFERENCE_MACHINE =
  'net-mesh 0.34.0 (Rust, release, LTO, one thread, glibc malloc) on a two-core AMD EPYC virtual machine, 24 GB, rustc 1.95: ' +
  'the range of medians of three runs, as published with the protocol. Absolute figures do not carry over to another machine.';

const GENERATED = '<!-- Written by npm run bench:report; do not edit. -->';

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function machineTable(machine: Machine): string {
  return table(
    ['machine', ''],
    [
      ['processor', `${machine.cpu}, ${machine.cores} cores`],
      ['memory', `${machine.memoryGiB} GiB, transparent huge pages: ${machine.hugePages}`],
      ['system', machine.system],
      ['Node', machine.node],
      ['Rust', machine.rustc],
      ['C++ (baseline)', machine.cxx],
    ],
  );
}

function measurementSection(measurement: Measurement): string {
  const rows = measurement.entries.map((entry) => [
    entry.contender,
    digits(entry.median),
    spread(entry),
    String(entry.rounds),
    comparedWith(measurement, entry, 'typescript') ?? '',
  ]);
  const direction = isRate(measurement.unit) ? 'more is better' : 'less is better';
  const head = ['', `median, ${measurement.unit}`, 'quartiles', 'rounds', 'beside typescript'];
  return `### ${measurement.subject}\n\n${direction}\n\n${table(head, rows)}`;
}

function goalsTable(bench: Outcome, isIndex: boolean): string {
  const rows = bench.report!.goals.map((goal) => [
    ...(isIndex ? [`[${bench.name}](${bench.name}.md)`] : []),
    goal.goal,
    `${digits(goal.measured)} ${goal.unit}`,
    goal.reached ? 'reached' : `**${verdict(goal)}**`,
    ...(isIndex ? [] : [goal.how]),
  ]);
  const head = ['must reach', 'measured', ''];
  return isIndex ? rows.map((row) => `| ${row.join(' | ')} |`).join('\n') : table([...head, 'how'], rows);
}

function quotedSection(quoted: readonly QuotedFigure[]): string {
  const rows = quoted.map(({ what, value }) => [what, value]);
  return `## The reference’s own figures, quoted\n\n${REFERENCE_MACHINE}\n\n${table(['what', 'figure'], rows)}`;
}

/** A bench's page: what was measured and how, every figure beside its comparators, the goals, the command. */
export function benchPage(bench: Outcome, run: Run): string {
  const { measurements, goals, notes, checked, unavailable } = bench.report!;
  const command = `npm run bench -- --only ${bench.name}`;
  return `${[
    GENERATED,
    `# ${bench.title}`,
    bench.method,
    `Every figure on this page: \`${command}\`, ${bench.date}${run.quick ? ', quick form: says nothing about speed' : ''}, on`,
    machineTable(run.machine),
    `![${bench.title}](${bench.name}.svg)`,
    ...(goals.length > 0 ? ['## What it must reach', goalsTable(bench, false)] : []),
    '## Figures',
    `Contenders took turns within one run. ${checked} results were compared with what they had to be; one that differs fails the run.`,
    ...measurements.map(measurementSection),
    ...(notes.length > 0 ? ['## Notes', ...notes] : []),
    ...unavailable.map((engine) => `Not run: ${engine}`),
    ...(bench.quoted.length > 0 ? [quotedSection(bench.quoted)] : []),
  ].join('\n\n')}\n`;
}

/** The first page: the machine, how to run it all again, every goal. */
export function indexPage(run: Run, hasFindings: boolean): string {
  const measured = run.benches.filter(({ report }) => report !== undefined && report.measurements.length > 0);
  const withGoals = measured.filter(({ report }) => report!.goals.length > 0);
  return `${[
    GENERATED,
    '# Benchmarks',
    'Three engines do the same work: `native` (Rust, what users get), `typescript` (the fallback), `baseline` (C++ written plainly, ' +
      'never shipped). Beside them stand the physical limit (mostly a memcpy of the same bytes into memory of the same kind), the naive ' +
      'way where there is one, and, quoted with their machine, the reference’s own figures. Each bench runs in a process of its own; contenders take turns ' +
      'within a run, so that noise hits all alike; figures are medians over rounds with their quartiles, measured by tinybench; every result is ' +
      'checked, and a wrong one fails the run.',
    'The pages and this one are written by `npm run bench:report`; `npm run bench` prints the same figures, ' +
      '`npm run bench -- --only frames,ledger --engine native,typescript --json` some of them.',
    ...(hasFindings
      ? ['What bounds the goals that are not reached, and what would lift it: [findings](findings.md).']
      : []),
    machineTable(run.machine),
    '## What must be reached',
    `${table(['bench', 'must reach', 'measured', ''], [])}\n${withGoals.map((bench) => goalsTable(bench, true)).join('\n')}`,
    '## Benches',
    table(
      ['bench', 'what', 'measured on', 'takes'],
      measured.map((bench) => [`[${bench.name}](${bench.name}.md)`, bench.title, bench.date, `${bench.seconds} s`]),
    ),
  ].join('\n\n')}\n`;
}
