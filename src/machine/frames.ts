/**
 * The frame table and the frame allocator.
 *
 * The table has one entry for each frame of machine memory and lies in machine memory itself, so that every worker
 * sees the same owners and counts. Free single frames form a list through their entries; contiguous runs come from a
 * frontier that only moves up (runs are few and long-lived: vCPU blocks, p2m tables, the code cache).
 */
import { type DomainId, frameAddress, type Mfn, mfn, PAGE_SIZE } from '../base/brand.ts';
import { DomusError, invariant } from '../base/errors.ts';
import { struct, u8, u16, u32 } from '../base/struct.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from './memory.ts';

export const FrameEntry = struct('frame', {
  /** Domain that owns the frame; DOMID_NONE when free, DOMID_XEN when the hypervisor's own. */
  owner: u16,
  type: u8,
  flags: u8,
  /** References: mappings in p2m tables plus grants in use. */
  count: u32,
  /** Head of the list of code pages (decoded instructions) of this frame, 0 if none. */
  code: u32,
  /**
   * Next free frame, when free; else the number of the page that it was filled with, or with `FrameFlag.unread` is to be, in what the
   * machine is filled from. 0 for none.
   */
  next: u32,
});

const F = FrameEntry.offsets;

/** What a frame is used for (`FrameEntry.type`). */
export const FrameType = { free: 0, hypervisor: 1, ram: 2, shared: 3 } as const;
/** Bits of `FrameEntry.flags`. */
export const FrameFlag = {
  /** Instructions of this frame are decoded: it must never enter a write TLB. */
  code: 1,
  /** Nothing has been written to it yet, not even what it promises to hold: only whoever decodes instructions may look at it. */
  unread: 2,
} as const;

export const DOMID_NONE = 0xffff as DomainId;
/** Xen's own pseudo domain (DOMID_XEN, public/xen.h). */
export const DOMID_XEN = 0x7ff2 as DomainId;

/** Allocator state, right before the frame table, so that it is machine state too. */
export const FrameAllocator = struct('frame_allocator', {
  frontier: u32,
  freeHead: u32,
  nrFrames: u32,
  nrFree: u32,
  /** Frames that are free and promised. */
  nrPromised: u32,
});

/** Frames that wait for another use while fresh ones are taken: runs must find some of these later. */
const WAITING_MAX = 1024;

const machineFull = (wanted: number, left: number): DomusError =>
  new DomusError(
    'E_MACHINE_FULL',
    `machine memory is used up: ${wanted} frames wanted, ${left} left in one piece`,
    'run fewer domains, or give them less memory',
  );

export class FrameTable {
  readonly memory: MachineMemory;
  readonly #state: ReturnType<typeof FrameAllocator.at>;

  constructor(memory: MachineMemory) {
    this.memory = memory;
    this.#state = FrameAllocator.at(memory.view, FRAME_TABLE_BASE - FrameAllocator.size);
    if (this.#state.nrFrames === 0) this.#initialise();
  }

  #initialise(): void {
    const nrFrames = Math.floor(this.memory.sizeBytes / PAGE_SIZE);
    const first = Math.ceil((FRAME_TABLE_BASE + nrFrames * FrameEntry.size) / PAGE_SIZE);
    this.#state.nrFrames = nrFrames;
    this.#state.frontier = first;
    this.#state.nrFree = nrFrames - first;
  }

  /** Frames that can still be allocated or promised. */
  get nrFree(): number {
    return this.#state.nrFree - this.#state.nrPromised;
  }

  /** Frames that are promised and do not exist yet. */
  get nrPromised(): number {
    return this.#state.nrPromised;
  }

  /** Frames that were ever in use, and reserved ones: what the host has given memory for at most. Never less than before. */
  get nrTouched(): number {
    return this.#state.frontier;
  }

