/**
 * Bytes that lie in parts of granted pages: what requests of block and network devices name.
 *
 * Parts whose machine frames lie behind one another are one copy: a domain's large pages are so, and its drivers name them in order.
 */
import { type GrantRef, PAGE_SIZE } from '../base/brand.ts';
import { locked } from '../hypervisor/event/backend.ts';
import { acquireGrant, releaseGrant } from '../hypervisor/grant/table.ts';
import { wroteTo } from '../hypervisor/guest-memory.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';

/** Words of each part: reference, offset in the page, length, and machine address while the page is held. */
const WORDS = 4;

/** A list of parts. */
export class GrantParts {
  readonly words: Uint32Array;
  /** Bytes in all. */
  sizeBytes = 0;
  #nrWords = 0;

  constructor(max: number) {
    this.words = new Uint32Array(WORDS * max);
  }

  get count(): number {
    return this.#nrWords / WORDS;
  }
  add(ref: GrantRef, offset: number, length: number): void {
    const { words } = this;
    words[this.#nrWords] = ref;
    words[this.#nrWords + 1] = offset;
    words[this.#nrWords + 2] = length;
    this.#nrWords += WORDS;
    this.sizeBytes += length;
  }
  /** For other parts. */
  clear(): void {
    this.#nrWords = 0;
    this.sizeBytes = 0;
  }
  ref(index: number): GrantRef {
    return this.words[WORDS * index] as GrantRef;
  }
  /** In its page. */
  offset(index: number): number {
    return this.words[WORDS * index + 1]!;
  }
  length(index: number): number {
    return this.words[WORDS * index + 2]!;
  }
  /** In the machine, while the page is held. */
  address(index: number): number {
    return this.words[WORDS * index + 3]!;
  }
  setAddress(index: number, address: number): void {
    this.words[WORDS * index + 3] = address;
  }
}

/**
 * Copy `bytes` into the parts (`isWrite`), or fill them from there. Pages are held meanwhile. False at the first part that is
 * not granted, or leaves its page; those before it are copied.
 */
export function copyParts(domain: Domain, parts: GrantParts, bytes: Uint8Array, isWrite: boolean): boolean {
  const { u8 } = domain.hypervisor.memory;
  const count = holdParts(domain, parts, isWrite);
  let done = 0;
  for (let next = 0; next < count; ) {
    const end = runEnd(parts, next, count);
    const { start, length } = runBetween(parts, next, end);
    const piece = bytes.subarray(done, done + length);
    if (isWrite) u8.set(piece, start);
    else piece.set(u8.subarray(start, start + length));
    done += length;
    next = end;
  }
  letGoOfParts(domain, parts, count, isWrite);
  return count === parts.count;
}

/**
 * Give `use` the parts as pieces of memory, in order and held meanwhile, and nobody is kept waiting; what it does to them with `isWrite`
 * is done to the domain's pages. Returns what `use` returns; undefined, without a call of it, when a part is not granted or
 * leaves its page.
 */
export function lendParts<T>(
  domain: Domain,
  parts: GrantParts,
  isWrite: boolean,
  use: (pieces: readonly Uint8Array[]) => T,
): T | undefined {
  const { hypervisor } = domain;
  const count = locked(hypervisor, () => holdParts(domain, parts, isWrite));
  try {
    return count === parts.count ? use(piecesOf(hypervisor.memory.u8, parts)) : undefined;
  } finally {
    locked(hypervisor, () => letGoOfParts(domain, parts, count, isWrite));
  }
}

function piecesOf(u8: Uint8Array, parts: GrantParts): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let next = 0; next < parts.count; ) {
    const end = runEnd(parts, next, parts.count);
    const { start, length } = runBetween(parts, next, end);
    pieces.push(u8.subarray(start, start + length));
    next = end;
  }
  return pieces;
}

/** Parts from `first` on that lie behind one another in machine memory. Returns the index behind the last one. */
function runEnd(parts: GrantParts, first: number, count: number): number {
  let next = first + 1;
  while (next < count && parts.address(next) === parts.address(next - 1) + parts.length(next - 1)) next += 1;
  return next;
}

function runBetween(parts: GrantParts, first: number, end: number): { start: number; length: number } {
  const start = parts.address(first);
  return { start, length: parts.address(end - 1) + parts.length(end - 1) - start };
}

/** Hold the pages of the parts, up to the first that is not granted or leaves its page. Returns how many. */
function holdParts(domain: Domain, parts: GrantParts, isWrite: boolean): number {
  const { count } = parts;
  for (let i = 0; i < count; i++) {
    const offset = parts.offset(i);
    if (offset + parts.length(i) > PAGE_SIZE) return i;
    const frame = acquireGrant(domain, parts.ref(i), 0, isWrite);
    if (frame < 0) return i;
    parts.setAddress(i, frame * PAGE_SIZE + offset);
  }
  return count;
}

function letGoOfParts(domain: Domain, parts: GrantParts, count: number, isWrite: boolean): void {
  for (let i = 0; i < count; i++) {
    const at = parts.address(i);
    if (isWrite) wroteTo(domain.hypervisor, at, parts.length(i));
    releaseGrant(domain, parts.ref(i), isWrite, Math.floor(at / PAGE_SIZE));
  }
}
