/**
 * What a guest looks at first when it goes on from a saved machine: it is nearly the same every time. One guest leaves a *trail*, its
 * pages in the order in which they were looked at and the instructions that were decoded in them; the next one finds all of that in
 * its memory when it begins, instead of page by page and instruction by instruction.
 */
import { frameAddress, type Mfn, mfn, PAGE_SIZE } from '../base/brand.ts';
import {
  type CodeFrames,
  type CodeImage,
  codeOf,
  codeRoom,
  holds,
  putCode,
  takeCode,
} from '../cpu/code-image.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { FrameEntry, FrameFlag, FrameType } from '../machine/frames.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from '../machine/memory.ts';
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
export interface KeptTrail {
  /** Of each page its guest frame and its number, two words; those that were read come first. */
  readonly looks: Uint32Array;
  readonly nrRead: number;
  /** Fill `into` with what pages that were read hold. Resolves with whether that was possible. */
  readPagesTo(into: Uint8Array): Promise<boolean>;
  readonly code: {
    readonly base: number;
    readonly sizeBytes: number;
    readonly frames: CodeFrames;
    /** The same with what was decoded. @param into `sizeBytes` long */
    readTo(into: Uint8Array): Promise<boolean>;
  };
}

/** Room in the memory of a machine that is about to be made: for what is on a trail, and for what the trail that it leaves will need. */
export interface TrailRoom {
  readonly memory: MachineMemory;
  /** The first of `LOOKS_MAX` reserved frames. */
  readonly first: Mfn;
}

/** What is on a trail is in a machine's memory. */
export interface ArrivedTrail {
  readonly trail: KeptTrail;
  readonly first: Mfn;
  /** Whether all of it is; what is not there is read and decoded as without a trail. */
  readonly hasPages: boolean;
  readonly hasCode: boolean;
}

/**
 * Bring what is on a trail to where it will be, while the machine is made: other threads read it, and are those that touch the memory for the
 * first time.
 */
export async function fetchTrail(trail: KeptTrail, { memory, first }: TrailRoom): Promise<ArrivedTrail> {
  const start = frameAddress(first);
  const { base, sizeBytes } = trail.code;
  const room = codeRoom(memory, base, sizeBytes);
  const [hasPages, hasCode] = await Promise.all([
    trail.readPagesTo(memory.u8.subarray(start, start + trail.nrRead * PAGE_SIZE)),
    room ? trail.code.readTo(room) : false,
  ]);
  return { trail, first, hasPages, hasCode };
}

/**
 * Give to a new domain what is on the trail; nothing of it has run.
 * @throws DomusError when a page has not arrived, and cannot be read
 */
export function followTrail(domain: Domain, arrived: ArrivedTrail): void {
  const { base, sizeBytes, frames } = arrived.trail.code;
  const hasCode = becomeMemory(domain, arrived) && arrived.hasCode;
  const { memory } = domain.hypervisor;
  const room = codeRoom(memory, base, sizeBytes);
  if (!room || (hasCode && putCode(memory, frames, arrived.first, sizeBytes))) return;
  // It must be as the system gave it.
  room.fill(0);
}

/** The pages are the domain's from now on. Returns false when it has others there already, or is not to have any decoded code. */
function becomeMemory(domain: Domain, { trail, first, hasPages }: ArrivedTrail): boolean {
  const { hypervisor, id } = domain;
  const { frames, memory, pages } = hypervisor;
  const { looks, nrRead } = trail;
  const nrLooks = looks.length / 2;
  if (!pages || !hypervisor.leavesCode || !areNew(domain, looks)) return false;
  frames.forgo(nrLooks);
  frames.claimRun(first, nrLooks, id, FrameType.ram);
  const { u8, u32 } = memory;
  const p2m = domain.state.p2m / 4;
  for (let i = 0; i < nrLooks; i++) {
    const frame = first + i;
    const type = i < nrRead ? P2m.ram : P2m.unread;
    u32[p2m + (looks[2 * i] as number)] = (frame | (type << P2m.typeShift)) >>> 0;
    if (type === P2m.unread) {
      const entry = FRAME_TABLE_BASE + frame * FrameEntry.size;
      u32[(entry + FrameEntry.offsets.next) >>> 2] = looks[2 * i + 1] as number;
      u8[entry + FrameEntry.offsets.flags] = FrameFlag.unread;
    }
  }
  if (hasPages) return true;
  const start = frameAddress(first);
  for (let i = 0; i < nrRead; i++)
    pages.read(looks[2 * i + 1] as number, u8.subarray(start + i * PAGE_SIZE, start + (i + 1) * PAGE_SIZE));
  return true;
}

/** Has the domain looked at none of these pages yet? */
function areNew(domain: Domain, looks: Uint32Array): boolean {
  const gfns = new Set<number>();
  for (let i = 0; i < looks.length; i += 2) {
    const gfn = looks[i] as number;
    if (rawEntry(domain, gfn) !== ((P2m.paged << P2m.typeShift) | (looks[i + 1] as number)) >>> 0)
      return false;
    gfns.add(gfn);
  }
  return gfns.size === looks.length / 2;
}
