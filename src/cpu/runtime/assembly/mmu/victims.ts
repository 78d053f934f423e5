/**
 * Victims: entries of the TLB's tables for reading and writing that others have taken the place of. A table has one place for
 * each address, so pages 4 MiB apart drive each other out; two arrays at such a distance would cost a walk at every step. What was
 * driven out waits in a small table, at a place that its higher address bits have a say in, and changes places with what is in its
 * own when it is asked for.
 *
 * A program that goes through more pages than the TLB has entries for drives out what it does not ask for again. So it is counted
 * what victims are worth: each costs one, each that is asked for again earns some, and when nothing is left they have a rest.
 */
import {
  TLB_BYTES,
  TLB_EMPTY_TAG,
  TLB_ENTRY_tag,
  TLB_READ_OFFSET,
  TLB_VICTIM_TABLES,
  TLB_VICTIMS,
  TLB_VICTIMS_OFFSET,
  TLB_WRITE,
  VCPU_tlbVictims,
  VCPU_tlbVictimsWorth,
} from '../generated/layout';

const PAGE_MASK: u64 = ~(0xfff as u64);
/** Of one table. */
const BYTES: usize = (TLB_VICTIMS << 4) as usize;
/** Tables that have victims: three for reading, three for writing. */
const TABLES: usize = TLB_VICTIM_TABLES as usize;
const FIRST_WRITE: usize = (TLB_WRITE / TLB_BYTES) as usize;
/** What they are worth at the beginning and at most, and what one earns that is asked for again; pages that come without any while they rest. */
const TRIAL: i32 = 64;
const MOST: i32 = 1024;
const EARNING: i32 = 8;
const REST_PAGES: i32 = 4096;
/** The second half of an entry. */
const REST: usize = 8;

/** Where `va` would be among the victims of a table that is so many tables behind the first. */
function victimSlot(cpu: usize, number: usize, va: u64): usize {
  const page = va >> 12;
  const index = ((page ^ (page >> 10)) as usize) & (TLB_VICTIMS - 1);
  return cpu + (TLB_VICTIMS_OFFSET as usize) + number * BYTES + (index << 4);
}
function numberOf(cpu: usize, table: usize): usize {
  return (table - cpu - (TLB_READ_OFFSET as usize)) / (TLB_BYTES as usize);
}
function empty(entry: usize): void {
  store<u64>(entry, TLB_EMPTY_TAG, TLB_ENTRY_tag);
}
/** Also of an entry that was never filled. Page 0, which has the same tag, is never a victim. */
function isEmpty(tag: u64): bool {
  return tag <= TLB_EMPTY_TAG;
}
/** Page 0 would be there, and is not to be found where the memory is still all zeros. */
export function emptyFirstVictims(cpu: usize): void {
  const first = cpu + (TLB_VICTIMS_OFFSET as usize);
  for (let number: usize = 0; number < TABLES; number++) empty(first + number * BYTES);
}
/** Another page is about to come to an entry of a table. */
export function makeWay(cpu: usize, table: usize, entry: usize, va: u64): void {
  const tag = load<u64>(entry, TLB_ENTRY_tag);
  if (isEmpty(tag) || tag === (va & PAGE_MASK)) return;
  const number = numberOf(cpu, table);
  if (number >= TABLES) return;
  const worth = load<i32>(cpu, VCPU_tlbVictimsWorth);
  if (worth < 0) store<i32>(cpu, worth + 1, VCPU_tlbVictimsWorth);
  else if (worth === 1) {
    store<i32>(cpu, -REST_PAGES, VCPU_tlbVictimsWorth);
    forgetVictims(cpu);
  } else {
    store<i32>(cpu, (worth === 0 ? TRIAL : worth) - 1, VCPU_tlbVictimsWorth);
    keep(cpu, number, entry, tag);
  }
}
function keep(cpu: usize, number: usize, entry: usize, tag: u64): void {
  const victim = victimSlot(cpu, number, tag);
  store<u64>(victim, tag, TLB_ENTRY_tag);
  store<u64>(victim, load<u64>(entry, REST), REST);
  store<u32>(cpu, 1, VCPU_tlbVictims);
}

/** A page is not in its entry. Returns whether it is now, because it was among the victims. */
export function bringBack(cpu: usize, table: usize, entry: usize, va: u64): bool {
  if (load<u32>(cpu, VCPU_tlbVictims) === 0) return false;
  const number = numberOf(cpu, table);
  const victim = victimSlot(cpu, number, va);
  if (load<u64>(victim, TLB_ENTRY_tag) !== (va & PAGE_MASK)) return false;
  const rest = load<u64>(victim, REST);
  empty(victim);
  const tag = load<u64>(entry, TLB_ENTRY_tag);
  if (!isEmpty(tag)) keep(cpu, number, entry, tag);
  store<u64>(entry, va & PAGE_MASK, TLB_ENTRY_tag);
  store<u64>(entry, rest, REST);
  const worth = load<i32>(cpu, VCPU_tlbVictimsWorth) + EARNING;
  store<i32>(cpu, min(worth, MOST), VCPU_tlbVictimsWorth);
  return true;
}

/** Throw all of them away. */
export function forgetVictims(cpu: usize): void {
  if (load<u32>(cpu, VCPU_tlbVictims) === 0) return;
  store<u32>(cpu, 0, VCPU_tlbVictims);
  const first = cpu + (TLB_VICTIMS_OFFSET as usize);
  for (let entry = first; entry < first + TABLES * BYTES; entry += 16) empty(entry);
}

/** Throw away those of one address. */
export function forgetVictimsAt(cpu: usize, va: u64): void {
  if (load<u32>(cpu, VCPU_tlbVictims) === 0) return;
  for (let number: usize = 0; number < TABLES; number++) {
    const entry = victimSlot(cpu, number, va);
    if (load<u64>(entry, TLB_ENTRY_tag) === (va & PAGE_MASK)) empty(entry);
  }
}

/** The first victim of the tables for writing, and the end of them. */
export function firstWriteVictim(cpu: usize): usize {
  return cpu + (TLB_VICTIMS_OFFSET as usize) + FIRST_WRITE * BYTES;
}
export function endOfVictims(cpu: usize): usize {
  return cpu + (TLB_VICTIMS_OFFSET as usize) + TABLES * BYTES;
}
