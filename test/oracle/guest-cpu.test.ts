/** Single cases with known results: what comparisons with the host once found, and what they cannot show. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CR0, CR4, createGuestCpu } from './guest-cpu.ts';
import { CODE_BASE, DATA_BASE, End, type MachineResult, WINDOW_BYTES } from './machine-case.ts';
import { B, D, Flag, type MachineState, Q, W } from './machine-state.ts';
import { NOT_CANONICAL, RAX, RBP, RBX, RCX, RSI, RSP, run, STACK } from './single-case.ts';

const fault = (result: MachineResult) => [result.end, result.vector, result.errorCode];
const GP0 = [End.exception, 13, 0];
const SS0 = [End.exception, 12, 0];

test('a near branch to no address faults itself, with the stack as it was', async () => {
  for (const [code, registers] of [
    ['ff e0', { [RAX]: NOT_CANONICAL }],
    ['ff d0', { [RAX]: NOT_CANONICAL }],
  ] as const) {
    const result = await run(code, { registers });
    assert.deepEqual(fault(result), GP0, code);
    assert.equal(result.state.u64[Q.rip], BigInt(CODE_BASE + 0x100), code);
    assert.equal(result.state.u64[RSP], STACK, code);
    assert.deepEqual(result.changes, [], code);
  }
  const returned = await run('c3', {
    registers: { [RSP]: BigInt(DATA_BASE) },
    memory: [0, 0, 0, 0, 0, 0, 0, 0x80],
  });
  assert.deepEqual(fault(returned), GP0);
  assert.equal(returned.state.u64[RSP], BigInt(DATA_BASE));
  // Beyond the limit of a 16-bit code segment; the counter of LOOP is not touched.
  const loop = await run('66 67 e2 80', {
    mode: 16,
    registers: { [RCX]: 5n },
    change: s => (s.u64[Q.rip] = 0x10n),
  });
  assert.deepEqual(fault(loop), GP0);
  assert.equal(loop.state.u64[RCX], 5n);
});

test('an address that is not canonical is #SS in the stack segment, #GP elsewhere', async () => {
  const registers = { [RBP]: NOT_CANONICAL, [RAX]: NOT_CANONICAL };
  assert.deepEqual(fault(await run('8b 4d 00', { registers })), SS0);
  assert.deepEqual(fault(await run('8b 08', { registers })), GP0);
  // A segment override other than FS and GS means nothing.
  assert.deepEqual(fault(await run('36 8b 08', { registers })), GP0);
  assert.deepEqual(fault(await run('50', { registers: { [RSP]: NOT_CANONICAL } })), SS0);
  assert.deepEqual(fault(await run('c9', { registers })), SS0);
});

test('bit offsets wrap with the address size', async () => {
  // bts [bx], ecx: 8 bits beyond the top of 64 KiB is the segment's second byte.
  const setup = { mode: 16 as const, registers: { [RBX]: 0xfffcn, [RCX]: (0x1004n * 8n) | 1n } };
  const { end, changes } = await run('66 0f ab 0f', setup);
  assert.equal(end, End.completed);
  assert.deepEqual(
    changes.map(change => change.offset),
    [0],
  );
});

test('CMPXCHG of a register writes one of the two registers, not the other', async () => {
  const high = 0xdead_beef_0000_0000n;
  // cmpxchg ebx, ecx
  const failed = await run('0f b1 cb', { registers: { [RAX]: high | 1n, [RBX]: high | 2n, [RCX]: 3n } });
  assert.equal(failed.state.u64[RAX], 2n);
  assert.equal(failed.state.u64[RBX], high | 2n);
  const done = await run('0f b1 cb', { registers: { [RAX]: high | 2n, [RBX]: high | 2n, [RCX]: 3n } });
  assert.equal(done.state.u64[RAX], high | 2n);
  assert.equal(done.state.u64[RBX], 3n);
});

test('POP computes an address with the stack pointer already moved', async () => {
  for (const mode of [64, 32] as const) {
    const result = await run('8f 04 24', {
      mode,
      registers: { [RSP]: BigInt(DATA_BASE) },
      memory: [1, 2, 3, 4, 5],
    });
    assert.equal(result.end, End.completed);
    assert.equal(result.changes[0]!.offset, mode === 64 ? 8 : 0);
  }
});

test('PUSHA and POPA have a 16-bit form', async () => {
  const result = await run('60', { mode: 16 });
  assert.equal(result.state.u64[RSP], 0x1ff0n);
  assert.equal((await run('61', { mode: 16 })).state.u64[RSP], 0x2010n);
});

test('alignment is checked for user code when CR0.AM and AC say so', async () => {
  const registers = { [RSI]: BigInt(DATA_BASE + 1) };
  const flags = Flag.ac;
  for (const code of ['8b 06', '89 06', '66 ff 06', 'a5', '48 0f ba 2e 00']) {
    assert.deepEqual(fault(await run(code, { registers, flags })), [End.exception, 17, 0], code);
    assert.notEqual((await run(code, { registers })).vector, 17, code);
  }
  assert.equal((await run('8a 06', { registers, flags })).end, End.completed);
  const withoutMask = createGuestCpu({ cr0: CR0 & ~0x4_0000n });
  assert.equal((await run('8b 06', { registers, flags, cpu: withoutMask })).end, End.completed);
});

test('the x87 unit can be switched off', async () => {
  const NM = [End.exception, 7, 0];
  const taskSwitched = createGuestCpu({ cr0: CR0 | 8n });
  const withoutMonitor = createGuestCpu({ cr0: (CR0 | 8n) & ~2n });
  const emulated = createGuestCpu({ cr0: CR0 | 4n });
  for (const cpu of [taskSwitched, withoutMonitor, emulated])
    assert.deepEqual(fault(await run('d9 e8', { cpu })), NM);
  assert.deepEqual(fault(await run('9b', { cpu: taskSwitched })), NM);
  assert.equal((await run('9b', { cpu: withoutMonitor })).end, End.completed);
  assert.equal((await run('9b', { cpu: emulated })).end, End.completed);
});

test('an unmasked x87 exception waits for the next waiting instruction and tells where it was', async () => {
  // fld1; fldz; fdivp; then fnstsw ax, which does not wait, and fld1, which does.
  const unmask = (state: MachineState) => {
    state.u16[W.fcw] = 0x37f & ~4;
  };
  const quiet = await run('d9 e8 d9 ee de f9 df e0', { change: unmask });
  assert.equal(quiet.end, End.completed);
  assert.equal(quiet.state.u64[RAX]! & 0x8084n, 0x8084n);
  assert.equal(quiet.state.u16[W.fop], 0x6f9);
  assert.equal(quiet.state.u64[Q.fip], BigInt(CODE_BASE + 0x104));
  const loud = await run('d9 e8 d9 ee de f9 df e0 d9 e8', { change: unmask });
  assert.deepEqual(fault(loud), [End.exception, 16, 0]);
  assert.equal(loud.state.u64[Q.rip], BigInt(CODE_BASE + 0x108));
});

test('an x87 store that faults has not happened', async () => {
  // fld1; fchs; fldpi; fstp dword [rax], which would be inexact.
  const at = BigInt(DATA_BASE + WINDOW_BYTES - 2);
  const result = await run('d9 eb d9 18', { registers: { [RAX]: at } });
  assert.equal(result.vector, 14);
  assert.equal(result.state.u16[W.fsw], 7 << 11);
  assert.deepEqual(result.changes, []);
});

test('an empty TLB entry matches no address, canonical or not, around the end of the address space or not', async () => {
  // mov rax, [rbx]; mov [rbx], rax. What was once the tag of empty entries; and an access that wraps to address 0.
  for (const address of [0x0001_0000_0000_0000n, 0xffff_ffff_ffff_fffen, 0xffff_ffff_ffff_f000n, 0n]) {
    for (const code of ['48 8b 03', '48 89 03', '48 01 03', '0f 10 03']) {
      for (const flags of [0, Flag.ac]) {
        const result = await run(code, { registers: { [RBX]: address }, flags });
        assert.equal(result.end, End.exception, `${code} at ${address.toString(16)}`);
        assert.ok(
          [13, 14, 17].includes(result.vector),
          `${code} at ${address.toString(16)}: ${result.vector}`,
        );
      }
    }
  }
});

const UD = [End.exception, 6, 0];
/** vpxor ymm0, ymm1, ymm2; vmovd xmm0, eax; vzeroupper */
const AVX = ['c5 f5 ef c2', 'c5 f9 6e c0', 'c5 f8 77'];
/** andn, shlx, rorx; lzcnt */
const BMI = ['c4 e2 78 f2 c3', 'c4 e2 79 f7 c3', 'c4 e3 7b f0 c3 07', 'f3 0f bd c3'];

