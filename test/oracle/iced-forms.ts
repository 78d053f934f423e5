/**
 * Every user-mode instruction of x86-64-v3, from iced-x86's code table: a source of forms that knows nothing of ours,
 * so that an instruction missing or misread in our own table shows.
 *
 * Left out, and why, is listed in EXCLUDED. Encodings are made by iced's encoder from random registers, addressing
 * modes and immediates, sometimes with prefixes that must not matter.
 */
import {
  Code,
  CpuidFeature,
  Encoder,
  EncodingKind,
  Instruction,
  Mnemonic,
  OpCodeOperandKind,
  OpKind,
  Register,
} from 'iced-x86';
import { analyse, codeName } from './analysis.ts';
import { icedLengthDecoder, randomInstructionBytes } from './decode.ts';
import { codePlace, type Encoding, type InstructionForm } from './forms.ts';
import { CODE_BASE, DATA_BASE, DATA_SEGMENT16, type Mode, WINDOW_BYTES } from './machine-case.ts';
import type { Random } from './random.ts';

/** Features whose instructions are taken, with what the host calls them. */
const FEATURES: Record<string, string> = {
  INTEL8086: '',
  INTEL8086_ONLY: '',
  INTEL186: '',
  INTEL286: '',
  INTEL386: '',
  INTEL486: '',
  X64: '',
  PAUSE: '',
  MULTIBYTENOP: '',
  CET_IBT: '',
  FPU: 'fpu',
  FPU287: 'fpu',
  FPU387: 'fpu',
  CMOV: 'cmov',
  CX8: 'cx8',
  CMPXCHG16B: 'cx16',
  FXSR: 'fxsr',
  MMX: 'mmx',
  SSE: 'sse',
  SSE2: 'sse2',
  SSE3: 'pni',
  SSSE3: 'ssse3',
  SSE4_1: 'sse4_1',
  SSE4_2: 'sse4_2',
  POPCNT: 'popcnt',
  AES: 'aes',
  PCLMULQDQ: 'pclmulqdq',
  CLFSH: 'clflush',
  PREFETCHW: '3dnowprefetch',
  MOVBE: 'movbe',
  LZCNT: 'abm',
  BMI1: 'bmi1',
  BMI2: 'bmi2',
  AVX: 'avx',
  AVX2: 'avx2',
  FMA: 'fma',
  F16C: 'f16c',
  FSGSBASE: 'fsgsbase',
};

/** Instructions that this oracle does not serve, by mnemonic, with the reason. */
export const EXCLUDED: readonly (readonly [RegExp, string])[] = [
  [/^(cpuid|rdtscp?|rdrand|rdseed|rdpmc|rdpid)$/, 'the result is the machine’s own'],
  [/^(syscall|sysenter|sysexit|sysret|int|int1|int3|iretd?q?)$/, 'leaves the sandbox or ends the case'],
  [/^(retf|lds|les|lfs|lgs|lss)/, 'loads segment registers: depends on the host’s descriptor tables'],
  [
    /^(lar|lsl|verr|verw|sgdt|sidt|sldt|smsw|str)$/,
    'reads the host’s descriptor tables or is emulated by its kernel',
  ],
  [
    /^(hlt|cli|sti|clts|lgdt|lidt|lldt|ltr|lmsw|invlpg|invd|wbinvd|in|out|ins[bwd]|outs[bwd])$/,
    'needs privilege',
  ],
  [/^(xgetbv|xsave.*|xrstor.*|monitor|mwait)$/, 'depends on the host’s feature mask'],
  [
    /^(loadall.*|umov|xbts|ibts|cmpxchg486|storeall|zalloc|fstdw|fstsg|fsetpm|fneni|fndisi|fn?stp?dw.*|f4x4)$/,
    'only on early processors',
  ],
  [/^(fdisi|feni|jmpe|ud0|ud1)$/, 'reserved encodings with different lengths by make'],
];

const isNumber = (entry: [string, unknown]): entry is [string, number] => typeof entry[1] === 'number';
const mnemonicNames = new Map(
  Object.entries(Mnemonic)
    .filter(isNumber)
    .map(([name, value]) => [value, name]),
);

const K = OpCodeOperandKind;
const R = Register;

