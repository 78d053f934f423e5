/**
 * The decoder's entries as the command has them: one file of numbers, dist/decoder.table, that is read when the first is asked for, and a module in
 * the place of decode/table-entries.ts that makes an entry of its row there. As text of the program they would be read, and made strings of,
 * by each command; a short one meets some three hundred of 1,600.
 *
 *     start of each row, u32, and the end of the last | rows of i16
 *     row of an opcode byte of a map     numbers of its entries
 *     row of an entry                    numbers, places in lists of values, flags in parts of 15 bits, then of each form its variant and itself
 */
import { crc32 } from 'node:zlib';
import { type Entry, VEX_MAPS } from '../../src/cpu/decode/entry.ts';
import { entryAt, numbersAt } from '../../src/cpu/decode/table-entries.ts';
import { TABLE } from '../../src/cpu/isa/table.ts';

/** Where the module looks for it: beside itself. */
export const TABLE_FILE = 'decoder.table';
const FLAGS_EACH = 15;
const OPCODES = 2 * VEX_MAPS * 256;
/** What is made of the pairs. */
const FORM_FIELDS: ReadonlySet<string> = new Set(['forms', 'ownForms']);

const entries = (): Entry[] => Array.from(TABLE, (_, number) => entryAt(number));

/** What kind of field a name is, by the entry that has a value of it. */
function fieldsOf(all: readonly Entry[]) {
  const kindOf = (name: string) =>
    typeof all.map(entry => entry[name as keyof Entry]).find(v => v !== undefined);
  const names = Object.keys(all[0] as Entry).filter(name => !FORM_FIELDS.has(name));
  const of = (kind: string) => names.filter(name => kindOf(name) === kind) as (keyof Entry)[];
  return { numbers: of('number'), values: of('object'), flags: of('boolean') };
}

/** Different values of a field, as text of JSON, which has no undefined. */
const textOf = (value: unknown): string => JSON.stringify(value ?? null);
const listOf = (all: readonly Entry[], field: keyof Entry): string[] => [
  ...new Set(all.map(entry => textOf(entry[field]))),
];

function pairsOf(forms: Uint16Array): number[] {
  return [...forms].flatMap((form, variant) => (form === 0 ? [] : [variant, form]));
}

function rowsOf(all: readonly Entry[]): number[][] {
  const { numbers, values, flags } = fieldsOf(all);
  const lists = values.map(field => listOf(all, field));
  const words = Math.ceil(flags.length / FLAGS_EACH);
  return all.map(entry => {
    const bits = new Array<number>(words).fill(0);
    for (const [i, field] of flags.entries()) {
      const word = Math.floor(i / FLAGS_EACH);
      if (entry[field] === true) bits[word] = (bits[word] as number) | (1 << (i % FLAGS_EACH));
    }
    return [
      ...numbers.map(field => entry[field] as number),
      ...values.map((field, i) => (lists[i] as string[]).indexOf(textOf(entry[field]))),
      ...bits,
      ...pairsOf(entry.forms),
    ];
  });
}

/** What to write there. */
export function decoderTable(): Uint8Array {
  const opcodes = Array.from({ length: OPCODES }, (_, at) => [...numbersAt(at >> 8, at & 255)]);
  const rows = [...opcodes, ...rowsOf(entries())];
  const cells = rows.flat();
  if (cells.some(cell => cell !== (cell << 16) >> 16))
    throw new RangeError('a number of the decoder needs more than 16 bits');
  const starts = new Uint32Array(rows.length + 1);
  for (const [i, row] of rows.entries()) starts[i + 1] = (starts[i] as number) + row.length;
  // A whole number of what the module reads it as.
  const table = new Uint32Array(starts.length + Math.ceil(cells.length / 2));
  table.set(starts);
  new Int16Array(table.buffer, starts.byteLength).set(cells);
  return new Uint8Array(table.buffer);
}

/** In place of decode/table-entries.ts. */
export function tableEntries(): string {
  const all = entries();
  const { numbers, values, flags } = fieldsOf(all);
  const flagsAt = numbers.length + values.length;
  const pairsAt = flagsAt + Math.ceil(flags.length / FLAGS_EACH);
  const lists = values.map(field => `[${listOf(all, field).join()}]`);
  const table = decoderTable();
  const fields = [
    ...numbers.map((field, i) => `${field}: cells[at + ${i}]`),
    ...values.map((field, i) => `${field}: lists[${i}][cells[at + ${numbers.length + i}]] ?? undefined`),
    ...flags.map((field, i) => {
      const word = flagsAt + Math.floor(i / FLAGS_EACH);
      return `${field}: (cells[at + ${word}] & ${1 << (i % FLAGS_EACH)}) !== 0`;
    }),
    'forms',
    'ownForms',
  ];
  return `import { closeSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { VARIANTS } from '../isa/variant.ts';
let starts, cells, lists;
function read() {
  const table = new Uint32Array(${table.length / Uint32Array.BYTES_PER_ELEMENT});
  const path = new URL('./${TABLE_FILE}', import.meta.url);
  const fd = openSync(path);
  try {
    const isWhole = readSync(fd, table) === table.byteLength;
    if (!isWhole || crc32(table) !== ${crc32(table)}) throw new Error(path.pathname + ' is damaged, or of another build');
  } finally {
    closeSync(fd);
  }
  starts = table.subarray(0, ${OPCODES + all.length + 1});
  cells = new Int16Array(table.buffer, starts.byteLength);
  lists = JSON.parse(${JSON.stringify(`[${lists.join()}]`)});
}
export function numbersAt(map, opcode) {
  if (starts === undefined) read();
  const row = map * 256 + opcode;
  return Array.from(cells.subarray(starts[row], starts[row + 1]));
}
export function entryAt(number) {
  if (starts === undefined) read();
  const row = ${OPCODES} + number;
  const at = starts[row];
  const end = starts[row + 1];
  const forms = new Uint16Array(VARIANTS);
  const ownForms = [];
  for (let pair = at + ${pairsAt}; pair < end; pair += 2) {
    forms[cells[pair]] = cells[pair + 1];
    ownForms.push(cells[pair + 1]);
  }
  return { ${fields.join(', ')} };
}
`;
}
