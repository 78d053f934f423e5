/** A code page's table of records, in parts that are made when an instruction of their granule is decoded (decode/record.ts). */
import {
  CODE_PAGE_table,
  GRANULE_SHIFT,
  MACHINE_HEADER,
  MACHINE_HEADER_codeLimit,
  MACHINE_HEADER_codeNext,
  MACHINE_HEADER_codeUsed,
  TABLE_PART_BYTES,
} from '../generated/layout';

const IN_PART: i32 = (1 << GRANULE_SHIFT) - 1;

/** Word of the table that has the address of the part for an offset. */
function partOf(table: usize, offset: i32): usize {
  return table + ((offset >> GRANULE_SHIFT) << 2);
}

/** Address of the word that belongs to an offset, among the zeros at address 0 when there is none. */
export function slotOf(table: usize, offset: i32): usize {
  return (load<u32>(partOf(table, offset)) as usize) + ((offset & IN_PART) << 2);
}
export function recordAt(table: usize, offset: i32): usize {
  return load<u32>(slotOf(table, offset));
}

/** Is there a part for this granule? */
export function hasPart(page: usize, granule: i32): bool {
  return load<u32>(page + CODE_PAGE_table + (granule << 2)) !== 0;
}

/** The same as `slotOf` for a page, where a part that is missing is made; 0 when there is no room for it. */
export function makeSlot(page: usize, offset: i32): usize {
  const word = partOf(page + CODE_PAGE_table, offset);
  if (load<u32>(word) === 0) {
    const header = MACHINE_HEADER as usize;
    const part: usize = load<u32>(header, MACHINE_HEADER_codeNext);
    if (load<u32>(header, MACHINE_HEADER_codeLimit) - (part as u32) < (TABLE_PART_BYTES as u32)) return 0;
    store<u32>(header, (part + TABLE_PART_BYTES) as u32, MACHINE_HEADER_codeNext);
    if ((part as u32) < load<u32>(header, MACHINE_HEADER_codeUsed)) memory.fill(part, 0, TABLE_PART_BYTES);
    atomic.store<u32>(word, part as u32);
  }
  return slotOf(page + CODE_PAGE_table, offset);
}
