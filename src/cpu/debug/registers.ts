/**
 * A vCPU's architectural registers by name, in gdb's order, and the target description that tells gdb so.
 *
 * The features org.gnu.gdb.i386.* have the registers and the order that gdb's manual asks for ("i386 Features"); the
 * system registers that only a whole machine has follow in a feature of our own. Control registers and segment
 * selectors can be read only: a value that does not fit the rest of the processor's state would need the checks of a
 * guest's own write.
 */
import type { CpuEngine } from '../engine.ts';
import { Seg, Segment, Vcpu } from '../vcpu/layout.ts';

const V = Vcpu.offsets;
const ALL_FLAGS = 0xffff_ffffn;

export interface Register {
  readonly name: string;
  readonly bits: 32 | 64 | 80 | 128;
  /** Its type in gdb's target description. */
  readonly type: string;
  readonly feature: Feature;
  read(engine: CpuEngine, cpu: number): bigint;
  /** Absent where the register can only be read. */
  readonly write?: (engine: CpuEngine, cpu: number, value: bigint) => void;
}

const FEATURES = ['core', 'sse', 'linux', 'segments', 'system'] as const;
type Feature = (typeof FEATURES)[number];

/** A register that lies in the block as it is. */
function stored(
  feature: Feature,
  name: string,
  offset: number,
  bits: Register['bits'],
  type: string,
  readOnly = false,
): Register {
  return {
    name,
    bits,
    type,
    feature,
    read: (engine, cpu) => readLittle(engine.memory.u8, cpu + offset, bits / 8),
    ...(!readOnly && {
      write: (engine: CpuEngine, cpu: number, value: bigint) =>
        writeLittle(engine.memory.u8, cpu + offset, bits / 8, value),
    }),
  };
}

/** A 16-bit place that gdb sees as 32 bits. */
const word = (name: string, offset: number, writable = true): Register => ({
  name,
  bits: 32,
  type: 'int',
  feature: 'core',
  read: (engine, cpu) => BigInt(engine.memory.view.getUint16(cpu + offset, true)),
  ...(writable && {
    write: (engine: CpuEngine, cpu: number, value: bigint) =>
      engine.memory.view.setUint16(cpu + offset, Number(value & 0xffffn), true),
  }),
});

const half = (name: string, offset: number): Register => ({
  ...word(name, offset),
  read: (engine, cpu) => BigInt(engine.memory.view.getUint32(cpu + offset, true)),
  write: (engine, cpu, value) => engine.memory.view.setUint32(cpu + offset, Number(value & ALL_FLAGS), true),
});

/** ST(i) is relative to TOP, bits 11..13 of the status word. */
function stackRegister(i: number): Register {
  const place = (engine: CpuEngine, cpu: number) => {
    const top = (engine.memory.view.getUint16(cpu + V.fsw, true) >> 11) & 7;
    return cpu + V.fpr + ((top + i) & 7) * 16;
  };
  return {
    name: `st${i}`,
    bits: 80,
    type: 'i387_ext',
    feature: 'core',
    read: (engine, cpu) => readLittle(engine.memory.u8, place(engine, cpu), 10),
    write: (engine, cpu, value) => writeLittle(engine.memory.u8, place(engine, cpu), 10, value),
  };
}

/** gdb's order of the first eight, as numbers of the encoding. */
const GENERAL: readonly (readonly [string, number, string])[] = [
  ['rax', 0, 'int64'],
  ['rbx', 3, 'int64'],
  ['rcx', 1, 'int64'],
  ['rdx', 2, 'int64'],
  ['rsi', 6, 'int64'],
  ['rdi', 7, 'int64'],
  ['rbp', 5, 'data_ptr'],
  ['rsp', 4, 'data_ptr'],
];

const selector = (name: keyof typeof Seg): Register =>
  word(name, V.segment + Seg[name] * Segment.size + Segment.offsets.selector, false);