const registerRange = (first: Register, count: number, mode: Mode) => (random: Random) =>
  first + random.below(mode === 64 ? count : Math.min(count, 8));
/** AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8L.. in iced's order. */
const register8 = (mode: Mode) => (random: Random) => R.AL + random.below(mode === 64 ? 20 : 8);
const register16 = (mode: Mode) => registerRange(R.AX, 16, mode);
const register32 = (mode: Mode) => (random: Random) => {
  const register = R.EAX + random.below(mode === 64 ? 16 : 8);
  // The upper half of ESP is not kept by a 16-bit stack.
  return mode === 16 && register === R.ESP ? R.EDI : register;
};
const register64 = (mode: Mode) => registerRange(R.RAX, 16, mode);
const registerMm = (_mode: Mode) => (random: Random) => R.MM0 + random.below(8);
const registerXmm = (mode: Mode) => registerRange(R.XMM0, 16, mode);
const registerYmm = (mode: Mode) => registerRange(R.YMM0, 16, mode);

type RegisterPicker = (mode: Mode) => (random: Random) => Register;
const REGISTER_OR_MEMORY = new Map<OpCodeOperandKind, RegisterPicker>([
  [K.r8_or_mem, register8],
  [K.r16_or_mem, register16],
  [K.r32_or_mem, register32],
  [K.r64_or_mem, register64],
  [K.mm_or_mem, registerMm],
  [K.xmm_or_mem, registerXmm],
  [K.ymm_or_mem, registerYmm],
]);
/** Indices of gathered operands are vector registers of these. */
const GATHERED = new Map<OpCodeOperandKind, RegisterPicker>([
  [K.mem_vsib32x, registerXmm],
  [K.mem_vsib64x, registerXmm],
  [K.mem_vsib32y, registerYmm],
  [K.mem_vsib64y, registerYmm],
]);
const REGISTERS = new Map<OpCodeOperandKind, RegisterPicker>([
  [K.r8_reg, register8],
  [K.r8_opcode, register8],
  [K.r16_reg, register16],
  [K.r16_rm, register16],
  [K.r16_opcode, register16],
  [K.r32_reg, register32],
  [K.r32_rm, register32],
  [K.r32_opcode, register32],
  [K.r64_reg, register64],
  [K.r64_rm, register64],
  [K.r64_opcode, register64],
  [K.mm_reg, registerMm],
  [K.mm_rm, registerMm],
  [K.xmm_reg, registerXmm],
  [K.xmm_rm, registerXmm],
  [K.ymm_reg, registerYmm],
  [K.ymm_rm, registerYmm],
  [K.xmm_vvvv, registerXmm],
  [K.ymm_vvvv, registerYmm],
  [K.xmm_is4, registerXmm],
  [K.ymm_is4, registerYmm],
  [K.r32_vvvv, register32],
  [K.r64_vvvv, register64],
  [K.sti_opcode, () => random => R.ST0 + random.below(8)],
]);
const FIXED = new Map<OpCodeOperandKind, Register>([
  [K.al, R.AL],
  [K.cl, R.CL],
  [K.ax, R.AX],
  [K.dx, R.DX],
  [K.eax, R.EAX],
  [K.rax, R.RAX],
  [K.st0, R.ST0],
  [K.es, R.ES],
  [K.cs, R.CS],
  [K.ss, R.SS],
  [K.ds, R.DS],
  [K.fs, R.FS],
  [K.gs, R.GS],
]);
const IMMEDIATES = new Map<OpCodeOperandKind, OpKind>([
  [K.imm8, OpKind.Immediate8],
  [K.imm8_const_1, OpKind.Immediate8],
  [K.imm8sex16, OpKind.Immediate8to16],
  [K.imm8sex32, OpKind.Immediate8to32],
  [K.imm8sex64, OpKind.Immediate8to64],
  [K.imm16, OpKind.Immediate16],
  [K.imm32, OpKind.Immediate32],
  [K.imm32sex64, OpKind.Immediate32to64],
  [K.imm64, OpKind.Immediate64],
]);
const BRANCHES = new Map<OpCodeOperandKind, readonly [OpKind, number]>([
  [K.br16_1, [OpKind.NearBranch16, 1]],
  [K.br32_1, [OpKind.NearBranch32, 1]],
  [K.br64_1, [OpKind.NearBranch64, 1]],
  [K.br16_2, [OpKind.NearBranch16, 2]],
  [K.br32_4, [OpKind.NearBranch32, 4]],
  [K.br64_4, [OpKind.NearBranch64, 4]],
]);
const STRING_SOURCE = new Map<number, OpKind>([
  [16, OpKind.MemorySegSI],
  [32, OpKind.MemorySegESI],
  [64, OpKind.MemorySegRSI],
]);
const STRING_TARGET = new Map<number, OpKind>([
  [16, OpKind.MemoryESDI],
  [32, OpKind.MemoryESEDI],
  [64, OpKind.MemoryESRDI],
]);
const MASKED_TARGET = new Map<number, OpKind>([
  [16, OpKind.MemorySegDI],
  [32, OpKind.MemorySegEDI],
  [64, OpKind.MemorySegRDI],
]);