  /** Keep frames for later: each is allocated by `redeem`. @throws DomusError E_MACHINE_FULL */
  promise(count: number): void {
    if (count > this.nrFree) throw machineFull(count, this.nrFree);
    this.#state.nrPromised += count;
  }
  /** Give back promised frames that are not needed. */
  forgo(count: number): void {
    invariant(count <= this.#state.nrPromised, 'more frames are given back than were promised');
    this.#state.nrPromised -= count;
  }
  /** A frame that was promised, as `allocate` gives it. */
  redeem(owner: DomainId): Mfn {
    this.forgo(1);
    return this.allocate(owner);
  }

  /** The same for contents that may never come: one that the host has given no memory for yet, unless many others wait for a use. */
  redeemUntouched(owner: DomainId): Mfn {
    this.forgo(1);
    const { nrFrames, frontier, nrFree } = this.#state;
    const nrUntouched = nrFrames - frontier;
    if (nrUntouched === 0 || nrFree - nrUntouched > WAITING_MAX) return this.allocate(owner);
    return this.allocateRun(1, owner, FrameType.ram);
  }

  entry(frame: Mfn): ReturnType<typeof FrameEntry.at> {
    return FrameEntry.at(this.memory.view, FRAME_TABLE_BASE + frame * FrameEntry.size);
  }

  /** One frame, zeroed, with one reference. @throws DomusError E_MACHINE_FULL */
  allocate(owner: DomainId, type: number = FrameType.ram): Mfn {
    const head = this.#state.freeHead;
    if (head === 0) return this.allocateRun(1, owner, type);
    const frame = mfn(head);
    const entry = this.entry(frame);
    this.#state.freeHead = entry.next;
    this.#state.nrFree -= 1;
    this.#claim(frame, owner, type);
    this.memory.u8.fill(0, frameAddress(frame), frameAddress(frame) + PAGE_SIZE);
    return frame;
  }

  /** `count` contiguous frames, zeroed; the first one is returned. @throws DomusError E_MACHINE_FULL */
  allocateRun(count: number, owner: DomainId = DOMID_XEN, type: number = FrameType.hypervisor): Mfn {
    const first = this.reserveRun(count);
    this.claimRun(first, count, owner, type);
    return first;
  }

  /** Frames of a run that was reserved become what `allocateRun` gives. */
  claimRun(first: Mfn, count: number, owner: DomainId, type: number): void {
    // Word by word: a run may have thousands of entries, and the first one makes the rest. They are zero so far.
    this.#claim(first, owner, type);
    const { u32 } = this.memory;
    const words = FrameEntry.size / 4;
    const start = (FRAME_TABLE_BASE + first * FrameEntry.size) / 4;
    for (let at = start + words; at < start + count * words; at += words) {
      u32[at] = u32[start]!;
      u32[at + 1] = u32[start + 1]!;
    }
  }

  /** `count` contiguous frames of which nobody will ask the frame table: its entries stay as they are, and are not touched. */
  reserveRun(count: number): Mfn {
    const first = this.#state.frontier;
    const left = Math.min(this.nrFree, this.#state.nrFrames - first);
    if (count > left) throw machineFull(count, left);
    this.#state.frontier = first + count;
    this.#state.nrFree -= count;
    return mfn(first);
  }

  #claim(frame: Mfn, owner: DomainId, type: number): void {
    // Past the accessors: a domain has a hundred thousand of them.
    const { u8, u16, u32 } = this.memory;
    const at = FRAME_TABLE_BASE + frame * FrameEntry.size;
    u16[(at + F.owner) >>> 1] = owner;
    u8[at + F.type] = type;
    u8[at + F.flags] = 0;
    u32[(at + F.count) >>> 2] = 1;
    u32[(at + F.code) >>> 2] = 0;
    u32[(at + F.next) >>> 2] = 0;
  }

  /** Drop one reference; the frame is free again when it was the last. Returns whether it was. */
  release(frame: Mfn): boolean {
    const { u32 } = this.memory;
    const count = (FRAME_TABLE_BASE + frame * FrameEntry.size + F.count) >>> 2;
    if (u32[count] === 0) invariant(false, `frame ${frame} released more often than it was taken`);
    u32[count]! -= 1;
    if (u32[count]! > 0) return false;
    const entry = this.entry(frame);
    entry.owner = DOMID_NONE;
    entry.type = FrameType.free;
    entry.next = this.#state.freeHead;
    this.#state.freeHead = frame;
    this.#state.nrFree += 1;
    return true;
  }
}
