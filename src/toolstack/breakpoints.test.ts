import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maddr } from '../base/brand.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { createDebugMachine } from './debug-machine.fixture.ts';

const ENTRY = 0x10_0000;
/** start: inc eax; mov [0x200000],eax; jmp start */
const CODE = Uint8Array.of(0x40, 0xa3, 0, 0, 0x20, 0, 0xeb, 0xf8);
const LOOP_BYTES = 8;

// The code cache is thrown away for it: that must reach the frames of the guest, which come after most others.
test('a breakpoint in code that has run stops it', () => {
  const { domain, host } = createDebugMachine({ code: CODE, entry: ENTRY, memoryBytes: 16 << 20, vcpus: 1 });
  const { engine } = host;
  const { block, state } = domain.vcpus[0]!;
  const cpu = maddr(state.block);
  assert.equal(engine.run(cpu, 1000), Exit.fuel);
  engine.setBreakpoints([BigInt(ENTRY + 6)]);
  assert.equal(engine.run(cpu, LOOP_BYTES), Exit.breakpoint);
  assert.equal(block.rip, BigInt(ENTRY + 6));
});
