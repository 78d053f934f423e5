/** Tables, as text for a terminal and as Markdown for the documentation: first column to the left, the others to the right. */

export interface Table {
  readonly title: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export function textTable({ title, headings, rows }: Table): string {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(row => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    widths
      .map((width, i) => (i === 0 ? (cells[i] ?? '').padEnd(width) : (cells[i] ?? '').padStart(width)))
      .join('  ');
  const rule = widths.map(width => '-'.repeat(width)).join('  ');
  return [title, '', line(headings), rule, ...rows.map(line)].join('\n');
}

export function markdownTable({ headings, rows }: Table): string {
  const line = (cells: readonly string[]) =>
    `| ${headings.map((_, i) => (cells[i] ?? '').replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = `|${headings.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`;
  return [line(headings), rule, ...rows.map(line)].join('\n');
}
