import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAsset } from '../../platform/node/files.ts';
import { RUNTIME_ASSET } from './runtime.ts';
import { createTestMachine } from './test-machine.ts';

/** Code is about as long. */
const MODULE_BYTES_MAX = 160 << 10;

test('tables of zeros are not in the module, which would write them into each machine', () => {
  assert.ok(readAsset(RUNTIME_ASSET).length < MODULE_BYTES_MAX);
});

test('while alignment is checked nothing is found in the tables, on any machine', () => {
  for (let i = 0; i < 2; i++) {
    const machine = createTestMachine();
    const { runtime, cpu, vcpu } = machine;
    vcpu.cr0 = 1n << 18n;
    machine.enterLongMode(3);
    runtime.setFlags(cpu, 1n << 18n, -1n);
    runtime.selectTlb(cpu);
    for (const va of [0n, -2n, 0x4000_0000n]) {
      assert.equal(runtime.readSlow(cpu, va, 4), 0);
      assert.equal(runtime.writeSlow(cpu, va, 4), 0);
    }
  }
});
