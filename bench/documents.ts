/** Puts the tables of a result into README.md and docs/benchmarks.md, between two marks that stay, and draws its picture. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { plot, plotRows } from './plot.ts';
import { describeRun, problemLines, suiteTables, summaryTable } from './report.ts';
import type { Result } from './result.ts';
import { markdownTable, type Table } from './table.ts';

const PICTURE = 'Speed of each engine relative to QEMU TCG, by suite; the tables above have the same figures';
const BEGIN = '<!-- written by npm run bench -- --write -->';
const END = '<!-- end of what it wrote -->';
const file = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));

/** @throws Error when `text` lacks the marks */
export function replaceBetweenMarks(text: string, contents: string): string {
  const from = text.indexOf(BEGIN);
  const to = text.indexOf(END);
  if (from < 0 || to < from) throw new Error(`there is no "${BEGIN}" before "${END}"`);
  // In a list the marks are indented, and so is what is between them.
  const indent = /[ \t]*$/.exec(text.slice(0, from))![0];
  const lines = contents.split('\n').map(line => (line === '' ? '' : indent + line));
  return `${text.slice(0, from)}${BEGIN}\n${lines.join('\n')}\n${indent}${text.slice(to)}`;
}

const section = (table: Table): string => `### ${table.title}\n\n${markdownTable(table)}`;

export function fullReport(result: Result): string {
  const problems = problemLines(result).map(line => `- ${line}`);
  return [
    `${describeRun(result)}.`,
    ...[summaryTable(result), ...suiteTables(result)].map(section),
    ...(problems.length > 0 ? [problems.join('\n')] : []),
  ].join('\n\n');
}

export const shortReport = (result: Result): string =>
  `${describeRun(result)}.\n\n${markdownTable(summaryTable(result))}`;

export function writeDocuments(result: Result): void {
  const write = (name: string, contents: string) =>
    writeFileSync(file(name), replaceBetweenMarks(readFileSync(file(name), 'utf8'), contents));
  writeFileSync(file('docs/benchmarks.svg'), plot(plotRows(result), describeRun(result)));
  write('docs/benchmarks.md', `${fullReport(result)}\n\n![${PICTURE}](benchmarks.svg)`);
  write('README.md', shortReport(result));
}
