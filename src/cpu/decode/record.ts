/**
 * Decoded instructions in machine memory: the records both tiers work from, and the code pages that hold them.
 *
 * A *code page* belongs to one machine frame under one decoder mode (decode/mode.ts). Its table maps an offset in
 * the page to the record of the instruction that starts there, 0 if none is decoded. The table is in parts, one for each granule in
 * which an instruction starts: of most pages of code little is ever executed. Records of a straight run of
 * instructions lie one after the other; an instruction may take two (an address micro-operation, then itself).
 * A record is never freed alone: when the bytes under it change it becomes *stale* (handler 0), which sends whoever
 * reaches it back to the table. All memory comes from the code cache (machine/header.ts), thrown away as a whole
 * when it is full.
 */
import { PAGE_SIZE } from '../../base/brand.ts';
import { array, i64, struct, u8, u16, u32, u64 } from '../../base/struct.ts';

export const CodeRecord = struct('code_record', {
  /** Which handler of the interpreter runs this record; 0 = stale. */
  handler: u16,
  /** Length of the instruction in bytes. */
  length: u8,
  /** Left shift of the index register. */
  scale: u8,
  /** Where in its page the instruction starts. */
  offset: u16,
  /** The operands, as byte offsets into the vCPU block: segment base, ModRM.reg, ModRM.rm, base and index. */
  segment: u16,
  reg: u16,
  rm: u16,
  base: u16,
  index: u16,
  displacement: i64,
  /** Immediate, sign-extended. Jumps use the low half for the distance and `link` for the target's record. */
  immediate: i64,
});
/** Overlaps `immediate`'s high half: record of a direct jump's target in the same page, 0 until known. */
export const LINK_OFFSET = 28;
export const RECORD_BYTES = CodeRecord.size;
/**
 * A record in front of an instruction that reaches into the next page (`Pseudo.crossing`): instead of a displacement it has the
 * table of the code page that the next page was when the instruction was decoded, and where its own page's table refers to
 * this record.
 */
export const CROSSING_TABLE = CodeRecord.offsets.displacement;
export const CROSSING_SLOT = CROSSING_TABLE + 4;
export const HANDLER_STALE = 0;

/** Bytes covered by one bit of `CodePage.granules`. */
export const GRANULE_SHIFT = 6;
export const CodePage = struct('code_page', {
  /** Next code page of the same frame (another mode), 0 at the end; the frame table entry has the head. */
  next: u32,
  mfn: u32,
  mode: u32,
  /** First `Extent` of the translator's regions that have instructions of this page, 0 if there are none. */
  extents: u32,
  /** Bit n is set when a decoded instruction touches bytes n*64 .. n*64+63. */
  granules: u64,
  /** The code page whose last instruction reaches into this one, 0 when there is none. */
  crossedFrom: u32,
  /** How often instructions of this page were forgotten because their bytes changed. */
  changes: u32,
  pad: array(u64, 4),
  /**
   * For each granule the address of its part of the table (`TABLE_PART_BYTES`, a u32 for each offset), 0 when there is none: what lies
   * at address 0 of machine memory reads as a part without records.
   */
  table: array(u32, PAGE_SIZE >> GRANULE_SHIFT),
});
export const TABLE_PART_BYTES = 4 << GRANULE_SHIFT;
