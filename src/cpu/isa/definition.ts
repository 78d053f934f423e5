/**
 * The form of an instruction's entry in the table: how it is encoded, what its operands are, what it does.
 *
 * Encodings are written as the SDM writes them ("66 0F 38 00 /r", "81 /0"), operands in the notation of its opcode
 * map (appendix A.2): a letter for where the operand is, then letters for its size.
 *
 * VEX encodings are written the same way ("VEX.128.66.0F38.W0 8C /r"): length 128 or LZ, 256, LIG; then 66, F3, F2 or
 * nothing; the opcode map; W0, W1, or nothing when W is ignored or chooses the size of a general register (size 'y').
 * An entry has one length: `defineVex` makes two entries of an encoding without one.
 */
import { invariant } from '../../base/errors.ts';
import type { Emitter, Operand } from './emitter.ts';
import type { OperandSize } from './operand-size.ts';

/** What an instruction does: statements appended to the emitter. Operands come in the order of the entry. */
export type Semantics = (x: Emitter, ...operands: Operand[]) => void;

/**
 * Where an operand is. E: ModRM.rm register or memory; G: ModRM.reg; M: memory only; R: ModRM.rm register only;
 * Z: register in the low opcode bits; I: immediate; J: jump distance; O: absolute offset; S: segment register;
 * X: size of a string element, no operand; C, D: control and debug register; V, W, U: XMM in reg, in rm or memory, in rm only; P, Q, N: the same for MMX;
 * T: x87 register in rm; F: a fixed register; L: a literal 1; A: far pointer immediate.
 * VEX: H: vector register in vvvv; B: general register in vvvv; Y: vector register in the upper half of the immediate
 * byte; K: the vector of indices of a gathered memory operand, whose `number` is the scale (a left shift).
 */
// biome-ignore format: a set
export type OperandKind =
  | 'E' | 'G' | 'M' | 'R' | 'Z' | 'I' | 'J' | 'O' | 'S' | 'C' | 'D' | 'V' | 'W' | 'U' | 'P' | 'Q' | 'N' | 'T' | 'F' | 'L' | 'A' | 'X'
  | 'H' | 'B' | 'Y' | 'K';

export interface OperandSpec {
  readonly kind: OperandKind;
  readonly size: OperandSize;
  /** Register number for kind F. */
  readonly register: number;
  /** Immediates: sign-extended to the operand size. */
  readonly signed: boolean;
}

export interface Options {
  /** Operand size in 64-bit mode: 'd64' is 64 unless 66 says 16; 'f64' always 64. */
  readonly size?: 'd64' | 'f64';
  readonly mode?: 'only64' | 'no64' | 'protected' | 'protectedNo64';
  /** LOCK is allowed when the destination is memory; with 'always' it is understood. */
  readonly lock?: boolean | 'always';
  /** REP/REPNE change what it does: the decoder picks the form by prefix. */
  readonly rep?: boolean;
  /** Control does not simply go on with the next instruction. */
  readonly ends?: boolean;
  /** Depends on the operand size although no operand shows it. */
  readonly sized?: boolean;
  /** Uses rCX, rSI, rDI or rBX in the address size: a handler for each address size. */
  readonly addressSized?: boolean;
  /** Means something else outside 64-bit mode (stack width, branch width): two handlers are generated. */
  readonly modal?: boolean;
  /** Which unit it needs, for #UD and #NM when that is switched off. */
  readonly unit?: 'x87' | 'mmx' | 'sse' | 'avx';
  /** RFLAGS letters (o s z a p c) written, left undefined and read. */
  readonly writes?: string;
  readonly undefined?: string;
  readonly reads?: string;
  /** Only for CPL 0. */
  readonly privileged?: boolean;
  /** Its memory operand is an address alone: segments and pages are not looked at. */
  readonly noAccess?: boolean;
  /**
   * Its memory operand's address is moved when it runs (a string of bits that the register operand is an offset into; elements
   * that are masked or gathered): see `Emitter.movedAddress`.
   */
  readonly bitString?: boolean;
  /** Bytes of the elements that its memory operand, whose address is moved, is accessed by. */
  readonly elements?: 4 | 8;
  /** Alignment of a 16-byte memory operand is not checked; it never is with VEX, unless `aligned`. */
  readonly unaligned?: boolean;
  readonly aligned?: boolean;
}

