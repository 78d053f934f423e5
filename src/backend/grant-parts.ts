/**
 * Bytes that lie in parts of granted pages: what requests of block and network devices name.
 *
 * Parts whose machine frames lie behind one another are one copy: a domain's large pages are so, and its drivers name them in order.
 */
import { type GrantRef, PAGE_SHIFT } from '../base/brand.ts';
import { locked } from '../hypervisor/event/backend.ts';
import { acquireParts, PART_WORDS, releaseParts } from '../hypervisor/grant/many.ts';
import { wroteTo } from '../hypervisor/guest-memory.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';

const WORDS = PART_WORDS;

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
  memory: LentMemory,
): T | undefined {
  const { hypervisor } = domain;
  const count = locked(hypervisor, () => holdParts(domain, parts, isWrite));
  try {
    return count === parts.count ? use(piecesOf(memory, parts)) : undefined;
  } finally {
    locked(hypervisor, () => letGoOfParts(domain, parts, count, isWrite));
  }
}

/** Pieces that are kept, by where they begin: so many rows of so many, powers of 2. */
const ROWS = 64;
const ROW_SLOTS = 64;

/** A machine's memory in pieces. A domain has its buffers for long: the same pieces are asked for again and again. */
export class LentMemory {
  readonly #u8: Uint8Array;
  /** A row is made when it is needed: each device of each guest has these, and most are never asked for a piece. */
  readonly #rows: (Uint8Array | undefined)[][] = [];

  constructor(u8: Uint8Array) {
    this.#u8 = u8;
  }

  piece(start: number, length: number): Uint8Array {
    const page = start >>> PAGE_SHIFT;
    const row = this.#row((page / ROW_SLOTS) & (ROWS - 1));
    const slot = page & (ROW_SLOTS - 1);
    const kept = row[slot];
    if (kept && kept.length === length && kept.byteOffset === start) return kept;
    const made = this.#u8.subarray(start, start + length);
    row[slot] = made;
    return made;
  }
  #row(number: number): (Uint8Array | undefined)[] {
    this.#rows[number] ??= new Array<Uint8Array | undefined>(ROW_SLOTS).fill(undefined);
    return this.#rows[number];
  }
}

function piecesOf(memory: LentMemory, parts: GrantParts): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let next = 0; next < parts.count; ) {
    const end = runEnd(parts, next, parts.count);
    const { start, length } = runBetween(parts, next, end);
    pieces.push(memory.piece(start, length));
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
const holdParts = (domain: Domain, parts: GrantParts, isWrite: boolean): number =>
  acquireParts(domain, parts.words, parts.count, 0, isWrite);

function letGoOfParts(domain: Domain, parts: GrantParts, count: number, isWrite: boolean): void {
  if (isWrite) for (let i = 0; i < count; i++) wroteTo(domain.hypervisor, parts.address(i), parts.length(i));
  releaseParts(domain, parts.words, count, isWrite);
}
