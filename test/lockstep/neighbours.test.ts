/**
 * Accesses that share a look at the TLB (translator/access-groups.ts), with what they share split over two pages at every byte,
 * in a page with code, in one that is present only after a fault, and in one that cannot be written.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Assembler } from './assembler.ts';
import {
  CODE,
  CODE_PAGES,
  createLockstepMachine,
  DATA,
  KERNEL,
  LAZY,
  type LockstepMachine,
  loadProgram,
  PAGE,
  READONLY,
  STACK,
} from './machine.ts';

const [RAX, RCX, RDX, RBX, RSP, RBP, RSI] = [0, 1, 2, 3, 4, 5, 6] as const;
const wide = { wide: true };
/** Instructions after which regions are there. */
const WARM = 400;
const ROUNDS = 300;

/** A function with a frame, and fields off RBX: 8, 4, 2, 1 and 16 bytes wide, read, written and changed, in two blocks. */
function program(): Uint8Array {
  const code = new Assembler(CODE, CODE_PAGES * PAGE);
  const start = code.here();
  const called = code.label();
  const skipped = code.label();
  code.call(called);
  code.jump(start);
  code.bind(called);
  code.bytes(0x55); // push rbp
  code.op(wide, [0x8b], RBP, RSP); // mov rbp, rsp
  code.bytes(0x51, 0x52); // push rcx, push rdx
  code.op(wide, [0x83], 5, RSP, [24]); // sub rsp, 24
  code.op(wide, [0x89], RAX, { base: RSP, displacement: 8 }); // mov [rsp+8], rax
  code.op(wide, [0x03], RCX, { base: RBP, displacement: -32 }); // add rcx, [rbp-32]: the same place
  code.op(wide, [0x8b], RDX, { base: RBX, displacement: 24 }); // mov rdx, [rbx+24]
  code.op({}, [0x03], RDX, { base: RBX, displacement: 4 }); // add edx, [rbx+4]
  code.op({ prefix: 0x66 }, [0x89], RDX, { base: RBX, displacement: 14 }); // mov [rbx+14], dx
  code.op({}, [0x01], RCX, { base: RBX, displacement: 16 }); // add [rbx+16], ecx
  code.op(wide, [0x8d], RSI, { base: RBX, displacement: 12 }); // lea rsi, [rbx+12]
  code.op({}, [0xfe], 0, { base: RSI, displacement: 1 }); // inc byte [rsi+1]
  code.op({}, [0xf7], 0, RAX, [4, 0, 0, 0]); // test eax, 4
  code.jumpIf(4, skipped); // jz
  code.op({ prefix: 0x66 }, [0x0f, 0xd6], 1, { base: RBX, displacement: 20 }); // movq [rbx+20], xmm1
  code.op({ prefix: 0xf3 }, [0x0f, 0x6f], 1, { base: RBX }); // movdqu xmm1, [rbx]
  code.bind(skipped);
  code.op(wide, [0xff], 0, RAX); // inc rax
  code.op({}, [0x0f, 0xb6], RCX, { base: RBX, displacement: 13 }); // movzx ecx, byte [rbx+13]
  code.op(wide, [0x8d], RSP, { base: RBP, displacement: -16 }); // lea rsp, [rbp-16]
  code.bytes(0x5a, 0x59, 0x5d); // pop rdx, rcx, rbp
  code.bytes(0xc3); // ret
  return code.finish();
}
const CODE_BYTES = program();

/** Exchange the physical pages of two linear ones. */
function exchange({ guest, entryAddress }: LockstepMachine, a: number, b: number): void {
  const entry = (linear: number) => {
    const at = Number(entryAddress(linear) - KERNEL);
    return guest.subarray(at, at + 8);
  };
  const old = entry(a).slice();
  entry(a).set(entry(b));
  entry(b).set(old);
}

function run(translates: boolean, fields: number, stack: number): LockstepMachine {
  const machine = createLockstepMachine({ translates, hotJumps: 2 });
  const data = Uint8Array.from({ length: PAGE }, (_, i) => (i * 7) & 255);
  loadProgram(machine, { code: CODE_BYTES, otherCode: new Uint8Array(PAGE), data, entries: [CODE] });
  // What is beside each other in linear memory is not so in physical memory.
  for (const first of [DATA, STACK]) exchange(machine, first, first + PAGE);
  const { vcpu, engine, cpu } = machine;
  vcpu.rip = BigInt(CODE);
  vcpu.pendingInterrupt = -1;
  vcpu.gpr.set(15, BigInt(CODE));
  // Somewhere harmless until regions are there.
  vcpu.gpr.set(RBX, BigInt(DATA + 64));
  vcpu.gpr.set(RSP, BigInt(STACK + 1024));
  engine.run(cpu, WARM);
  // At the same place of the code in both engines.
  vcpu.gpr.set(RBX, BigInt(fields));
  const offset = vcpu.gpr.get(RSP) - BigInt(STACK + 1024);
  if (vcpu.gpr.get(RBP) >= BigInt(STACK)) vcpu.gpr.set(RBP, vcpu.gpr.get(RBP) + BigInt(stack - STACK - 1024));
  vcpu.gpr.set(RSP, BigInt(stack) + offset);
  for (let left = ROUNDS; left > 0; left -= 75) engine.run(cpu, 75);
  if (translates) assert.ok((engine.translator?.statistics.regions ?? 0) > 0);
  return machine;
}

function same(fields: number, stack: number, what: string): void {
  const [interpreted, translated] = [false, true].map(translates => run(translates, fields, stack));
  const seen = ({ vcpu, engine, cpu, guest }: LockstepMachine) => ({
    rip: vcpu.rip,
    cr2: vcpu.cr2,
    registers: Array.from({ length: 16 }, (_, i) => vcpu.gpr.get(i)),
    flags: engine.runtime.getFlags(cpu),
    memory: Buffer.from(guest).toString('latin1'),
  });
  const [a, b] = [seen(interpreted as LockstepMachine), seen(translated as LockstepMachine)];
  assert.deepEqual({ ...b, memory: '' }, { ...a, memory: '' }, what);
  assert.ok(a.memory === b.memory, `${what}: memory`);
}

test('fields over two pages', () => {
  for (let before = 0; before <= 34; before++)
    same(DATA + PAGE - before, STACK + 1024, `${before} bytes in the first page`);
});
test('a frame over two pages', () => {
  for (let before = 0; before <= 72; before += 4)
    same(DATA + 64, STACK + PAGE + before, `${before} bytes in the second page`);
});
test('fields in the page of the code, beside it and near it', () => {
  for (const distance of [128, 130, 192, 1024, 4000]) same(CODE + distance, STACK + 1024, `at ${distance}`);
});
test('fields in a page that is present after a fault, half in it, and in one that cannot be written', () => {
  for (const fields of [LAZY + 8, LAZY - 16, READONLY + 8, READONLY - 20])
    same(fields, STACK + 1024, `at ${fields.toString(16)}`);
});
