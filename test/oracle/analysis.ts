/**
 * What an instruction does to its surroundings, read off its bytes by iced-x86: which memory it touches through
 * which registers, what flags it leaves undefined, which kind of values it works on. Everything that prepares states
 * or compares results goes by this, so that bytes of any origin will do.
 */
import {
  Code,
  CpuidFeature,
  Decoder,
  DecoderOptions,
  EncodingKind,
  Formatter,
  FormatterSyntax,
  type Instruction,
  InstructionInfoFactory,
  MemorySizeExt,
  Mnemonic,
  OpAccess,
  OpKind,
  Register,
  RegisterExt,
  RflagsBits,
  type UsedMemory,
} from 'iced-x86';
import type { Mode } from './machine-case.ts';
import { Flag } from './machine-state.ts';
import type { LaneKind } from './values.ts';

/** One memory access: segment base + (base + index * scale + displacement) modulo 2^addressBits. */
export interface MemoryUse {
  /** General register numbers, -1 for none. */
  readonly base: number;
  readonly index: number;
  /** XLAT's index is AL alone. */
  readonly indexIsByte: boolean;
  readonly scale: number;
  readonly displacement: bigint;
  readonly addressBits: 16 | 32 | 64;
  readonly segment: 'fs' | 'gs' | 'other';
  readonly size: number;
  readonly writes: boolean;
  /** Through the stack pointer by the instruction's nature, not by an operand. */
  readonly implicitStack: boolean;
}

/** A gathered memory operand: numbers of the vector registers, size of an index, size of the mask and the result. */
export interface Gather {
  readonly destination: number;
  readonly index: number;
  readonly mask: number;
  readonly indexBytes: 4 | 8;
  readonly bytes: number;
}

export interface Analysis {
  readonly mode: Mode;
  readonly length: number;
  readonly code: Code;
  readonly codeName: string;
  /** Lower case. */
  readonly mnemonic: string;
  readonly text: string;
  readonly memory: readonly MemoryUse[];
  /** Operand size in bytes of operand 0. */
  readonly operandBytes: number;
  readonly hasMemoryOperand: boolean;
  readonly lock: boolean;
  readonly repeated: boolean;
  readonly string: boolean;
  /** Constant count or selector operand, -1 when none. */
  readonly immediate: number;
  /** The last operand is CL. */
  readonly byCl: boolean;
  /** Register number of operand 0 when that is a general register, else -1. */
  readonly register0: number;
  /** Register number of operand 1 when that is a general register, else -1. */
  readonly register1: number;
  /** RFLAGS bits left undefined whatever the operands. */
  readonly undefinedFlags: number;
  readonly writtenFlags: number;
  /** C0..C3 left undefined, in their FSW places. */
  readonly undefinedFsw: number;
  readonly x87: boolean;
  readonly mmx: boolean;
  readonly vector: boolean;
  readonly vex: boolean;
  readonly gather: Gather | undefined;
  readonly lanes: LaneKind;
  readonly features: readonly string[];
  readonly privileged: boolean;
}

const FLAG_BITS: readonly (readonly [number, number])[] = [
  [RflagsBits.CF, Flag.cf],
  [RflagsBits.PF, Flag.pf],
  [RflagsBits.AF, Flag.af],
  [RflagsBits.ZF, Flag.zf],
  [RflagsBits.SF, Flag.sf],
  [RflagsBits.OF, Flag.of],
  [RflagsBits.DF, Flag.df],
];
const FSW_BITS: readonly (readonly [number, number])[] = [
  [RflagsBits.C0, 0x100],
  [RflagsBits.C1, 0x200],
  [RflagsBits.C2, 0x400],
  [RflagsBits.C3, 0x4000],
];
const translate = (bits: number, table: readonly (readonly [number, number])[]): number =>
  table.reduce((sum, [from, to]) => (bits & from ? sum | to : sum), 0);

const infoFactory = new InstructionInfoFactory();
const formatter = new Formatter(FormatterSyntax.Intel);

const gprNumber = (register: Register): number => {
  if (register === Register.None || !RegisterExt.isGPR(register)) return -1;
  return RegisterExt.number(RegisterExt.fullRegister(register));
};

function memoryUses(instruction: Instruction, mode: Mode): MemoryUse[] {
  const info = infoFactory.info(instruction);
  const uses: MemoryUse[] = [];
  let hasOperand = false;
  for (let i = 0; i < instruction.opCount; i++)
    if (instruction.opKind(i) === OpKind.Memory) hasOperand = true;
  for (const used of info.usedMemory() as UsedMemory[]) {
    const index = RegisterExt.isGPR(used.index) ? used.index : Register.None;
    const widest = used.base !== Register.None ? used.base : index;
    const registerBytes = widest === Register.None ? 0 : RegisterExt.size(widest);
    // Without registers the width is that of the displacement.
    const displacementBits = instruction.memoryDisplSize * 8;
    const bits =
      registerBytes >= 2
        ? registerBytes * 8
        : mode === 64
          ? 64
          : displacementBits === 16
            ? 16
            : mode === 16 && displacementBits !== 32
              ? 16
              : 32;
    const segment = used.segment === Register.FS ? 'fs' : used.segment === Register.GS ? 'gs' : 'other';
    const isOperand =
      hasOperand && used.base === instruction.memoryBase && used.index === instruction.memoryIndex;
    uses.push({
      base: gprNumber(used.base),
      index: gprNumber(used.index),
      indexIsByte: used.index !== Register.None && RegisterExt.size(used.index) === 1,
      scale: used.scale,
      displacement: used.displacement,
      addressBits: bits as 16 | 32 | 64,
      segment,
      size: Math.max(1, MemorySizeExt.size(used.memorySize)),
      writes: used.access !== OpAccess.Read && used.access !== OpAccess.CondRead,
      implicitStack: !isOperand && gprNumber(used.base) === 4,
    });
    used.free();
  }
  info.free();
  return uses;
}

