/**
 * Many grants at once, as requests for disks name them: a page after the other, each used by nobody else. What is usual is done here in one
 * loop; all else, and every refusal, is `acquireGrant`'s and `releaseGrant`'s. Where no vCPU runs meanwhile, entries are read and written
 * as other memory is: V8 calls a function for each atomic access.
 */
import * as gnttab from '../../abi/xen/grant-table.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../base/brand.ts';
import { invariant } from '../../base/errors.ts';
import { type Domain, isParallel } from '../hypervisor.ts';
import { dropSpareReference, ramOfGfn, takeReference } from '../p2m.ts';
import * as layout from '../state.ts';
import { acquireGrant, clearUse, nrGrants, releaseGrant, tableAddress } from './table.ts';

const T = layout.GrantTable.offsets;
const A = layout.ActiveGrant.offsets;
const ENTRY_WORDS = gnttab.GrantEntryV1.size / 4;

/** Words of a part of a granted page: reference, offset in the page, length, and its machine address while it is held. */
export const PART_WORDS = 4;
const [OFFSET, LENGTH, ADDRESS] = [1, 2, 3];

/** Readers and writers of an entry as one word. */
const ONE_READER = 1;
const ONE_WRITER = 0x1_0000;
invariant(A.readers === 0 && A.writers === 2, 'readers and writers are one word');
const IN_USE = gnttab.GTF_reading | gnttab.GTF_writing;

/**
 * Take the use of the grants of `count` parts for domain `user`, up to the first that is refused or leaves its page. Returns how many;
 * their addresses are in `words` then.
 */
export function acquireParts(
  owner: Domain,
  words: Uint32Array,
  count: number,
  user: number,
  write: boolean,
): number {
  const { hypervisor } = owner;
  const { u16, u32, i32 } = hypervisor.memory;
  const nr = nrGrants(owner);
  const table = tableAddress(owner);
  const [shared, active] = [(table + T.shared) >>> 2, (table + T.active) >>> 2];
  // An entry's flags and grantee are one word.
  const readOnly = write ? gnttab.GTF_readonly : 0;
  const mask = (0xffff << 16) | gnttab.GTF_type_mask | gnttab.GTF_sub_page | readOnly;
  const permitted = (user << 16) | gnttab.GTF_permit_access;
  const marks = gnttab.GTF_reading | (write ? gnttab.GTF_writing : 0);
  const uses = write ? ONE_WRITER : ONE_READER;
  const isAlone = !isParallel(hypervisor);
  for (let i = 0; i < count; i++) {
    const at = i * PART_WORDS;
    const offset = words[at + OFFSET]!;
    if (offset + words[at + LENGTH]! > PAGE_SIZE) return i;
    const ref = words[at]!;
    if (ref < nr) {
      const record =
        u32[active + Math.floor(ref / layout.ACTIVE_PER_FRAME)]! +
        (ref % layout.ACTIVE_PER_FRAME) * layout.ACTIVE_BYTES;
      const entry =
        (u32[shared + Math.floor(ref / layout.GRANTS_PER_FRAME)]! >>> 2) +
        (ref % layout.GRANTS_PER_FRAME) * ENTRY_WORDS;
      const old = i32[entry]!;
      const isUsual = u32[record >>> 2] === 0 && (old & mask) === permitted;
      if (isUsual && (isAlone || Atomics.compareExchange(i32, entry, old, old | marks) === old)) {
        if (isAlone) i32[entry] = old | marks;
        const frame = ramOfGfn(owner, u32[entry + 1]!);
        if (frame === 0) {
          clearUse(owner, entry * 4, IN_USE);
          return i;
        }
        u32[record >>> 2] = uses;
        u16[(record + A.domid) >>> 1] = user;
        u32[(record + A.mfn) >>> 2] = frame;
        takeReference(hypervisor, frame);
        words[at + ADDRESS] = frame * PAGE_SIZE + offset;
        continue;
      }
    }
    const frame = acquireGrant(owner, ref, user, write);
    if (frame < 0) return i;
    words[at + ADDRESS] = frame * PAGE_SIZE + offset;
  }
  return count;
}

/** Give back what `acquireParts` has taken. */
export function releaseParts(owner: Domain, words: Uint32Array, count: number, write: boolean): void {
  const { hypervisor } = owner;
  const { u32, i32 } = hypervisor.memory;
  const nr = nrGrants(owner);
  const table = tableAddress(owner);
  const [shared, active] = [(table + T.shared) >>> 2, (table + T.active) >>> 2];
  const uses = write ? ONE_WRITER : ONE_READER;
  const isAlone = !isParallel(hypervisor);
  for (let i = 0; i < count; i++) {
    const ref = words[i * PART_WORDS]!;
    const frame = words[i * PART_WORDS + ADDRESS]! >>> PAGE_SHIFT;
    if (ref < nr) {
      const record =
        u32[active + Math.floor(ref / layout.ACTIVE_PER_FRAME)]! +
        (ref % layout.ACTIVE_PER_FRAME) * layout.ACTIVE_BYTES;
      const isUsual = u32[record >>> 2] === uses && u32[(record + A.mfn) >>> 2] === frame;
      if (isUsual && dropSpareReference(hypervisor, frame)) {
        u32[record >>> 2] = 0;
        const entry =
          (u32[shared + Math.floor(ref / layout.GRANTS_PER_FRAME)]! >>> 2) +
          (ref % layout.GRANTS_PER_FRAME) * ENTRY_WORDS;
        if (isAlone) i32[entry]! &= ~IN_USE;
        else Atomics.and(i32, entry, ~IN_USE);
        continue;
      }
    }
    releaseGrant(owner, ref, write, frame);
  }
}
