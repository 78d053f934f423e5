/**
 * System instructions that regions execute themselves: at whatever place a slice ends or an interrupt waits, they must do what
 * the interpreter's handlers do.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { Assembler, type Label } from './assembler.ts';
import {
  CODE,
  CODE_PAGES,
  createLockstepMachine,
  DATA,
  INTERRUPT,
  type LockstepMachine,
  loadProgram,
  PAGE,
  STACK_TOP,
} from './machine.ts';

const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];
/** Instructions after which regions are there: whole rounds of `RACE`. */
const WARM = 96;

function machinesOf(write: (code: Assembler, start: Label) => void): LockstepMachine[] {
  const code = new Assembler(CODE, CODE_PAGES * PAGE);
  const start = code.here();
  write(code, start);
  code.jump(start);
  const bytes = code.finish();
  return [false, true].map(translates => {
    const machine = createLockstepMachine({ translates, hotJumps: 2 });
    loadProgram(machine, {
      code: bytes,
      otherCode: new Uint8Array(PAGE),
      data: new Uint8Array(PAGE).fill(7),
      entries: [CODE],
    });
    const { vcpu, engine, cpu } = machine;
    vcpu.rip = BigInt(CODE);
    vcpu.gpr.set(RBX, BigInt(DATA));
    vcpu.gpr.set(4, BigInt(STACK_TOP - 256));
    vcpu.kernelGsBase = BigInt(DATA + 64);
    vcpu.pendingInterrupt = -1;
    engine.run(cpu, WARM);
    return machine;
  });
}

const seen = ({ vcpu, engine, cpu }: LockstepMachine, exit: number) => ({
  exit,
  rip: vcpu.rip,
  retired: vcpu.retired,
  shadow: vcpu.interruptShadow,
  gsBase: [vcpu.segBase.get(5), vcpu.kernelGsBase],
  registers: Array.from({ length: 4 }, (_, i) => vcpu.gpr.get(i)),
  flags: engine.runtime.getFlags(cpu),
});

const RACE = (code: Assembler): void => {
  code.op({}, [0xff], 0, RAX); // inc eax
  code.bytes(0xfa); // cli
  code.op({}, [0x01], RAX, RDX); // add edx, eax
  code.bytes(0xfb, 0xfb); // sti, sti
  code.op({}, [0x31], RDX, RCX); // xor ecx, edx
  code.op({}, [0xff], 0, RCX); // inc ecx
};

test('an interrupt that waits comes behind the instruction after STI, wherever the slice began', () => {
  for (let before = 0; before < 16; before++) {
    const machines = machinesOf(RACE);
    const results = machines.map(machine => {
      const { vcpu, engine, cpu } = machine;
      engine.run(cpu, before);
      vcpu.pendingInterrupt = INTERRUPT;
      return seen(machine, engine.run(cpu, 1000));
    });
    assert.deepEqual(results[1], results[0]);
    assert.equal(results[0]?.exit, Exit.interruptWindow);
    assert.ok((machines[1]?.engine.translator?.statistics.regions ?? 0) > 0);
  }
});

test('a slice that ends with STI holds interrupts off for one instruction more', () => {
  let shadows = 0;
  for (let fuel = 1; fuel < 24; fuel++) {
    const results = machinesOf(RACE).map(machine => seen(machine, machine.engine.run(machine.cpu, fuel)));
    assert.deepEqual(results[1], results[0]);
    shadows += results[0]?.shadow ?? 0;
  }
  assert.ok(shadows > 1);
});

test('CLI, STI, SWAPGS, STAC and CLAC at CPL 0 and, as faults, at CPL 3', () => {
  const write = (code: Assembler): void => {
    code.bytes(0x0f, 0x01, 0xf8); // swapgs
    code.op({}, [0x03], RAX, { displacement: 8, base: RCX, segment: 'gs' });
    code.bytes(0x0f, 0x01, 0xcb); // stac
    code.op({}, [0x03], RDX, { base: RBX });
    code.bytes(0x0f, 0x01, 0xca); // clac
    code.bytes(0xfa, 0x90, 0xfb);
    code.op({}, [0x31], RCX, RCX);
  };
  for (let fuel = 1; fuel < 40; fuel += 3) {
    const results = machinesOf(write).map(machine => seen(machine, machine.engine.run(machine.cpu, fuel)));
    assert.deepEqual(results[1], results[0]);
  }
});
