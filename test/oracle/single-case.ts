/** One case of a few bytes of code, and the engine running it: for tests of single instructions with known results. */
import { createGuestCpu } from './guest-cpu.ts';
import { CODE_BASE, DATA_BASE, type MachineCase, type MachineResult, type Mode } from './machine-case.ts';
import { D, initialState, type MachineState, Q } from './machine-state.ts';

export const RAX = 0;
export const RCX = 1;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;
export const STACK = BigInt(DATA_BASE + 0x1000);
export const NOT_CANONICAL = 0x8000_0000_0000_0000n;

const guest = createGuestCpu();

export interface Setup {
  readonly mode?: Mode;
  readonly registers?: Partial<Record<number, bigint>>;
  readonly flags?: number;
  readonly change?: (state: MachineState) => void;
  readonly memory?: readonly number[];
  readonly cpu?: typeof guest;
}

/** Code (in hexadecimal) at CODE_BASE + 0x100; `memory` lies at the beginning of the window. */
export function singleCase(code: string, setup: Setup = {}): MachineCase {
  const { mode = 64, registers = {}, flags = 0, change, memory = [] } = setup;
  const state = initialState();
  state.u64[Q.rip] = mode === 16 ? 0x100n : BigInt(CODE_BASE + 0x100);
  state.u64[RSP] = mode === 16 ? 0x2000n : STACK;
  for (const [register, value] of Object.entries(registers)) state.u64[Number(register)] = value!;
  state.u32[D.rflags]! |= flags;
  change?.(state);
  return {
    mode,
    code: Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')),
    state,
    patches: memory.length > 0 ? [{ offset: 0, bytes: Uint8Array.from(memory) }] : [],
  };
}

export const run = async (code: string, setup: Setup = {}): Promise<MachineResult> =>
  (setup.cpu ?? guest).run(singleCase(code, setup));
