import { type BenchReport, type Entry, type Goal, isRate, type Measurement } from './definition.js';

/** Three significant digits, thousands apart. */
export function digits(value: number): string {
  if (value === 0) return '0';
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.min(decimals, 3) });
}

/** An entry beside another contender's of the same measurement, in words; undefined where there is no such other one. */
export function comparedWith({ unit, entries }: Measurement, entry: Entry, other: string): string | undefined {
  const base = entries.find(({ contender }) => contender === other);
  if (base === undefined || base === entry || base.median === 0 || entry.median === 0) return undefined;
  if (unit === 'MiB' || unit === 'bytes per frame') return `${digits(entry.median / base.median)} × that of ${other}`;
  const times = isRate(unit) ? entry.median / base.median : base.median / entry.median;
  return `${digits(times)} × as fast as ${other}`;
}

export function spread(entry: Entry): string {
  return `${digits(entry.low)} – ${digits(entry.high)}`;
}

export function verdict(goal: Goal): string {
  return goal.reached ? 'reached' : 'not reached';
}

/** A bench's figures for a terminal. */
export function reportLines(report: BenchReport): string[] {
  const lines: string[] = [];
  for (const measurement of report.measurements) {
    lines.push(`  ${measurement.subject} (${measurement.unit})`);
    for (const entry of measurement.entries) {
      const compared = comparedWith(measurement, entry, 'typescript');
      const than = compared === undefined ? '' : `  ${compared}`;
      lines.push(`    ${entry.contender.padEnd(34)} ${digits(entry.median).padStart(9)}  (${spread(entry)})${than}`);
    }
  }
  for (const goal of report.goals) {
    lines.push(`  ${verdict(goal)}: ${goal.goal}: ${digits(goal.measured)} ${goal.unit} (${goal.how})`);
  }
  for (const note of report.notes) lines.push(`  note: ${note}`);
  for (const engine of report.unavailable) lines.push(`  not run: ${engine}`);
  lines.push(`  ${report.checked} results checked`);
  return lines;
}