/** Address size for this encoding: mostly the mode's own. */
function addressBits(random: Random, mode: Mode): 16 | 32 | 64 {
  if (!random.oneIn(8)) return mode;
  return mode === 64 ? 32 : mode === 32 ? 16 : 32;
}

function segmentOverride(random: Random, mode: Mode, bits: number): Register {
  // A 16-bit address reaches the window of a flat segment only through FS or GS.
  if (mode === 32 && bits === 16) return random.pick([R.FS, R.GS]);
  return random.oneIn(12) ? random.pick([R.FS, R.GS, R.ES, R.DS, R.SS, R.CS]) : R.None;
}

const ADDRESSES_16: readonly (readonly [Register, Register])[] = [
  [R.BX, R.SI],
  [R.BX, R.DI],
  [R.BP, R.SI],
  [R.BP, R.DI],
  [R.SI, R.None],
  [R.DI, R.None],
  [R.BP, R.None],
  [R.BX, R.None],
];

const someDisplacement = (random: Random): bigint =>
  random.pick([
    0n,
    BigInt(random.below(256) - 128),
    BigInt(random.u32() | 0),
    BigInt(random.below(0x1_0000)),
  ]);
const windowOffset = (random: Random): number =>
  random.below((WINDOW_BYTES - 16) / 8) * 8 + (random.oneIn(3) ? random.below(8) : 0);

function setMemory(random: Random, instruction: Instruction, mode: Mode, offsetsOnly: boolean): void {
  const bits = addressBits(random, mode);
  const segment = segmentOverride(random, mode, bits);
  instruction.segmentPrefix = segment;
  const based = segment === R.FS || segment === R.GS;
  // Where an address without registers has to point to reach the window.
  const absolute =
    based && mode !== 64
      ? BigInt(windowOffset(random))
      : BigInt(
          (mode === 16 && !based ? DATA_BASE - DATA_SEGMENT16 : mode === 64 && based ? 0 : DATA_BASE) +
            windowOffset(random),
        );
  instruction.memoryBase = R.None;
  instruction.memoryIndex = R.None;
  instruction.memoryIndexScale = 1;
  if (offsetsOnly) {
    instruction.memoryDisplSize = bits / 8;
    instruction.memoryDisplacement = absolute;
    return;
  }
  if (bits === 16) {
    if (random.oneIn(10)) {
      instruction.memoryDisplSize = 2;
      instruction.memoryDisplacement = absolute & 0xffffn;
      return;
    }
    const [base, index] = random.pick(ADDRESSES_16);
    instruction.memoryBase = base;
    instruction.memoryIndex = index;
    const displacement = BigInt.asIntN(16, someDisplacement(random));
    instruction.memoryDisplSize =
      displacement === 0n ? (base === R.BP ? 1 : 0) : displacement >= -128n && displacement < 128n ? 1 : 2;
    instruction.memoryDisplacement = displacement;
    return;
  }
  const shape = random.below(24);
  if (shape === 0 && mode === 64) {
    instruction.memoryBase = bits === 64 ? R.RIP : R.EIP;
    instruction.memoryDisplSize = bits === 64 ? 8 : 4;
    // The encoder makes it relative.
    instruction.memoryDisplacement = absolute;
    return;
  }
  const first = bits === 64 ? R.RAX : R.EAX;
  const count = mode === 64 ? 16 : 8;
  if (shape === 1) {
    instruction.memoryDisplSize = bits / 8;
    instruction.memoryDisplacement = absolute;
    return;
  }
  if (shape > 2) instruction.memoryBase = first + random.below(count);
  if (shape <= 2 || random.oneIn(3)) {
    let index = random.below(count);
    if (index === 4) index = 1;
    instruction.memoryIndex = first + index;
    instruction.memoryIndexScale = random.pick([1, 2, 4, 8]);
  }
  const displacement = BigInt.asIntN(32, someDisplacement(random));
  instruction.memoryDisplSize =
    displacement >= -128n && displacement < 128n ? (shape <= 2 ? bits / 8 : 1) : bits / 8;
  instruction.memoryDisplacement = displacement;
}

