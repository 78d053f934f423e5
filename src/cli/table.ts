/** Tables for people, in the manner of xl: a line of names, numbers to the right. */

export interface Column<Row> {
  readonly name: string;
  readonly width: number;
  readonly isRight?: boolean;
  of(row: Row): string;
}

/** A guest may have written it: what a terminal would obey is taken out. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is being removed
  text.replace(/[\x00-\x1f\x7f-\x9f]+/g, ' ');

export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const line = (cell: (column: Column<Row>) => string) =>
    columns
      .map(column => {
        const text = cell(column);
        return column.isRight ? text.padStart(column.width) : text.padEnd(column.width);
      })
      .join(' ')
      .trimEnd();
  return [line(({ name }) => name), ...rows.map(row => line(({ of }) => of(row)))]
    .map(text => `${text}\n`)
    .join('');
}

export const mebibytes = (bytes: number): string => String(Math.round(bytes / 2 ** 20));
export const seconds = (ns: number): string => (ns / 1e9).toFixed(1);
