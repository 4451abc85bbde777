import { type BenchReport, type Entry, type Goal, isRate, type Measurement } from './definition.js';

/** Three significant digits, thousands apart. */
export function digits(value: number): string {
  if (value === 0) return '0';
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.min(decimals, 3) });
}

/** How much better the best of the others of the same measurement is than this one, or this one than it. */
export function comparedWith(measurement: Measurement, entry: Entry, other: string): number | undefined {
  const base = measurement.entries.find(({ contender }) => contender === other);
  if (base === undefined || base === entry) return undefined;
  return isRate(measurement.unit) ? entry.median / base.median : base.median / entry.median;
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
      const times = comparedWith(measurement, entry, 'typescript');
      const than = times === undefined ? '' : `  ${digits(times)} × as fast as typescript`;
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
