/** From RIP to a decoded instruction: the execute TLB, the walk behind it, and the code pages of a frame. */
import {
  CODE_PAGE_BYTES,
  CODE_PAGE_mfn,
  CODE_PAGE_mode,
  CODE_PAGE_next,
  CODE_PAGE_table,
  FRAME_ENTRY_code,
  MACHINE_HEADER,
  MACHINE_HEADER_codeNext,
  MACHINE_HEADER_codeUsed,
  PENDING_EXCLUSIVE,
  SEG_cs,
  TLB_CLASS_supervisor,
  TLB_CLASS_user,
  VCPU_codePage,
  VCPU_mode,
  VCPU_parallel,
  VCPU_rip,
  VCPU_tlbExec,
} from '../generated/layout';
import { decode } from '../host';
import {
  forgetMustPageIn,
  frameEntry,
  isParallel,
  mustPageIn,
  resolve,
  resolvedPage,
  resolveForFetch,
} from '../mmu/physical';
import { addendOf, fill, flushFrame, hits, slot } from '../mmu/tlb';
import { FETCH, WALK_FAILED, walk, walkGlobal, walkPhysical, walkShift } from '../mmu/walk';
import {
  baseOf,
  cplOf,
  isCanonical,
  isCode64,
  limitOf,
  raiseGp0,
  raiseNoError,
  raisePageFault,
} from '../state';
import { UD } from '../x86';
import { isCodeMarked, markCode } from './invalidate';
import { lockCode, unlockCode } from './lock';
import { hasRoom, makeRoom } from './room';
import { recordAt } from './table';

/** Room that the decoder finds in the code cache at each call, at least. */
export const DECODE_HEADROOM: u32 = 0x8000;
const PAGE_MASK: u64 = ~(0xfff as u64);

/**
 * The record of the instruction at RIP, decoding it when it is new; 0 = exception pending. `codePage` of the vCPU
 * is set to the linear address of its page.
 */
export function lookup(cpu: usize): usize {
  const rip = load<u64>(cpu, VCPU_rip);
  let va = rip;
  if (isCode64(cpu)) {
    if (!isCanonical(rip)) {
      raiseGp0(cpu);
      return 0;
    }
  } else {
    if (rip > limitOf(cpu, SEG_cs)) {
      raiseGp0(cpu);
      return 0;
    }
    va = (baseOf(cpu, SEG_cs) + rip) & 0xffff_ffff;
  }
  const entry = slot(load<u32>(cpu, VCPU_tlbExec), va);
  if (hits(entry, va)) {
    const record = recordAt(addendOf(entry), (va & 0xfff) as i32);
    if (record !== 0) {
      store<u64>(cpu, va & PAGE_MASK, VCPU_codePage);
      return record;
    }
  }
  touchCode(cpu, va);
  lockCode();
  const record = find(cpu, va);
  unlockCode();
  return record;
}

/**
 * Have the pages that instructions at `va` lie in, and those that the walk to them reads, paged in before the code cache is locked, as
 * nobody pages in while he holds it (`mustPageIn`). Other vCPUs may change page tables meanwhile. Then, and where accessed bits must be set
 * in a table that is frozen, it is done again alone, when all is as it was touched.
 */
export function touchCode(cpu: usize, va: u64): void {
  if (!isParallel()) return;
  touchPage(cpu, va);
  touchPage(cpu, isCode64(cpu) ? va + 4096 : (va + 4096) & 0xffff_ffff);
}
function touchPage(cpu: usize, va: u64): void {
  const tlbClass = cplOf(cpu) === 3 ? TLB_CLASS_user : TLB_CLASS_supervisor;
  const isAlone = load<u32>(cpu, VCPU_parallel) === 0;
  if (walk(cpu, va, FETCH, tlbClass, isAlone) === 0) resolve(cpu, walkPhysical);
}

/** The record at linear address `va`, with the code cache locked; 0 = exception pending. */
function find(cpu: usize, va: u64): usize {
  const entry = slot(load<u32>(cpu, VCPU_tlbExec), va);
  let table = addendOf(entry);
  if (!hits(entry, va)) {
    table = enterCodePage(cpu, va);
    if (table === 0) return 0;
  }
  store<u64>(cpu, va & PAGE_MASK, VCPU_codePage);
  const offset = (va & 0xfff) as i32;
  const record = recordAt(table, offset);
  if (record !== 0) return record;

  // Also for the code page behind, when the instruction reaches into it.
  if (!hasRoom((CODE_PAGE_BYTES as u32) + DECODE_HEADROOM)) {
    if (needsOthersToStop(cpu)) return 0;
    makeRoom();
    table = enterCodePage(cpu, va);
    if (table === 0) return 0;
  }
  if (!watch(cpu, table)) return 0;
  const page = table - CODE_PAGE_table;
  return decode(cpu, load<u32>(page, CODE_PAGE_mfn) << 12, page, offset);
}

