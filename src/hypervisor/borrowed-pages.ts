/**
 * Pages that a clone has looked at and not changed go back.
 *
 * A clone's memory cannot show a page of its parent's, so a page that is looked at is copied to a frame of the clone's own, and most are
 * never changed: page tables, the kernel's constants, what is searched. When there are so many new ones, those that still are what they
 * were copied from become `paged` again, and their frames serve the next pages: the host gives memory for a frame once and for ever.
 *
 * That is right for a guest that does little, as copying a page again costs more than touching memory for the first time. It ends when
 * there is work or hot code (`MachineHost.expectWork`), and a guest that is busy with more pages than these is allowed more.
 */
import { frameAddress, type Mfn, mfn, PAGE_SIZE } from '../base/brand.ts';
import { isAsItWas } from '../cpu/decode/decoded-before.ts';
import { KICK, P2m } from '../cpu/vcpu/layout.ts';
import { usesAllCode } from '../machine/header.ts';
import type { Domain, Hypervisor } from './hypervisor.ts';
import {
  frameOwner,
  holdsCode,
  mapChanged,
  p2mType,
  pageOfFrame,
  rawEntry,
  readElsewhere,
  referencesTo,
} from './p2m.ts';
import { isSamePage } from './sharing/page-words.ts';

/** So many pages are copied until they are looked through: fewer are less memory and more time (docs/design/0023). */
const PAGES = 128;
/** So often they are looked through whatever the guest does. A clone with a network comes to rest after four times. */
const FREE_PASSES = 64;
/** More often than that a guest shall not have a pass: a hundred that are idle would be noticed. */
const PASS_NS = 1e9;

const copy = new Uint32Array(PAGE_SIZE / 4);
const copyBytes = new Uint8Array(copy.buffer);

export class BorrowedPages {
  #limit: number;
  /** Guest frames that were filled since the last pass. */
  readonly #gfns: number[] = [];
  #nrPasses = 0;
  #passedNs = 0;

  /** @param limit so many pages from one pass to the next, at first */
  constructor(limit: number = PAGES) {
    this.#limit = limit;
  }

  /** A page has been copied. Who executes the guest is to call `giveBack` before the next instruction when there are enough. */
  add({ vcpus }: Domain, gfn: number): void {
    if (this.#gfns.push(gfn) === this.#limit) for (const { block } of vcpus) block.kick = KICK;
  }

  /** To be called between instructions, when nobody has an address of a page but by a reference to its frame. */
  giveBack(domain: Domain): void {
    if (this.#gfns.length < this.#limit) return;
    if (usesAllCode(domain.hypervisor.memory)) {
      // Another thread has found that there is work.
      keepBorrowed(domain.hypervisor);
      return;
    }
    const now = domain.hypervisor.clock.systemTimeNs();
    if (this.#nrPasses >= FREE_PASSES && now - this.#passedNs < PASS_NS) this.#limit *= 2;
    this.#nrPasses += 1;
    this.#passedNs = now;
    for (const gfn of this.#gfns) giveBackUnchanged(domain, gfn);
    this.#gfns.length = 0;
    for (const { block } of domain.vcpus) block.kick = 0;
    mapChanged(domain);
  }
}

/** Frames that somebody besides the p2m refers to stay, and so do those of which instructions are decoded. */
function giveBackUnchanged(domain: Domain, gfn: number): void {
  const { hypervisor, state, id } = domain;
  const { memory, frames } = hypervisor;
  const entry = rawEntry(domain, gfn);
  const frame = mfn(entry & P2m.mfnMask);
  if (p2mType(entry) !== P2m.ram || frameOwner(hypervisor, frame) !== id) return;
  if (referencesTo(hypervisor, frame) !== 1 || holdsCode(hypervisor, frame)) return;
  const page = pageOfFrame(hypervisor, frame);
  if (page === 0 || !isUnchanged(hypervisor, frame, page)) return;
  memory.u32[state.p2m / 4 + gfn] = page | (P2m.paged << P2m.typeShift);
  frames.release(frame);
  frames.promise(1);
}

/** Is the frame what it was filled with? The page is compared where it is, while it is in another machine's memory. */
function isUnchanged(hypervisor: Hypervisor, frame: Mfn, page: number): boolean {
  const { u32 } = hypervisor.memory;
  const address = frameAddress(frame);
  const origin = hypervisor.pages?.originOf?.(page);
  if (origin) {
    const isSame = isSamePage(u32, address, origin.memory.u32, frameAddress(mfn(origin.frame)));
    if (isAsItWas(origin)) return isSame;
  }
  readElsewhere(hypervisor, page, copyBytes);
  return isSamePage(u32, address, copy, 0);
}

/** Whoever has looked at a page keeps it from now on. */
export function keepBorrowed(hypervisor: Hypervisor): void {
  if (!hypervisor.borrowed) return;
  hypervisor.borrowed = undefined;
  for (const { block } of hypervisor.vcpus.values()) block.kick = 0;
}