const FLOAT32_NAMES = /(ps|ss|ps2pi|ss2si|ps2dq|ps2pd|ss2sd|ps2ph)$/;
const FLOAT64_NAMES = /(pd|sd|pd2pi|sd2si|pd2dq|pd2ps|sd2ss|ddup)$/;
function laneKind(mnemonic: string): LaneKind {
  if (mnemonic.startsWith('v')) return laneKind(mnemonic.slice(1));
  if (/^pcmp[ei]str/.test(mnemonic)) return 'text';
  if (mnemonic === 'cvtph2ps') return 'float16';
  if (/^cvtt?(ps|ss)2|^(movs[lh]dup)$/.test(mnemonic)) return 'float32';
  if (/^cvtt?(pd|sd)2/.test(mnemonic)) return 'float64';
  if (/^cvt(pi|si|dq)2/.test(mnemonic)) return 'integer';
  if (FLOAT32_NAMES.test(mnemonic)) return 'float32';
  if (FLOAT64_NAMES.test(mnemonic)) return 'float64';
  return 'integer';
}

const mnemonicNames = new Map<number, string>();
const codeNames = new Map<number, string>();
for (const [name, value] of Object.entries(Mnemonic))
  if (typeof value === 'number') mnemonicNames.set(value, name);
for (const [name, value] of Object.entries(Code)) if (typeof value === 'number') codeNames.set(value, name);

export const codeName = (code: Code): string => codeNames.get(code) ?? String(code);

/** The first instruction of `bytes` at `rip`; undefined when iced has none. */
export function analyse(bytes: Uint8Array, mode: Mode, rip: bigint): Analysis | undefined {
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  decoder.ip = rip;
  const instruction = decoder.decode();
  decoder.free();
  try {
    if (instruction.isInvalid) return undefined;
    return analyseInstruction(instruction, mode);
  } finally {
    instruction.free();
  }
}

function analyseInstruction(instruction: Instruction, mode: Mode): Analysis {
  const mnemonic = (mnemonicNames.get(instruction.mnemonic) ?? '').toLowerCase();
  let hasMemoryOperand = false;
  let operandBytes = 0;
  let mmx = false;
  let vector = false;
  let immediate = -1;
  for (let i = 0; i < instruction.opCount; i++) {
    const kind = instruction.opKind(i);
    if (kind === OpKind.Register) {
      const register = instruction.opRegister(i);
      if (RegisterExt.isMM(register)) mmx = true;
      if (RegisterExt.isVectorRegister(register)) vector = true;
      if (i === 0) operandBytes = RegisterExt.size(register);
    } else if (kind === OpKind.Memory) {
      hasMemoryOperand = true;
      if (i === 0) operandBytes = MemorySizeExt.size(instruction.memorySize);
    } else if (kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64)
      immediate = Number(BigInt.asUintN(32, instruction.immediate(i)));
  }
  const last = instruction.opCount - 1;
  const features = [...instruction.cpuidFeatures()].map(feature => CpuidFeature[feature]!);
  const opCode = instruction.opCode;
  const privileged = opCode.isPrivileged || opCode.isInputOutput;
  opCode.free();
  const registerOf = (operand: number): number =>
    instruction.opCount > operand && instruction.opKind(operand) === OpKind.Register
      ? gprNumber(instruction.opRegister(operand))
      : -1;
  return {
    mode,
    length: instruction.length,
    code: instruction.code,
    codeName: codeName(instruction.code),
    mnemonic,
    text: formatter.format(instruction),
    memory: memoryUses(instruction, mode),
    operandBytes,
    hasMemoryOperand,
    lock: instruction.hasLockPrefix,
    repeated: instruction.isStringInstruction && (instruction.hasRepPrefix || instruction.hasRepnePrefix),
    string: instruction.isStringInstruction,
    immediate,
    byCl:
      last >= 1 &&
      instruction.opKind(last) === OpKind.Register &&
      instruction.opRegister(last) === Register.CL,
    register0: registerOf(0),
    register1: registerOf(1),
    undefinedFlags: translate(instruction.rflagsUndefined, FLAG_BITS),
    writtenFlags: translate(instruction.rflagsModified, FLAG_BITS),
    undefinedFsw: translate(instruction.rflagsUndefined, FSW_BITS),
    x87: features.some(feature => feature.startsWith('FPU')),
    mmx,
    vector,
    vex: instruction.encoding === EncodingKind.VEX,
    gather: instruction.isVsib
      ? {
          destination: RegisterExt.number(instruction.opRegister(0)),
          index: RegisterExt.number(instruction.memoryIndex),
          mask: RegisterExt.number(instruction.opRegister(2)),
          indexBytes: instruction.isVsib64 ? 8 : 4,
          bytes: RegisterExt.size(instruction.opRegister(2)),
        }
      : undefined,
    lanes: laneKind(mnemonic),
    features,
    privileged,
  };
}

/** Text of up to `count` instructions, for messages. */
export function disassemble(bytes: Uint8Array, mode: Mode, rip: bigint, count = 8): string {
  const decoder = new Decoder(mode, bytes, DecoderOptions.None);
  decoder.ip = rip;
  const parts: string[] = [];
  while (decoder.canDecode && parts.length < count) {
    const instruction = decoder.decode();
    parts.push(formatter.format(instruction));
    instruction.free();
  }
  decoder.free();
  return parts.join('; ');
}
