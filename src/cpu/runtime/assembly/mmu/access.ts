/**
 * Memory accesses that missed the TLB: the slow paths of the interpreter's loads and stores.
 *
 * Each returns a machine address at which `size` bytes can be read or written at once. When there is none (the
 * access crosses a page, or touches a device, an unmapped frame or decoded code) it is the address of the vCPU's
 * scratch: filled for reads, and for writes taken to its destination by `commit`.
 *
 * `size` may carry STACK_ACCESS, which turns the #GP of a non-canonical address into #SS.
 */
import { granulesOf, invalidateCode } from '../code/invalidate';
import {
  CODE_PAGE_granules,
  CODE_PAGE_next,
  FRAME_ENTRY_code,
  MACHINE_HEADER,
  MACHINE_HEADER_isParallel,
  P2M_mmio,
  TLB_CLASS_supervisorAc,
  TLB_ENTRY_flags,
  TLB_FLAG_mask,
  TLB_WATCHED,
  TLB_WRITE,
  VCPU_commitAddress0,
  VCPU_commitAddress1,
  VCPU_commitGpa0,
  VCPU_commitGpa1,
  VCPU_commitSize0,
  VCPU_commitSize1,
  VCPU_exHasError,
  VCPU_gather,
  VCPU_scratch,
  VCPU_tlb,
} from '../generated/layout';
import { mmioRead, mmioWrite } from '../host';
import { isCanonical, isCode64, isLong, raise, raisePageFault } from '../state';
import { AC, GP, SS } from '../x86';
import {
  frameEntry,
  holdsCode,
  resolve,
  resolvedPage,
  resolvedType,
  resolvedWritable,
  resolveForWrite,
} from './physical';
import {
  addendOf,
  checksAlignment,
  currentClass,
  fill,
  fillWatched,
  hits,
  readTable,
  slot,
  writeTable,
} from './tlb';
import { bringBack } from './victims';
import { READ, WALK_FAILED, WRITE, walk, walkGlobal, walkPhysical, walkShift, walkWritable } from './walk';

export const STACK_ACCESS: i32 = 0x100;
const PAGE_MASK: u64 = ~(0xfff as u64);
/** `commitGpa` of a piece that goes nowhere. */
const NOWHERE: u64 = -1;

/** Results of `translatePage`: machine address of the byte, 0 when there is no memory that takes this access. */
export let pieceAddress: usize = 0;
/** Where a device is to be asked, NOWHERE when the bytes are all ones and writes vanish. */
export let pieceGpa: u64 = 0;

/**
 * Translate one address for reading or writing through the TLB of a class, filling it. Nonzero = #PF pending.
 * For a write, a page with decoded code is a memory address too: whoever stores there invalidates.
 */
export function translatePage(cpu: usize, va: u64, access: i32, tlbClass: i32): i32 {
  const table = access === WRITE ? writeTable(cpu, tlbClass) : readTable(cpu, tlbClass);
  const entry = slot(table, va);
  if (hits(entry, va) || bringBack(cpu, table, entry, va)) {
    pieceAddress = addendOf(entry) + (va as usize);
    return 0;
  }
  const failed = walk(cpu, va, access, tlbClass, true);
  if (failed !== 0) return raisePageFault(cpu, va, failed & ~WALK_FAILED);
  if (access === WRITE) resolveForWrite(cpu, walkPhysical);
  else resolve(cpu, walkPhysical);
  if (resolvedPage === 0) {
    pieceAddress = 0;
    pieceGpa = resolvedType === P2M_mmio ? walkPhysical : NOWHERE;
    return 0;
  }
  const page = resolvedPage;
  const addend = page - ((va & PAGE_MASK) as usize);
  const writable = resolvedWritable();
  if (access === READ || load<u64>(slot(readTable(cpu, tlbClass), va)) !== (va & PAGE_MASK)) {
    fill(cpu, readTable(cpu, tlbClass), va, addend, walkGlobal, walkShift);
  }
  if (walkWritable && writable) {
    if (!holdsCode(page)) fill(cpu, writeTable(cpu, tlbClass), va, addend, walkGlobal, walkShift);
    else if (access === WRITE && load<u32>(MACHINE_HEADER as usize, MACHINE_HEADER_isParallel) === 0) {
      const code: usize = load<u32>(frameEntry(page >> 12), FRAME_ENTRY_code);
      if (load<u32>(code, CODE_PAGE_next) === 0) {
        fillWatched(cpu, tlbClass, va, addend, code, walkGlobal, walkShift);
      }
    }
  }
  if (access === WRITE && !writable) {
    pieceAddress = 0;
    pieceGpa = NOWHERE;
  } else {
    pieceAddress = page + ((va & 0xfff) as usize);
  }
  return 0;
}

