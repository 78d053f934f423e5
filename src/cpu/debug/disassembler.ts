/**
 * Instructions as text, in Intel's syntax, from the instruction table and the decoder that the engine itself uses: what
 * is shown is what would be executed.
 *
 * Formatting: numbers are hexadecimal with 0x; memory operands always have their size; RIP-relative addresses show
 * the displacement and, after `#`, the address; branches show their target. x87 instructions show ST(i) alone, not
 * the ST(0) that is implied.
 */
import { type Decoded, Decoder } from '../decode/decoder.ts';
import { Mode } from '../decode/mode.ts';
import type { OperandSpec } from '../isa/definition.ts';
import { sizeOf } from '../isa/operand-size.ts';

export interface Disassembled {
  /** Bytes; 1 where there is no instruction. */
  readonly length: number;
  readonly text: string;
}

const GENERAL = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const LOW_BYTES = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const HIGH_BYTES = ['ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'seg6', 'seg7'];
const SIZES: Record<number, string> = {
  1: 'byte',
  2: 'word',
  4: 'dword',
  6: 'fword',
  8: 'qword',
  10: 'tbyte',
  16: 'xmmword',
  32: 'ymmword',
};
const SIZE_LETTER: Record<number, string> = { 1: 'b', 2: 'w', 4: 'd', 8: 'q' };
const SEG_SS = 2;
const SEG_DS = 3;

/** Names that depend on the operand size: for 2, 4 and 8 bytes. */
const BY_SIZE: Record<string, readonly [string, string, string]> = {
  cwde: ['cbw', 'cwde', 'cdqe'],
  cdq: ['cwd', 'cdq', 'cqo'],
  pushf: ['pushfw', 'pushfd', 'pushfq'],
  popf: ['popfw', 'popfd', 'popfq'],
  pusha: ['pushaw', 'pushad', 'pushad'],
  popa: ['popaw', 'popad', 'popad'],
  iret: ['iret', 'iretd', 'iretq'],
  retf: ['retfw', 'retf', 'retfq'],
  sysret: ['sysretd', 'sysretd', 'sysretq'],
  sysexit: ['sysexitd', 'sysexitd', 'sysexitq'],
  fxsave: ['fxsave', 'fxsave', 'fxsave64'],
  fxrstor: ['fxrstor', 'fxrstor', 'fxrstor64'],
  xsave: ['xsave', 'xsave', 'xsave64'],
  xrstor: ['xrstor', 'xrstor', 'xrstor64'],
  xsaveopt: ['xsaveopt', 'xsaveopt', 'xsaveopt64'],
  xsavec: ['xsavec', 'xsavec', 'xsavec64'],
  cmpxchg8b: ['cmpxchg8b', 'cmpxchg8b', 'cmpxchg16b'],
  pextrd: ['pextrd', 'pextrd', 'pextrq'],
  pinsrd: ['pinsrd', 'pinsrd', 'pinsrq'],
  pcmpestrm: ['pcmpestrm', 'pcmpestrm', 'pcmpestrm64'],
  pcmpestri: ['pcmpestri', 'pcmpestri', 'pcmpestri64'],
  movd: ['movd', 'movd', 'movq'],
  vpcmpestrm: ['vpcmpestrm', 'vpcmpestrm', 'vpcmpestrm64'],
  vpcmpestri: ['vpcmpestri', 'vpcmpestri', 'vpcmpestri64'],
  vpextrd: ['vpextrd', 'vpextrd', 'vpextrq'],
  vpinsrd: ['vpinsrd', 'vpinsrd', 'vpinsrq'],
  vmovd: ['vmovd', 'vmovd', 'vmovq'],
};
const REPEATS = new Set(['movs', 'stos', 'lods', 'ins', 'outs']);

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

export function generalName(number: number, size: number, rex: boolean): string {
  if (size === 1) {
    if (number >= 8) return `r${number}b`;
    return (number >= 4 && !rex ? HIGH_BYTES[number - 4] : LOW_BYTES[number]) as string;
  }
  if (number >= 8) return `r${number}${size === 8 ? '' : SIZE_LETTER[size]}`;
  return `${size === 8 ? 'r' : size === 4 ? 'e' : ''}${GENERAL[number]}`;
}

const decoder = new Decoder();

/**
 * The instruction at `bytes[start]`.
 * @param address linear address of the instruction, for what is relative to it
 * @param mode see decode/mode.ts
 */
export function disassemble(bytes: Uint8Array, start: number, address: bigint, mode: number): Disassembled {
  const is64 = (mode & Mode.sizeMask) === Mode.code64;
  decoder.ripRelative = is64;
  if (decoder.decode(bytes, start, bytes.length, mode)) return { length: 1, text: '(bad)' };
  const d = decoder.result;
  const next = address + BigInt(d.length);
  const operands = operandTexts(d, next, is64);
  const head = `${prefixText(d)}${mnemonic(d, is64)}`;
  const target = d.base === -2 && d.mod >= 0 && d.mod !== 3 ? ` # ${hex(ripTarget(d, next))}` : '';
  return {
    length: d.length,
    text: `${head}${operands.length > 0 ? ' ' : ''}${operands.join(', ')}${target}`,
  };
}

function stringElement(d: Decoded): number {
  const operand = d.definition.operands.find(o => o.kind === 'X');
  if (operand === undefined) return 0;
  return operand.size === 'z' && d.size === 8 ? 4 : sizeOf(operand.size, d.size);
}

function mnemonic(d: Decoded, is64: boolean): string {
  const { name } = d.definition;
  const element = stringElement(d);
  if (element > 0) return name.endsWith('b') ? name : `${name}${SIZE_LETTER[element]}`;
  if (name === 'jrcxz') return d.addressSize === 8 ? 'jrcxz' : d.addressSize === 4 ? 'jecxz' : 'jcxz';
  const bySize = BY_SIZE[name];
  if (!bySize) return name;
  if (name === 'pushf' || name === 'popf') return bySize[d.size === 2 ? 0 : is64 ? 2 : 1];
  return bySize[d.size === 2 ? 0 : d.size === 4 ? 1 : 2];
}

function prefixText(d: Decoded): string {
  if (d.lock) return 'lock ';
  if (d.rep === 0 || stringElement(d) === 0) return '';
  if (d.rep === 2) return 'repne ';
  return REPEATS.has(d.definition.name.replace(/b$/, '')) ? 'rep ' : 'repe ';
}

function operandTexts(d: Decoded, next: bigint, is64: boolean): string[] {
  // Any rm means the same fence.
  if (/^[lms]fence$/.test(d.definition.name)) return [];
  const texts: string[] = [];
  let immediates = 0;
  for (const operand of d.definition.operands) {
    // The vector of indices is shown in the memory operand.
    if (operand.kind === 'X' || operand.kind === 'K') continue;
    // Implied: the mask of a comparison of strings.
    if (operand.kind === 'F' && d.definition.name.endsWith('strm')) continue;
    if (operand.kind === 'I') texts.push(immediateText(d, operand, immediates++));
    else texts.push(operandText(d, operand, next, is64));
  }
  return texts;
}

function immediateText(d: Decoded, operand: OperandSpec, which: number): string {
  if (which === 1) return hex(d.immediate2 & (operand.size === 1 ? 0xff : 0xffff));
  const value = (BigInt(d.immediateHigh) << 32n) | BigInt(d.immediate >>> 0);
  // Sign-extended immediates are shown as wide as what they meet.
  const size = operand.signed ? d.size : sizeOf(operand.size, d.size);
  return hex(BigInt.asUintN(size * 8, value));
}

function operandText(d: Decoded, operand: OperandSpec, next: bigint, is64: boolean): string {
  const size = sizeOf(operand.size, d.size);
  const inRegister = d.mod === 3;
  switch (operand.kind) {
    case 'G':
      return generalName(d.reg, size, d.rexPresent);
    case 'E':
    case 'R':
      return inRegister || operand.kind === 'R'
        ? generalName(d.rm, /^v?pinsr/.test(d.definition.name) ? Math.max(4, size) : size, d.rexPresent)
        : memoryText(d, size);
    case 'M':
      return memoryText(d, d.definition.options.noAccess ? 0 : size);
    case 'Z':
      return generalName(d.opcodeRegister, size, d.rexPresent);
    case 'B':
      return generalName(d.vvvv, size, true);
    case 'V':
      return vectorName(d.reg, size);
    case 'H':
      return vectorName(d.vvvv, size);
    case 'Y':
      return vectorName(d.selected, size);
    case 'W':
    case 'U':
      return inRegister ? vectorName(d.rm, size) : memoryText(d, size);
    case 'P':
      return `mm${d.reg & 7}`;
    case 'Q':
    case 'N':
      return inRegister ? `mm${d.rm & 7}` : memoryText(d, size);
    case 'S':
      return SEGMENTS[d.reg & 7] as string;
    case 'C':
      return `cr${d.reg}`;
    case 'D':
      return `dr${d.reg}`;
    case 'T':
      return `st(${d.rm & 7})`;
    case 'F':
      return size === 16 ? `xmm${operand.register}` : generalName(operand.register, size, true);
    case 'L':
      return '1';
    case 'J': {
      const target = next + BigInt(d.immediate);
      return hex(BigInt.asUintN(is64 ? 64 : d.size === 2 ? 16 : 32, target));
    }
    case 'A':
      return d.size === 2
        ? `${hex(d.immediate >>> 16)}:${hex(d.immediate & 0xffff)}`
        : `${hex(d.immediateHigh)}:${hex(d.immediate >>> 0)}`;
    case 'O': {
      const address = (BigInt(d.displacementHigh >>> 0) << 32n) | BigInt(d.displacement >>> 0);
      return `${sizeText(size)}${segmentText(d)}[${hex(address)}]`;
    }
    default:
      return '?';
  }
}

const vectorName = (number: number, size: number): string => `${size === 32 ? 'ymm' : 'xmm'}${number}`;
const sizeText = (size: number): string => (SIZES[size] ? `${SIZES[size]} ptr ` : '');

function segmentText(d: Decoded): string {
  const stack = d.base === 4 || d.base === 5;
  if (d.definition.name === 'lea') return '';
  return d.segment === (stack ? SEG_SS : SEG_DS) ? '' : `${SEGMENTS[d.segment]}:`;
}

const ripTarget = (d: Decoded, next: bigint): bigint =>
  BigInt.asUintN(d.addressSize * 8, next + BigInt(d.displacement));

function memoryText(d: Decoded, size: number): string {
  const parts: string[] = [];
  if (d.base === -2) parts.push(d.addressSize === 8 ? 'rip' : 'eip');
  else if (d.base >= 0) parts.push(generalName(d.base, d.addressSize, true));
  if (d.index >= 0) {
    const factor = d.scale > 0 ? `*${1 << d.scale}` : '';
    const indices = d.definition.operands.find(operand => operand.kind === 'K');
    const name = indices
      ? vectorName(d.index, sizeOf(indices.size, d.size))
      : generalName(d.index, d.addressSize, true);
    parts.push(`${name}${factor}`);
  }
  let inside = parts.join('+');
  const { displacement } = d;
  if (parts.length === 0) inside = hex(BigInt.asUintN(d.addressSize * 8, BigInt(displacement)));
  else if (displacement < 0) inside += `-${hex(-displacement)}`;
  else if (displacement > 0) inside += `+${hex(displacement)}`;
  return `${sizeText(size)}${segmentText(d)}[${inside}]`;
}
