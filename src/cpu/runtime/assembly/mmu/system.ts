/**
 * Reads and writes that the processor makes itself: descriptor tables, task state, and stacks during control
 * transfers. 1, 2, 4 or 8 bytes, with a given TLB class; nonzero = exception pending.
 */
import { invalidateCode } from '../code/invalidate';
import { isCanonical, isLong, raiseGp0 } from '../state';
import { pieceAddress, translatePage } from './access';
import { holdsCode } from './physical';
import { addendOf, hits, readTable, slot, systemClass, writeTable } from './tlb';
import { READ, WRITE } from './walk';

/** Result of a read. */
export let systemValue: u64 = 0;

/** Read from a system table. */
export function systemRead(cpu: usize, va: u64, size: i32): i32 {
  return classRead(cpu, va, size, systemClass(cpu));
}
export function systemWrite(cpu: usize, va: u64, value: u64, size: i32): i32 {
  return classWrite(cpu, va, value, size, systemClass(cpu));
}

export function classRead(cpu: usize, va: u64, size: i32, tlbClass: i32): i32 {
  const entry = slot(readTable(cpu, tlbClass), va);
  const inPage = ((va & 0xfff) as i32) + size <= 4096;
  if (inPage && hits(entry, va)) {
    systemValue = loadSized(addendOf(entry) + (va as usize), size);
    return 0;
  }
  if (isLong(cpu)) {
    if (!isCanonical(va) || !isCanonical(va + size - 1)) return raiseGp0(cpu);
  } else va &= 0xffff_ffff;
  if (inPage) {
    if (translatePage(cpu, va, READ, tlbClass)) return 1;
    systemValue = pieceAddress === 0 ? -1 : loadSized(pieceAddress, size);
    return 0;
  }
  let value: u64 = 0;
  for (let i = 0; i < size; i++) {
    if (translatePage(cpu, wrapped(cpu, va + i), READ, tlbClass)) return 1;
    const byte: u64 = pieceAddress === 0 ? 0xff : load<u8>(pieceAddress);
    value |= byte << (i << 3);
  }
  systemValue = value;
  return 0;
}

export function classWrite(cpu: usize, va: u64, value: u64, size: i32, tlbClass: i32): i32 {
  const entry = slot(writeTable(cpu, tlbClass), va);
  const inPage = ((va & 0xfff) as i32) + size <= 4096;
  if (inPage && hits(entry, va)) {
    storeSized(addendOf(entry) + (va as usize), value, size);
    return 0;
  }
  if (isLong(cpu)) {
    if (!isCanonical(va) || !isCanonical(va + size - 1)) return raiseGp0(cpu);
  } else va &= 0xffff_ffff;
  if (inPage) {
    if (translatePage(cpu, va, WRITE, tlbClass)) return 1;
    writeHere(value, size);
    return 0;
  }
  // Both pages must take the write before anything changes.
  if (translatePage(cpu, wrapped(cpu, va + size - 1), WRITE, tlbClass)) return 1;
  for (let i = 0; i < size; i++) {
    if (translatePage(cpu, wrapped(cpu, va + i), WRITE, tlbClass)) return 1;
    writeHere(value >> (i << 3), 1);
  }
  return 0;
}

function wrapped(cpu: usize, va: u64): u64 {
  return isLong(cpu) ? va : va & 0xffff_ffff;
}

function writeHere(value: u64, size: i32): void {
  const address = pieceAddress;
  if (address === 0) return;
  storeSized(address, value, size);
  if (holdsCode(address)) invalidateCode(address >> 12, (address & 0xfff) as i32, size);
}

export function loadSized(address: usize, size: i32): u64 {
  if (size === 8) return load<u64>(address);
  if (size === 4) return load<u32>(address);
  if (size === 2) return load<u16>(address);
  return load<u8>(address);
}
export function storeSized(address: usize, value: u64, size: i32): void {
  if (size === 8) store<u64>(address, value);
  else if (size === 4) store<u32>(address, value as u32);
  else if (size === 2) store<u16>(address, value as u16);
  else store<u8>(address, value as u8);
}