/** Linear addresses have 32 bits outside 64-bit code, and must be canonical in it. Nonzero = exception pending. */
function checkCanonical(cpu: usize, va: u64, size: i32, stack: bool): i32 {
  if (isCanonical(va) && isCanonical(va + size - 1)) return 0;
  raise(cpu, stack ? SS : GP, 0);
  // The interpreter knows whether the operand is in the stack segment.
  if (!stack) store<i32>(cpu, 2, VCPU_exHasError);
  return 1;
}

/** Operands of 2, 4 and 8 bytes; whether wider ones are checked depends on the processor. Nonzero = #AC pending. */
export function checkAlignment(cpu: usize, va: u64, size: i32): i32 {
  if (size > 8 || (va & ((size - 1) as u64)) === 0 || !checksAlignment(cpu)) return 0;
  return raise(cpu, AC, 0);
}

/**
 * For the few bytes of one access a loop is faster than the block instruction. Two, four and eight bytes are stored at
 * once: other vCPUs must not see half of an aligned store to a page with code.
 */
function copyBytes(to: usize, from: usize, size: i32): void {
  let i: usize = 0;
  for (; i + 8 <= (size as usize); i += 8) store<u64>(to + i, load<u64>(from + i));
  if ((size & 4) !== 0) {
    store<u32>(to + i, load<u32>(from + i));
    i += 4;
  }
  if ((size & 2) !== 0) {
    store<u16>(to + i, load<u16>(from + i));
    i += 2;
  }
  if ((size & 1) !== 0) store<u8>(to + i, load<u8>(from + i));
}

/**
 * Machine address of `size` bytes that a table of the current class has in one page, else 0. Code that looks for several accesses at once
 * (translator/access-groups.ts) comes here with each of them when they lie on both sides of a page's end.
 * @param offset of the table from the one for reading
 */
function known(cpu: usize, va: u64, size: i32, offset: i32): usize {
  const entry = slot((load<u32>(cpu, VCPU_tlb) + offset) as usize, va);
  return hits(entry, va + (size as u64) - 1) ? addendOf(entry) + (va as usize) : 0;
}

/** The same by the table of watched pages, for bytes of which no instruction has any. */
function knownBesideCode(cpu: usize, va: u64, size: i32): usize {
  const last = va + (size as u64) - 1;
  const entry = slot((load<u32>(cpu, VCPU_tlb) + TLB_WATCHED) as usize, va);
  if (!hits(entry, last)) return 0;
  const code = (load<i32>(entry, TLB_ENTRY_flags) & ~TLB_FLAG_mask) as usize;
  const touched = granulesOf((va & 0xfff) as i32, (last & 0xfff) as i32);
  return (load<u64>(code, CODE_PAGE_granules) & touched) === 0 ? addendOf(entry) + (va as usize) : 0;
}

/** Address at which `size` bytes can be read, 0 = exception pending. */
export function readSlow(cpu: usize, va: u64, sizeAndFlags: i32): usize {
  const size = sizeAndFlags & 0xff;
  const address = known(cpu, va, size, 0);
  if (address !== 0) return address;
  if (!isCode64(cpu)) va &= 0xffff_ffff;
  else if (checkCanonical(cpu, va, size, (sizeAndFlags & STACK_ACCESS) !== 0)) return 0;
  if (checkAlignment(cpu, va, size)) return 0;
  return readAt(cpu, va, size, currentClass(cpu));
}

