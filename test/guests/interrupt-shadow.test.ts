/** Interrupts stay off for one instruction after STI, also where a slice ends between the two: STI, HLT must not miss one. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gfn } from '../../src/base/brand.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { setPvhEntryState } from '../../src/hypervisor/builder/entry-state.ts';
import { createDomain } from '../../src/hypervisor/domain.ts';
import { writePhysical } from '../../src/hypervisor/guest-physical.ts';
import { createMachineHost, TSC_KHZ } from '../../src/hypervisor/machine-host.ts';
import { populateRange } from '../../src/hypervisor/p2m.ts';
import { createNodePlatform } from '../../src/platform/node/platform.ts';
import { createSimulatedPlatform } from '../../src/platform/sim/platform.ts';

const DIST = join(import.meta.dirname, '../../dist');
const skip = existsSync(join(DIST, 'interpreter.wasm')) ? false : 'dist/ is not built';
const CODE = 0x1000;
const STI_HLT = Uint8Array.of(0x90, 0xfb, 0xf4);

test('a slice that ends behind STI: HLT runs before the interrupt', { skip }, () => {
  const load = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));
  const { hypervisor, engine, processors } = createMachineHost({
    modules: { runtime: load('runtime'), interpreter: load('interpreter') },
    platform: createSimulatedPlatform(1, createNodePlatform()),
    guestBytes: 1 << 20,
    vcpus: 1,
  });
  const domain = createDomain(hypervisor, { p2mCount: 0x100000, maxPages: 16, vcpus: 1, tscKhz: TSC_KHZ });
  populateRange(domain, gfn(0), 8);
  writePhysical(domain, CODE, STI_HLT);
  processors.attach(domain);
  const { block, state } = domain.vcpus[0]!;
  engine.runtime.resetCpu(state.block);
  setPvhEntryState(block, CODE, 0);
  engine.runtime.updateMode(state.block);
  engine.runtime.selectTlb(state.block);

  assert.equal(hypervisor.engine.run(state.block, 2), Exit.fuel);
  assert.equal(block.rip, BigInt(CODE + 2));
  block.pendingInterrupt = 0x40;
  assert.equal(hypervisor.engine.run(state.block, 1000), Exit.halt);
  assert.equal(block.rip, BigInt(CODE + 3));
  assert.equal(block.pendingInterrupt, 0x40, 'it waits until after HLT');
  // Now it is taken: there is no IDT, so its delivery ends in a triple fault.
  assert.equal(hypervisor.engine.run(state.block, 1000), Exit.tripleFault);
});