/**
 * Instructions of the code page with this table are about to be decoded. The mark is dropped when the last instruction of a frame
 * is invalidated, while the page stays in the TLB. False = the others must stop first.
 */
export function watch(cpu: usize, table: usize): bool {
  const mfn = load<u32>(table - CODE_PAGE_table, CODE_PAGE_mfn);
  if (isCodeMarked(mfn)) return true;
  if (needsOthersToStop(cpu)) return false;
  markCode(mfn);
  return true;
}

/** What is to be done touches other vCPUs: true, with Exit.exclusive to come, when they may be executing. */
function needsOthersToStop(cpu: usize): bool {
  if (load<u32>(cpu, VCPU_parallel) === 0) return false;
  raiseNoError(cpu, PENDING_EXCLUSIVE);
  return true;
}

/** Walk for execution and enter the frame's code page in the execute TLB. Its table, 0 = exception pending. */
export function enterCodePage(cpu: usize, va: u64): usize {
  const address = fetchAddress(cpu, va);
  if (address === 0) return 0;
  // Found before anything else is called: these are results of the walk.
  const global = walkGlobal;
  const shift = walkShift;
  const page = codePageOf(cpu, address >> 12);
  if (page === 0) return 0;
  const table = page + CODE_PAGE_table;
  fill(cpu, load<u32>(cpu, VCPU_tlbExec), va, table, global, shift);
  return table;
}

/** Machine address of the byte at `va` for execution, 0 = exception pending. */
export function fetchAddress(cpu: usize, va: u64): usize {
  const tlbClass = cplOf(cpu) === 3 ? TLB_CLASS_user : TLB_CLASS_supervisor;
  forgetMustPageIn();
  const failed = walk(cpu, va, FETCH, tlbClass, true);
  if (failed === 0) resolveForFetch(cpu, walkPhysical);
  if (mustPageIn) {
    raiseNoError(cpu, PENDING_EXCLUSIVE);
    return 0;
  }
  if (failed !== 0) {
    raisePageFault(cpu, va, failed & ~WALK_FAILED);
    return 0;
  }
  if (resolvedPage === 0) {
    // Nothing is there: all ones, which is not an instruction.
    raiseNoError(cpu, UD);
    return 0;
  }
  return resolvedPage + ((va & 0xfff) as usize);
}

/** Find or create the code page of a frame for the vCPU's mode; 0 = the others must stop first. */
function codePageOf(cpu: usize, mfn: u32): usize {
  const mode = load<u32>(cpu, VCPU_mode);
  const frame = frameEntry(mfn);
  let page: usize = load<u32>(frame, FRAME_ENTRY_code);
  for (; page !== 0; page = load<u32>(page, CODE_PAGE_next)) {
    if (load<u32>(page, CODE_PAGE_mode) === mode) return page;
  }
  if (!hasRoom((CODE_PAGE_BYTES as u32) + DECODE_HEADROOM)) {
    if (needsOthersToStop(cpu)) return 0;
    makeRoom();
  }
  // Stores beside code look at the granules of one code page: not while there are two.
  if (load<u32>(frame, FRAME_ENTRY_code) !== 0) flushFrame(mfn);
  const header = MACHINE_HEADER as usize;
  page = load<u32>(header, MACHINE_HEADER_codeNext);
  store<u32>(header, (page + CODE_PAGE_BYTES) as u32, MACHINE_HEADER_codeNext);
  // What was never in use is as the system gave it: zero, and not taken until it is touched.
  if ((page as u32) < load<u32>(header, MACHINE_HEADER_codeUsed)) memory.fill(page, 0, CODE_PAGE_BYTES);
  store<u32>(page, mfn, CODE_PAGE_mfn);
  store<u32>(page, mode, CODE_PAGE_mode);
  store<u32>(page, load<u32>(frame, FRAME_ENTRY_code), CODE_PAGE_next);
  store<u32>(frame, page as u32, FRAME_ENTRY_code);
  return page;
}
