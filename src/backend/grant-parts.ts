/**
 * Bytes that lie in parts of granted pages: what requests of block and network devices name.
 *
 * Parts whose machine frames lie behind one another are one copy: a domain's large pages are so, and its drivers name them in order.
 */
import { type GrantRef, PAGE_SIZE } from '../base/brand.ts';
import { acquireGrant, releaseGrant } from '../hypervisor/grant/table.ts';
import { wroteTo } from '../hypervisor/guest-memory.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';

/** A list of parts: three words each. */
export class GrantParts {
  readonly words: Uint32Array;
  /** Bytes in all. */
  sizeBytes = 0;
  #nrWords = 0;

  constructor(max: number) {
    this.words = new Uint32Array(3 * max);
  }

  get count(): number {
    return this.#nrWords / 3;
  }
  add(ref: GrantRef, offset: number, length: number): void {
    const { words } = this;
    words[this.#nrWords] = ref;
    words[this.#nrWords + 1] = offset;
    words[this.#nrWords + 2] = length;
    this.#nrWords += 3;
    this.sizeBytes += length;
  }
  /** For other parts. */
  clear(): void {
    this.#nrWords = 0;
    this.sizeBytes = 0;
  }
  ref(index: number): GrantRef {
    return this.words[3 * index] as GrantRef;
  }
  /** In its page. */
  offset(index: number): number {
    return this.words[3 * index + 1]!;
  }
  length(index: number): number {
    return this.words[3 * index + 2]!;
  }
}

/**
 * Copy `bytes` into the parts (`isWrite`), or fill them from there. Pages are held meanwhile. False at the first part that is
 * not granted, or leaves its page; those before it are copied.
 */
export function copyParts(domain: Domain, parts: GrantParts, bytes: Uint8Array, isWrite: boolean): boolean {
  const { hypervisor } = domain;
  const { u8 } = hypervisor.memory;
  const { count } = parts;
  let done = 0;
  let next = 0;
  let address = count === 0 ? 0 : acquirePart(domain, parts, 0, isWrite);
  while (next < count && address >= 0) {
    const start = address;
    let first = next;
    let end = start;
    do {
      end += parts.length(next);
      next += 1;
      address = next === count ? 0 : acquirePart(domain, parts, next, isWrite);
    } while (next < count && address === end);
    const length = end - start;
    const piece = bytes.subarray(done, done + length);
    if (isWrite) u8.set(piece, start);
    else piece.set(u8.subarray(start, end));
    done += length;
    for (let at = start; first < next; first++) {
      if (isWrite) wroteTo(hypervisor, at, parts.length(first));
      releaseGrant(domain, parts.ref(first), isWrite, at >>> 12);
      at += parts.length(first);
    }
  }
  return next === count;
}

/** Machine address of a part, whose page is held from now on; negative if there is none. */
function acquirePart(domain: Domain, parts: GrantParts, index: number, isWrite: boolean): number {
  const offset = parts.offset(index);
  if (offset + parts.length(index) > PAGE_SIZE) return -1;
  const frame = acquireGrant(domain, parts.ref(index), 0, isWrite);
  return frame < 0 ? -1 : frame * PAGE_SIZE + offset;
}
