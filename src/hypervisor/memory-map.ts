/**
 * What a domain's memory is made of at this moment, page by page, as far as the hypervisor knows: for people to look at. Nothing is
 * touched by looking, and vCPUs may run meanwhile.
 *
 * A new kind of page is one more word in `PAGE_KINDS` and one more line in `kindOf`; whoever shows the map takes the words from here.
 */
import { E820_ENTRY_BYTES, E820_RAM } from '../abi/xen/memory.ts';
import { PAGE_SIZE } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { DOMID_XEN, FrameEntry, FrameFlag } from '../machine/frames.ts';
import { FRAME_TABLE_BASE } from '../machine/memory.ts';
import type { Domain } from './hypervisor.ts';
import { p2mType } from './p2m.ts';
import { peekEntry } from './p2m-pages.ts';

/**
 * private: a frame of the domain's own. code: the same, with decoded instructions. granted: the same, and somebody else has it mapped, too.
 * frozen: an image that clones are filled from has it, too, and it is copied when it is written to. image: it still lies in the saved
 * machine or the parent that the domain came from. shared: it lies in the host's store of pages, where others may have it, too. zero: it
 * held zeros, and its frame was taken back. untouched: zeros that nobody has looked at, without a frame. xen: a frame of the hypervisor's
 * own, such as the shared information. foreign: a frame of another domain. device: no memory. ballooned: nothing, as it was
 * given back or never handed out.
 */
export const PAGE_KINDS = [
  ...(['private', 'code', 'granted', 'frozen', 'image', 'shared', 'zero', 'untouched'] as const),
  ...(['xen', 'foreign', 'device', 'ballooned'] as const),
] as const;
export type PageKind = (typeof PAGE_KINDS)[number];

const KIND = Object.fromEntries(PAGE_KINDS.map((kind, i) => [kind, i])) as Readonly<Record<PageKind, number>>;
const F = FrameEntry.offsets;

export interface DomainMemoryMap {
  readonly pageBytes: number;
  /** Guest frames from 0 on, up to the end of RAM. */
  readonly pages: number;
  readonly pagesPerCell: number;
  readonly kinds: readonly PageKind[];
  /** Pages of each kind. */
  readonly totals: readonly number[];
  /** The same for each run of `pagesPerCell` pages; the last one may be shorter. */
  readonly cells: readonly (readonly number[])[];
}

function kindOf({ hypervisor, id }: Domain, entry: number): number {
  const type = p2mType(entry);
  if (type === P2m.paged) return (entry & P2m.mfnMask) === 0 ? KIND.untouched : KIND.image;
  if (type === P2m.shared) return (entry & P2m.mfnMask) === 0 ? KIND.zero : KIND.shared;
  if (type === P2m.unread) return KIND.image;
  if (type === P2m.mmio) return KIND.device;
  if (type === P2m.invalid) return KIND.ballooned;
  const { u8, u16, u32 } = hypervisor.memory;
  const at = FRAME_TABLE_BASE + (entry & P2m.mfnMask) * FrameEntry.size;
  const owner = u16[(at + F.owner) >>> 1]!;
  if (owner === DOMID_XEN) return KIND.xen;
  if (owner !== id) return KIND.foreign;
  if (type === P2m.frozen) return KIND.frozen;
  if (u32[(at + F.count) >>> 2]! > 1) return KIND.granted;
  return (u8[at + F.flags]! & FrameFlag.code) !== 0 ? KIND.code : KIND.private;
}

/** Where RAM ends, by the map that the guest was given. */
function ramEnd({ hypervisor, state }: Domain): number {
  const { view } = hypervisor.memory;
  let end = 0;
  for (let i = 0; i < state.nrE820; i++) {
    const at = state.e820 + i * E820_ENTRY_BYTES;
    if (view.getUint32(at + 16, true) !== E820_RAM) continue;
    end = Math.max(end, Number(view.getBigUint64(at, true) + view.getBigUint64(at + 8, true)));
  }
  return Math.min(Math.floor(end / PAGE_SIZE), state.p2mCount);
}

/** @param nrCells at most so many, a whole number from 1 on */
export function domainMemoryMap(domain: Domain, nrCells: number): DomainMemoryMap {
  const pages = ramEnd(domain);
  const pagesPerCell = Math.max(1, Math.ceil(pages / nrCells));
  const kinds = PAGE_KINDS.length;
  const counts = new Uint32Array(Math.ceil(pages / pagesPerCell) * kinds);
  const totals = new Array<number>(kinds).fill(0);
  for (let gfn = 0; gfn < pages; gfn++) {
    const kind = kindOf(domain, peekEntry(domain, gfn));
    counts[Math.floor(gfn / pagesPerCell) * kinds + kind]! += 1;
    totals[kind]! += 1;
  }
  const cells = Array.from({ length: counts.length / kinds }, (_, i) =>
    Array.from(counts.subarray(i * kinds, (i + 1) * kinds)),
  );
  return { pageBytes: PAGE_SIZE, pages, pagesPerCell, kinds: PAGE_KINDS, totals, cells };
}
