/**
 * Instructions that reach into the next page. They are decoded like others, but hold only while the next page is the frame that
 * it was: a record in front of them (decode/record.ts, CROSSING_TABLE) looks at the execute TLB, and asks here when that does not
 * know. A code page knows one page that reaches into it, so that a store to its first bytes takes those instructions back.
 */
import {
  CODE_PAGE_crossedFrom,
  CODE_PAGE_table,
  CROSSING_SLOT,
  CROSSING_TABLE,
  MACHINE_HEADER,
  MACHINE_HEADER_codeGeneration,
  VCPU_codePage,
  VCPU_tlbExec,
} from '../generated/layout';
import { addendOf, hits, slot } from '../mmu/tlb';
import { isLong } from '../state';
import { forget } from './invalidate';
import { lockCode, unlockCode } from './lock';
import { enterCodePage, touchCode, watch } from './lookup';

/** Results of `checkCrossing`. */
const GOES_ON: i32 = 0;
const FAULT: i32 = 1;
const DECODE_AGAIN: i32 = 2;

/** Table of the code page behind the one that the vCPU executes, which is watched from now on; 0 = exception pending. */
function tableBehind(cpu: usize): usize {
  const behind = load<u64>(cpu, VCPU_codePage) + 4096;
  const va = isLong(cpu) ? behind : behind & 0xffff_ffff;
  const entry = slot(load<u32>(cpu, VCPU_tlbExec), va);
  const table = hits(entry, va) ? addendOf(entry) : enterCodePage(cpu, va);
  return table !== 0 && watch(cpu, table) ? table : 0;
}

/**
 * For the decoder, which holds the lock: the same, and an instruction of `page` reaches into it from now on. Another page that
 * did so before has its last instruction decoded again.
 */
export function codeBehind(cpu: usize, page: usize): usize {
  const table = tableBehind(cpu);
  if (table === 0) return 0;
  const behind = table - CODE_PAGE_table;
  const before: usize = load<u32>(behind, CODE_PAGE_crossedFrom);
  if (before !== 0 && before !== page) forget(before, 4095, 4096);
  store<u32>(behind, page as u32, CODE_PAGE_crossedFrom);
  return table;
}

/** Does the instruction behind this record still reach into the page that it did? */
export function checkCrossing(cpu: usize, record: usize): i32 {
  const header = MACHINE_HEADER as usize;
  touchCode(cpu, load<u64>(cpu, VCPU_codePage));
  lockCode();
  const generation = load<u32>(header, MACHINE_HEADER_codeGeneration);
  const table = tableBehind(cpu);
  let result = GOES_ON;
  if (table === 0) result = FAULT;
  // The code cache was thrown away to make room for the code page, and the record with it.
  else if (load<u32>(header, MACHINE_HEADER_codeGeneration) !== generation) result = DECODE_AGAIN;
  else if (load<u32>(record, CROSSING_TABLE) !== (table as u32)) {
    store<u32>(load<u32>(record, CROSSING_SLOT), 0);
    result = DECODE_AGAIN;
  }
  unlockCode();
  return result;
}
