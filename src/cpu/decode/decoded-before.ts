/**
 * Instructions that were decoded in the machine that this one is a copy of: a record is the same in both, but for what it is linked to,
 * where the instruction has the same bytes at the same offset in its page and was decoded for the same mode. Copying one is moving eight
 * words. That the bytes are the same is found by looking at them: either machine may have changed its page since.
 */
import { PAGE_SIZE } from '../../base/brand.ts';
import { FrameEntry } from '../../machine/frames.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from '../../machine/memory.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_REGION } from '../isa/form-numbers.ts';
import { FORM_FLAGS, FormFlag } from './entries.ts';
import { CodePage, LINK_OFFSET, RECORD_BYTES } from './record.ts';
import { lockedRecordAt } from './record-table.ts';

/**
 * A frame of another machine that one of ours was filled from, and still has those contents. It may change in the next slice of that
 * machine.
 */
export interface CodeOrigin {
  readonly memory: MachineMemory;
  readonly frame: number;
}

const CODE = FRAME_TABLE_BASE + FrameEntry.offsets.code;
const P = CodePage.offsets;
const LAST = LINK_OFFSET >>> 2;

/** The bytes of a page of code: `bytes[base]` is the first one. */
export interface CodeBytes {
  readonly bytes: Uint8Array;
  readonly base: number;
}

/** The frame's code page for a mode, 0 when nothing of it was decoded so. */
export function codePageIn({ memory: { u32 }, frame }: CodeOrigin, mode: number): number {
  let page = u32[(CODE + frame * FrameEntry.size) >>> 2] as number;
  while (page !== 0 && u32[(page + P.mode) >>> 2] !== mode) page = u32[(page + P.next) >>> 2] as number;
  return page;
}

/**
 * Copy the record of the instruction at an offset in the page.
 * @param code the page here
 * @param to machine memory, and `at` an address there
 * @returns its form, 0 when there is none that could be copied
 */
export function copyRecord(
  { memory: { u8, u32 }, frame }: CodeOrigin,
  codePage: number,
  offset: number,
  { bytes, base }: CodeBytes,
  to: Uint32Array,
  at: number,
): number {
  // That machine runs on this thread alone, and is not doing so.
  let from = lockedRecordAt(u32, codePage, offset) >>> 2;
  if (from === 0) return 0;
  const handler = (u32[from] as number) & 0xffff;
  // A region's entry, or what was one: the instruction itself is behind it.
  if (handler >= FIRST_REGION || handler === Pseudo.proceed) from += RECORD_BYTES >>> 2;
  const first = u32[from] as number;
  const form = first & 0xffff;
  const flags = FORM_FLAGS[form] ?? 0;
  if (flags === 0 || ((u32[from + 1] as number) & 0xffff) !== offset) return 0;
  const there = frame * PAGE_SIZE + offset;
  for (let i = (first >>> 16) & 0xff; --i >= 0; ) if (u8[there + i] !== bytes[base + offset + i]) return 0;
  const target = at >>> 2;
  to[target] = first;
  for (let i = 1; i < LAST; i++) to[target + i] = u32[from + i] as number;
  to[target + LAST] = flags & FormFlag.jump ? 0 : (u32[from + LAST] as number);
  return form;
}
