/**
 * Instructions that lie in two pages: they stay decoded, and become part of regions, only as long as both pages are what they
 * were. Both engines must give what was counted by hand, since they share what is decoded.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { Assembler, imm32 } from './assembler.ts';
import {
  CODE,
  CODE_PAGES,
  createLockstepMachine,
  LAST_CODE_AT,
  loadProgram,
  OTHER_CODE_AT,
  PAGE,
  STACK_TOP,
} from './machine.ts';

const [RAX, RCX, RDX, RBX, RSI] = [0, 1, 2, 3, 6];
const ROUNDS = 20;
const LAST = CODE + (CODE_PAGES - 1) * PAGE;
const IMMEDIATE = 0x0403_0201;

/** Adds the immediate of an instruction over the last page's beginning to rdx, some times, and returns. */
function addInto(code: Assembler, immediate: number): void {
  code.goTo(LAST - 2);
  const loop = code.here();
  code.bytes(0xb8, ...imm32(immediate)); // mov eax, immediate: three of its bytes are in the last page
  code.op({ wide: true }, [0x01], RAX, RDX);
  code.op({}, [0xff], 1, RCX); // dec ecx
  code.jumpIf(5, loop);
  code.bytes(0xc3);
}

for (const translates of [false, true]) {
  test(`an instruction over two pages, ${translates ? 'translated' : 'interpreted'}`, () => {
    const machine = createLockstepMachine({ translates, hotJumps: 2 });
    const code = new Assembler(CODE, CODE_PAGES * PAGE);
    const run = { address: LAST - 2 };
    const count = () => {
      code.bytes(0xb9, ...imm32(ROUNDS)); // mov ecx, rounds
      code.call(run);
      code.bytes(0x52); // push rdx
      code.op({}, [0x31], RDX, RDX);
    };
    count();
    // One of its bytes in the last page changes.
    code.op({}, [0xc6], 0, { displacement: LAST + 1 }, [0x77]);
    count();
    // One in its first page does.
    code.op({}, [0xc6], 0, { displacement: LAST - 1 }, [0x66]);
    count();
    // Bytes behind it in the last page are its neighbour's.
    code.op({}, [0xc6], 0, { displacement: LAST + 0x800 }, [0x55]);
    count();
    // The last page becomes another frame, and again the one that it was.
    for (const frame of [OTHER_CODE_AT, LAST_CODE_AT]) {
      code.op({ wide: true }, [0xc7], 0, { base: RBX }, imm32(frame * PAGE + 0x63));
      code.op({}, [0x0f, 0x01], 7, { base: RSI }); // invlpg
      count();
    }
    code.bytes(0xf4);
    addInto(code, IMMEDIATE);
    const bytes = code.finish();
    const otherCode = bytes.slice((CODE_PAGES - 1) * PAGE);
    otherCode[1] = 0x33;
    loadProgram(machine, { code: bytes, otherCode, data: new Uint8Array(0), entries: [CODE] });
    const { engine, cpu, vcpu } = machine;
    vcpu.rip = BigInt(CODE);
    vcpu.gpr.set(RDX, 0n);
    vcpu.gpr.set(4, BigInt(STACK_TOP));
    vcpu.gpr.set(RBX, machine.entryAddress(LAST));
    vcpu.gpr.set(RSI, BigInt(LAST));
    assert.equal(engine.run(cpu, 100_000), Exit.halt);
    const stack = Number(machine.engine.runtime.translate(cpu, vcpu.gpr.get(4), 0, 1)) >>> 0;
    const results = Array.from({ length: 6 }, (_, i) =>
      Number(machine.engine.memory.view.getBigUint64(stack + (5 - i) * 8, true)),
    );
    const immediates = [IMMEDIATE, 0x0477_0201, 0x0477_0266, 0x0477_0266, 0x0433_0266, 0x0477_0266];
    assert.deepEqual(
      results,
      immediates.map(each => each * ROUNDS),
    );
    if (translates) assert.ok((engine.translator?.statistics.regions ?? 0) > 0);
  });
}
