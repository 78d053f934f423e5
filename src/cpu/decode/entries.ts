/** Entries of the decoder by opcode, made when it is met first. */
import { type Entry, VEX_MAPS } from './entry.ts';
import { entryAt, numbersAt } from './table-entries.ts';

/** Bits of `FORM_FLAGS`. */
export const FormFlag = { known: 1, ends: 2, jump: 4 } as const;
/** Of a form what its entry says, as soon as that is made; 0 before. For any handler there is: others are none of these. */
export const FORM_FLAGS = new Uint8Array(1 << 16);

const made = new Map<number, Entry>();
function entryOf(number: number): Entry {
  const known = made.get(number);
  if (known) return known;
  const entry = entryAt(number);
  made.set(number, entry);
  const flags = FormFlag.known | (entry.ends ? FormFlag.ends : 0) | (entry.isJump ? FormFlag.jump : 0);
  for (const form of entry.ownForms) FORM_FLAGS[form] = flags;
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
