/**
 * The decoded instructions of a machine, to be put into another one that has the same code in its memory: decoding is most of what a
 * guest's first moments cost. Everything in the code cache is found by addresses within it, so it is good wherever the cache lies at the
 * same place; only the frames that code pages belong to are others, and have a number here.
 */
import { mfn as asMfn, frameAddress, type Mfn, PAGE_SIZE } from '../base/brand.ts';
import { FrameEntry, FrameFlag } from '../machine/frames.ts';
import { machineHeader } from '../machine/header.ts';
import { FRAME_TABLE_BASE, type MachineMemory } from '../machine/memory.ts';
import { CodePage } from './decode/record.ts';
import { TranslatorState } from './translator/layout.ts';

const P = CodePage.offsets;
const F = FrameEntry.offsets;

/** Of each frame with decoded instructions the number that it was given, and the address of its first code page: two words. */
export type CodeFrames = Uint32Array;

export interface CodeImage {
  /** What the code cache has at its beginning. Not a copy: good until something is decoded. */
  readonly bytes: Uint8Array;
  /** Where that lies. */
  readonly base: number;
  readonly frames: CodeFrames;
}

const frameEntry = (frame: number): number => FRAME_TABLE_BASE + frame * FrameEntry.size;

/** Address of a frame's first code page, 0 when it has none. */
export const codeOf = ({ u32 }: MachineMemory, frame: Mfn): number =>
  u32[(frameEntry(frame) + F.code) >>> 2] as number;

/** Has the translator taken the place of no instruction yet, and has the code cache never been thrown away? */
function isPlain(memory: MachineMemory): boolean {
  const { codeGeneration, translator } = machineHeader(memory);
  return codeGeneration === 0 && TranslatorState.at(memory.view, translator).nrPosted === 0;
}

/**
 * What is decoded now, of those frames that have a number; undefined when it is of no use to other machines. No thread of the machine may
 * be executing guest code.
 */
export function takeCode(memory: MachineMemory, numbers: ReadonlyMap<Mfn, number>): CodeImage | undefined {
  if (!isPlain(memory)) return undefined;
  const { codeBase: base, codeNext } = machineHeader(memory);
  const frames: number[] = [];
  for (const [frame, number] of numbers) {
    const head = codeOf(memory, frame);
    if (head !== 0) frames.push(number, head);
  }
  return { bytes: memory.u8.subarray(base, codeNext), base, frames: Uint32Array.from(frames) };
}

/**
 * Room for an image of so many bytes at the beginning of the code cache, to be filled by the caller; undefined where the cache is not
 * empty, lies elsewhere, or has no room for it.
 */
export function codeRoom(memory: MachineMemory, base: number, sizeBytes: number): Uint8Array | undefined {
  const { codeBase, codeNext, codeLimit } = machineHeader(memory);
  if (!isPlain(memory) || codeBase !== base || codeNext !== base || sizeBytes > codeLimit - base)
    return undefined;
  return memory.u8.subarray(base, base + sizeBytes);
}

/**
 * What `codeRoom` gave was filled: the instructions belong to these frames from now on, none of which is known to a vCPU. Returns whether
 * all code pages lie within it; if not, nothing has been done.
 * @param firstFrame that with number 0; the others follow
 */
export function putCode(
  memory: MachineMemory,
  frames: CodeFrames,
  firstFrame: Mfn,
  sizeBytes: number,
): boolean {
  const { u8, u32 } = memory;
  const header = machineHeader(memory);
  const first = header.codeBase;
  const last = first + sizeBytes - CodePage.size;
  const nextOf = (page: number): number => u32[(page + P.next) >>> 2] as number;
  /** Does the chain of code pages from `head` on lie here, and have an end? */
  const isChain = (head: number): boolean => {
    let nrPages = 0;
    for (let page = head; page !== 0; page = nextOf(page))
      if (page < first || page > last || page % 8 !== 0 || nrPages++ > MODES_MAX) return false;
    return true;
  };
  for (let i = 0; i < frames.length; i += 2) if (!isChain(frames[i + 1] as number)) return false;
  for (let i = 0; i < frames.length; i += 2) {
    const frame = firstFrame + (frames[i] as number);
    const head = frames[i + 1] as number;
    let hasCode = false;
    for (let page = head; page !== 0; page = nextOf(page)) {
      u32[(page + P.mfn) >>> 2] = frame;
      const granules = (page + P.granules) >>> 2;
      hasCode ||= u32[granules] !== 0 || u32[granules + 1] !== 0;
    }
    const entry = frameEntry(frame);
    u32[(entry + F.code) >>> 2] = head;
    // Whoever writes there has to tell (runtime/assembly/code/invalidate.ts).
    if (hasCode) u8[entry + F.flags] = (u8[entry + F.flags] as number) | FrameFlag.code;
  }
  header.codeNext = first + sizeBytes;
  return true;
}

/** Decoder modes that a frame's code may have been executed in. */
const MODES_MAX = 64;

/** Does a frame hold exactly these bytes? */
export function holds({ u32 }: MachineMemory, frame: Mfn, page: Uint32Array): boolean {
  const at = frameAddress(asMfn(frame)) / 4;
  for (let i = 0; i < PAGE_SIZE / 4; i++) if (u32[at + i] !== page[i]) return false;
  return true;
}
