import { type Entry, isRate, type Measurement } from './definition.js';
import { digits } from './text.js';

const WIDTH = 760;
const LABEL_WIDTH = 240;
const BAR_LEFT = LABEL_WIDTH + 10;
const BAR_WIDTH = WIDTH - BAR_LEFT - 110;
const ROW_HEIGHT = 22;
const BAR_HEIGHT = 14;
const HEAD_HEIGHT = 34;
const TITLE_HEIGHT = 36;

/** Fixed per contender, so that an engine has one colour on all charts. */
function colour(contender: string): string {
  if (contender.startsWith('native')) return '#b7410e';
  if (contender.startsWith('typescript')) return '#3178c6';
  if (contender.startsWith('baseline')) return '#6a5acd';
  return contender.startsWith('limit') ? '#8a8a8a' : '#b8a06a';
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x}" y="${y}" ${attributes}>${escaped(content)}</text>`;
}

/** A bar to the median, with a line from the first quartile to the third. */
function bar(entry: Entry, y: number, scale: number): string {
  const middle = y + BAR_HEIGHT / 2;
  const x = (value: number) => (BAR_LEFT + Math.max(0, value) * scale).toFixed(1);
  const end = Math.max(entry.median, entry.high) * scale;
  return [
    text(LABEL_WIDTH, y + BAR_HEIGHT - 3, entry.contender, 'text-anchor="end"'),
    `<rect x="${BAR_LEFT}" y="${y}" width="${Math.max(1, entry.median * scale).toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour(entry.contender)}"/>`,
    `<line x1="${x(entry.low)}" x2="${x(entry.high)}" y1="${middle}" y2="${middle}" stroke="#000" stroke-opacity="0.6" stroke-width="2"/>`,
    text(Math.round(BAR_LEFT + end + 6), y + BAR_HEIGHT - 3, digits(entry.median)),
  ].join('\n');
}

function panel(measurement: Measurement, top: number): { readonly svg: string; readonly height: number } {
  const largest = Math.max(...measurement.entries.map(({ high, median }) => Math.max(high, median)));
  const scale = BAR_WIDTH / (largest || 1);
  const direction = isRate(measurement.unit) ? 'more is better' : 'less is better';
  const head = text(10, top + 20, `${measurement.subject} (${measurement.unit}, ${direction})`, 'font-weight="bold"');
  const bars = measurement.entries.map((entry, row) => bar(entry, top + HEAD_HEIGHT + row * ROW_HEIGHT, scale));
  return { svg: [head, ...bars].join('\n'), height: HEAD_HEIGHT + measurement.entries.length * ROW_HEIGHT };
}

/** A bench's measurements as bars, one panel each with its own linear scale from zero. */
export function chart(title: string, measurements: readonly Measurement[]): string {
  let top = TITLE_HEIGHT;
  const panels = measurements.map((measurement) => {
    const { svg, height } = panel(measurement, top);
    top += height + 8;
    return svg;
  });
  const open = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${top + 8}" viewBox="0 0 ${WIDTH} ${top + 8}" font-family="sans-serif" font-size="12">`;
  const background = `<rect width="${WIDTH}" height="${top + 8}" fill="#fff"/>`;
  return `${[open, background, text(10, 24, title, 'font-size="15" font-weight="bold"'), ...panels, '</svg>'].join('\n')}\n`;
}
