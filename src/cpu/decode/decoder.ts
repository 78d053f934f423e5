/**
 * The instruction decoder, driven by the instruction table (SDM vol. 2, chapter 2 and appendix A).
 *
 * `decode` reads bytes through a function and fills one reused `Decoded`: decoding allocates nothing. What an
 * instruction means is not its business; it finds the table entry, the operands' places and the length.
 */
import { type Definition, type OperandSpec, sizeOf } from '../isa/definition.ts';
import { TABLE } from '../isa/table.ts';
import { Mode } from './mode.ts';

export const MAX_LENGTH = 15;
/** Why nothing was decoded: not an instruction, longer than 15 bytes, or bytes missing. */
export type Failure = 'undefined' | 'too-long' | 'truncated';

export interface Decoded {
  definition: Definition;
  length: number;
  /** Operand size in bytes: 2, 4 or 8. */
  size: number;
  /** Address size in bytes: 2, 4 or 8. */
  addressSize: number;
  lock: boolean;
  /** 0 none, 1 F3, 2 F2: the last one given. */
  rep: 0 | 1 | 2;
  rexPresent: boolean;
  /** There was a VEX prefix, with this register in vvvv. */
  vex: boolean;
  vvvv: number;
  /** The register that the upper half of an immediate byte names. */
  selected: number;
  /** ModRM fields with their REX bits; mod is -1 when there is no ModRM. */
  mod: number;
  reg: number;
  rm: number;
  /** Register in the opcode, with REX.B. */
  opcodeRegister: number;
  /** Memory operand: base and index registers, -1 when absent; base -2 is RIP. */
  base: number;
  index: number;
  /** log2 of the factor. */
  scale: number;
  /** Displacement, or absolute address of a moffs operand: the low 32 bits (signed) and the high ones. */
  displacement: number;
  displacementHigh: number;
  /** Segment register number, override applied. */
  segment: number;
  /** First immediate, sign-extended to 64 bits in two halves, and the second one. */
  immediate: number;
  immediateHigh: number;
  immediate2: number;
}

/** All entries that an opcode byte may be, most particular first; those with VEX have maps of their own. */
const VEX_MAPS = 4;
const CANDIDATES: Definition[][] = Array.from({ length: 2 * VEX_MAPS * 256 }, () => []);
for (const definition of TABLE) {
  const map = definition.map + (definition.vex ? VEX_MAPS : 0);
  for (let i = 0; i < (definition.plusRegister ? 8 : 1); i++) {
    (CANDIDATES[map * 256 + definition.opcode + i] as Definition[]).push(definition);
  }
}
const particular = (d: Definition): number =>
  (d.modrm >= 0 ? 4 : 0) + (d.prefix !== 'any' ? 2 : 0) + (d.digit >= 0 ? 1 : 0);
for (const list of CANDIDATES) list.sort((a, b) => particular(b) - particular(a));

const SEGMENT_PREFIX: Record<number, number> = { 38: 0, 46: 1, 54: 2, 62: 3, 100: 4, 101: 5 };
/** 16-bit addressing: base and index by rm (SDM vol. 2, table 2-1). */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1];
const SEG_CS = 1;
const SEG_SS = 2;
const SEG_DS = 3;

export class Decoder {
  readonly result: Decoded = {
    definition: TABLE[0] as Definition,
    length: 0,
    size: 4,
    addressSize: 8,
    lock: false,
    rep: 0,
    rexPresent: false,
    vex: false,
    vvvv: 0,
    selected: 0,
    mod: -1,
    reg: 0,
    rm: 0,
    opcodeRegister: 0,
    base: -1,
    index: -1,
    scale: 0,
    displacement: 0,
    displacementHigh: 0,
    segment: SEG_DS,
    immediate: 0,
    immediateHigh: 0,
    immediate2: 0,
  };
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  #position = 0;
  #end = 0;

