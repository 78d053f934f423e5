import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApicRegister } from '../abi/x86/apic.ts';
import { Msr } from '../abi/x86/msr.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import { createMachineMemory } from '../machine/memory.ts';
import { createLapics } from './apic.ts';
import { createCpuServices } from './cpu-services.ts';
import { cpuPolicy } from './cpuid-policy.ts';
import { createMsrs } from './msr.ts';

function machine() {
  const memory = createMachineMemory(1 << 20);
  const vcpuBlocks = [0x10000, 0x11000];
  const none = () => {};
  const lapics = createLapics(memory, 0x40000, vcpuBlocks, {
    nowNs: () => 0,
    tsc: () => 0n,
    nsAtTsc: () => 0,
    setTimer: none,
    initVcpu: none,
    startVcpu: none,
    nmi: none,
    enabled: none,
    wake: none,
  });
  const msrs = createMsrs(memory, 0x50000, 2, {
    lapics,
    tsc: () => 0x1_0000_0002n,
    setTsc: none,
    writeGuestPage: () => true,
  });
  lapics.initialise();
  msrs.initialise();
  const services = createCpuServices(memory);
  const tsc = () => ({ khz: 1_000_000, mul: 0, shift: 0, incarnation: 1 });
  services.attach({ domainId: 3, vcpuBlocks, policy: cpuPolicy(), lapics, msrs, tsc });
  const vcpus = vcpuBlocks.map(block => Vcpu.at(memory.view, block));
  return { memory, services, vcpus, blocks: vcpuBlocks };
}

test('CPUID answers in the registers and follows CR4', () => {
  const { services, vcpus, blocks } = machine();
  const vcpu = vcpus[1]!;
  vcpu.gpr.set(0, 0xffffffff_40000004n);
  vcpu.gpr.set(1, 0n);
  services.cpuid(blocks[1]!);
  assert.equal(vcpu.gpr.get(3), 1n);
  assert.equal(vcpu.gpr.get(1), 3n);
  for (const [cr4, bit] of [
    [0n, 0n],
    [1n << 18n, 1n],
  ] as const) {
    vcpu.cr4 = cr4;
    vcpu.gpr.set(0, 1n);
    services.cpuid(blocks[1]!);
    assert.equal((vcpu.gpr.get(1) >> 27n) & 1n, bit);
    assert.equal(vcpu.gpr.get(3) >> 24n, 2n);
  }
});

test('MSRs go through temp', () => {
  const { services, vcpus, blocks } = machine();
  assert.equal(services.rdmsr(blocks[0]!, Msr.tsc), 0);
  assert.equal(vcpus[0]!.temp.get(0), 0x1_0000_0002n);
  assert.equal(services.rdmsr(blocks[0]!, 0x12345), 1);
  vcpus[0]!.temp.set(0, 0xc00n);
  assert.equal(services.wrmsr(blocks[0]!, Msr.mtrrDefType), 0);
  // An index above 2^31 arrives as a negative number from WebAssembly.
  assert.equal(services.rdmsr(blocks[0]!, Msr.hwcr | 0), 0);
  assert.equal(services.wrmsr(blocks[0]!, 0xdeadbeef | 0), 1);
});

test('the local APIC page, and nothing beside it', () => {
  const { memory, services, vcpus, blocks } = machine();
  const cpu = blocks[1]!;
  const scratch = cpu + Vcpu.offsets.scratch;
  services.mmioRead(cpu, 0xfee00000 + ApicRegister.id, 4);
  assert.equal(memory.view.getUint32(scratch, true), 2 << 24);
  // As WebAssembly passes it.
  services.mmioRead(cpu, (0xfee00000 + ApicRegister.version) | 0, 8);
  assert.equal(memory.view.getBigUint64(scratch, true), 0x50014n);
  services.mmioRead(cpu, 0xfed00000, 8);
  assert.equal(memory.view.getBigUint64(scratch, true), 0xffff_ffff_ffff_ffffn);
  memory.view.setUint32(scratch, 0x1ff, true);
  services.mmioWrite(cpu, 0xfed000f0, 4);
  services.upcall(cpu, 0xf3);
  assert.equal(vcpus[1]!.pendingInterrupt, -1);
  services.mmioWrite(cpu, 0xfee000f0, 4);
  assert.equal(vcpus[1]!.pendingInterrupt, 0xf3);
});

test('a detached domain has no processors any more', () => {
  const { services, blocks } = machine();
  services.detach(3);
  assert.equal(services.rdmsr(blocks[0]!, Msr.tsc), 1);
  assert.equal(services.wrmsr(blocks[0]!, Msr.tsc), 1);
  services.cpuid(blocks[0]!);
  services.upcall(blocks[0]!, 0xf3);
});