/** A base or none, a small displacement, and a vector of indices. */
function setGathered(random: Random, instruction: Instruction, mode: Mode, index: Register): void {
  const bits = mode === 64 && !random.oneIn(8) ? 64 : 32;
  instruction.segmentPrefix = segmentOverride(random, mode, bits);
  const base = (bits === 64 ? R.RAX : R.EAX) + random.below(mode === 64 ? 16 : 8);
  const hasBase = !random.oneIn(8);
  instruction.memoryBase = hasBase ? base : R.None;
  instruction.memoryIndex = index;
  instruction.memoryIndexScale = random.pick([1, 2, 4, 8]);
  instruction.memoryDisplacement = BigInt(random.below(256) - 128);
  instruction.memoryDisplSize = hasBase ? 1 : bits / 8;
}

const IMMEDIATE_EDGES = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
];
function setImmediate(
  random: Random,
  instruction: Instruction,
  operand: number,
  kind: OpKind,
  name: string,
): void {
  instruction.setOpKind(operand, kind);
  let value = random.oneIn(2) ? random.pick(IMMEDIATE_EDGES) : random.u32();
  if (kind === OpKind.Immediate8) {
    const shift = /^(Sh|Sal|Sar|R[oc][lr]|Ps|Bt)/.test(name);
    value =
      (shift && !random.oneIn(4) ? random.below(72) : random.oneIn(2) ? random.below(16) : value) & 0xff;
    if (operand > 0 && instruction.opKind(0) === OpKind.Immediate16) {
      instruction.setOpKind(operand, OpKind.Immediate8_2nd);
      instruction.immediate8_2nd = random.oneIn(4) ? random.below(256) : random.below(4);
      return;
    }
    instruction.immediate8 = value;
  } else if (kind === OpKind.Immediate16)
    instruction.immediate16 = name.startsWith('Enter') ? random.below(0x400) : value & 0xffff;
  else if (kind === OpKind.Immediate32) instruction.immediate32 = value;
  else if (kind === OpKind.Immediate64)
    instruction.immediate64 = (BigInt(random.oneIn(2) ? random.u32() : 0) << 32n) | BigInt(value);
  else if (kind === OpKind.Immediate8to16) instruction.immediate8to16 = (value << 24) >> 24;
  else if (kind === OpKind.Immediate8to32) instruction.immediate8to32 = (value << 24) >> 24;
  else if (kind === OpKind.Immediate8to64) instruction.immediate8to64 = BigInt((value << 24) >> 24);
  else instruction.immediate32to64 = BigInt(value | 0);
}

function setBranch(
  random: Random,
  instruction: Instruction,
  mode: Mode,
  rip: bigint,
  kind: OpKind,
  reach: number,
): void {
  instruction.setOpKind(0, kind);
  const base = mode === 16 ? 0 : CODE_BASE;
  // Never into the code itself: that might run for ever.
  let target = random.oneIn(2) ? Number(rip) + 16 + random.below(110) : Number(rip) - 1 - random.below(100);
  if (reach > 1 && random.oneIn(2)) target = base + random.below(0x3000);
  if (reach === 4 && random.oneIn(10)) target = Number(rip) + (random.u32() >> 2);
  if (kind === OpKind.NearBranch16) instruction.nearBranch16 = target & 0xffff;
  else if (kind === OpKind.NearBranch32) instruction.nearBranch32 = target >>> 0;
  else instruction.nearBranch64 = BigInt.asUintN(64, BigInt(target));
}

