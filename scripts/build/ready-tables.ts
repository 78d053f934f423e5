/**
 * The instruction table in the bundle of the command. Making it is a tenth of what a short command takes, and all that such a command needs is
 * some numbers and the entries of a few opcodes. So two modules are replaced by what they come to, and those that need the whole table are
 * evaluated when something of them is called.
 */
import { join } from 'node:path';
import type { Plugin } from 'esbuild';
import { VEX_MAPS } from '../../src/cpu/decode/entry.ts';
import { entryAt, numbersAt } from '../../src/cpu/decode/table-entries.ts';
import * as warmUp from '../../src/cpu/interpreter/warm-up.ts';
import * as definitionList from '../../src/cpu/isa/definition-list.ts';
import { FIRST_CALLED, FIRST_REGION, FORMS_DIGEST } from '../../src/cpu/isa/form-numbers.ts';
import { TABLE } from '../../src/cpu/isa/table.ts';
import * as maker from '../../src/cpu/translator/maker.ts';

/** Modules that have functions and classes alone, of which others import them only. */
const LATE: Readonly<Record<string, object>> = {
  'src/cpu/isa/definition-list.ts': definitionList,
  'src/cpu/interpreter/warm-up.ts': warmUp,
  'src/cpu/translator/maker.ts': maker,
};

const text = (value: unknown): string => JSON.stringify(value);

function formNumbers(): string {
  const numbers = { FIRST_CALLED, FIRST_REGION, FORMS_DIGEST };
  return Object.entries(numbers)
    .map(([name, value]) => `export const ${name} = ${value};`)
    .join('\n');
}

/** A value as text without names: what has fields is a list of them, and there is one shape of it at each place. */
function packed(value: unknown): unknown {
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Uint16Array)
    return [...value].flatMap((form, variant) => (form === 0 ? [] : [[variant, form]]));
  if (Array.isArray(value)) return value.map(packed);
  return typeof value === 'object' && value !== null ? Object.values(value).map(packed) : value;
}

/** Program text that makes of `source` what it was packed of, which is like one of the samples. */
function unpacking(samples: readonly unknown[], source: string): string {
  const sample = samples.find(each => (Array.isArray(each) ? each.length > 0 : each !== undefined));
  if (typeof sample === 'boolean') return `${source} === 1`;
  if (sample instanceof Uint16Array) return `formsOf(${source})`;
  if (Array.isArray(sample))
    return `${source}.map(x => (${unpacking(
      samples.flatMap(each => each as unknown[]),
      'x',
    )}))`;
  if (typeof sample !== 'object' || sample === null) return source;
  const fields = Object.keys(sample).map((name, i) => {
    const values = samples.flatMap(each =>
      each === undefined ? [] : [(each as Record<string, unknown>)[name]],
    );
    return `${name}: ${unpacking(values, `${source}[${i}]`)}`;
  });
  const whole = `({ ${fields.join(', ')} })`;
  return samples.includes(undefined) ? `(${source} ? ${whole} : undefined)` : whole;
}

/** In place of decode/table-entries.ts. */
export function tableEntries(): string {
  const entries = Array.from(TABLE, (_, number) => entryAt(number));
  const texts = entries.map(entry => text(packed(entry)));
  const opcodes = Array.from({ length: 2 * VEX_MAPS * 256 }, (_, at) => numbersAt(at >> 8, at & 255).join());
  return [
    "import { formsOf } from './entry.ts';",
    `const ENTRIES = ${text(texts)};`,
    `const OPCODES = ${text(opcodes)};`,
    'export function numbersAt(map, opcode) {',
    '  const numbers = OPCODES[map * 256 + opcode];',
    "  return numbers ? numbers.split(',').map(Number) : [];",
    '}',
    'export function entryAt(number) {',
    '  const entry = JSON.parse(ENTRIES[number]);',
    `  return ${unpacking(entries, 'entry')};`,
    '}',
  ].join('\n');
}

/** In a late module's place: functions that call those of the module, and evaluate it before the first time. */
const facadeOf = (path: string, module: object): string =>
  Object.keys(module)
    .map(
      name => `export function ${name}(...args) {
  const real = require(${text(path)}).${name};
  return new.target ? new real(...args) : real(...args);
}`,
    )
    .join('\n');

export const readyTables = (root: string): Plugin => ({
  name: 'ready-tables',
  setup({ onLoad, onResolve }) {
    const late = new Map(Object.entries(LATE).map(([file, module]) => [join(root, file), module]));
    const load = (file: RegExp, contents: () => string) =>
      onLoad({ filter: file, namespace: 'file' }, () => ({ contents: contents(), loader: 'ts' }));
    load(/\/src\/cpu\/isa\/form-numbers\.ts$/, formNumbers);
    load(/\/src\/cpu\/decode\/table-entries\.ts$/, tableEntries);
    onResolve({ filter: /\.ts$/ }, ({ path, resolveDir, kind }) => {
      const file = join(resolveDir, path);
      return kind === 'import-statement' && late.has(file) ? { path: file, namespace: 'late' } : undefined;
    });
    onLoad({ filter: /./, namespace: 'late' }, ({ path }) => ({
      contents: facadeOf(path, late.get(path) ?? {}),
      loader: 'js',
      resolveDir: join(path, '..'),
    }));
  },
});
