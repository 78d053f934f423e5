/**
 * Where processors differ in what a fault leaves the engine does as AMD's do, on any host. What Intel's do in its place is let
 * through when it is compared with them, and nothing beyond.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { analyse } from './analysis.ts';
import { resultDifferences } from './compare.ts';
import { DATA_BASE, End, type MachineCase, type MachineResult, WINDOW_BYTES } from './machine-case.ts';
import { ARITHMETIC_FLAGS, B, copyState, D, Flag, type MachineState, Q, W } from './machine-state.ts';
import {
  NOT_CANONICAL,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RSI,
  run,
  type Setup,
  STACK,
  singleCase,
} from './single-case.ts';

const WINDOW_END = BigInt(DATA_BASE + WINDOW_BYTES);
const HIGH = 0xdead_beef_0000_0000n;

/** What one processor has that another has not. */
interface Change {
  readonly result?: Partial<MachineResult>;
  readonly state?: (state: MachineState) => void;
}
interface Difference {
  readonly what: string;
  readonly code: string;
  readonly setup: Setup;
  readonly engine: (result: MachineResult) => void;
  readonly intel: Change;
  /** What neither does. */
  readonly wrong: Change;
}

const vector = (expected: number) => (result: MachineResult) =>
  assert.deepEqual([result.end, result.vector], [End.exception, expected]);
const fault = (number: number): Change => ({
  result: { end: End.exception, vector: number, faultAddress: 0n, errorCode: 0 },
});
const changed = (offset: number, ...bytes: number[]): Change => ({
  result: { changes: [{ offset, bytes: Uint8Array.from(bytes) }] },
});
const lane = (register: number, i: number): number => (B.ymm + 32 * register) / 4 + i;
const fill = (state: MachineState, register: number, lanes: readonly number[]): void =>
  state.u32.set(
    lanes.map(value => value >>> 0),
    lane(register, 0),
  );

