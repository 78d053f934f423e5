import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostUnavailable, openHostCpu } from './host-cpu.ts';
import { DATA_BASE, End, type MachineCase, type MachineResult, type Mode } from './machine-case.ts';
import { D, Flag, initialState, type MachineState, Q, W } from './machine-state.ts';

const skip = hostUnavailable() ?? false;

/** A case of hexadecimal code, with the stack in the window. */
function caseOf(mode: Mode, code: string, prepare: (state: MachineState) => void = () => {}): MachineCase {
  const state = initialState();
  state.u64[4] = mode === 16 ? 0x1800n : BigInt(DATA_BASE + 0x800);
  state.u64[Q.rip] = mode === 16 ? 0x800n : 0x1000_0800n;
  prepare(state);
  return { mode, code: Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')), state, patches: [] };
}
const set = (register: number, value: bigint) => (state: MachineState) => {
  state.u64[register] = value;
};

interface Expectation {
  readonly what: string;
  readonly test: MachineCase;
  readonly end: number;
  readonly vector?: number;
  readonly errorCode?: number;
  check?(result: MachineResult): void;
}
const expectations: readonly Expectation[] = [
  {
    what: 'inc rax carries through all 64 bits and sets flags',
    test: caseOf(64, '48 ff c0', set(0, 0x7fff_ffff_ffff_ffffn)),
    end: End.completed,
    check: ({ state }) => {
      assert.equal(state.u64[0], 0x8000_0000_0000_0000n);
      assert.equal(state.u32[D.rflags]! & 0x8d5, Flag.of | Flag.sf | Flag.af | Flag.pf);
      assert.equal(state.u64[Q.rip], 0x1000_0803n);
    },
  },
  {
    what: 'push writes the window',
    test: caseOf(64, '50', set(0, 0x1122_3344_5566_7788n)),
    end: End.completed,
    check: ({ changes }) => {
      assert.equal(changes.length, 1);
      assert.equal(changes[0]!.offset, 0x7f8);
      assert.equal(Buffer.from(changes[0]!.bytes).toString('hex'), '8877665544332211');
    },
  },
  {
    what: 'fldpi pushes to the physical register 7',
    test: caseOf(64, 'd9 eb'),
    end: End.completed,
    check: ({ state }) => {
      assert.equal(state.u16[W.ftw], 0x80);
      assert.equal(state.u16[W.fsw]! >> 11, 7);
      assert.equal(state.bytes[0xb0 + 7 * 16 + 9], 0x40);
    },
  },
  { what: 'syscall is refused', test: caseOf(64, '0f 05'), end: End.systemCall },
  { what: 'int 0x80 is refused', test: caseOf(32, 'cd 80'), end: End.systemCall },
  { what: 'an endless loop is given up', test: caseOf(64, 'eb fe'), end: End.timeout },
  { what: 'a taken jump ends where it lands', test: caseOf(64, 'eb 10'), end: End.completed },
  { what: 'its own int3 is an exception', test: caseOf(64, 'cc'), end: End.exception, vector: 3 },
  { what: 'divide by zero', test: caseOf(64, 'f7 f0'), end: End.exception, vector: 0 },
  {
    what: 'into',
    test: caseOf(32, 'ce', s => s.u64.fill(0xa02n, Q.rflags, Q.rflags + 1)),
    end: 1,
    vector: 4,
  },
  { what: 'ud2', test: caseOf(64, '0f 0b'), end: End.exception, vector: 6 },
  {
    what: 'write to the read-only page',
    test: caseOf(64, '89 00', set(0, 0x2000_4010n)),
    end: End.exception,
    vector: 14,
    errorCode: 7,
    check: ({ faultAddress }) => assert.equal(faultAddress, 0x2000_4010n),
  },
  { what: 'not canonical', test: caseOf(64, '8b 00', set(0, 1n << 62n)), end: 1, vector: 13, errorCode: 0 },
  {
    what: 'not canonical stack',
    test: caseOf(64, '58', set(4, 1n << 62n)),
    end: 1,
    vector: 12,
    errorCode: 0,
  },
  {
    what: 'alignment check',
    test: caseOf(64, '8b 00', state => {
      state.u64[0] = BigInt(DATA_BASE + 1);
      state.u64[Q.rflags] = BigInt(Flag.ac);
    }),
    end: End.exception,
    vector: 17,
    errorCode: 0,
  },
  {
    what: 'unmasked division of zero by zero, sse',
    test: caseOf(64, '0f 57 c0 0f 5e c0', state => {
      state.u32[D.mxcsr] = 0x1f00;
    }),
    end: End.exception,
    vector: 19,
  },
  {
    what: 'unmasked division of zero by zero, x87, at the next waiting instruction',
    test: caseOf(64, 'd9 ee d9 ee de f9 9b', state => {
      state.u16[W.fcw] = 0x340;
    }),
    end: End.exception,
    vector: 16,
    check: ({ state }) => assert.equal(state.u64[Q.rip], 0x1000_0806n),
  },
  {
    what: 'single step',
    test: caseOf(64, '90 90', set(Q.rflags, 0x302n)),
    end: End.exception,
    vector: 1,
    check: ({ state }) => assert.equal(state.u64[Q.rip], 0x1000_0801n),
  },
  {
    what: 'fs base',
    test: caseOf(64, '64 89 00', state => {
      state.u64[0] = 8n;
      state.u64[Q.fsBase] = BigInt(DATA_BASE);
    }),
    end: End.completed,
    check: ({ changes }) => assert.equal(changes[0]!.offset, 8),
  },
  {
    what: '32-bit pusha',
    test: caseOf(32, '60', set(0, 0x11n)),
    end: End.completed,
    check: ({ state }) => assert.equal(state.u64[4], BigInt(DATA_BASE + 0x800 - 32)),
  },
  { what: '32-bit segment limit', test: caseOf(32, '65 8b 00', set(0, 0x2000n)), end: 1, vector: 13 },
  {
    what: '16-bit pusha',
    test: caseOf(16, '60', set(0, 0x11n)),
    end: End.completed,
    check: ({ state }) => assert.equal(state.u64[4], 0x17f0n),
  },
];

test('the host runs known instructions as the manual has them', { skip }, async t => {
  await using cpu = await openHostCpu();
  const usable = expectations.filter(e => cpu.features.modes[e.test.mode]);
  if (usable.length < expectations.length) t.diagnostic('this kernel does not run 32 or 16-bit code');
  const results = await cpu.run(usable.map(e => e.test));
  assert.equal(results.length, usable.length);
  usable.forEach((expected, i) => {
    const result = results[i]!;
    assert.equal(result.end, expected.end, expected.what);
    if (expected.vector !== undefined) assert.equal(result.vector, expected.vector, expected.what);
    if (expected.errorCode !== undefined) assert.equal(result.errorCode, expected.errorCode, expected.what);
    expected.check?.(result);
  });
});

test('one case leaves nothing behind for the next', { skip }, async () => {
  await using cpu = await openHostCpu();
  const write = caseOf(64, '48 89 07', set(7, BigInt(DATA_BASE + 16)));
  const read = caseOf(64, '48 8b 07', set(7, BigInt(DATA_BASE + 16)));
  const pushes = caseOf(64, 'd9 eb 0f 57 c0 fd 50');
  const [alone] = await cpu.run([read]);
  const together = await cpu.run([
    write,
    read,
    pushes,
    read,
    { ...read, patches: [{ offset: 16, bytes: new Uint8Array(8) }] },
    read,
  ]);
  assert.deepEqual(together[1], alone);
  assert.deepEqual(together[3], alone);
  assert.equal(together[4]!.state.u64[0], 0n);
  assert.deepEqual(together[5], alone);
});
