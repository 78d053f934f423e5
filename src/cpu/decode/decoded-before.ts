/**
 * Instructions that were decoded in the machine that this one is a copy of: a record is the same in both, but for what it is linked to,
 * where the instruction has the same bytes at the same offset in its page and was decoded for the same mode. Copying one is moving eight
 * words. That the bytes are the same is found by looking at them: either machine may have changed its page since.
 *
 * The other machine may be executed meanwhile, by another thread, and its code cache be thrown away. So what is read there is any number,
 * and whoever has read it asks afterwards whether it was right: as long as the frame has not changed and the code cache is the same one, what
 * can be found stays as it is, but for handlers and links.
 */
import { PAGE_SIZE } from '../../base/brand.ts';
import { FrameEntry } from '../../machine/frames.ts';
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from '../../machine/memory.ts';
import { Pseudo } from '../interpreter/pseudo.ts';
import { FIRST_REGION } from '../isa/form-numbers.ts';
import { FORM_FLAGS, FormFlag } from './entries.ts';
import { CodePage, LINK_OFFSET, RECORD_BYTES } from './record.ts';
import { lockedRecordAt } from './record-table.ts';

/** A frame of another machine that one of ours was filled from, and still had those contents when it was asked for. */
export interface CodeOrigin {
  readonly memory: MachineMemory;
  readonly frame: number;
  /** Word `frame` is 0 until the frame may change. */
  readonly copies: Int32Array;
}

/** Had the frame those contents for all that was read of it so far? */
export const isAsItWas = ({ copies, frame }: CodeOrigin): boolean => Atomics.load(copies, frame) === 0;

/** How often the code cache of that machine was thrown away, asked for before records are read there. */
export const generationOf = ({ memory: { u32 } }: CodeOrigin): number => u32[GENERATION] as number;
/** Was it not thrown away since, so that all records that were read were records? It is another number before the memory is used again. */
export const isGeneration = ({ memory: { u32 } }: CodeOrigin, generation: number): boolean =>
  Atomics.load(u32, GENERATION) === generation;

const GENERATION = (MACHINE_HEADER + MachineHeader.offsets.codeGeneration) >>> 2;
/** More code pages a frame does not have: bits of modes that a guest changes while it executes are few. */
const CODE_PAGES_MAX = 64;
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
  for (let i = 0; i < CODE_PAGES_MAX && page !== 0; i++) {
    if (u32[(page + P.mode) >>> 2] === mode) return page;
    // Beyond the end of memory there is nothing.
    page = (u32[(page + P.next) >>> 2] as number) >>> 0;
  }
  return 0;
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
  // Without atomic operations, which are calls: aligned words are read as a whole, and in this order.
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
