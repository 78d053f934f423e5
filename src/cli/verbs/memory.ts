/** `domus mem-set` and `mem-max`. */
import { DomusError } from '../../base/errors.ts';
import type { Verb } from '../verb.ts';
import { askingVerb } from './asking-verb.ts';

const SHIFTS: Readonly<Record<string, number>> = { b: 0, k: 10, '': 20, m: 20, g: 30, t: 40 };

/** As xl has it: MiB without a letter. @throws DomusError E_SIZE */
export function parseXlMemory(text: string): number {
  const match = /^(\d{1,12})([bkmgt]?)$/i.exec(text);
  const shift = SHIFTS[match?.[2]?.toLowerCase() ?? ''];
  if (match && shift !== undefined) return Number(match[1]) * 2 ** shift;
  throw new DomusError(
    'E_SIZE',
    `"${text}" is no amount of memory`,
    'write MiB, or a letter behind: 512m, 1g',
  );
}

function memoryVerb(name: string, summary: string, key: 'memoryTarget' | 'memoryMax', note: string): Verb {
  return askingVerb({
    name,
    summary,
    operands: ['NAME', 'MEMORY'],
    notes: [`MEMORY is in MiB, or has a letter: 512m, 1g. ${note}`],
    ask(guest, text) {
      const change = { [key]: parseXlMemory(text) };
      return daemon => daemon.change(guest, change);
    },
  });
}

export const memSet = memoryVerb(
  'mem-set',
  'Ask a guest to have so much memory',
  'memoryTarget',
  'Its balloon driver gives back or takes what is missing, when it likes: "domus list" shows what it has.',
);
export const memMax = memoryVerb(
  'mem-max',
  'Set the most that mem-set can ask for',
  'memoryMax',
  'It cannot be more than the guest was started with (maxmem).',
);
