/** A source of encodings of one instruction form, whatever table it comes from. */
import type { Mode } from './machine-case.ts';
import type { Random } from './random.ts';

export interface Encoding {
  readonly code: Uint8Array;
  /** Where the code lies: RIP-relative operands and branches are made for this place. */
  readonly rip: bigint;
}

export interface InstructionForm {
  /** Unique. */
  readonly name: string;
  readonly mnemonic: string;
  readonly modes: readonly Mode[];
  /** Names of /proc/cpuinfo that the host must have. */
  readonly hostFeatures: readonly string[];
  /** One encoding with random operands; undefined when this draw has none. */
  generate(random: Random, mode: Mode): Encoding | undefined;
  /** RFLAGS bits that are undefined beyond what masks.ts knows from the bytes. */
  readonly undefinedFlags?: number;
}

/** A place for the code: anywhere in its region, now and then across a page. */
export function codePlace(random: Random, mode: Mode): bigint {
  const page = 0x1000 * (4 + random.below(8));
  const offset = random.oneIn(16) ? 0xff0 + random.below(15) : random.below(0xff0);
  return BigInt((mode === 16 ? 0 : 0x1000_0000) + page + offset);
}