/** The same with a given class and a full linear address. */
function readAt(cpu: usize, va: u64, size: i32, tlbClass: i32): usize {
  const scratch = cpu + VCPU_scratch;
  const room = 4096 - ((va & 0xfff) as i32);
  if (size <= room) {
    if (translatePage(cpu, va, READ, tlbClass)) return 0;
    if (pieceAddress !== 0) return pieceAddress;
    readPiece(cpu, cpu + VCPU_gather, 0, pieceGpa, size);
    copyBytes(scratch, cpu + VCPU_gather, size);
    return scratch;
  }
  if (translatePage(cpu, va, READ, tlbClass)) return 0;
  const address = pieceAddress;
  const gpa = pieceGpa;
  if (translatePage(cpu, nextPage(cpu, va), READ, tlbClass)) return 0;
  const gather = cpu + VCPU_gather;
  const otherAddress = pieceAddress;
  const otherGpa = pieceGpa;
  readPiece(cpu, gather, address, gpa, room);
  readPiece(cpu, gather + room, otherAddress, otherGpa, size - room);
  copyBytes(scratch, gather, size);
  return scratch;
}

/** First byte of the page after `va`'s; linear addresses wrap at 4 GiB outside 64-bit code. */
function nextPage(cpu: usize, va: u64): u64 {
  const next = (va & PAGE_MASK) + 4096;
  return isLong(cpu) ? next : next & 0xffff_ffff;
}

/** Bring one piece of an access, from memory, a device or nowhere, to `to` in gather. Devices answer in scratch. */
function readPiece(cpu: usize, to: usize, address: usize, gpa: u64, size: i32): void {
  if (address !== 0) {
    copyBytes(to, address, size);
    return;
  }
  if (gpa === NOWHERE) {
    memory.fill(to, 0xff, size);
    return;
  }
  let done = 0;
  while (done < size) {
    const part = deviceAccessSize(size - done);
    mmioRead(cpu, (gpa as u32) + done, part);
    copyBytes(to + done, cpu + VCPU_scratch, part);
    done += part;
  }
}

