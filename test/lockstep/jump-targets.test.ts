/** Where computed jumps lead is noted in a small table as long as a vCPU has executed little, and in all of it afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FEW_TARGETS_UNTIL } from '../../src/cpu/interpreter/jump-table.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { JUMP_TARGETS, JUMP_TARGETS_OFFSET, JumpTarget } from '../../src/cpu/vcpu/layout.ts';
import { Assembler, imm32 } from './assembler.ts';
import { CODE, createLockstepMachine, PAGE, STACK_TOP } from './machine.ts';

const CODE_AT = 8 * PAGE;
const FUNCTIONS = CODE + PAGE;
const NR_FUNCTIONS = 500;
const FUNCTION_BYTES = 8;

test('the table of jump targets grows when a vCPU has executed a million instructions', () => {
  const { engine, cpu, vcpu, guest } = createLockstepMachine({ translates: false });
  const code = new Assembler(CODE, PAGE);
  code.bytes(0xbb, ...imm32(FUNCTIONS)); // mov ebx, FUNCTIONS
  const loop = code.here();
  code.bytes(0xff, 0xd3); // call rbx
  code.bytes(0x83, 0xc3, FUNCTION_BYTES); // add ebx, 8
  code.bytes(0x81, 0xfb, ...imm32(FUNCTIONS + NR_FUNCTIONS * FUNCTION_BYTES)); // cmp ebx, end
  code.jumpIf(5, loop);
  code.bytes(0xf4);
  guest.set(code.finish(), CODE_AT);
  guest.fill(0xc3, CODE_AT + PAGE, CODE_AT + 2 * PAGE); // ret

  /** Positions of entries that are in use. */
  const used = (): number[] =>
    Array.from({ length: JUMP_TARGETS }, (_, i) => i).filter(i => {
      const entry = JumpTarget.at(engine.memory.view, cpu + JUMP_TARGETS_OFFSET + i * JumpTarget.size);
      return entry.count > 0;
    });
  const run = (): void => {
    vcpu.rip = BigInt(CODE);
    vcpu.gpr.set(4, BigInt(STACK_TOP));
    while (engine.run(cpu, 1000) !== Exit.halt);
  };
  run();
  const few = used();
  assert.ok(few.length > 100 && few.every(position => position < 256), 'all in one page of the host');
  while (vcpu.retired < BigInt(2 * FEW_TARGETS_UNTIL)) run();
  const all = used();
  assert.ok(all.length > NR_FUNCTIONS, `${all.length} entries for calls and returns`);
  assert.ok(all.some(position => position > JUMP_TARGETS / 2));
});
