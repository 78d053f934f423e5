/** Single cases with known results: what comparisons with the host once found, and what they cannot show. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CR0, createGuestCpu } from './guest-cpu.ts';
import { CODE_BASE, DATA_BASE, End, type MachineResult, type Mode, WINDOW_BYTES } from './machine-case.ts';
import { D, Flag, initialState, type MachineState, Q, W } from './machine-state.ts';

const RAX = 0;
const RCX = 1;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const guest = createGuestCpu();
const STACK = BigInt(DATA_BASE + 0x1000);
const NOT_CANONICAL = 0x8000_0000_0000_0000n;

interface Setup {
  readonly mode?: Mode;
  readonly registers?: Partial<Record<number, bigint>>;
  readonly flags?: number;
  readonly change?: (state: MachineState) => void;
  readonly memory?: readonly number[];
  readonly cpu?: typeof guest;
}

/** Run code (in hexadecimal) at CODE_BASE + 0x100; `memory` lies at the beginning of the window. */
async function run(code: string, setup: Setup = {}): Promise<MachineResult> {
  const { mode = 64, registers = {}, flags = 0, change, memory = [], cpu = guest } = setup;
  const state = initialState();
  state.u64[Q.rip] = mode === 16 ? 0x100n : BigInt(CODE_BASE + 0x100);
  state.u64[RSP] = mode === 16 ? 0x2000n : STACK;
  for (const [register, value] of Object.entries(registers)) state.u64[Number(register)] = value!;
  state.u32[D.rflags]! |= flags;
  change?.(state);
  const patches = memory.length > 0 ? [{ offset: 0, bytes: Uint8Array.from(memory) }] : [];
  return cpu.run({
    mode,
    code: Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')),
    state,
    patches,
  });
}
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
  const withoutMask = createGuestCpu(CR0 & ~0x4_0000n);
  assert.equal((await run('8b 06', { registers, flags, cpu: withoutMask })).end, End.completed);
});

test('the x87 unit can be switched off', async () => {
  const NM = [End.exception, 7, 0];
  const taskSwitched = createGuestCpu(CR0 | 8n);
  const withoutMonitor = createGuestCpu((CR0 | 8n) & ~2n);
  const emulated = createGuestCpu(CR0 | 4n);
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
