/** The code cache (decode/record.ts), for those who add to it besides the decoder, from whatever thread. */
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { createLock, type Lock } from '../../machine/lock.ts';
import type { MachineMemory } from '../../machine/memory.ts';

const word = (field: keyof typeof MachineHeader.offsets): number =>
  (MACHINE_HEADER + MachineHeader.offsets[field]) >>> 2;
const GENERATION = word('codeGeneration');
const HOT_ENTRIES = word('hotEntries');
const [BASE, NEXT, LIMIT] = [word('codeBase'), word('codeNext'), word('codeLimit')];

/** So much of the cache is taken at a time: the threads that run guest code wait for whoever has the lock. */
const CHUNK_SHARE = 1 / 512;

export class CodeCache {
  readonly #words: Uint32Array;
  readonly lock: Lock;
  /** Memory that was taken and is not in use yet. */
  #chunk = { at: 0, end: 0, generation: -1 };

  constructor(memory: MachineMemory) {
    this.#words = memory.u32;
    this.lock = createLock(memory.i32, MACHINE_HEADER + MachineHeader.offsets.codeLock);
  }

  /** How often everything was thrown away. */
  get generation(): number {
    return Atomics.load(this.#words, GENERATION);
  }

  /** After how many entries a small region is made anew as part of a larger one. */
  get hotEntries(): number {
    return this.#words[HOT_ENTRIES] as number;
  }

  /**
   * Address of so many bytes (a multiple of 16) in a generation; 0 = it is full, or another one by now. Whoever writes there
   * without holding the lock sets `TranslatorState.isWriting` and looks at the generation again.
   */
  take(sizeBytes: number, generation: number): number {
    const chunk = this.#chunk;
    if (chunk.generation !== generation || chunk.at + sizeBytes > chunk.end) {
      const share = ((this.#words[LIMIT] as number) - (this.#words[BASE] as number)) * CHUNK_SHARE;
      const size = Math.max(sizeBytes, share & ~15);
      const at = this.lock.during(() => (this.generation === generation ? this.#allocate(size) : 0));
      if (at === 0) return 0;
      this.#chunk = { at, end: at + size, generation };
    }
    const { at } = this.#chunk;
    this.#chunk.at += sizeBytes;
    return at;
  }
  #allocate(sizeBytes: number): number {
    const at = this.#words[NEXT] as number;
    if (at + sizeBytes > (this.#words[LIMIT] as number)) return 0;
    this.#words[NEXT] = at + sizeBytes;
    return at;
  }

  /** Is this address in the part that is in use? */
  holds(address: number): boolean {
    return address >= (this.#words[BASE] as number) && address < (this.#words[NEXT] as number);
  }
}
