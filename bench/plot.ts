/**
 * Draws a result as an SVG picture: a row for each suite, a line for each engine; a dot is a program, the bar ends at their geometric mean,
 * and everything is relative to QEMU on a logarithmic scale. Readable in black and white (shapes differ), and for screen
 * readers (title and description say the same in words).
 */
import { enginesOf, isDomus, label, lookupIn, programsOf, speedUp, suiteTitle } from './report.ts';
import type { Result } from './result.ts';
import { geometricMean } from './statistics.ts';

export interface PlotLine {
  readonly engine: string;
  readonly points: readonly { readonly program: string; readonly ratio: number }[];
}
export interface PlotRow {
  readonly suite: string;
  readonly lines: readonly PlotLine[];
}

/** Suites that QEMU's default processor cannot run are compared with its largest. */
const REFERENCES = ['qemu', 'qemu-max'];
const COMPARED = ['v86'];
/** Told apart by people who see colours differently, and by lightness. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#7a7a7a'];
const WIDTH = 860;
const LEFT = 280;
const RIGHT = 70;
const LINE_HEIGHT = 16;
const ROW_GAP = 12;
const TOP = 64;

/** Ratios to QEMU of our engines and those that stand beside them. */
export function plotRows(result: Result): PlotRow[] {
  const of = lookupIn(result.measurements);
  const suites = [...new Set(result.measurements.map(({ suite }) => suite))];
  return suites.flatMap(suite => {
    const engines = enginesOf(result, suite).filter(name => isDomus(name) || COMPARED.includes(name));
    const lines = engines.flatMap((engine): PlotLine[] => {
      const points = programsOf(result, suite).flatMap(program => {
        const reference = REFERENCES.map(name => of(suite, program, name)).find(Boolean);
        const ratio = speedUp(of(suite, program, engine), reference);
        return ratio === undefined ? [] : [{ program, ratio }];
      });
      return points.length === 0 ? [] : [{ engine, points }];
    });
    return lines.length === 0 ? [] : [{ suite, lines }];
  });
}

const escapeXml = (text: string): string =>
  text.replace(/[&<>"]/g, character => `&#${character.codePointAt(0)};`);
const short = (value: number): string => (value < 0.1 ? value.toFixed(3) : value.toFixed(2));

export function plot(rows: readonly PlotRow[], caption: string): string {
  const ratios = rows.flatMap(({ lines }) => lines.flatMap(({ points }) => points.map(({ ratio }) => ratio)));
  const engines = [...new Set(rows.flatMap(({ lines }) => lines.map(({ engine }) => engine)))];
  const colour = (engine: string) => COLOURS[engines.indexOf(engine) % COLOURS.length]!;
  const least = Math.floor(Math.log10(Math.min(0.1, ...ratios)));
  const most = Math.ceil(Math.log10(Math.max(10, ...ratios)));
  const x = (ratio: number) => LEFT + ((Math.log10(ratio) - least) / (most - least)) * (WIDTH - LEFT - RIGHT);
  const mean = ({ points }: PlotLine) => geometricMean(points.map(({ ratio }) => ratio));

  const parts: string[] = [];
  let y = TOP;
  const words: string[] = [];
  for (const { suite, lines } of rows) {
    parts.push(
      `<text x="${LEFT - 12}" y="${y + 12}" text-anchor="end">${escapeXml(suiteTitle(suite))}</text>`,
    );
    for (const line of lines) {
      const value = mean(line);
      const [from, to] = [Math.min(x(1), x(value)), Math.max(x(1), x(value))];
      const fill = colour(line.engine);
      const middle = y + LINE_HEIGHT / 2;
      parts.push(
        `<rect x="${from.toFixed(1)}" y="${y + 2}" width="${(to - from).toFixed(1)}" height="${LINE_HEIGHT - 4}" fill="${fill}" fill-opacity="0.35"/>`,
        ...line.points.map(
          ({ program, ratio }) =>
            `<circle cx="${x(ratio).toFixed(1)}" cy="${middle}" r="2.5" fill="${fill}"><title>${escapeXml(`${label(line.engine)}, ${program}: ${short(ratio)}`)}</title></circle>`,
        ),
        `<rect x="${(x(value) - 1.5).toFixed(1)}" y="${y}" width="3" height="${LINE_HEIGHT}" fill="${fill}"/>`,
        `<text x="${WIDTH - 8}" y="${y + 12}" text-anchor="end" fill="${fill}" font-weight="bold">${short(value)}</text>`,
      );
      words.push(`${suiteTitle(suite)}, ${label(line.engine)}: ${short(value)}`);
      y += LINE_HEIGHT;
    }
    y += ROW_GAP;
  }
  const height = y + 30;
  const grid = Array.from({ length: most - least + 1 }, (_, i) => 10 ** (least + i)).map(ratio => {
    const isOne = ratio === 1;
    const stroke = isOne ? '#222222' : '#cccccc';
    return (
      `<line x1="${x(ratio).toFixed(1)}" y1="${TOP - 8}" x2="${x(ratio).toFixed(1)}" y2="${y}" stroke="${stroke}"/>` +
      `<text x="${x(ratio).toFixed(1)}" y="${y + 16}" text-anchor="middle">${isOne ? '1 = QEMU' : ratio}</text>`
    );
  });
  const legend = engines.map(
    (engine, i) =>
      `<rect x="${LEFT + i * 130}" y="34" width="12" height="12" fill="${colour(engine)}"/>` +
      `<text x="${LEFT + 18 + i * 130}" y="44">${escapeXml(label(engine))}</text>`,
  );
  const title = 'Speed relative to QEMU TCG (further to the right is faster)';
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="12" fill="#222222">`,
    `<title id="title">${title}</title>`,
    `<desc id="desc">${escapeXml(`Geometric means by suite. ${words.join('; ')}. ${caption}`)}</desc>`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="22" font-size="14" font-weight="bold">${title}</text>`,
    ...legend,
    ...grid,
    ...parts,
    '</svg>',
  ].join('\n')}\n`;
}
