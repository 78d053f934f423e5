/**
 * Makes cases of instruction bytes: a state in which the instruction has something interesting to do. Pointers lead
 * into the data window (aligned or not, across its pages, now and then out of it), data has edge values of the kind
 * the instruction works on, flags and control words are random, exceptions mostly but not always masked.
 */
import type { Analysis, MemoryUse } from './analysis.ts';
import {
  CODE_BASE,
  DATA_BASE,
  DATA_SEGMENT16,
  type MachineCase,
  PAGE_BYTES,
  type Patch,
  READONLY_BASE,
  WINDOW_BYTES,
} from './machine-case.ts';
import { ARITHMETIC_FLAGS, B, D, Flag, initialState, type MachineState, Q, W } from './machine-state.ts';
import type { Random } from './random.ts';
import { float32, float64, float80, integer64, type LaneKind, lanes } from './values.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;

/** A case under construction. */
interface Draft {
  readonly random: Random;
  readonly analysis: Analysis;
  readonly state: MachineState;
  readonly patches: Patch[];
  /** Where the memory uses point, as offsets of the window; -1 when outside. */
  readonly targets: number[];
}

const setLow = (state: MachineState, register: number, value: bigint, bits: number): void => {
  const mask = (1n << BigInt(bits)) - 1n;
  state.u64[register] = (state.u64[register]! & ~mask) | (value & mask);
};

/** Linear address for an access of `size` bytes. */
function target(random: Random, analysis: Analysis, use: MemoryUse): bigint {
  const size = Math.min(use.size, PAGE_BYTES);
  const inWindow = (offset: number) => BigInt(DATA_BASE + offset);
  if (use.implicitStack) {
    const offset = 0x800 + random.below(0x1000);
    return inWindow(random.oneIn(4) ? offset : offset & ~7);
  }
  if (analysis.string) {
    const offset = 0x400 + random.below(0x1800);
    if (!random.oneIn(24)) return inWindow(random.oneIn(2) ? offset : offset & ~7);
  }
  switch (random.below(64)) {
    case 0:
      return inWindow(WINDOW_BYTES - 1 - random.below(size));
    case 1:
      return inWindow(-1 - random.below(size));
    case 2:
      return BigInt(READONLY_BASE + random.below(PAGE_BYTES - size));
    case 3:
      // Not canonical where there are 64 bits of it.
      return BigInt.asUintN(64, (1n << BigInt(47 + random.below(16))) + inWindow(64));
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
      return inWindow(PAGE_BYTES - random.below(size + 1));
    case 9:
      return inWindow(0);
    case 10:
      return inWindow(WINDOW_BYTES - size);
    default: {
      const offset = random.below(WINDOW_BYTES - size - 64);
      const alignment = size === 32 ? 32 : size >= 16 ? 16 : 8;
      return inWindow(random.oneIn(size >= 16 ? 6 : 2) ? offset : offset & -alignment);
    }
  }
}

const segmentBase = (analysis: Analysis, use: MemoryUse, state: MachineState): bigint => {
  if (analysis.mode === 64)
    return use.segment === 'fs' ? state.u64[Q.fsBase]! : use.segment === 'gs' ? state.u64[Q.gsBase]! : 0n;
  if (use.segment !== 'other') return BigInt(DATA_BASE);
  return analysis.mode === 16 ? BigInt(DATA_SEGMENT16) : 0n;
};

/** Linear address of an access in a state. */
export function linearAddress(analysis: Analysis, use: MemoryUse, state: MachineState): bigint {
  let offset = use.displacement;
  if (use.base >= 0) offset += state.u64[use.base]!;
  if (use.index >= 0)
    offset += (use.indexIsByte ? state.u64[use.index]! & 0xffn : state.u64[use.index]!) * BigInt(use.scale);
  return BigInt.asUintN(64, segmentBase(analysis, use, state) + BigInt.asUintN(use.addressBits, offset));
}

