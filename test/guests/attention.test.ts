/** What stops a vCPU before its next instruction: a kick, and an instruction that must run alone. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gfn, maddr } from '../../src/base/brand.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { KICK } from '../../src/cpu/vcpu/layout.ts';
import { setPvhEntryState } from '../../src/hypervisor/builder/entry-state.ts';
import { createDomain } from '../../src/hypervisor/domain.ts';
import { readPhysical, writePhysical } from '../../src/hypervisor/guest-physical.ts';
import { createMachineHost, TSC_KHZ } from '../../src/hypervisor/machine-host.ts';
import { populateRange } from '../../src/hypervisor/p2m.ts';
import { createNodePlatform } from '../../src/platform/node/platform.ts';
import { createSimulatedPlatform } from '../../src/platform/sim/platform.ts';

const DIST = join(import.meta.dirname, '../../dist');
const skip = existsSync(join(DIST, 'interpreter.wasm')) ? false : 'dist/ is not built';
const CODE = 0x1000;
/** Guest-physical, in a page of its own. */
const DATA = 0x3000;

function start(code: readonly number[]) {
  const load = (name: string) => new WebAssembly.Module(readFileSync(join(DIST, `${name}.wasm`)));
  const { hypervisor, engine, processors } = createMachineHost({
    modules: { runtime: load('runtime'), interpreter: load('interpreter') },
    platform: createSimulatedPlatform(1, createNodePlatform()),
    guestBytes: 1 << 20,
    vcpus: 1,
  });
  const domain = createDomain(hypervisor, { p2mCount: 0x100000, maxPages: 16, vcpus: 1, tscKhz: TSC_KHZ });
  populateRange(domain, gfn(0), 8);
  writePhysical(domain, CODE, Uint8Array.from(code));
  processors.attach(domain);
  const { block, state } = domain.vcpus[0]!;
  engine.runtime.resetCpu(state.block);
  setPvhEntryState(block, CODE, 0);
  engine.runtime.updateMode(state.block);
  engine.runtime.selectTlb(state.block);
  const run = (fuel: number) => engine.run(maddr(state.block), fuel);
  const word = (address: number) => {
    const bytes = readPhysical(domain, address, 4)!;
    return new DataView(bytes.buffer).getUint32(0, true);
  };
  return { block, run, word };
}
const lockInc = (address: number) => [0xf0, 0xff, 0x05, address & 255, address >> 8, 0, 0];

test('a kick comes before the next instruction, and nothing is counted', { skip }, () => {
  const { block, run } = start([0x90, 0x90, 0xeb, 0xfc]);
  assert.equal(run(10), Exit.fuel);
  const { rip, retired } = block;
  block.kick = KICK;
  assert.equal(run(10), Exit.kick);
  assert.equal(block.rip, rip);
  assert.equal(block.retired, retired);
  block.kick = 0;
  assert.equal(run(3), Exit.fuel);
  assert.equal(block.retired, retired + 3n);
});

test('locked instructions over aligned memory run beside others', { skip }, () => {
  const { block, run, word } = start([0x90, ...lockInc(DATA), 0xf4]);
  block.parallel = 1;
  assert.equal(run(3), Exit.exclusive, 'others may have the page in their write tables');
  block.parallel = 0;
  assert.equal(run(1), Exit.fuel);
  block.parallel = 1;
  assert.equal(run(2), Exit.halt);
  assert.equal(word(DATA), 1);
});

test('a locked instruction over two pages or two words runs alone', { skip }, () => {
  for (const address of [DATA + 1, DATA + 0xffe]) {
    const { block, run, word } = start([0x90, ...lockInc(address), 0xf4]);
    assert.equal(run(1), Exit.fuel);
    block.parallel = 1;
    assert.equal(run(10), Exit.exclusive);
    assert.equal(block.rip, BigInt(CODE + 1));
    assert.equal(block.retired, 1n);
    assert.equal(word(address), 0);
    block.parallel = 0;
    assert.equal(run(1), Exit.fuel);
    assert.equal(word(address), 1);
  }
});

test('CMPXCHG8B is one access of eight bytes', { skip }, () => {
  const { block, run, word } = start([0x90, 0xf0, 0x0f, 0xc7, 0x0d, 0, 0x30, 0, 0, 0xf4]);
  assert.equal(run(1), Exit.fuel);
  block.parallel = 1;
  block.gpr.set(0, 0n);
  block.gpr.set(2, 0n);
  block.gpr.set(3, 0x1234n);
  block.gpr.set(1, 0x5678n);
  assert.equal(run(10), Exit.halt);
  assert.deepEqual([word(DATA), word(DATA + 4)], [0x1234, 0x5678]);
});

test('the instruction after STI comes before an interrupt, also when it has to wait for its turn', {
  skip,
}, () => {
  const { block, run, word } = start([0x90, 0xfb, ...lockInc(DATA + 1), 0xf4]);
  assert.equal(run(1), Exit.fuel);
  block.parallel = 1;
  block.pendingInterrupt = 0x40;
  assert.equal(run(10), Exit.exclusive);
  assert.equal(block.rip, BigInt(CODE + 2));
  assert.equal(block.interruptShadow, 1, 'interrupts are held off still');
  block.parallel = 0;
  assert.equal(run(10), Exit.interruptWindow);
  assert.equal(word(DATA + 1), 1);
  assert.equal(block.rip, BigInt(CODE + 2 + 7));
});