/** What the VEX prefix must be. */
export interface Vex {
  /** Bytes of a vector, from VEX.L; 0 when L is ignored. */
  readonly length: 0 | 16 | 32;
  /** Required VEX.W, or -1. */
  readonly w: -1 | 0 | 1;
}

export interface Definition {
  readonly name: string;
  readonly encoding: string;
  readonly operands: readonly OperandSpec[];
  readonly operandText: readonly string[];
  readonly semantics: Semantics;
  readonly options: Options;
  /** Decoded from `encoding`. */
  readonly prefix: 'any' | 'NP' | 'NFx' | '66' | 'F3' | 'F2';
  /** 0 one-byte, 1 0F, 2 0F38, 3 0F3A. */
  readonly map: number;
  readonly opcode: number;
  readonly plusRegister: boolean;
  readonly hasModrm: boolean;
  /** Required ModRM.reg, or -1. */
  readonly digit: number;
  /** Required whole ModRM byte, or -1. */
  readonly modrm: number;
  /** Required operand size in bytes, or 0. */
  readonly only: number;
  /** What ModRM.mod may be. */
  readonly rm: 'any' | 'memory' | 'register';
  /** Undefined for encodings without VEX. */
  readonly vex: Vex | undefined;
}

// biome-ignore format: a table
const SIZES: Record<string, OperandSize> = {
  b: 1, w: 2, d: 4, q: 8, t: 10, x: 16, ss: 4, sd: 8, dq: 16, v: 'v', y: 'y', z: 'z', '': 0, p: 'p', a: 'a', yy: 'yy', env: 'env', state: 'state',
};
/** Sizes that depend on the length of VEX entries: whole vectors, halves, fourths, eighths. */
const VEX_SIZES: Record<string, number> = { x: 1, h: 2, f: 4, e: 8 };
// biome-ignore format: a table
const FIXED: Record<string, [number, OperandSize]> = {
  AL: [0, 1], CL: [1, 1], AX: [0, 2], DX: [2, 2], EAX: [0, 4], rAX: [0, 'v'], eAX: [0, 'z'], XMM0: [0, 16], RAX: [0, 8],
};

/**
 * Parse one operand: 'Ev', 'Gb', 'Is' (byte, sign-extended), 'rAX', '1', ...
 * @param vectorBytes length of vectors in a VEX entry
 */
export function parseOperand(text: string, vectorBytes = 0): OperandSpec {
  const fixed = FIXED[text];
  if (fixed) return { kind: 'F', register: fixed[0], size: fixed[1], signed: false };
  if (text === '1') return { kind: 'L', register: 0, size: 1, signed: false };
  if (text === 'ST') return { kind: 'T', register: 0, size: 10, signed: false };
  if (text === 'Is') return { kind: 'I', register: 0, size: 1, signed: true };
  const part = vectorBytes > 0 ? VEX_SIZES[text.slice(1)] : undefined;
  const size = part === undefined ? SIZES[text.slice(1)] : vectorBytes / part;
  invariant(size !== undefined, `operand ${text}: unknown size`);
  return { kind: text[0] as OperandKind, register: 0, size, signed: text === 'Iz' || text[0] === 'J' };
}