  #next(): number {
    return this.#position < this.#end ? (this.#bytes[this.#position++] as number) : this.#overrun();
  }
  #overrun(): number {
    this.#position += 1;
    return 0;
  }
  #signed8(): number {
    return (this.#next() << 24) >> 24;
  }
  #signed16(): number {
    const low = this.#next();
    return ((low | (this.#next() << 8)) << 16) >> 16;
  }
  #signed32(): number {
    const low = this.#next() | (this.#next() << 8) | (this.#next() << 16);
    return low | (this.#next() << 24);
  }

  /**
   * Decode the instruction at `bytes[start]`, looking no further than `end`.
   * @param mode see decode/mode.ts
   * @returns undefined when `result` holds the instruction, else why not
   */
  decode(bytes: Uint8Array, start: number, end: number, mode: number): Failure | undefined {
    this.#bytes = bytes;
    this.#start = start;
    this.#position = start;
    this.#end = Math.min(end, start + MAX_LENGTH);
    const failure = this.#parse(mode);
    const length = this.#position - start;
    // What the missing bytes would have been is unknown: a wrong guess about them must not decide.
    if (length > MAX_LENGTH) return 'too-long';
    if (this.#position > this.#end) return end - start < MAX_LENGTH ? 'truncated' : 'too-long';
    this.result.length = length;
    return failure;
  }

  #parse(mode: number): Failure | undefined {
    const d = this.result;
    const code = mode & Mode.sizeMask;
    const is64 = code === Mode.code64;
    let rex = 0;
    let has66 = false;
    let has67 = false;
    let override = -1;
    d.lock = false;
    d.rep = 0;
    d.rexPresent = false;
    d.vex = false;
    let byte = this.#next();
    for (;;) {
      if (byte === 0x66) has66 = true;
      else if (byte === 0x67) has67 = true;
      else if (byte === 0xf0) d.lock = true;
      else if (byte === 0xf3) d.rep = 1;
      else if (byte === 0xf2) d.rep = 2;
      else if (is64 && (byte & 0xf0) === 0x40) {
        rex = byte;
        byte = this.#next();
        // A REX prefix counts only right before the opcode.
        if (isPrefix(byte, is64)) {
          if (this.#position - this.#start > MAX_LENGTH) return 'too-long';
          rex = 0;
          continue;
        }
        break;
      } else {
        const segment = SEGMENT_PREFIX[byte];
        if (segment === undefined) break;
        // In 64-bit mode only FS and GS overrides mean anything.
        if (!is64 || segment >= 4) override = segment;
      }
      if (this.#position - this.#start > MAX_LENGTH) return 'too-long';
      byte = this.#next();
    }
    d.rexPresent = rex !== 0;
    d.mod = -1;
    d.base = -1;
    d.index = -1;
    d.scale = 0;
    d.displacement = 0;
    d.displacementHigh = 0;

    if ((byte & 0xfe) === 0xc4 && (mode & Mode.real) === 0) {
      const next = this.#position < this.#end ? (this.#bytes[this.#position] as number) : 0;
      // Outside 64-bit mode these are LES and LDS, which cannot have a register in ModRM.rm.
      if (is64 || next >= 0xc0) {
        const forbidden = has66 || d.lock || d.rep !== 0 || rex !== 0;
        return this.#vex(byte === 0xc5, is64, code, has67, override) ?? (forbidden ? 'undefined' : undefined);
      }
    }

    let map = 0;
    if (byte === 0x0f) {
      byte = this.#next();
      map = 1;
      if (byte === 0x38 || byte === 0x3a) {
        map = byte === 0x38 ? 2 : 3;
        byte = this.#next();
      }
    }
    const wide = code === Mode.code16 ? has66 : !has66;
    d.size = rex & 8 ? 8 : wide ? 4 : 2;
    d.addressSize = addressSizeOf(code, has67);

    const candidates = CANDIDATES[map * 256 + byte] as Definition[];
    const modrm = this.#position < this.#end ? (this.#bytes[this.#position] as number) : 0;
    const definition = this.#choose(candidates, byte, modrm, has66, (rex & 1) !== 0, mode);
    if (!definition) {
      // Too long or cut off comes before undefined, so the rest must be gone through.
      if (map >= 2 || candidates.some(c => c.hasModrm)) this.#modrm(rex, override);
      if (map === 3) this.#next();
      return 'undefined';
    }
    d.definition = definition;
    this.#operandSize(definition, is64, has66, rex);
    d.opcodeRegister = (byte & 7) | ((rex & 1) << 3);
    d.segment = override >= 0 ? override : SEG_DS;
    if (definition.hasModrm) this.#modrm(rex, override, definition.rm === 'register');
    this.#immediates(definition);
    if (!hasRegister(definition, d.reg)) return 'undefined';
    if (d.lock && !(definition.options.lock && d.mod >= 0 && d.mod !== 3)) return 'undefined';
    return undefined;
  }

  /** An instruction from its VEX prefix on, without the first byte of that (SDM vol. 2, 2.3). */
  #vex(short: boolean, is64: boolean, code: number, has67: boolean, override: number): Failure | undefined {
    const d = this.result;
    const first = this.#next();
    const last = short ? first & 0x7f : this.#next();
    const map = short ? 1 : first & 0x1f;
    const w = short ? 0 : last >> 7;
    const length = last & 4 ? 32 : 16;
    const vvvv = (~last >> 3) & 15;
    // R, X and B are inverted; outside 64-bit mode there are only eight registers.
    const inverted = ~first >> 5;
    const extension = !is64 ? 0 : short ? inverted & 4 : inverted & 7;
    d.vex = true;
    d.vvvv = is64 ? vvvv : vvvv & 7;
    d.rep = 0;
    d.lock = false;
    d.size = is64 && w ? 8 : 4;
    d.addressSize = addressSizeOf(code, has67);
    // Byte registers that an extension names are those of REX; there are none among these instructions.
    d.rexPresent = true;
    const opcode = this.#next();
    const modrm = this.#position < this.#end ? (this.#bytes[this.#position] as number) : 0;
    const known = map >= 1 && map <= 3;
    const candidates = known ? (CANDIDATES[(map + VEX_MAPS) * 256 + opcode] as Definition[]) : [];
    const definition = candidates.find(
      c =>
        c.prefix === VEX_PREFIXES[last & 3] &&
        (c.vex?.length === 0 || c.vex?.length === length) &&
        (c.vex.w === -1 || c.vex.w === w) &&
        (c.digit < 0 || c.digit === ((modrm >> 3) & 7)) &&
        (c.rm === 'any' || !c.hasModrm || (c.rm === 'register') === modrm >= 0xc0),
    );
    if (!definition) {
      // As without VEX: whether it is too long comes first.
      if (opcode !== 0x77) this.#modrm(extension, override);
      if (map === 3) this.#next();
      return 'undefined';
    }
    d.definition = definition;
    d.segment = override >= 0 ? override : SEG_DS;
    const gathered = definition.operands.some(operand => operand.kind === 'K');
    if (definition.hasModrm) this.#modrm(extension, override, false, gathered);
    this.#immediates(definition);
    d.selected = (d.immediate >> 4) & (is64 ? 15 : 7);
    const usesVvvv = definition.operands.some(operand => operand.kind === 'H' || operand.kind === 'B');
    if (!usesVvvv && vvvv !== 0) return 'undefined';
    if (!gathered) return undefined;
    // Indices need a SIB byte, and destination, indices and mask must differ.
    const distinct = d.reg !== d.index && d.reg !== d.vvvv && d.index !== d.vvvv;
    return (modrm & 7) === 4 && d.addressSize !== 2 && distinct ? undefined : 'undefined';
  }

  #choose(
    candidates: readonly Definition[],
    byte: number,
    modrm: number,
    has66: boolean,
    rexB: boolean,
    mode: number,
  ): Definition | undefined {
    const is64 = (mode & Mode.sizeMask) === Mode.code64;
    const { rep, size } = this.result;
    for (const c of candidates) {
      if (c.modrm >= 0 && c.modrm !== modrm) continue;
      if (c.digit >= 0 && c.digit !== ((modrm >> 3) & 7)) continue;
      const isControl = c.operands.some(o => o.kind === 'C' || o.kind === 'D');
      if (c.rm === 'memory' && c.hasModrm && modrm >= 0xc0) continue;
      if (c.rm === 'register' && c.hasModrm && modrm < 0xc0 && !isControl) continue;
      if (c.prefix === 'NFx' && rep !== 0) continue;
      if (c.prefix === 'NP' && (has66 || rep !== 0)) continue;
      if (c.prefix === '66' && !(has66 && rep === 0)) continue;
      if (c.prefix === 'F3' && rep !== 1) continue;
      if (c.prefix === 'F2' && rep !== 2) continue;
      if (c.options.mode === 'only64' && !is64) continue;
      if (c.options.mode === 'no64' && is64) continue;
      if (c.options.mode === 'protected' && mode & Mode.real) continue;
      if (c.options.mode === 'protectedNo64' && (is64 || mode & Mode.real)) continue;
      if (c.only !== 0 && c.only !== size) continue;
      // 90 is NOP, not XCHG rAX,rAX, unless REX.B makes it another register.
      if (byte === 0x90 && c.map === 0 && c.prefix === 'any' && c.plusRegister !== rexB) continue;
      return c;
    }
    return undefined;
  }

  #operandSize(definition: Definition, is64: boolean, has66: boolean, rex: number): void {
    const d = this.result;
    // A mandatory 66 is part of the opcode, not an operand size.
    if (definition.prefix === '66' && d.size === 2) d.size = 4;
    if (!is64 || !definition.options.size) return;
    if (definition.options.size === 'f64') d.size = 8;
    else d.size = has66 && !(rex & 8) ? 2 : 8;
  }

  /** @param isRegister MOV to and from control and debug registers ignores mod */
  #modrm(rex: number, override: number, isRegister = false, gathered = false): void {
    const d = this.result;
    const fields = this.#next();
    d.mod = isRegister ? 3 : fields >> 6;
    d.reg = ((fields >> 3) & 7) | ((rex & 4) << 1);
    d.rm = (fields & 7) | ((rex & 1) << 3);
    if (d.mod !== 3) this.#memory(fields & 7, rex, override, gathered);
  }

  /** @param gathered the index is a vector register, of which number 4 exists too */
  #memory(rm: number, rex: number, override: number, gathered: boolean): void {
    const d = this.result;
    let stackBased = false;
    if (d.addressSize === 2) {
      d.base = BASE16[rm] as number;
      d.index = INDEX16[rm] as number;
      if (d.mod === 0 && rm === 6) {
        d.base = -1;
        d.displacement = this.#signed16();
      } else if (d.mod === 1) d.displacement = this.#signed8();
      else if (d.mod === 2) d.displacement = this.#signed16();
      stackBased = d.base === 5;
    } else {
      let base = rm | ((rex & 1) << 3);
      if (rm === 4) {
        const sib = this.#next();
        const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
        d.index = index === 4 && !gathered ? -1 : index;
        d.scale = d.index < 0 ? 0 : sib >> 6;
        base = (sib & 7) | ((rex & 1) << 3);
        if ((sib & 7) === 5 && d.mod === 0) base = -1;
      } else if (rm === 5 && d.mod === 0) base = this.#ripRelative ? -2 : -1;
      d.base = base;
      if (d.mod === 1) d.displacement = this.#signed8();
      else if (d.mod === 2 || base < 0) d.displacement = this.#signed32();
      stackBased = base === 4 || base === 5;
    }
    d.displacementHigh = d.displacement >> 31;
    if (stackBased && override < 0) d.segment = SEG_SS;
  }
  #ripRelative = true;
  /** ModRM 05 is RIP-relative in 64-bit mode, absolute elsewhere. */
  set ripRelative(on: boolean) {
    this.#ripRelative = on;
  }

  #immediates(definition: Definition): void {
    const d = this.result;
    let first = true;
    for (const operand of definition.operands) {
      if (operand.kind === 'O') {
        d.displacement = d.addressSize === 2 ? this.#signed16() & 0xffff : this.#signed32();
        d.displacementHigh = d.addressSize === 8 ? this.#signed32() : 0;
        continue;
      }
      if (operand.kind === 'A') {
        d.immediate = d.size === 2 ? this.#signed16() & 0xffff : this.#signed32();
        const selector = this.#signed16() & 0xffff;
        if (d.size === 2) {
          d.immediate |= selector << 16;
          d.immediateHigh = 0;
        } else d.immediateHigh = selector;
        continue;
      }
      if (operand.kind !== 'I' && operand.kind !== 'J' && operand.kind !== 'Y') continue;
      const bytes = operand.kind === 'Y' ? 1 : sizeOf(operand.size, d.size);
      const low = bytes === 1 ? this.#signed8() : bytes === 2 ? this.#signed16() : this.#signed32();
      if (first) {
        d.immediate = low;
        d.immediateHigh = bytes === 8 ? this.#signed32() : low >> 31;
      } else d.immediate2 = low;
      first = false;
    }
  }
}

const VEX_PREFIXES = ['NP', '66', 'F3', 'F2'];

/** Address size in bytes, by code size and address size prefix. */
function addressSizeOf(code: number, has67: boolean): number {
  if (code === Mode.code64) return has67 ? 4 : 8;
  return (code === Mode.code16) === has67 ? 4 : 2;
}

/** Segment, control and debug registers that ModRM.reg can name but do not exist, or cannot be loaded (CS). */
function hasRegister(definition: Definition, register: number): boolean {
  for (let i = 0; i < definition.operands.length; i++) {
    const kind = (definition.operands[i] as OperandSpec).kind;
    if (kind === 'S') return (register & 7) < 6 && !(i === 0 && (register & 7) === SEG_CS);
    if (kind === 'C') return register === 0 || (register >= 2 && register <= 4) || register === 8;
    if (kind === 'D') return register < 8;
  }
  return true;
}

function isPrefix(byte: number, is64: boolean): boolean {
  return (
    byte === 0x66 ||
    byte === 0x67 ||
    byte === 0xf0 ||
    byte === 0xf2 ||
    byte === 0xf3 ||
    (is64 && (byte & 0xf0) === 0x40) ||
    SEGMENT_PREFIX[byte] !== undefined
  );
}
