/** Entries of the decoder by opcode, made when it is met first. */
import { type Entry, VEX_MAPS } from './entry.ts';
import { entryAt, numbersAt } from './table-entries.ts';

const made = new Map<number, Entry>();
function entryOf(number: number): Entry {
  const known = made.get(number);
  if (known) return known;
  const entry = entryAt(number);
  made.set(number, entry);
  return entry;
}
const ENTRIES: (readonly Entry[] | undefined)[] = new Array(2 * VEX_MAPS * 256).fill(undefined);

/** All entries that an opcode byte of a map may be, most particular first. */
export function entriesAt(map: number, opcode: number): readonly Entry[] {
  const at = map * 256 + opcode;
  const known = ENTRIES[at];
  if (known) return known;
  const entries = numbersAt(map, opcode).map(entryOf);
  ENTRIES[at] = entries;
  return entries;
}
/** Some entry, for a result that holds nothing yet. */
export const firstEntry = (): Entry => entryOf(0);