/** Sets registers so that the access goes to `linear`, as far as they allow. */
function point(draft: Draft, use: MemoryUse, linear: bigint): void {
  const { analysis, state } = draft;
  let rest = linear - segmentBase(analysis, use, state) - use.displacement;
  const scale = BigInt(use.scale);
  if (use.base < 0 && use.index < 0) return;
  if (use.base === use.index && !use.indexIsByte)
    setLow(state, use.base, rest / (scale + 1n), use.addressBits);
  else if (use.base < 0) setLow(state, use.index, rest / scale, use.addressBits);
  else {
    if (use.index >= 0)
      rest -= (use.indexIsByte ? state.u64[use.index]! & 0xffn : state.u64[use.index]!) * scale;
    setLow(state, use.base, rest, use.addressBits);
  }
}

/** Data of the instruction's kind. */
function memoryData(random: Random, analysis: Analysis, size: number): Uint8Array {
  const bytes = new Uint8Array((size + 7) & ~7);
  const words = new Uint32Array(bytes.buffer);
  if (analysis.x87) {
    const integer = /^f(i|ld(cw|env)|rstor)/.test(analysis.mnemonic);
    if (analysis.mnemonic === 'fbld') {
      for (let i = 0; i < 9; i++) bytes[i] = random.below(10) * 16 + random.below(10);
      if (random.oneIn(3)) bytes.fill(0, random.below(9), 9);
      bytes[9] = random.below(2) * 0x80;
    } else if (size === 10) float80(random, bytes, 0);
    else if (size === 4 && !integer) words[0] = float32(random);
    else if (size === 8 && !integer) float64(random, words, 0);
    else for (let i = 0; i < words.length; i += 2) integer64(random, words, i);
  } else lanes(random, kindFor(random, analysis), bytes, 0, bytes.length);
  return bytes.subarray(0, size);
}

const KINDS: readonly LaneKind[] = ['integer', 'float32', 'float64', 'text'];
const kindFor = (random: Random, analysis: Analysis): LaneKind =>
  random.oneIn(16) ? random.pick(KINDS) : analysis.lanes;

function floatingPoint({ random, analysis, state }: Draft): void {
  const masks = random.oneIn(8) ? random.below(64) : 0x3f;
  const precision = random.pick([3, 3, 3, 2, 0]);
  state.u16[W.fcw] = 0x40 | masks | (precision << 8) | (random.below(4) << 10) | (random.below(2) << 12);
  let flags = random.oneIn(2) ? 0 : random.below(128);
  const pending = random.oneIn(24);
  if (!pending) flags &= masks | 0x40;
  const summary = (flags & 0x3f & ~masks) !== 0 ? 0x8080 : 0;
  state.u16[W.fsw] =
    flags | summary | (random.below(8) << 11) | ((random.below(16) & 7) << 8) | (random.below(2) << 14);
  state.u16[W.ftw] = random.oneIn(3) ? random.below(256) : 0xff;
  for (let i = 0; i < 8; i++) {
    const at = B.fpr + 16 * i;
    if (analysis.mmx && !random.oneIn(8)) {
      lanes(random, kindFor(random, analysis), state.bytes, at, 8);
      state.bytes[at + 8] = state.bytes[at + 9] = 0xff;
    } else float80(random, state.bytes, at);
  }
}

