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
import { RUN_LIMIT, type Run } from './run.ts';

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
const RECORD_WORDS = RECORD_BYTES >>> 2;
const LAST = LINK_OFFSET >>> 2;
/** Behind the end of each instruction of a page, whatever its length seems to be. */
const ALL = PAGE_SIZE + 0xff;

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
 * Copy as many instructions as a run goes on with: up to one that has to be decoded, or that is decoded here already.
 * @param before code page of the origin
 * @param code the page here
 * @param stops 1 for each offset whose instruction is not what it is there
 */
export function copyRun(
  { memory: { u8, u32 }, frame }: CodeOrigin,
  before: number,
  { bytes, base }: CodeBytes,
  run: Run,
  stops: Uint8Array,
): void {
  const { u32: to, codePage, offsets, records } = run;
  const there = frame * PAGE_SIZE;
  let { length, end, at } = run;
  // Up to where the bytes are known to be the same.
  let same = bytes === u8 && base === there ? ALL : end;
  // Word of the next record, if it is one.
  let from = 0;
  while (
    length < RUN_LIMIT &&
    end < PAGE_SIZE &&
    stops[end] === 0 &&
    lockedRecordAt(to, codePage, end) === 0
  ) {
    // Instructions of a run lie one after the other there, too. Where that is over another kind of record follows.
    let head = headOf(u32, from, end);
    if (head === 0) {
      from = wordOf(u32, before, end);
      head = headOf(u32, from, end);
      if (head === 0) break;
    }
    const next = end + ((head >>> 16) & 0xff);
    if (next > same) {
      same = sameUpTo(u32, there, to, base, end, next);
      if (next > same) break;
    }
    const flags = FORM_FLAGS[head & 0xffff] as number;
    copyRecord(u32, from, head, to, at >>> 2, (flags & FormFlag.jump) !== 0);
    offsets[length] = end;
    records[length] = at;
    length += 1;
    end = next;
    at += RECORD_BYTES;
    from += RECORD_WORDS;
    if ((flags & FormFlag.ends) !== 0) {
      run.isOver = true;
      break;
    }
  }
  run.length = length;
  run.end = end;
  run.covered = end;
  run.at = at;
}

/** Word of the record that the table has for an instruction; address 0, where nothing is, if none. */
function wordOf(u32: Uint32Array, codePage: number, offset: number): number {
  // Without atomic operations, which are calls: aligned words are read as a whole, and in this order.
  const from = lockedRecordAt(u32, codePage, offset) >>> 2;
  const handler = (u32[from] as number) & 0xffff;
  // A region's entry, or what was one: the instruction itself is behind it.
  return handler >= FIRST_REGION || handler === Pseudo.proceed ? from + RECORD_WORDS : from;
}

/** A record's first word, if it is of the instruction at an offset and can be copied, else 0. When it is read again it may be stale. */
function headOf(u32: Uint32Array, word: number, offset: number): number {
  const head = u32[word] as number;
  const form = head & 0xffff;
  return FORM_FLAGS[form] !== 0 && ((u32[word + 1] as number) & 0xffff) === offset ? head : 0;
}

/** Without a loop, which takes 2 ns of 25. */
function copyRecord(
  u32: Uint32Array,
  from: number,
  head: number,
  to: Uint32Array,
  at: number,
  isJump: boolean,
) {
  to[at] = head;
  to[at + 1] = u32[from + 1] as number;
  to[at + 2] = u32[from + 2] as number;
  to[at + 3] = u32[from + 3] as number;
  to[at + 4] = u32[from + 4] as number;
  to[at + 5] = u32[from + 5] as number;
  to[at + 6] = u32[from + 6] as number;
  to[at + LAST] = isJump ? 0 : (u32[from + LAST] as number);
}

/** The first offset from `offset` on at which two pages differ, or one that is not before `end`. */
function sameUpTo(
  a: Uint32Array,
  pageA: number,
  b: Uint32Array,
  pageB: number,
  offset: number,
  end: number,
): number {
  // Bytes before `offset` do not count.
  let counting = -1 << ((offset & 3) << 3);
  let at = offset & ~3;
  for (; at < end; at += 4) {
    const different = ((a[(pageA + at) >>> 2] as number) ^ (b[(pageB + at) >>> 2] as number)) & counting;
    if (different !== 0) return at + ((31 - Math.clz32(different & -different)) >> 3);
    counting = -1;
  }
  return at;
}
