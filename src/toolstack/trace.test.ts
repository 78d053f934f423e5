/** Traces of a guest of a few instructions, and the backtrace of a stack made by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backtrace } from '../cpu/debug/backtrace.ts';
import { readGuest, writeGuest } from '../cpu/debug/memory.ts';
import { createDebugMachine } from './debug-machine.fixture.ts';
import { traceInstructions } from './trace-instructions.ts';
import { traceNotices } from './trace-machine.ts';

const ENTRY = 0x10_0000;
/** mov eax,17; xor ebx,ebx; vmmcall; mov eax,17; mov ebx,99; vmmcall; jmp itself */
// biome-ignore format: one instruction a line
const CODE = Uint8Array.of(
  0xb8, 17, 0, 0, 0,
  0x31, 0xdb,
  0x0f, 0x01, 0xd9,
  0xb8, 17, 0, 0, 0,
  0xbb, 99, 0, 0, 0,
  0x0f, 0x01, 0xd9,
  0xeb, 0xfe,
);
const MEMORY = 16 << 20;

async function step(machine: ReturnType<typeof createDebugMachine>, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await machine.target.step(0);
}

test('the instruction trace shows bytes, text and what changed', async () => {
  const machine = createDebugMachine({ code: CODE, entry: ENTRY, memoryBytes: MEMORY, vcpus: 1 });
  const lines: string[] = [];
  const end = traceInstructions(machine.host.engine, line => lines.push(line));
  await step(machine, 3);
  end();
  await step(machine, 1);
  assert.deepEqual(lines, [
    '0 0 100000 b8 11 00 00 00  mov eax, 0x11  rax=11',
    '0 1 100005 31 db  xor ebx, ebx  eflags=46',
    '0 2 100007 0f 01 d9  vmmcall',
  ]);
});

test('the hypercall trace has names, arguments and results', async () => {
  const lines: string[] = [];
  const machine = createDebugMachine({
    code: CODE,
    entry: ENTRY,
    memoryBytes: MEMORY,
    vcpus: 1,
    notices: traceNotices({ kind: 'hypercalls', write: line => lines.push(line) }),
  });
  await step(machine, 6);
  assert.deepEqual(lines, ['0 xen_version.version(0, 0) = 262161', '0 xen_version.99(63, 0) = -ENOSYS']);
});

test('a backtrace follows frame pointers to what comes behind a call', () => {
  const machine = createDebugMachine({ code: CODE, entry: ENTRY, memoryBytes: MEMORY, vcpus: 1 });
  const { engine, vcpus } = machine.target;
  const cpu = vcpus[0]!.block;
  const words = (...values: bigint[]) => new Uint8Array(BigUint64Array.from(values).buffer);
  // Two CALLs; their return addresses are 0x5005 and 0x6005.
  assert.ok(writeGuest(engine, cpu, 0x5000n, Uint8Array.of(0xe8, 0, 0, 0, 0)));
  assert.ok(writeGuest(engine, cpu, 0x6000n, Uint8Array.of(0xe8, 0, 0, 0, 0)));
  assert.ok(writeGuest(engine, cpu, 0x3_0000n, words(0x3_0040n, 0x5005n)));
  assert.ok(writeGuest(engine, cpu, 0x3_0040n, words(0x3_0080n, 0x6005n)));
  assert.ok(writeGuest(engine, cpu, 0x3_0080n, words(0n, 0x7005n)));
  const { block } = machine.domain.vcpus[0]!;
  block.gpr.set(4, 0x2_fff0n);
  block.gpr.set(5, 0x3_0000n);
  const symbols = {
    symbolAt: (address: bigint) =>
      address >= 0x6000n && address < 0x7000n
        ? { name: 'outer', offset: Number(address - 0x6000n) }
        : undefined,
  };
  assert.deepEqual(backtrace(engine, cpu, symbols), [
    { address: BigInt(ENTRY) },
    { address: 0x5005n },
    { address: 0x6005n, symbol: 'outer', offset: 5 },
  ]);
});

test('guest memory: what is not there ends a read, and no write is half done', () => {
  const machine = createDebugMachine({ code: CODE, entry: ENTRY, memoryBytes: MEMORY, vcpus: 1 });
  const { engine, vcpus } = machine.target;
  const cpu = vcpus[0]!.block;
  const end = BigInt(MEMORY);
  assert.equal(readGuest(engine, cpu, end - 8n, 16).length, 8);
  assert.equal(readGuest(engine, cpu, end, 16).length, 0);
  assert.equal(writeGuest(engine, cpu, end - 1n, Uint8Array.of(1, 2)), false);
  assert.equal(readGuest(engine, cpu, end - 1n, 1)[0], 0);
  // Across two pages.
  assert.ok(writeGuest(engine, cpu, 0x20ffcn, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)));
  assert.deepEqual([...readGuest(engine, cpu, 0x20ffbn, 10)], [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
});
