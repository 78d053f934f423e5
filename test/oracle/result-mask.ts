/** Which parts of a result are compared, and the means to leave some out. */
import type { Analysis, MemoryUse } from './analysis.ts';
import { DATA_BASE, type MachineCase, type MachineResult, WINDOW_BYTES } from './machine-case.ts';
import { B, D, STATE_BYTES, State, W } from './machine-state.ts';
import { linearAddress } from './state.ts';

/** Registers whose values are approximations: compared with a tolerance. */
export type Approximation = 'reciprocal' | 'transcendental' | undefined;

export interface ResultMask {
  /** A byte for each byte of the state: ones where it matters. */
  readonly state: Uint8Array;
  /** Ranges of the window that do not matter. */
  readonly ignoredMemory: { readonly offset: number; readonly length: number }[];
  ignoreAllMemory: boolean;
  ignoreFaultAddress: boolean;
  approximation: Approximation;
  skip: string | undefined;
}

/** An entry of the table of differences between processors. */
export interface HostDifference {
  readonly what: string;
  readonly reason: string;
  /**
   * skip: the case is not compared. approximate: registers within a tolerance. mask: fields are left out, by
   * `leaveOut` or of every result (see masks.ts). host: compared all the same, processors so far do alike.
   */
  readonly treatment: 'skip' | 'approximate' | 'mask' | 'host';
  readonly approximation?: Approximation;
  applies(analysis: Analysis, test: MachineCase, expected: MachineResult, actual: MachineResult): boolean;
  leaveOut?(
    mask: ResultMask,
    analysis: Analysis,
    test: MachineCase,
    expected: MachineResult,
    actual: MachineResult,
  ): void;
}

const DEFAULT_STATE = (() => {
  const mask = new Uint8Array(STATE_BYTES).fill(0xff);
  const clear = (name: keyof typeof State.offsets) =>
    mask.fill(0, State.offsets[name], State.offsets[name] + State.fields[name].size);
  // AMD keeps these only while an exception is pending; FCS and FDS are gone altogether.
  clear('fop');
  clear('fip');
  clear('fdp');
  clear('pad');
  for (let i = 0; i < 8; i++) mask.fill(0, B.fpr + 16 * i + 10, B.fpr + 16 * i + 16);
  // RF in the saved image tells how the fault was delivered.
  mask[State.offsets.rflags + 2]! &= ~1;
  return mask;
})();

/** What is compared of any result. */
export const defaultMask = (): ResultMask => ({
  state: DEFAULT_STATE.slice(),
  ignoredMemory: [],
  ignoreAllMemory: false,
  ignoreFaultAddress: false,
  approximation: undefined,
  skip: undefined,
});

export function leaveOutFlags({ state }: ResultMask, flags: number): void {
  for (let i = 0; i < 4; i++) state[4 * D.rflags + i]! &= ~(flags >>> (8 * i));
}
/** Bits of the x87 status word. */
export function leaveOutStatus({ state }: ResultMask, bits: number): void {
  state[2 * W.fsw]! &= ~bits;
  state[2 * W.fsw + 1]! &= ~(bits >>> 8);
}
/** An x87 register. */
export function leaveOutRegister({ state }: ResultMask, register: number): void {
  state.fill(0, B.fpr + 16 * register, B.fpr + 16 * (register + 1));
}
/** Of a general register. */
export function leaveOutUpperHalf({ state }: ResultMask, register: number): void {
  state.fill(0, 8 * register + 4, 8 * register + 8);
}

/** Where an access begins, as an offset of the window; undefined when that is far away. */
export function windowOffset(analysis: Analysis, use: MemoryUse, test: MachineCase): number | undefined {
  const linear = linearAddress(analysis, use, test.state);
  const offset = Number(BigInt.asIntN(64, linear - BigInt(DATA_BASE)));
  return offset < -1024 || offset >= WINDOW_BYTES ? undefined : offset;
}
/** The first bytes of an operand in memory. */
export function leaveOutMemory(
  mask: ResultMask,
  analysis: Analysis,
  use: MemoryUse,
  test: MachineCase,
  length = use.size,
): void {
  const offset = windowOffset(analysis, use, test);
  if (offset !== undefined) mask.ignoredMemory.push({ offset, length });
}