export const REGISTERS: readonly Register[] = [
  ...GENERAL.map(([name, number, type]) => stored('core', name, V.gpr + number * 8, 64, type)),
  ...Array.from({ length: 8 }, (_, i) => stored('core', `r${i + 8}`, V.gpr + (i + 8) * 8, 64, 'int64')),
  stored('core', 'rip', V.rip, 64, 'code_ptr'),
  {
    name: 'eflags',
    bits: 32,
    type: 'i386_eflags',
    feature: 'core',
    read: (engine, cpu) => engine.runtime.getFlags(cpu) & ALL_FLAGS,
    write: (engine, cpu, value) => engine.runtime.setFlags(cpu, value, ALL_FLAGS),
  },
  ...(['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).map(selector),
  ...Array.from({ length: 8 }, (_, i) => stackRegister(i)),
  word('fctrl', V.fcw),
  word('fstat', V.fsw),
  word('ftag', V.ftw),
  word('fiseg', V.fcs),
  half('fioff', V.fip),
  word('foseg', V.fds),
  half('fooff', V.fdp),
  word('fop', V.fop),
  ...Array.from({ length: 16 }, (_, i) => stored('sse', `xmm${i}`, V.ymm + i * 32, 128, 'vec128')),
  stored('sse', 'mxcsr', V.mxcsr, 32, 'int'),
  {
    // No system call is being restarted by the debugger.
    name: 'orig_rax',
    bits: 64,
    type: 'int',
    feature: 'linux',
    read: () => 0xffff_ffff_ffff_ffffn,
    write: () => {},
  },
  stored('segments', 'fs_base', V.segBase + Seg.fs * 8, 64, 'int'),
  stored('segments', 'gs_base', V.segBase + Seg.gs * 8, 64, 'int'),
  stored('system', 'k_gs_base', V.kernelGsBase, 64, 'int64'),
  ...(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const).map(name =>
    stored('system', name, V[name], 64, 'int64', true),
  ),
];

const BY_NAME = new Map(REGISTERS.map(register => [register.name, register]));
export const registerByName = (name: string): Register | undefined => BY_NAME.get(name);

export function readRegister(engine: CpuEngine, cpu: number, name: string): bigint {
  const register = BY_NAME.get(name);
  return register === undefined ? 0n : register.read(engine, cpu);
}

function readLittle(u8: Uint8Array, at: number, sizeBytes: number): bigint {
  let value = 0n;
  for (let i = sizeBytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(u8[at + i] as number);
  return value;
}

function writeLittle(u8: Uint8Array, at: number, sizeBytes: number, value: bigint): void {
  for (let i = 0; i < sizeBytes; i++) u8[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

const FLAG_BITS = ['CF', '', 'PF', '', 'AF', '', 'ZF', 'SF', 'TF', 'IF', 'DF', 'OF'];
const TYPES: Partial<Record<Feature, string>> = {
  core: `<flags id="i386_eflags" size="4">${[
    ...FLAG_BITS.map((name, bit) => [name, bit] as const).filter(([name]) => name !== ''),
    ...(['NT', 'RF', 'VM', 'AC', 'VIF', 'VIP', 'ID'] as const).map(
      (name, i) => [name, i === 0 ? 14 : 15 + i] as const,
    ),
  ]
    .map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`)
    .join('')}</flags>`,
  sse: [
    '<vector id="v4f" type="ieee_single" count="4"/>',
    '<vector id="v2d" type="ieee_double" count="2"/>',
    '<vector id="v16i8" type="int8" count="16"/>',
    '<vector id="v8i16" type="int16" count="8"/>',
    '<vector id="v4i32" type="int32" count="4"/>',
    '<vector id="v2i64" type="int64" count="2"/>',
    '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>',
    '<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>',
    '<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>',
    '<field name="uint128" type="uint128"/></union>',
  ].join(''),
};

/** What gdb reads as target.xml. */
export function targetDescription(): string {
  const features = FEATURES.map(feature => {
    const name = feature === 'system' ? 'org.domus.system' : `org.gnu.gdb.i386.${feature}`;
    const registers = REGISTERS.filter(r => r.feature === feature).map(
      r => `<reg name="${r.name}" bitsize="${r.bits}" type="${r.type}"/>`,
    );
    return `<feature name="${name}">${TYPES[feature] ?? ''}${registers.join('')}</feature>`;
  });
  return `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386:x86-64</architecture>${features.join('')}</target>`;
}