/** Make a table entry. `operands` is a list in one string, destination first: 'Ev Gv'. */
export function define(
  name: string,
  encoding: string,
  operands: string,
  semantics: Semantics,
  options: Options = {},
): Definition {
  const operandText = operands === '' ? [] : operands.split(' ');
  const tokens: string[] = encoding.split(' ');
  let prefix: Definition['prefix'] = 'any';
  let vex: Vex | undefined;
  if (encoding.startsWith('VEX.')) {
    const parsed = parseVex((tokens.shift() as string).split('.'));
    ({ vex, prefix } = parsed);
    tokens.unshift(...parsed.map);
  }
  const specs = operandText.map(text => parseOperand(text, vex && (vex.length || 16)));
  if (['NP', 'NFx', '66', 'F3', 'F2'].includes(tokens[0] as string) && tokens.length > 1) {
    prefix = tokens.shift() as Definition['prefix'];
  }
  const escapeBytes = /^0F( 38| 3A)?(?= [0-9A-F]{2})/.exec(tokens.join(' '))?.[0];
  tokens.splice(0, escapeBytes ? escapeBytes.split(' ').length : 0);
  const map = ['', '0F', '0F 38', '0F 3A'].indexOf(escapeBytes ?? '');
  const first = tokens.shift() as string;
  const plusRegister = first.endsWith('+r');
  const opcode = Number.parseInt(first, 16);
  let digit = -1;
  let modrm = -1;
  let only = 0;
  let hasModrm = false;
  for (const token of tokens) {
    if (token === '/r') hasModrm = true;
    else if (/^\/[0-7]$/.test(token)) {
      hasModrm = true;
      digit = Number(token[1]);
    } else if (/^o(16|32|64)$/.test(token)) only = Number(token.slice(1)) / 8;
    else {
      invariant(/^[0-9A-F]{2}$/.test(token), `encoding ${encoding}: ${token}`);
      hasModrm = true;
      modrm = Number.parseInt(token, 16);
    }
  }
  const kinds = specs.map(spec => spec.kind);
  const rm = kinds.includes('M') ? 'memory' : kinds.some(k => 'RUNT'.includes(k)) ? 'register' : 'any';
  return {
    name,
    encoding,
    operands: specs,
    operandText,
    semantics,
    options,
    prefix,
    map,
    opcode,
    plusRegister,
    hasModrm,
    digit,
    modrm,
    only,
    rm,
    vex,
  };
}

const VEX_LENGTHS: Record<string, Vex['length']> = { '128': 16, LZ: 16, '256': 32, LIG: 0 };
function parseVex(fields: readonly string[]): {
  vex: Vex;
  prefix: Definition['prefix'];
  map: readonly string[];
} {
  const length = VEX_LENGTHS[fields[1] as string];
  invariant(length !== undefined, `${fields.join('.')}: a length`);
  const prefix = fields.find(field => ['66', 'F3', 'F2'].includes(field)) ?? 'NP';
  const map = fields.find(field => field.startsWith('0F')) as string;
  const w = fields.includes('W0') ? 0 : fields.includes('W1') ? 1 : -1;
  return {
    vex: { length, w },
    prefix: prefix as Definition['prefix'],
    map: map === '0F' ? ['0F'] : ['0F', map.slice(2)],
  };
}

/** Two entries of a VEX encoding without a length ("VEX.66.0F FC /r"): of 128 and of 256 bits. */
export const defineVex = (
  name: string,
  encoding: string,
  operands: string,
  semantics: Semantics,
  options: Options = { unit: 'avx' },
): Definition[] =>
  ['128', '256'].map(length =>
    define(name, encoding.replace('VEX.', `VEX.${length}.`), operands, semantics, options),
  );

const READS_FIRST =
  /^(cmp|test|bt|push|i?mul|i?div|jmp|call|lmsw|lldt|ltr|ver[rw]|invlpg|l[gi]dt|f?xrstor|v?ldmxcsr|clflush.*)( far)?$/;
const X87_WRITES = /^f(i|b|n)?st|^fnsave/;
/** Does it write its memory operand? Destinations come first, but some only read their first operand. */
export function writesMemory({ name, operands, options }: Definition): boolean {
  if (!'EMWQO'.includes(operands[0]?.kind ?? 'G')) return false;
  return options.unit === 'x87' ? X87_WRITES.test(name) : !READS_FIRST.test(name);
}
