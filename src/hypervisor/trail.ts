/**
 * What a guest looks at first when it goes on from a saved machine: it is nearly the same every time. One guest leaves a *trail*, its
 * pages in the order in which they were looked at and the instructions that were decoded in them; the next one finds all of that in
 * its memory when it begins, instead of page by page and instruction by instruction.
 */
import { frameAddress, type Mfn, mfn, PAGE_SIZE } from '../base/brand.ts';
import {
  type CodeFrame,
  type CodeImage,
  codeOf,
  codeRoom,
  holds,
  putCode,
  takeCode,
} from '../cpu/code-image.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { FrameEntry, FrameFlag, FrameType } from '../machine/frames.ts';
import { FRAME_TABLE_BASE } from '../machine/memory.ts';
import { crc32 } from '../platform/node/checksum.ts';
import type { Domain } from './hypervisor.ts';
import { FREEZABLE, frameOwner, p2mType, rawEntry } from './p2m.ts';
import type { PageSource } from './page-source.ts';

/** Longer trails are cut: a guest that looks at more than this is under way for so long that its beginning matters little. */
export const LOOKS_MAX = 4096;

/** A page of the saved machine, and the guest frame that it was at. */
export interface Look {
  readonly gfn: number;
  readonly page: number;
}

/** Notes which pages are looked at, in order. */
export class TrailRecorder {
  readonly looks: Look[] = [];

  add(gfn: number, page: number): void {
    if (this.looks.length < LOOKS_MAX) this.looks.push({ gfn, page });
  }
}

export interface Trail {
  /** Pages that were read or written. */
  readonly read: readonly Look[];
  /** Pages that were only executed: of those nothing but what was decoded is needed. */
  readonly executed: readonly Look[];
  /** The number of a frame is that of its page among all of them. */
  readonly code: CodeImage | undefined;
}

/**
 * The trail of a domain until now. No vCPU may be executing.
 * @param pages what the domain was filled from
 */
export function takeTrail(domain: Domain, looks: readonly Look[], pages: PageSource): Trail {
  const { memory } = domain.hypervisor;
  const read: Look[] = [];
  const executed: Look[] = [];
  for (const look of looks) (p2mType(rawEntry(domain, look.gfn)) === P2m.unread ? executed : read).push(look);
  const numbers = new Map<Mfn, number>();
  const copy = new Uint8Array(PAGE_SIZE);
  const words = new Uint32Array(copy.buffer);
  for (const [number, { gfn, page }] of [...read, ...executed].entries()) {
    const entry = rawEntry(domain, gfn);
    const frame = mfn(entry & P2m.mfnMask);
    const type = p2mType(entry);
    if (type !== P2m.unread) {
      if (!FREEZABLE.has(type) || frameOwner(domain.hypervisor, frame) !== domain.id) continue;
      if (codeOf(memory, frame) === 0) continue;
      // What was decoded is of what is there now.
      pages.read(page, copy);
      if (!holds(memory, frame, words)) continue;
    }
    numbers.set(frame, number);
  }
  return { read, executed, code: takeCode(memory, numbers) };
}

/** A trail out of a file. */
export interface KeptTrail extends Omit<Trail, 'code'> {
  /** Show what pages `read` hold, one after the other, for as long as that is possible. What is shown is good for the time of the call. */
  readPages(show: (contents: Uint8Array) => void): void;
  readonly code: {
    readonly base: number;
    readonly sizeBytes: number;
    readonly frames: readonly CodeFrame[];
    /** Fill `into`, `sizeBytes` long, with what was decoded. Returns whether that was possible, and it is as it was written. */
    fill(into: Uint8Array): boolean;
  };
}

/**
 * Put into a new domain what is on the trail; nothing of it has run. The pages are checked, and read from where they come from when they
 * are other ones.
 * @param checks CRC-32 of each page
 * @throws DomusError when a page cannot be read
 */
export function followTrail(domain: Domain, trail: KeptTrail, checks: Uint32Array): void {
  const { hypervisor, id } = domain;
  const { frames, memory, pages } = hypervisor;
  const looks = [...trail.read, ...trail.executed];
  const isNew = ({ gfn, page }: Look) =>
    rawEntry(domain, gfn) === ((P2m.paged << P2m.typeShift) | page) >>> 0;
  const isHere = new Set(looks.map(({ gfn }) => gfn)).size === looks.length && looks.every(isNew);
  if (!isHere || !pages || !hypervisor.leavesCode) return;
  frames.forgo(looks.length);
  const first = frames.allocateRun(looks.length, id, FrameType.ram);
  const { u8, u32 } = memory;
  const start = frameAddress(first);
  const nrRead = trail.read.length;
  for (const [i, { gfn, page }] of looks.entries()) {
    const frame = first + i;
    const type = i < nrRead ? P2m.ram : P2m.unread;
    u32[domain.state.p2m / 4 + gfn] = (frame | (type << P2m.typeShift)) >>> 0;
    if (type === P2m.unread) {
      const entry = FRAME_TABLE_BASE + frame * FrameEntry.size;
      u32[(entry + FrameEntry.offsets.next) >>> 2] = page;
      u8[entry + FrameEntry.offsets.flags] = FrameFlag.unread;
    }
  }
  let nrFilled = 0;
  const fill = (contents?: Uint8Array): void => {
    const { page } = trail.read[nrFilled] as Look;
    const into = u8.subarray(start + nrFilled * PAGE_SIZE, start + (nrFilled + 1) * PAGE_SIZE);
    if (contents && crc32(contents) === checks[page - 1]) into.set(contents);
    else pages.read(page, into);
    nrFilled += 1;
  };
  trail.readPages(fill);
  while (nrFilled < nrRead) fill();
  const { code } = trail;
  const room = codeRoom(memory, code.base, code.sizeBytes);
  if (!room) return;
  const frameOf = (number: number) => (number < looks.length ? mfn(first + number) : undefined);
  if (code.fill(room) && putCode(memory, code.frames, frameOf, code.sizeBytes)) return;
  // It must be as the system gave it.
  room.fill(0);
}
