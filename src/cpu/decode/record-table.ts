/** A code page's table (decode/record.ts), for TypeScript: which record belongs to an offset in the page. */
import { CodePage, GRANULE_SHIFT } from './record.ts';

const TABLE = CodePage.offsets.table;
const IN_PART = (1 << GRANULE_SHIFT) - 1;

/** Word of machine memory that has the address of the part for an offset. */
export const partWord = (codePage: number, offset: number): number =>
  (codePage + TABLE + (offset >> GRANULE_SHIFT) * 4) >>> 2;

/**
 * Address of the word that belongs to an offset; in the first 256 bytes of machine memory when there is no part for it. For who has the
 * code cache's lock, so that nobody else writes there, or asks afterwards whether what he read was right (decoded-before.ts): an atomic
 * operation, of which decoding would do five for each instruction, is a call in V8.
 */
export const slotOf = (u32: Uint32Array, codePage: number, offset: number): number =>
  (u32[partWord(codePage, offset)] as number) + (offset & IN_PART) * 4;

/** Address of the record at an offset, 0 when there is none; likewise. */
export const lockedRecordAt = (u32: Uint32Array, codePage: number, offset: number): number =>
  u32[slotOf(u32, codePage, offset) >>> 2] as number;

/**
 * The same for who does not have the lock. The page may be one of a code cache that was thrown away meanwhile: then it is any number.
 */
export function recordAt(u32: Uint32Array, codePage: number, offset: number): number {
  const word = (Atomics.load(u32, partWord(codePage, offset)) + (offset & IN_PART) * 4) >>> 2;
  return word < u32.length ? Atomics.load(u32, word) : 0;
}
