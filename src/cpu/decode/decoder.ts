/**
 * The instruction decoder, driven by the instruction table (SDM vol. 2, chapter 2 and appendix A).
 *
 * `decode` fills one reused `Decoded`: decoding allocates nothing. What an instruction means is not its business; it finds the
 * table entry, the operands' places and the length.
 */
import type { Definition } from '../isa/definition.ts';
import { definitionAt } from '../isa/definition-list.ts';
import { entriesAt, firstEntry } from './entries.ts';
import {
  type Entry,
  type ImmediateStep,
  Prefix,
  RegRule,
  RmRule,
  SizeRule,
  VEX_MAPS,
  World,
} from './entry.ts';
import { Mode } from './mode.ts';

export const MAX_LENGTH = 15;
/** Why nothing was decoded: not an instruction, longer than 15 bytes, or bytes missing. */
export type Failure = 'undefined' | 'too-long' | 'truncated';

export class Decoded {
  entry: Entry = firstEntry();
  length = 0;
  /** Operand size in bytes: 2, 4 or 8. */
  size = 4;
  /** Address size in bytes: 2, 4 or 8. */
  addressSize = 8;
  lock = false;
  /** 0 none, 1 F3, 2 F2: the last one given. */
  rep: 0 | 1 | 2 = 0;
  rexPresent = false;
  /** There was a VEX prefix, with this register in vvvv. */
  vex = false;
  vvvv = 0;
  /** The register that the upper half of an immediate byte names. */
  selected = 0;
  /** ModRM fields with their REX bits; mod is -1 when there is no ModRM. */
  mod = -1;
  reg = 0;
  rm = 0;
  /** Register in the opcode, with REX.B. */
  opcodeRegister = 0;
  /** Memory operand: base and index registers, -1 when absent; base -2 is RIP. */
  base = -1;
  index = -1;
  /** log2 of the factor. */
  scale = 0;
  /** Displacement, or absolute address of a moffs operand: the low 32 bits (signed) and the high ones. */
  displacement = 0;
  displacementHigh = 0;
  /** Segment register number, override applied. */
  segment = SEG_DS;
  /** First immediate, sign-extended to 64 bits in two halves, and the second one. */
  immediate = 0;
  immediateHigh = 0;
  immediate2 = 0;

  get definition(): Definition {
    return definitionAt(this.entry.number);
  }
}

/** What a byte is as a prefix: 0 none, then the legacy ones; segment overrides are `segment` plus the register's number. */
const Kind = {
  none: 0,
  operandSize: 1,
  addressSize: 2,
  lock: 3,
  rep: 4,
  repne: 5,
  rex: 6,
  segment: 8,
} as const;
const PREFIX_KIND = new Uint8Array(256);
for (const [byte, kind] of [
  [0x66, Kind.operandSize],
  [0x67, Kind.addressSize],
  [0xf0, Kind.lock],
  [0xf3, Kind.rep],
  [0xf2, Kind.repne],
] as const)
  PREFIX_KIND[byte] = kind;
[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].forEach((byte, register) => {
  PREFIX_KIND[byte] = Kind.segment + register;
});
const PREFIX_KIND_64 = PREFIX_KIND.map((kind, byte) => ((byte & 0xf0) === 0x40 ? Kind.rex : kind));
/** 16-bit addressing: base and index by rm (SDM vol. 2, table 2-1). */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1];
const SEG_CS = 1;
const SEG_SS = 2;
const SEG_DS = 3;
const SEG_FS = 4;

export class Decoder {
  readonly result = new Decoded();
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
    const kinds = is64 ? PREFIX_KIND_64 : PREFIX_KIND;
    let byte = this.#next();
    for (let kind = kinds[byte] as number; kind !== Kind.none; kind = kinds[byte] as number) {
      // A REX prefix counts only right before the opcode.
      rex = 0;
      if (kind === Kind.rex) rex = byte;
      else if (kind === Kind.operandSize) has66 = true;
      else if (kind === Kind.addressSize) has67 = true;
      else if (kind === Kind.lock) d.lock = true;
      else if (kind === Kind.rep) d.rep = 1;
      else if (kind === Kind.repne) d.rep = 2;
      // In 64-bit mode only FS and GS overrides mean anything.
      else if (!is64 || kind >= Kind.segment + SEG_FS) override = kind - Kind.segment;
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
    d.immediate = 0;
    d.immediateHigh = 0;
    d.immediate2 = 0;

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

    const candidates = entriesAt(map, byte);
    const modrm = this.#position < this.#end ? (this.#bytes[this.#position] as number) : 0;
    const entry = this.#choose(candidates, byte === 0x90 && map === 0, modrm, has66, (rex & 1) !== 0, mode);
    if (!entry) {
      // Too long or cut off comes before undefined, so the rest must be gone through.
      if (map >= 2 || candidates.some(c => c.hasModrm)) this.#modrm(rex, override);
      if (map === 3) this.#next();
      return 'undefined';
    }
    d.entry = entry;
    // A mandatory 66 is part of the opcode, not an operand size.
    if (entry.prefix === Prefix[66] && d.size === 2) d.size = 4;
    if (is64 && entry.sizeRule !== SizeRule.plain)
      d.size = entry.sizeRule === SizeRule.default64 && has66 && !(rex & 8) ? 2 : 8;
    d.opcodeRegister = (byte & 7) | ((rex & 1) << 3);
    d.segment = override >= 0 ? override : SEG_DS;
    if (entry.hasModrm) this.#modrm(rex, override, entry.ignoresMod);
    if (entry.immediates.length > 0) this.#immediates(entry.immediates);
    if (entry.regRule !== RegRule.any && !hasRegister(entry.regRule, d.reg)) return 'undefined';
    if (d.lock && !(entry.allowsLock && d.mod >= 0 && d.mod !== 3)) return 'undefined';
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
    const candidates = map >= 1 && map <= 3 ? entriesAt(map + VEX_MAPS, opcode) : NONE;
    const prefix = VEX_PREFIXES[last & 3] as number;
    let entry: Entry | undefined;
    for (let i = 0; i < candidates.length && !entry; i++) {
      const c = candidates[i] as Entry;
      if (
        c.prefix === prefix &&
        (c.vexLength === 0 || c.vexLength === length) &&
        (c.vexW === -1 || c.vexW === w) &&
        (c.digit < 0 || c.digit === ((modrm >> 3) & 7)) &&
        (c.rmRule === RmRule.any || (c.rmRule === RmRule.register) === modrm >= 0xc0)
      )
        entry = c;
    }
    if (!entry) {
      // As without VEX: whether it is too long comes first.
      if (opcode !== 0x77) this.#modrm(extension, override);
      if (map === 3) this.#next();
      return 'undefined';
    }
    d.entry = entry;
    d.segment = override >= 0 ? override : SEG_DS;
    const gathered = entry.isGathered;
    if (entry.hasModrm) this.#modrm(extension, override, false, gathered);
    this.#immediates(entry.immediates);
    d.selected = (d.immediate >> 4) & (is64 ? 15 : 7);
    if (!entry.usesVvvv && vvvv !== 0) return 'undefined';
    if (!gathered) return undefined;
    // Indices need a SIB byte, and destination, indices and mask must differ.
    const distinct = d.reg !== d.index && d.reg !== d.vvvv && d.index !== d.vvvv;
    return (modrm & 7) === 4 && d.addressSize !== 2 && distinct ? undefined : 'undefined';
  }

