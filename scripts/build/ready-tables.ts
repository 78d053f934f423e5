/**
 * The instruction table in the bundle of the command. Making it is a tenth of what a short command takes, and all that such a command needs is
 * some numbers and the entries of a few opcodes. So two modules are replaced by what they come to.
 */
import type { Plugin } from 'esbuild';
import { FIRST_CALLED, FIRST_REGION, FORMS_DIGEST } from '../../src/cpu/isa/form-numbers.ts';
import { tableEntries } from './decoder-table.ts';

function formNumbers(): string {
  const numbers = { FIRST_CALLED, FIRST_REGION, FORMS_DIGEST };
  return Object.entries(numbers)
    .map(([name, value]) => `export const ${name} = ${value};`)
    .join('\n');
}

export const readyTables: Plugin = {
  name: 'ready-tables',
  setup({ onLoad }) {
    const load = (file: RegExp, contents: () => string) =>
      onLoad({ filter: file, namespace: 'file' }, () => ({ contents: contents(), loader: 'ts' }));
    load(/\/src\/cpu\/isa\/form-numbers\.ts$/, formNumbers);
    load(/\/src\/cpu\/decode\/table-entries\.ts$/, tableEntries);
  },
};