const differences: readonly Difference[] = [
  {
    what: 'bound eax, [ebx] with a lower bound that is not kept and no upper bound',
    code: '62 03',
    setup: { mode: 32, registers: { [RAX]: 0x8000_0000n, [RBX]: WINDOW_END - 4n } },
    engine: vector(14),
    intel: fault(5),
    wrong: { result: { end: End.completed, vector: 3 } },
  },
  {
    what: 'fist word [rbp] of an empty register, unmasked, at an address that is not canonical',
    code: 'df 55 00',
    setup: { registers: { [RBP]: NOT_CANONICAL }, change: state => (state.u16[W.fcw] = 0x37e) },
    engine: vector(12),
    intel: {
      result: { end: End.completed, vector: 3 },
      state: state => {
        state.u64[Q.rip]! += 3n;
        state.u16[W.fsw] = 0x80c1;
      },
    },
    wrong: { result: { end: End.completed, vector: 3 }, state: state => (state.u64[Q.rip]! += 3n) },
  },
  {
    what: 'vcvtps2ph [rax], xmm0, 0 of a signalling NaN, unmasked',
    code: 'c4 e3 79 1d 00 00',
    setup: {
      change: state => {
        fill(state, 0, [0x7fa0_0000]);
        state.u32[D.mxcsr] = 0x1f00;
      },
    },
    engine: vector(14),
    intel: { ...fault(19), state: state => (state.u32[D.mxcsr]! |= 1) },
    wrong: fault(6),
  },
  {
    what: 'vcvtps2ph [rax], xmm0, 0 of a signalling NaN, masked',
    code: 'c4 e3 79 1d 00 00',
    setup: { change: state => fill(state, 0, [0x7fa0_0000]) },
    engine: result => assert.equal(result.state.u32[D.mxcsr], 0x1f80),
    intel: { state: state => (state.u32[D.mxcsr]! |= 1) },
    wrong: { state: state => (state.u32[D.mxcsr]! |= 0x8000) },
  },
  {
    what: 'repne scasb to the end of memory',
    code: 'f2 ae',
    setup: {
      registers: { [RAX]: 0x100n, [RCX]: 10n, [RDI]: WINDOW_END - 4n },
      flags: Flag.zf | Flag.of,
    },
    engine: result => assert.equal(result.state.u32[D.rflags]! & Flag.zf, 0),
    intel: {
      state: state => (state.u32[D.rflags] = (state.u32[D.rflags]! & ~ARITHMETIC_FLAGS) | Flag.zf | Flag.of),
    },
    wrong: { state: state => (state.u64[RCX]! -= 1n) },
  },
  {
    what: 'rep movsb [edi], [esi] of no bytes',
    code: '67 f3 a4',
    setup: { registers: { [RCX]: HIGH, [RSI]: HIGH | 1n, [RDI]: HIGH | 2n } },
    engine: ({ state }) =>
      assert.deepEqual([state.u64[RCX], state.u64[RSI], state.u64[RDI]], [HIGH, HIGH | 1n, HIGH | 2n]),
    intel: {
      state: state => {
        for (const register of [RCX, RSI, RDI]) state.u64[register]! &= 0xffff_ffffn;
      },
    },
    wrong: { state: state => (state.u64[RSI]! += 1n) },
  },
  {
    what: 'fsin of the smallest normal number, rounded towards zero',
    code: 'd9 fe',
    setup: {
      change: state => {
        state.u16[W.fcw] = 0xf7f;
        state.u16[W.ftw] = 1;
        state.u64[B.fpr / 8] = 1n << 63n;
        state.u16[B.fpr / 2 + 4] = 1;
      },
    },
    engine: ({ state }) => assert.equal(state.u16[W.fsw]! & 0x30, 0x30),
    intel: { state: state => (state.u16[W.fsw]! &= ~0x10) },
    wrong: { state: state => (state.u16[W.fsw]! |= 4) },
  },
  {
    what: 'dpps xmm0, xmm1, ff of two NaNs',
    code: '66 0f 3a 40 c1 ff',
    setup: {
      change: state => {
        fill(state, 0, [0x7fc0_0001, 0x7fc0_0002, 0, 0]);
        fill(state, 1, [0, 0, 0, 0]);
      },
    },
    engine: ({ state }) => {
      for (let i = 0; i < 4; i++) assert.equal(state.u32[lane(0, i)], 0x7fc0_0001);
    },
    intel: { state: state => (state.u32[lane(0, 2)] = 0x7fc0_0002) },
    wrong: { state: state => (state.u32[lane(0, 2)] = 0x7f80_0000) },
  },
  {
    what: 'call rax to an address that is not canonical',
    code: 'ff d0',
    setup: { registers: { [RAX]: NOT_CANONICAL } },
    engine: result => assert.deepEqual(result.changes, []),
    intel: changed(0xff8, 0x02, 0x01, 0x00, 0x10, 0, 0, 0, 0),
    wrong: changed(0xff0, 0x02, 0x01, 0x00, 0x10, 0, 0, 0, 0),
  },
  {
    what: 'fstp tbyte [rax] of an empty register across the end of memory',
    code: 'db 38',
    setup: { registers: { [RAX]: WINDOW_END - 8n } },
    engine: result => assert.deepEqual(result.changes, []),
    intel: changed(WINDOW_BYTES - 8, 0, 0, 0, 0, 0, 0, 0, 0xc0),
    wrong: changed(WINDOW_BYTES - 16, 0, 0, 0, 0, 0, 0, 0, 0xc0),
  },
  {
    what: 'movq [rax], mm0 to where there is no memory',
    code: '0f 7f 00',
    setup: { change: state => (state.u16[W.fsw] = 3 << 11) },
    engine: result => assert.equal(result.state.u16[W.fsw], 3 << 11),
    intel: { state: state => (state.u16[W.fsw] = 0) },
    wrong: { state: state => (state.u16[W.fsw]! |= 0x100) },
  },
  {
    what: 'vmaskmovps [rax], xmm1, xmm0 across the end of memory',
    code: 'c4 e2 71 2e 00',
    setup: {
      registers: { [RAX]: WINDOW_END - 6n },
      change: state => fill(state, 1, [-1, -1, -1, 0]),
    },
    engine: result => assert.equal(result.faultAddress, WINDOW_END),
    intel: { result: { faultAddress: WINDOW_END + 5n } },
    wrong: { result: { faultAddress: WINDOW_END + 10n } },
  },
  {
    what: 'vpgatherdd xmm0, [rax + xmm1], xmm2 with the second element missing',
    code: 'c4 e2 69 90 04 08',
    setup: {
      registers: { [RAX]: BigInt(DATA_BASE) },
      change: state => {
        fill(state, 0, [9, 9, 9, 9, 9, 9, 9, 9]);
        fill(state, 1, [0, WINDOW_BYTES, 0, 0]);
        fill(state, 2, [0x8000_0001, 0x8000_0001, 1, 0x8000_0001, 7, 7, 7, 7]);
      },
    },
    engine: ({ state }) => {
      assert.deepEqual([...state.u32.subarray(lane(0, 1), lane(0, 8))], [9, 9, 9, 9, 9, 9, 9]);
      assert.deepEqual(
        [...state.u32.subarray(lane(2, 0), lane(2, 8))],
        [0, 0x8000_0001, 1, 0x8000_0001, 7, 7, 7, 7],
      );
    },
    intel: {
      state: state => {
        fill(state, 2, [0, -1, 0, -1, 0, 0, 0, 0]);
        for (let i = 4; i < 8; i++) state.u32[lane(0, i)] = 0;
      },
    },
    wrong: { state: state => (state.u32[lane(2, 2)] = 0x8000_0000) },
  },
];

const apply = (result: MachineResult, { result: fields, state: change }: Change): MachineResult => {
  const state = copyState(result.state);
  change?.(state);
  return { ...result, ...fields, state };
};

for (const { what, code, setup, engine, intel, wrong } of differences) {
  test(what, async () => {
    const result = await run(code, setup);
    engine(result);
    const given: MachineCase = singleCase(code, setup);
    const analysis = analyse(given.code, given.mode, given.state.u64[Q.rip]!);
    const other = apply(result, intel);
    assert.deepEqual(resultDifferences(given, analysis, result, other), []);
    assert.deepEqual(resultDifferences(given, analysis, other, result), []);
    const neither = apply(result, wrong);
    assert.notDeepEqual(resultDifferences(given, analysis, result, neither), []);
    assert.notDeepEqual(resultDifferences(given, analysis, other, neither), []);
  });
}

test('half precision is checked for alignment', async () => {
  // vcvtph2ps xmm0, [rax]
  const result = await run('c4 e2 79 13 00', { registers: { [RAX]: STACK + 1n }, flags: Flag.ac });
  vector(17)(result);
});