test('AVX needs CR4.OSXSAVE and its bits of XCR0, and waits for CR0.TS; BMI does not', async () => {
  const without = [
    createGuestCpu({ cr4: CR4 & ~0x4_0000n }),
    createGuestCpu({ xcr0: 3n }),
    createGuestCpu({ xcr0: 1n }),
    // #UD comes before #NM.
    createGuestCpu({ xcr0: 3n, cr0: CR0 | 8n }),
  ];
  const taskSwitched = createGuestCpu({ cr0: CR0 | 8n });
  const emulated = createGuestCpu({ cr0: CR0 | 4n });
  for (const mode of [64, 32, 16] as const) {
    for (const code of AVX) {
      assert.equal((await run(code, { mode })).end, End.completed, code);
      for (const cpu of without) assert.deepEqual(fault(await run(code, { mode, cpu })), UD, code);
      assert.deepEqual(fault(await run(code, { mode, cpu: taskSwitched })), [End.exception, 7, 0], code);
      // CR0.EM and CR4.OSFXSR are for MMX and SSE.
      assert.equal((await run(code, { mode, cpu: emulated })).end, End.completed, code);
    }
    for (const code of BMI) {
      for (const cpu of [...without, taskSwitched, emulated]) {
        assert.equal((await run(code, { mode, cpu })).end, End.completed, code);
      }
    }
  }
});

