/**
 * Pages of the p2m whose entries are not there yet, because one word says what they are: RAM of which nobody has looked at any frame. The
 * words lie behind the table, one for each of its pages, 0 where the entries are there. An entry of `paged` RAM counts up from the first
 * one's page number; with page 0, zeros, all are the same.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import type { Domain } from './hypervisor.ts';

export const ENTRIES_PER_PAGE = PAGE_SIZE / 4;

/** Bytes of a table, a whole number of pages, without the words behind it. */
const tableBytes = (p2mCount: number): number => Math.ceil(p2mCount / ENTRIES_PER_PAGE) * PAGE_SIZE;

/** Frames that a table for so many guest frames takes. */
export function p2mFrames(p2mCount: number): number {
  const pages = Math.max(1, tableBytes(p2mCount) / PAGE_SIZE);
  return pages + Math.ceil(pages / ENTRIES_PER_PAGE);
}

const wholeWord = ({ state: { p2m, p2mCount } }: Domain, page: number): number =>
  (p2m + tableBytes(p2mCount)) / 4 + page;

/** What the first entry of a page would be, 0 when its entries are there. */
export const wholeEntry = (domain: Domain, page: number): number =>
  domain.hypervisor.memory.u32[wholeWord(domain, page)]!;

export function setWhole(domain: Domain, page: number, entry: number): void {
  domain.hypervisor.memory.u32[wholeWord(domain, page)] = entry;
}

const step = (entry: number): number => ((entry & P2m.mfnMask) === 0 ? 0 : 1);

/** Make `count` entries of RAM from `gfn` on, which begin with `entry`. */
export function fillEntries({ hypervisor, state }: Domain, gfn: number, count: number, entry: number): void {
  const { u32 } = hypervisor.memory;
  const at = state.p2m / 4 + gfn;
  const up = step(entry);
  if (up === 0) u32.fill(entry, at, at + count);
  else for (let i = 0; i < count; i++) u32[at + i] = entry + i;
}

/** Make the entries of a page, if they are not there. Returns whether that was so. */
export function spread(domain: Domain, page: number): boolean {
  const word = wholeWord(domain, page);
  const { u32 } = domain.hypervisor.memory;
  const entry = u32[word]!;
  if (entry === 0) return false;
  u32[word] = 0;
  fillEntries(domain, page * ENTRIES_PER_PAGE, ENTRIES_PER_PAGE, entry);
  return true;
}

/** The entry of a gfn within the table, which stays as it is: to look at, not to change. */
export function peekEntry(domain: Domain, gfn: number): number {
  const entry = domain.hypervisor.memory.u32[domain.state.p2m / 4 + gfn]!;
  if (entry !== 0) return entry;
  const whole = wholeEntry(domain, Math.floor(gfn / ENTRIES_PER_PAGE));
  return whole + step(whole) * (gfn % ENTRIES_PER_PAGE);
}