/** Fills in operands; false when an operand kind is not one of ours. */
function setOperands(
  random: Random,
  instruction: Instruction,
  kinds: readonly OpCodeOperandKind[],
  mode: Mode,
  rip: bigint,
  name: string,
): boolean {
  const stringBits = addressBits(random, mode);
  for (let i = 0; i < kinds.length; i++) {
    const kind = kinds[i]!;
    const registers = REGISTERS.get(kind);
    const either = REGISTER_OR_MEMORY.get(kind);
    const branch = BRANCHES.get(kind);
    const immediate = IMMEDIATES.get(kind);
    const fixed = FIXED.get(kind);
    if (registers || (either && random.oneIn(2))) {
      instruction.setOpKind(i, OpKind.Register);
      instruction.setOpRegister(i, (registers ?? either)!(mode)(random));
    } else if (fixed !== undefined) {
      instruction.setOpKind(i, OpKind.Register);
      instruction.setOpRegister(i, fixed);
    } else if (either || kind === K.mem || kind === K.mem_offs) {
      instruction.setOpKind(i, OpKind.Memory);
      setMemory(random, instruction, mode, kind === K.mem_offs);
    } else if (immediate !== undefined) {
      setImmediate(random, instruction, i, immediate, name);
      if (kind === K.imm8_const_1) instruction.immediate8 = 1;
    } else if (branch) setBranch(random, instruction, mode, rip, branch[0], branch[1]);
    else if (GATHERED.has(kind)) {
      instruction.setOpKind(i, OpKind.Memory);
      setGathered(random, instruction, mode, GATHERED.get(kind)!(mode)(random));
    } else if (kind === K.seg_rSI) instruction.setOpKind(i, STRING_SOURCE.get(stringBits)!);
    else if (kind === K.es_rDI) instruction.setOpKind(i, STRING_TARGET.get(stringBits)!);
    else if (kind === K.seg_rDI) instruction.setOpKind(i, MASKED_TARGET.get(stringBits)!);
    else if (kind === K.seg_rBX_al) {
      instruction.setOpKind(i, OpKind.Memory);
      instruction.memoryBase = stringBits === 64 ? R.RBX : stringBits === 32 ? R.EBX : R.BX;
      instruction.memoryIndex = R.AL;
    } else return false;
  }
  return true;
}

const IGNORED_PREFIXES = [0x26, 0x2e, 0x36, 0x3e];
/** Puts an additional prefix in front if the instruction stays the same for it. */
function decorate(random: Random, encoding: Encoding, mode: Mode, codeValue: Code): Encoding {
  // See HOST_DIFFERENCES on operand size prefixes of branches.
  if (mode === 64 && /^(J|Call|Loop|Ret)/.test(codeName(codeValue))) return encoding;
  const prefix = random.oneIn(2) ? random.pick(IGNORED_PREFIXES) : random.pick([0x66, 0xf2, 0xf3, 0x67]);
  const code = Uint8Array.of(prefix, ...encoding.code);
  const analysis = analyse(code, mode, encoding.rip);
  const same = analysis?.code === codeValue && analysis.length === code.length && code.length <= 15;
  return same ? { code, rip: encoding.rip } : encoding;
}

const encoders = new Map<Mode, Encoder>();
const encoderFor = (mode: Mode): Encoder => {
  let encoder = encoders.get(mode);
  if (!encoder) {
    encoder = new Encoder(mode);
    encoders.set(mode, encoder);
  }
  return encoder;
};