test('prefixes, lengths and registers that a VEX instruction cannot have are #UD', async () => {
  const wrong = {
    'lock vpaddd': 'f0 c5 f1 fe c2',
    '66 vpaddd': '66 c5 f1 fe c2',
    'f2 vpaddd': 'f2 c5 f1 fe c2',
    'f3 vpaddd': 'f3 c5 f1 fe c2',
    'rex vpaddd': '48 c5 f1 fe c2',
    'vmovaps with vvvv': 'c5 f0 28 c2',
    'vmovd of 256 bits': 'c5 fd 6e c0',
    'vzeroupper with vvvv': 'c5 f0 77',
    'vpermq with W0': 'c4 e3 7d 00 c1 00',
    'vpermd of 128 bits': 'c4 e2 71 36 c2',
    'vaesenc of 256 bits': 'c4 e2 75 dc c2',
    'vbroadcastf128 of a register': 'c4 e2 7d 1a c1',
    'vpgatherdd into its mask': 'c4 e2 71 90 0c 0b',
    'vpgatherdd into its indices': 'c4 e2 71 90 04 03',
    'vpgatherdd by its mask': 'c4 e2 71 90 04 0b',
    'vpgatherdd without SIB': 'c4 e2 71 90 03',
  };
  for (const [what, code] of Object.entries(wrong)) assert.deepEqual(fault(await run(code)), UD, what);
});