function generalState(draft: Draft): void {
  const { random, analysis, state } = draft;
  const { mode } = analysis;
  for (let i = 0; i < 16; i++) integer64(random, state.u32, 2 * i);
  if (mode !== 64) for (let i = 0; i < 16; i++) state.u64[i] = i < 8 ? state.u64[i]! & 0xffff_ffffn : 0n;
  let flags = random.u32() & ARITHMETIC_FLAGS;
  if (analysis.string ? random.oneIn(2) : random.oneIn(8)) flags |= Flag.df;
  if (random.oneIn(40)) flags |= Flag.ac;
  state.u64[Q.rflags] = BigInt(flags | 0x202);
  if (mode === 64) {
    const base = () =>
      random.oneIn(4)
        ? (BigInt(random.below(0x8000)) << 32n) | BigInt(random.u32())
        : BigInt(DATA_BASE + random.below(256));
    state.u64[Q.fsBase] = base();
    state.u64[Q.gsBase] = base();
  }
  if (analysis.x87 || analysis.mmx || /^(f|x|emms)/.test(analysis.mnemonic) || random.oneIn(16))
    floatingPoint(draft);
  if (analysis.vector || /^(f|x)/.test(analysis.mnemonic) || random.oneIn(16)) {
    let mxcsr = (random.oneIn(12) ? random.below(64) : 0x3f) << 7;
    mxcsr |= random.below(4) << 13;
    if (random.oneIn(4)) mxcsr |= 0x8000;
    if (random.oneIn(4)) mxcsr |= 0x40;
    if (random.oneIn(2)) mxcsr |= random.below(64);
    // As programs have it once they have rounded anything: the host's arithmetic is taken for granted then.
    if (random.oneIn(2)) mxcsr = (mxcsr & 0x805f) | 0x1fa0;
    state.u32[D.mxcsr] = mxcsr;
    for (let i = 0; i < 16; i++) {
      lanes(random, kindFor(random, analysis), state.bytes, B.ymm + 32 * i, 16);
      // Without VEX the upper half is no business of these instructions: any marker will do.
      if (analysis.vex) lanes(random, kindFor(random, analysis), state.bytes, B.ymm + 32 * i + 16, 16);
      else state.u32[(B.ymm + 32 * i) / 4 + 4] = random.u32();
    }
    if (random.oneIn(3)) {
      // Equal and nearly equal operands.
      const from = B.ymm + 32 * random.below(8);
      for (let i = 0; i < 16; i++) {
        state.bytes.copyWithin(B.ymm + 32 * i, from, from + (analysis.vex ? 32 : 16));
        if (random.oneIn(2)) state.bytes[B.ymm + 32 * i + random.below(16)]! ^= 1 << random.below(8);
      }
    }
  }
  const stack = BigInt(DATA_BASE - (mode === 16 ? DATA_SEGMENT16 : 0) + 0x800 + random.below(0x1000));
  setLow(state, RSP, random.oneIn(6) ? stack : stack & ~7n, mode === 16 ? 32 : 64);
}

