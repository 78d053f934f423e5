/**
 * The user-visible state of a processor, in one flat record that the host harness, recorded vectors and any guest
 * processor under test share. It depends on nothing of the implementation.
 *
 * Invariants: x87 registers are physical (R0..R7, not relative to TOP), so that a push shows as one changed register;
 * the tag word is the abridged one of FXSAVE (bit i set: Ri is not empty); MMX registers alias bytes 0..7 of R0..R7.
 * In 16 and 32-bit mode the upper halves of the general registers and R8..R15 are zero.
 */
import { array, bytes, struct, u16, u32, u64 } from '../../src/base/struct.ts';

export const State = struct('state', {
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
  gpr: array(u64, 16),
  /** Offset within the code segment (in 16-bit mode the segment starts at CODE_BASE). */
  rip: u64,
  rflags: u64,
  fcw: u16,
  fsw: u16,
  /** Abridged tag word. */
  ftw: u16,
  fop: u16,
  fip: u64,
  fdp: u64,
  mxcsr: u32,
  pad: u32,
  fpr: array(bytes(16), 8),
  fsBase: u64,
  gsBase: u64,
  ymm: array(bytes(32), 16),
});
export const STATE_BYTES = State.size;

/** The same bytes as arrays of every width; index by `Index` below. */
export interface MachineState {
  readonly bytes: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
}

/** Element indices: `Q` into u64, `D` into u32, `W` into u16, `B` into bytes. */
export const Q = {
  gpr: 0,
  rip: State.offsets.rip / 8,
  rflags: State.offsets.rflags / 8,
  fip: State.offsets.fip / 8,
  fdp: State.offsets.fdp / 8,
  fsBase: State.offsets.fsBase / 8,
  gsBase: State.offsets.gsBase / 8,
} as const;
export const D = { rip: Q.rip * 2, rflags: Q.rflags * 2, mxcsr: State.offsets.mxcsr / 4 } as const;
export const W = {
  fcw: State.offsets.fcw / 2,
  fsw: State.offsets.fsw / 2,
  ftw: State.offsets.ftw / 2,
  fop: State.offsets.fop / 2,
} as const;
export const B = { fpr: State.offsets.fpr, ymm: State.offsets.ymm } as const;

/** A state over `buffer` at `offset` (a multiple of 8), or over fresh zeroed bytes. */
export function machineState(
  buffer: ArrayBufferLike = new ArrayBuffer(STATE_BYTES),
  offset = 0,
): MachineState {
  return {
    bytes: new Uint8Array(buffer, offset, STATE_BYTES),
    u16: new Uint16Array(buffer, offset, STATE_BYTES / 2),
    u32: new Uint32Array(buffer, offset, STATE_BYTES / 4),
    u64: new BigUint64Array(buffer, offset, STATE_BYTES / 8),
  };
}

/** What a process starts with: empty x87, everything masked, flags clear. */
export function initialState(): MachineState {
  const state = machineState();
  state.u64[Q.rflags] = 0x202n;
  state.u16[W.fcw] = 0x37f;
  state.u32[D.mxcsr] = 0x1f80;
  return state;
}

export function copyState(from: MachineState): MachineState {
  const state = machineState();
  state.u32.set(from.u32);
  return state;
}

export const GPR_NAMES = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

/** RFLAGS bits. */
export const Flag = {
  cf: 1,
  pf: 4,
  af: 0x10,
  zf: 0x40,
  sf: 0x80,
  tf: 0x100,
  if: 0x200,
  df: 0x400,
  of: 0x800,
  rf: 0x1_0000,
  ac: 0x4_0000,
} as const;
export const ARITHMETIC_FLAGS = 0x8d5;

export const flagNames = (flags: number): string =>
  Object.entries(Flag)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name.toUpperCase())
    .join(' ') || '-';

/** Named parts of a state with their place, for masks and messages. */
export interface StatePart {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}
export const STATE_PARTS: readonly StatePart[] = [
  ...GPR_NAMES.map((name, i) => ({ name, offset: 8 * i, size: 8 })),
  ...(['rip', 'rflags', 'fcw', 'fsw', 'ftw', 'fop', 'fip', 'fdp', 'mxcsr', 'fsBase', 'gsBase'] as const).map(
    name => ({ name, offset: State.offsets[name], size: State.fields[name].size }),
  ),
  ...Array.from({ length: 8 }, (_, i) => ({ name: `R${i}`, offset: B.fpr + 16 * i, size: 10 })),
  ...Array.from({ length: 16 }, (_, i) => ({ name: `ymm${i}`, offset: B.ymm + 32 * i, size: 32 })),
].sort((a, b) => a.offset - b.offset);

/** Most significant byte first, as one number; parts above 8 bytes in groups of 16 digits. */
export function hexOf(state: MachineState, part: StatePart): string {
  const digits = [...state.bytes.subarray(part.offset, part.offset + part.size)]
    .reverse()
    .map(byte => byte.toString(16).padStart(2, '0'))
    .join('');
  return part.size > 8 ? digits.replace(/(?=(?:.{16})+$)/g, '_').replace(/^_/, '') : digits;
}

/** One line for each part that differs under `mask` (bytes with ones where it matters; all when absent). */
export function stateDifferences(expected: MachineState, actual: MachineState, mask?: Uint8Array): string[] {
  const lines: string[] = [];
  for (const part of STATE_PARTS) {
    let differs = false;
    for (let i = part.offset; i < part.offset + part.size; i++)
      if (((expected.bytes[i]! ^ actual.bytes[i]!) & (mask?.[i] ?? 0xff)) !== 0) differs = true;
    if (!differs) continue;
    const flags =
      part.name === 'rflags'
        ? `  (${flagNames(expected.u32[D.rflags]!)} / ${flagNames(actual.u32[D.rflags]!)})`
        : '';
    lines.push(
      `${part.name.padEnd(7)} expected ${hexOf(expected, part)}  actual ${hexOf(actual, part)}${flags}`,
    );
  }
  return lines;
}

/** Readable listing of the parts that are not zero. */
export function formatState(state: MachineState): string {
  return STATE_PARTS.filter(part =>
    state.bytes.subarray(part.offset, part.offset + part.size).some(byte => byte !== 0),
  )
    .map(part => `${part.name}=${hexOf(state, part)}`)
    .join(' ');
}
