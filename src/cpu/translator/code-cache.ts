/** The code cache (decode/record.ts), for those who add to it besides the decoder, from whatever thread. */
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { createLock, type Lock } from '../../machine/lock.ts';
import type { MachineMemory } from '../../machine/memory.ts';

const word = (field: keyof typeof MachineHeader.offsets): number =>
  (MACHINE_HEADER + MachineHeader.offsets[field]) >>> 2;
const GENERATION = word('codeGeneration');
const HOT_ENTRIES = word('hotEntries');
const [BASE, NEXT, LIMIT] = [word('codeBase'), word('codeNext'), word('codeLimit')];

export class CodeCache {
  readonly #words: Uint32Array;
  readonly lock: Lock;

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

  /** Address of so many bytes (a multiple of 16), to be filled before the lock, which is held, is let go; 0 = it is full. */
  allocate(sizeBytes: number): number {
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
