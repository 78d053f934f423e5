/**
 * Freezing a domain's RAM for clones of it: here and not in TypeScript, because the domain is held meanwhile, and its table has a hundred
 * thousand entries that code would have to be warm for.
 */
import {
  FRAME_ENTRY_count,
  FRAME_ENTRY_owner,
  P2M_frozen,
  P2M_idle,
  P2M_mfnMask,
  P2M_mmio,
  P2M_offered,
  P2M_paged,
  P2M_ram,
  P2M_typeShift,
} from '../generated/layout';
import { frameEntry } from './physical';

/** Entries of one call, a page of the table: their positions among what it was given. */
const OTHERS_MAX: i32 = 1024;
const others: usize = memory.data(2048, 4);

/** Where `freezeEntries` leaves the positions of what it has not frozen, a u16 each. */
export function frozenOthers(): usize {
  return others;
}

/**
 * Freeze what is RAM of the domain's own that nobody else refers to, among `count` entries from `at` on, 1024 at most.
 * @returns how many are neither that nor paged nor a device's nor nothing
 */
export function freezeEntries(at: usize, count: i32, owner: u32): i32 {
  if (count > OTHERS_MAX) return -1;
  let found: i32 = 0;
  for (let i: i32 = 0; i < count; i++, at += 4) {
    const entry = load<u32>(at);
    const type: i32 = entry >> P2M_typeShift;
    if (type === 0 || type === P2M_frozen || type === P2M_paged || type === P2M_mmio) continue;
    if (type === P2M_ram || type === P2M_idle || type === P2M_offered) {
      const frame = frameEntry(entry & P2M_mfnMask);
      if (
        (load<u16>(frame, FRAME_ENTRY_owner) as u32) === owner &&
        load<u32>(frame, FRAME_ENTRY_count) === 1
      ) {
        store<u32>(at, (entry & P2M_mfnMask) | (P2M_frozen << P2M_typeShift));
        continue;
      }
    }
    store<u16>(others + ((found as usize) << 1), i as u16);
    found += 1;
  }
  return found;
}
