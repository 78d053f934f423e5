/**
 * What the decoder needs to know of a definition, as plain numbers: an instruction is then decoded without looking at a string or making an
 * object.
 */
import type { OperandSpec } from '../isa/definition.ts';
import { VARIANTS } from '../isa/variant.ts';

/** Kinds of processor mode, as bits of `Entry.worlds`. */
export const World = { long: 1, protected: 2, real: 4 } as const;

/** What must come before the opcode; of VEX entries, what the prefix must stand for. */
export const Prefix = { any: 0, NP: 1, NFx: 2, '66': 3, F3: 4, F2: 5 } as const;

/** What ModRM.mod may be. */
export const RmRule = { any: 0, memory: 1, register: 2 } as const;

/** Which registers ModRM.reg may name: not all segment, control and debug registers exist, and CS cannot be loaded. */
export const RegRule = { any: 0, segment: 1, loadedSegment: 2, control: 3, debug: 4 } as const;

export const SizeRule = { plain: 0, default64: 1, forced64: 2 } as const;

export const Unit = { none: 0, x87: 1, mmx: 2, sse: 3, avx: 4 } as const;

/** Where the number of a register operand is. */
export const Field = { reg: 0, rm: 1, opcode: 2, index: 3 } as const;

/** An immediate operand, or what is encoded like one. */
export interface ImmediateStep {
  readonly kind: 'O' | 'A' | 'Y' | 'I';
  /** Its bytes for operand sizes 2, 4 and 8. */
  readonly bytes: readonly [number, number, number];
}

/** A register operand: how its place in a record comes from its number. */
export interface RegisterPlace {
  /** It goes to the record's `rm`, otherwise to `reg`. */
  readonly isRm: boolean;
  /** ModRM.rm, which may be in memory instead. */
  readonly mayBeMemory: boolean;
  /** A value of `Field`. */
  readonly field: number;
  readonly mask: number;
  readonly base: number;
  readonly stride: number;
  /** A byte register: without REX, numbers 4 to 7 are AH to BH. */
  readonly isByte: boolean;
}

/** Opcode maps: four without VEX, then four with it. */
export const VEX_MAPS = 4;

/** The same fields for all instructions. */
export interface Entry {
  /** Its number in the table. */
  readonly number: number;
  readonly opcode: number;
  readonly prefix: number;
  readonly hasModrm: boolean;
  readonly modrm: number;
  readonly digit: number;
  readonly only: number;
  readonly rmRule: number;
  /** MOV to and from control and debug registers ignores ModRM.mod. */
  readonly ignoresMod: boolean;
  readonly worlds: number;
  readonly plusRegister: boolean;
  /** VEX.L and VEX.W: 0 and -1 where they do not matter. */
  readonly vexLength: number;
  readonly vexW: number;
  readonly isVex: boolean;

  readonly sizeRule: number;
  readonly regRule: number;
  readonly allowsLock: boolean;
  readonly immediates: readonly ImmediateStep[];
  /** The memory operand has a vector of indices. */
  readonly isGathered: boolean;
  readonly usesVvvv: boolean;

  /** Form by variant, 0 where there is none: see isa/forms.ts. */
  readonly forms: Uint16Array;
  /** Those that there are. */
  readonly ownForms: readonly number[];
  readonly registers: readonly RegisterPlace[];
  readonly ends: boolean;
  readonly unit: number;
  readonly mayUseMemory: boolean;
  readonly onlyMemory: boolean;
  /** The memory operand is an offset without ModRM. */
  readonly hasOffset: boolean;
  readonly isJump: boolean;
  readonly hasTwoImmediates: boolean;
  readonly isScalable: boolean;
  readonly hasRep: boolean;
  readonly isAddressSized: boolean;
  readonly isModal: boolean;
  readonly isAlwaysLocked: boolean;
  readonly noAccess: boolean;
  readonly isBitString: boolean;
  readonly elements: number;
  readonly isPop: boolean;
  /** vvvv names a general register. */
  readonly hasGeneralVvvv: boolean;
  readonly writesMemory: boolean;
  readonly memoryOperand: OperandSpec | undefined;
}

/** `Entry.forms` of the variants that there are. */
export function formsOf(variants: readonly (readonly [variant: number, form: number])[]): Uint16Array {
  const forms = new Uint16Array(VARIANTS);
  for (const [variant, form] of variants) forms[variant] = form;
  return forms;
}