function formOf(name: string, codeValue: Code): InstructionForm | undefined {
  const sample = new Instruction();
  sample.code = codeValue;
  const opCode = sample.opCode;
  const mnemonic = (mnemonicNames.get(opCode.mnemonic) ?? '').toLowerCase();
  const featureNames = [...sample.cpuidFeatures()].map(feature => CpuidFeature[feature]!);
  const kinds = Array.from({ length: opCode.opCount }, (_, i) => opCode.opKind(i));
  const usable =
    opCode.isInstruction &&
    (opCode.encoding === EncodingKind.Legacy || opCode.encoding === EncodingKind.VEX) &&
    !opCode.mustBeCpl0 &&
    !opCode.isReservedNop &&
    // Two instructions: FWAIT and the form without waiting, which has an entry of its own.
    !opCode.fwait &&
    !/_(m16|ptr16)(16|32|64)$/.test(name) &&
    featureNames.every(feature => feature in FEATURES) &&
    !EXCLUDED.some(([pattern]) => pattern.test(mnemonic)) &&
    // Segment registers as operands: see EXCLUDED on descriptor tables. PUSH of one only reads it.
    !kinds.includes(K.seg_reg) &&
    !(mnemonic === 'pop' && kinds.some(kind => kind >= K.es && kind <= K.gs)) &&
    !(mnemonic === 'push' && kinds.some(kind => kind >= K.es && kind <= K.gs)) &&
    !kinds.includes(K.tr_reg) &&
    !kinds.includes(K.cr_reg) &&
    !kinds.includes(K.dr_reg);
  const modes = ([64, 32, 16] as const).filter(
    mode => opCode.isAvailableInMode(mode) && (mode !== 64 || opCode.intelDecoder64),
  );
  const canLock = opCode.canUseLockPrefix;
  const canRepeat = opCode.canUseRepPrefix;
  const canRepeatNotEqual = opCode.canUseRepnePrefix;
  opCode.free();
  sample.free();
  if (!usable || modes.length === 0) return undefined;

  const attempt = (random: Random, mode: Mode): Encoding | undefined => {
    const rip = codePlace(random, mode);
    const instruction = new Instruction();
    try {
      instruction.code = codeValue;
      if (!setOperands(random, instruction, kinds, mode, rip, name)) return undefined;
      if (canLock && kinds.length > 0 && instruction.op0Kind === OpKind.Memory && random.oneIn(4))
        instruction.hasLockPrefix = true;
      if (canRepeat && random.oneIn(2)) instruction.hasRepPrefix = true;
      else if (canRepeatNotEqual && random.oneIn(3)) instruction.hasRepnePrefix = true;
      const encoder = encoderFor(mode);
      try {
        encoder.encode(instruction, rip);
      } catch {
        encoder.takeBuffer();
        return undefined;
      }
      const encoding = { code: encoder.takeBuffer(), rip };
      const analysis = analyse(encoding.code, mode, rip);
      // EAX with itself is NOP, another form.
      if (analysis?.code !== codeValue || analysis.length !== encoding.code.length) return undefined;
      return random.oneIn(12) ? decorate(random, encoding, mode, codeValue) : encoding;
    } finally {
      instruction.free();
    }
  };
  return {
    name,
    mnemonic,
    modes,
    hostFeatures: featureNames.map(feature => FEATURES[feature]!).filter(feature => feature !== ''),
    generate: (random, mode) => {
      // Some combinations of operands have no encoding: AH with REX, far RIP-relative targets.
      for (let i = 0; i < 8; i++) {
        const encoding = attempt(random, mode);
        if (encoding) return encoding;
      }
      return undefined;
    },
  };
}

const icedDecoders = { 16: icedLengthDecoder(16), 32: icedLengthDecoder(32), 64: icedLengthDecoder(64) };

/** Bytes that are no instruction of any extension: #UD, and nothing changed. */
const INVALID: InstructionForm = {
  name: 'Invalid',
  mnemonic: 'invalid',
  modes: [64, 32, 16],
  hostFeatures: [],
  generate: (random, mode) => {
    for (let i = 0; i < 200; i++) {
      const code = randomInstructionBytes(random, mode);
      // LOCK MOV CR: see HOST_DIFFERENCES.
      const locked =
        code.includes(0xf0) && code.some((byte, at) => byte === 0x0f && (code[at + 1]! & 0xfd) === 0x20);
      if (!locked && icedDecoders[mode](code).length === undefined)
        return { code, rip: codePlace(random, mode) };
    }
    return undefined;
  },
};

let forms: readonly InstructionForm[] | undefined;
/** All forms, in the order of iced's table. */
export function icedForms(): readonly InstructionForm[] {
  forms ??= [
    ...Object.entries(Code)
      .filter(isNumber)
      .map(([name, value]) => formOf(name, value))
      .filter(form => form !== undefined),
    INVALID,
  ];
  return forms;
}