function deviceAccessSize(size: i32): i32 {
  return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

/** Address to store `size` bytes to, 0 = exception pending. When it is scratch, `commit` must follow. */
export function writeSlow(cpu: usize, va: u64, sizeAndFlags: i32): usize {
  return writeAt(cpu, va, sizeAndFlags, false);
}

/** The same, with the current bytes at the address: for read-modify-write. */
export function modifySlow(cpu: usize, va: u64, sizeAndFlags: i32): usize {
  return writeAt(cpu, va, sizeAndFlags, true);
}

function writeAt(cpu: usize, va: u64, sizeAndFlags: i32, modify: bool): usize {
  const size = sizeAndFlags & 0xff;
  const found = known(cpu, va, size, TLB_WRITE);
  if (found !== 0) return found;
  const beside = knownBesideCode(cpu, va, size);
  if (beside !== 0) return beside;
  if (!isCode64(cpu)) va &= 0xffff_ffff;
  else if (checkCanonical(cpu, va, size, (sizeAndFlags & STACK_ACCESS) !== 0)) return 0;
  if (checkAlignment(cpu, va, size)) return 0;
  const tlbClass = currentClass(cpu);
  const room = 4096 - ((va & 0xfff) as i32);
  if (translatePage(cpu, va, WRITE, tlbClass)) return 0;
  const address = pieceAddress;
  const gpa = pieceGpa;
  if (size <= room) {
    if (address !== 0 && !holdsCode(address)) return address;
    store<u32>(cpu, size, VCPU_commitSize0);
    store<u32>(cpu, 0, VCPU_commitSize1);
  } else {
    if (translatePage(cpu, nextPage(cpu, va), WRITE, tlbClass)) return 0;
    store<u32>(cpu, room, VCPU_commitSize0);
    store<u32>(cpu, size - room, VCPU_commitSize1);
    store<u32>(cpu, pieceAddress as u32, VCPU_commitAddress1);
    store<u64>(cpu, pieceGpa, VCPU_commitGpa1);
  }
  store<u32>(cpu, address as u32, VCPU_commitAddress0);
  store<u64>(cpu, gpa, VCPU_commitGpa0);
  const scratch = cpu + VCPU_scratch;
  if (modify) {
    const gather = cpu + VCPU_gather;
    const size0 = load<i32>(cpu, VCPU_commitSize0);
    readPiece(cpu, gather, address, gpa, size0);
    if (size > room) {
      readPiece(
        cpu,
        gather + room,
        load<u32>(cpu, VCPU_commitAddress1),
        load<u64>(cpu, VCPU_commitGpa1),
        size - room,
      );
    }
    copyBytes(scratch, gather, size);
  }
  return scratch;
}

/** Take what was stored in scratch to where the last `writeSlow` or `modifySlow` said. */
export function commit(cpu: usize): void {
  const size0 = load<i32>(cpu, VCPU_commitSize0);
  const size1 = load<i32>(cpu, VCPU_commitSize1);
  const gather = cpu + VCPU_gather;
  copyBytes(gather, cpu + VCPU_scratch, size0 + size1);
  writePiece(cpu, gather, load<u32>(cpu, VCPU_commitAddress0), load<u64>(cpu, VCPU_commitGpa0), size0);
  if (size1 !== 0) {
    writePiece(
      cpu,
      gather + size0,
      load<u32>(cpu, VCPU_commitAddress1),
      load<u64>(cpu, VCPU_commitGpa1),
      size1,
    );
  }
}

function writePiece(cpu: usize, from: usize, address: usize, gpa: u64, size: i32): void {
  if (address !== 0) {
    copyBytes(address, from, size);
    if (holdsCode(address)) invalidateCode(address >> 12, (address & 0xfff) as i32, size);
    return;
  }
  if (gpa === NOWHERE) return;
  let done = 0;
  while (done < size) {
    const part = deviceAccessSize(size - done);
    copyBytes(cpu + VCPU_scratch, from + done, part);
    mmioWrite(cpu, (gpa as u32) + done, part);
    done += part;
  }
}

/** Would reading `size` bytes fault? Nonzero = yes, the exception is pending. */
export function checkRead(cpu: usize, va: u64, sizeAndFlags: i32): i32 {
  return checkAccess(cpu, va, sizeAndFlags, READ);
}
/** Would writing `size` bytes fault? */
export function checkWrite(cpu: usize, va: u64, sizeAndFlags: i32): i32 {
  return checkAccess(cpu, va, sizeAndFlags, WRITE);
}
function checkAccess(cpu: usize, va: u64, sizeAndFlags: i32, access: i32): i32 {
  const size = sizeAndFlags & 0xff;
  if (!isCode64(cpu)) va &= 0xffff_ffff;
  else if (checkCanonical(cpu, va, size, (sizeAndFlags & STACK_ACCESS) !== 0)) return 1;
  const tlbClass = currentClass(cpu);
  if (translatePage(cpu, va, access, tlbClass)) return 1;
  if (size > 4096 - ((va & 0xfff) as i32)) return translatePage(cpu, nextPage(cpu, va), access, tlbClass);
  return 0;
}

/**
 * Machine address behind a linear address, 0 when there is none: for the hypervisor and debuggers. No exception,
 * no accessed or dirty bit, no TLB entry.
 */
export function translate(cpu: usize, va: u64, access: i32, asSupervisor: i32): usize {
  const tlbClass = asSupervisor ? TLB_CLASS_supervisorAc : currentClass(cpu);
  if (isLong(cpu) && !isCanonical(va)) return 0;
  if (walk(cpu, va, access, tlbClass, false) !== 0) return 0;
  if (access === WRITE) resolveForWrite(cpu, walkPhysical);
  else resolve(cpu, walkPhysical);
  if (resolvedPage === 0 || (access === WRITE && !resolvedWritable())) return 0;
  return resolvedPage + ((va & 0xfff) as usize);
}