test('aligned AVX moves want the alignment of their length, all else takes any address', async () => {
  const at = (offset: number) => ({ registers: { [RAX]: BigInt(DATA_BASE + offset) } });
  // vmovaps loads, vmovdqa stores, vmovntps and vmovntdqa; then what is not aligned.
  const aligned = {
    'c5 f8 28 00': 16,
    'c5 fc 28 00': 32,
    'c5 f9 7f 00': 16,
    'c5 fd 7f 00': 32,
    'c5 fc 2b 00': 32,
  };
  for (const [code, bytes] of Object.entries({ ...aligned, 'c4 e2 7d 2a 00': 32 })) {
    assert.equal((await run(code, at(bytes))).end, End.completed, code);
    assert.deepEqual(fault(await run(code, at(bytes / 2))), GP0, code);
  }
  for (const code of ['c5 f8 10 00', 'c5 fc 11 00', 'c5 fe 6f 00', 'c5 f5 fe 00', 'c5 f4 58 00']) {
    assert.equal((await run(code, at(1))).end, End.completed, code);
  }
});

test('each step of a dot product reports what it found in all of its parts before the next one', async () => {
  const [ONE, TINY, DENORMAL] = [0x3f80_0000, 0x108b_42ee, 1];
  /** Both factors of the products; their two parts. */
  const dotProduct = (code: string, lower: readonly number[], upper: readonly number[]) =>
    run(code, {
      change: state => {
        // Denormal operands are not masked; up.
        state.u32[D.mxcsr] = 0x5e80;
        for (const register of [1, 2]) state.u32.set([...lower, ...upper], (B.ymm + 32 * register) / 4);
      },
    });
  // vdpps ymm0, ymm1, ymm2, ff; dpps xmm1, xmm2, ff
  for (const code of ['c4 e3 75 40 c2 ff', '66 0f 3a 40 ca ff']) {
    // The product is the smallest denormal number, so that the first sum has a denormal operand.
    const later = await dotProduct(code, [TINY, ONE, 0, 0], [0, 0, 0, 0]);
    assert.deepEqual(fault(later), [End.exception, 19, 0]);
    assert.equal(later.state.u32[D.mxcsr], 0x5eb2, code);
  }
  // In one step it hides what comes after it, in the other part as well.
  const hidden = await dotProduct('c4 e3 75 40 c2 ff', [TINY, 0, 0, 0], [DENORMAL, 0, 0, 0]);
  assert.deepEqual(fault(hidden), [End.exception, 19, 0]);
  assert.equal(hidden.state.u32[D.mxcsr], 0x5e82);
});

test('a gather that faults has kept what it has, and goes on from there', async () => {
  const ymm = (state: MachineState, register: number, values: readonly number[]) =>
    values.forEach((value, i) => {
      state.u32[(B.ymm + 32 * register) / 4 + i] = value;
    });
  const beyond = 0x8000;
  const setup = (indices: readonly number[]) => ({
    registers: { [RAX]: BigInt(DATA_BASE) },
    memory: [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0],
    change: (state: MachineState) => {
      ymm(state, 0, [9, 9, 9, 9, 9, 9, 9, 9]);
      ymm(state, 1, indices);
      ymm(state, 2, [-1, 5, -1, -1, 7, 7, 7, 7]);
    },
  });
  const lanes = (result: MachineResult, register: number) => [
    ...result.state.u32.subarray((B.ymm + 32 * register) / 4, (B.ymm + 32 * register) / 4 + 8),
  ];
  // vpgatherdd xmm0, [rax + xmm1 * 4], xmm2
  const code = 'c4 e2 69 90 04 88';
  const failed = await run(code, setup([3, 0, beyond, 1]));
  assert.equal(failed.vector, 14);
  assert.equal(failed.faultAddress, BigInt(DATA_BASE + 4 * beyond));
  assert.deepEqual(lanes(failed, 0), [4, 9, 9, 9, 9, 9, 9, 9]);
  assert.deepEqual(lanes(failed, 2), [0, 0, 0xffff_ffff, 0xffff_ffff, 7, 7, 7, 7]);
  const done = await run(code, setup([3, beyond, 2, 1]));
  assert.equal(done.end, End.completed);
  assert.deepEqual(lanes(done, 0), [4, 9, 3, 2, 0, 0, 0, 0]);
  assert.deepEqual(lanes(done, 2), [0, 0, 0, 0, 0, 0, 0, 0]);
});