  /** @param isNop 90 is NOP, not XCHG rAX,rAX, unless REX.B makes it another register */
  #choose(
    candidates: readonly Entry[],
    isNop: boolean,
    modrm: number,
    has66: boolean,
    rexB: boolean,
    mode: number,
  ): Entry | undefined {
    const isLong = (mode & Mode.sizeMask) === Mode.code64;
    const world = isLong ? World.long : mode & Mode.real ? World.real : World.protected;
    const { rep, size } = this.result;
    const digit = (modrm >> 3) & 7;
    const rmRule = modrm >= 0xc0 ? RmRule.register : RmRule.memory;
    for (let i = 0; i < candidates.length; i++) {
      const c = candidates[i] as Entry;
      if (c.digit >= 0 && c.digit !== digit) continue;
      if (c.modrm >= 0 && c.modrm !== modrm) continue;
      if (c.rmRule !== RmRule.any && c.rmRule !== rmRule) continue;
      if (c.prefix !== Prefix.any && !prefixFits(c.prefix, rep, has66)) continue;
      if ((c.worlds & world) === 0) continue;
      if (c.only !== 0 && c.only !== size) continue;
      if (isNop && c.prefix === Prefix.any && c.plusRegister !== rexB) continue;
      return c;
    }
    return undefined;
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

  #immediates(steps: readonly ImmediateStep[]): void {
    const d = this.result;
    for (let i = 0; i < steps.length; i++) {
      const { kind, bytes } = steps[i] as ImmediateStep;
      if (kind === 'O') {
        d.displacement = d.addressSize === 2 ? this.#signed16() & 0xffff : this.#signed32();
        d.displacementHigh = d.addressSize === 8 ? this.#signed32() : 0;
      } else if (kind === 'A') this.#farPointer();
      else {
        const count = bytes[d.size >> 2] as number;
        const low = count === 1 ? this.#signed8() : count === 2 ? this.#signed16() : this.#signed32();
        if (i === 0) {
          d.immediate = low;
          d.immediateHigh = count === 8 ? this.#signed32() : low >> 31;
        } else d.immediate2 = low;
      }
    }
  }

  #farPointer(): void {
    const d = this.result;
    d.immediate = d.size === 2 ? this.#signed16() & 0xffff : this.#signed32();
    const selector = this.#signed16() & 0xffff;
    if (d.size === 2) {
      d.immediate |= selector << 16;
      d.immediateHigh = 0;
    } else d.immediateHigh = selector;
  }
}

/** By VEX.pp. */
const VEX_PREFIXES = [Prefix.NP, Prefix[66], Prefix.F3, Prefix.F2];
const NONE: readonly Entry[] = [];

function prefixFits(prefix: number, rep: number, has66: boolean): boolean {
  if (prefix === Prefix.NFx) return rep === 0;
  if (prefix === Prefix.NP) return rep === 0 && !has66;
  if (prefix === Prefix[66]) return rep === 0 && has66;
  return prefix === Prefix.F3 ? rep === 1 : rep === 2;
}

/** Address size in bytes, by code size and address size prefix. */
function addressSizeOf(code: number, has67: boolean): number {
  if (code === Mode.code64) return has67 ? 4 : 8;
  return (code === Mode.code16) === has67 ? 4 : 2;
}

/** Whether what ModRM.reg names exists, and can be loaded. */
function hasRegister(rule: number, register: number): boolean {
  if (rule === RegRule.control) return register === 0 || (register >= 2 && register <= 4) || register === 8;
  if (rule === RegRule.debug) return register < 8;
  return (register & 7) < 6 && !(rule === RegRule.loadedSegment && (register & 7) === SEG_CS);
}