/** Indices that stay near the base, seldom far away, and a mask of any sign bits. */
function gathering({ random, analysis, state }: Draft): void {
  const { index, mask, indexBytes } = analysis.gather!;
  const base = analysis.memory[0]!.base;
  const absolute = BigInt(DATA_BASE) / BigInt(analysis.memory[0]!.scale);
  for (let at = 0; at < 32; at += indexBytes) {
    const near = BigInt(random.below(0x80) - (base < 0 ? 0 : 0x40)) + (base < 0 ? absolute : 0n);
    const value = random.oneIn(24) ? BigInt(random.u32()) << BigInt(random.below(30)) : near;
    for (let i = 0; i < indexBytes; i++)
      state.bytes[B.ymm + 32 * index + at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
  for (let at = 3; at < 32; at += 4)
    state.bytes[B.ymm + 32 * mask + at] = random.below(256) | (random.oneIn(3) ? 0x80 : 0);
}

/** What single instructions want beyond the general. */
function particular(draft: Draft): void {
  const { random, analysis, state } = draft;
  const { mnemonic, operandBytes, mode } = analysis;
  const bits = operandBytes * 8 || 32;
  if (analysis.gather) gathering(draft);
  if (/^i?div$/.test(mnemonic) && !random.oneIn(3)) {
    // Otherwise most quotients overflow.
    const sign = mnemonic === 'idiv' && (state.u64[RAX]! >> BigInt(bits - 1)) & 1n ? -1n : 0n;
    const high = random.oneIn(2) ? sign : sign ^ BigInt(random.below(256));
    if (bits === 8) setLow(state, RAX, (high << 8n) | (state.u64[RAX]! & 0xffn), 16);
    else setLow(state, RDX, high, bits);
  }
  if (analysis.byCl && !random.oneIn(4))
    state.bytes[8 * RCX] = random.pick([0, 1, bits - 1, bits, bits + 1, random.below(bits + 4)]);
  if (analysis.repeated && !random.oneIn(64))
    setLow(state, RCX, BigInt(random.oneIn(4) ? random.below(60) : random.below(5)), mode);
  if (/^(loop|j.*cxz)/.test(mnemonic) && !random.oneIn(4))
    setLow(state, RCX, BigInt(random.below(3)), random.pick([16, 32, mode === 64 ? 64 : 32]));
  if (/^bt[src]?$/.test(mnemonic) && analysis.hasMemoryOperand && analysis.register1 >= 0) {
    const usesIt = analysis.memory.some(
      use => use.base === analysis.register1 || use.index === analysis.register1,
    );
    if (!usesIt) setLow(state, analysis.register1, BigInt(random.below(0x2000) - 0x1000), Math.max(bits, 16));
  }
  if (
    /^(jmp|call)$/.test(mnemonic) &&
    analysis.register0 >= 0 &&
    analysis.register0 !== RSP &&
    !random.oneIn(6)
  )
    setLow(state, analysis.register0, BigInt((mode === 16 ? 0 : CODE_BASE) + random.below(0x3000)), mode);
  if (/^v?pcmpestr/.test(mnemonic) && !random.oneIn(4)) {
    setLow(state, RAX, BigInt(random.below(40) - 20), 64);
    setLow(state, RDX, BigInt(random.below(40) - 20), 64);
  }
  if (mnemonic === 'enter' || mnemonic === 'leave') {
    const frame = BigInt(DATA_BASE - (mode === 16 ? DATA_SEGMENT16 : 0) + 0x400 + random.below(0x1800));
    setLow(state, RBP, frame, mode === 16 ? 16 : 64);
  }
  if (mnemonic === 'wrfsbase' || mnemonic === 'wrgsbase')
    if (!random.oneIn(4)) for (let i = 0; i < 16; i++) if (i !== RSP) state.u64[i]! &= 0x7fff_ffff_ffffn;
  if (/^x(save|rstor)/.test(mnemonic)) {
    setLow(state, RDX, 0n, 64);
    setLow(state, RAX, BigInt(random.below(8)), 64);
  }
}

/** Memory the instruction will read: after the pointers are set. */
function memoryContents(draft: Draft): void {
  const { random, analysis, state, patches, targets } = draft;
  const { mnemonic, operandBytes } = analysis;
  const put = (offset: number, bytes: Uint8Array) => {
    if (offset >= 0 && offset + bytes.length <= WINDOW_BYTES) patches.push({ offset, bytes });
  };
  analysis.memory.forEach((use, i) => {
    const at = targets[i]!;
    if (at < 0) return;
    if (use.implicitStack) {
      // Flags to be popped must not switch on single-stepping.
      if (/^popf/.test(mnemonic)) {
        const bytes = new Uint8Array(8);
        integer64(random, new Uint32Array(bytes.buffer), 0);
        bytes[1]! &= ~1;
        put(at, bytes.subarray(0, use.size));
      } else if (/^ret/.test(mnemonic) && !random.oneIn(12)) {
        const bytes = new Uint8Array(8);
        const rip = BigInt((analysis.mode === 16 ? 0 : CODE_BASE) + random.below(0x3000));
        new DataView(bytes.buffer).setBigUint64(0, rip, true);
        put(at, bytes.subarray(0, use.size));
      }
      return;
    }
    if (/^(fxrstor|xrstor)/.test(mnemonic)) {
      put(at, fxImage(random, analysis));
      if (mnemonic.startsWith('x'))
        put(at + 512, Uint8Array.of(random.below(8), ...new Array<number>(63).fill(0)));
    } else if (/^v?ldmxcsr$/.test(mnemonic)) {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, someMxcsr(random), true);
      put(at, bytes);
    } else if (/^(jmp|call)$/.test(mnemonic) && !random.oneIn(10)) {
      const bytes = new Uint8Array(8);
      const rip = BigInt((analysis.mode === 16 ? 0 : CODE_BASE) + random.below(0x3000));
      new DataView(bytes.buffer).setBigUint64(0, rip, true);
      put(at, bytes.subarray(0, use.size));
    } else if (/^(fldenv|frstor)$/.test(mnemonic)) put(at, x87Environment(random, use.size));
    else if (mnemonic === 'bound' && !random.oneIn(4)) {
      const half = use.size / 2;
      const bytes = new Uint8Array(8);
      const view = new DataView(bytes.buffer);
      const low = random.u32() | 0;
      if (half === 2) {
        view.setInt16(0, -0x8000 + random.below(0x6000), true);
        view.setInt16(2, 0x7fff - random.below(0x6000), true);
      } else {
        view.setInt32(0, Math.min(low, -low), true);
        view.setInt32(4, Math.max(low, -low), true);
      }
      put(at, bytes.subarray(0, use.size));
    } else if (use.size <= 64 && !analysis.repeated) put(at, memoryData(random, analysis, use.size));
    else if (analysis.repeated && random.oneIn(2)) {
      // Equal elements, so that comparisons run on for a while.
      const offset = Math.max(0, at - 64);
      const bytes = new Uint8Array(Math.min(160, WINDOW_BYTES - offset));
      bytes.fill(random.oneIn(2) ? state.bytes[8 * RAX]! : 0x20);
      if (random.oneIn(2)) bytes[random.below(bytes.length)] = 0x21;
      put(offset, bytes);
    }
    if (/^cmpxchg/.test(mnemonic) && random.oneIn(2)) {
      // Equal to the accumulator.
      const bytes = new Uint8Array(16);
      const wide = mnemonic.length > 7;
      const half = wide ? use.size / 2 : use.size;
      bytes.set(state.bytes.subarray(0, half));
      if (wide) bytes.set(state.bytes.subarray(8 * RDX, 8 * RDX + half), half);
      put(at, bytes.subarray(0, use.size));
    }
  });
  if (mnemonic === 'cmpxchg' && !analysis.hasMemoryOperand && random.oneIn(2))
    for (let i = 0; i < 16; i++)
      if (i !== RSP && i !== RBX) setLow(state, i, state.u64[RAX]!, operandBytes * 8);
}

/** For loading: mostly valid. Bit 17 is valid on AMD alone. */
const someMxcsr = (random: Random): number =>
  random.oneIn(8) ? (random.u32() & ~0x2_0000) >>> 0 : random.below(0x1_0000);

function fxImage(random: Random, analysis: Analysis): Uint8Array {
  const draft: Draft = { random, analysis, state: initialState(), patches: [], targets: [] };
  floatingPoint(draft);
  const { state } = draft;
  const bytes = new Uint8Array(512);
  bytes.set(state.bytes.subarray(2 * W.fcw, 2 * W.fcw + 5));
  const mxcsr = someMxcsr(random);
  new DataView(bytes.buffer).setUint32(24, mxcsr, true);
  for (let i = 0; i < 8; i++)
    bytes.set(state.bytes.subarray(B.fpr + 16 * i, B.fpr + 16 * i + 10), 32 + 16 * i);
  lanes(random, 'integer', bytes, 160, 256);
  return bytes;
}

function x87Environment(random: Random, size: number): Uint8Array {
  const wide = size === 28 || size === 108;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const step = wide ? 4 : 2;
  view.setUint16(0, 0x40 | (random.oneIn(4) ? random.below(64) : 0x3f) | (random.below(16) << 8), true);
  view.setUint16(step, random.u32() & 0x7f7f & ~(random.oneIn(3) ? 0 : 0x3f), true);
  view.setUint16(2 * step, random.u32(), true);
  for (let at = 7 * step; at < size; at += 10) float80(random, bytes, at);
  return bytes;
}

/** A case for the instruction that `analysis` was made of. */
export function makeCase(random: Random, analysis: Analysis, code: Uint8Array, rip: bigint): MachineCase {
  const draft: Draft = { random, analysis, state: initialState(), patches: [], targets: [] };
  const { state, targets, patches } = draft;
  generalState(draft);
  state.u64[Q.rip] = rip;
  particular(draft);
  for (const use of analysis.memory) {
    // Operands through the stack pointer take it over: POP [RSP + 8] and the like.
    if (use.implicitStack) continue;
    point(draft, use, target(random, analysis, use));
  }
  for (const use of analysis.memory) {
    if (!use.implicitStack) continue;
    const operandUsesIt = analysis.memory.some(
      other => !other.implicitStack && (other.base === RSP || other.index === RSP),
    );
    if (!operandUsesIt) point(draft, use, target(random, analysis, use));
  }
  if (analysis.mode === 16) state.u64[RSP]! &= 0xffffn;
  for (const use of analysis.memory) {
    const linear = linearAddress(analysis, use, state);
    const offset = linear - BigInt(DATA_BASE);
    targets.push(offset >= 0n && offset + BigInt(use.size) <= BigInt(WINDOW_BYTES) ? Number(offset) : -1);
  }
  memoryContents(draft);
  return { mode: analysis.mode, code, state, patches };
}
