/**
 * What the CPU engine asks the hypervisor for while a vCPU runs: CPUID, model-specific registers, the local APIC's page. The
 * engine knows a vCPU by the address of its block; domains register theirs here.
 *
 * Answers go where the engine expects them: `temp[0]` for MSRs, the start of `scratch` for devices, the registers for CPUID.
 */
import { Vcpu } from '../cpu/vcpu/layout.ts';
import type { MachineMemory } from '../machine/memory.ts';
import type { Lapics } from './apic.ts';
import { LOCAL_APIC_BASE } from './builder/layout.ts';
import { type CpuidContext, cpuid } from './cpuid.ts';
import type { CpuPolicy } from './cpuid-policy.ts';
import type { Msrs } from './msr.ts';

/** One domain's processors. */
export interface DomainProcessors {
  readonly domainId: number;
  /** Machine addresses of the vCPU blocks, by vCPU id. */
  readonly vcpuBlocks: readonly number[];
  readonly policy: CpuPolicy;
  readonly lapics: Lapics;
  readonly msrs: Msrs;
  /** TSC frequency and scaling that the guest is told; may change with a migration. */
  tsc(): CpuidContext['tsc'];
}

export interface CpuServices {
  attach(processors: DomainProcessors): void;
  detach(domainId: number): void;
  cpuid(cpu: number): void;
  /** Nonzero means #GP. */
  rdmsr(cpu: number, index: number): number;
  wrmsr(cpu: number, index: number): number;
  mmioRead(cpu: number, gpa: number, size: number): void;
  mmioWrite(cpu: number, gpa: number, size: number): void;
  /** Raise an event upcall through the local APIC. */
  upcall(cpu: number, vector: number): void;
  /** Recompute `Vcpu.pendingInterrupt`. */
  refresh(cpu: number): void;
}

const PAGE_BYTES = 0x1000;
const APIC_ENABLED = 1n << 11n;
const CR4_OSXSAVE = 1n << 18n;
const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];
const GPR = Vcpu.offsets.gpr;

export function createCpuServices(memory: MachineMemory): CpuServices {
  const { view } = memory;
  const byBlock = new Map<number, { readonly processors: DomainProcessors; readonly id: number }>();
  const register = (cpu: number, index: number) => view.getUint32(cpu + GPR + index * 8, true);
  const setRegister = (cpu: number, index: number, value: number) =>
    view.setBigUint64(cpu + GPR + index * 8, BigInt(value), true);
  const isLapic = (gpa: number) => gpa >>> 0 >= LOCAL_APIC_BASE && gpa >>> 0 < LOCAL_APIC_BASE + PAGE_BYTES;

  return {
    attach(processors) {
      processors.vcpuBlocks.forEach((block, id) => {
        byBlock.set(block, { processors, id });
      });
    },
    detach(domainId) {
      for (const [block, { processors }] of byBlock) {
        if (processors.domainId === domainId) byBlock.delete(block);
      }
    },
    cpuid(cpu) {
      const entry = byBlock.get(cpu);
      if (!entry) return;
      const { processors, id } = entry;
      const vcpu = Vcpu.at(view, cpu);
      const result = cpuid(register(cpu, RAX), register(cpu, RCX), {
        policy: processors.policy,
        vcpuId: id,
        vcpus: processors.vcpuBlocks.length,
        domainId: processors.domainId,
        osxsave: (vcpu.cr4 & CR4_OSXSAVE) !== 0n,
        xcr0: Number(vcpu.xcr0 & 0xffffffffn),
        apicEnabled: (vcpu.apicBase & APIC_ENABLED) !== 0n,
        tsc: processors.tsc(),
      });
      setRegister(cpu, RAX, result.eax);
      setRegister(cpu, RBX, result.ebx);
      setRegister(cpu, RCX, result.ecx);
      setRegister(cpu, RDX, result.edx);
    },
    rdmsr(cpu, index) {
      const entry = byBlock.get(cpu);
      const value = entry?.processors.msrs.readMsr(entry.id, index >>> 0);
      if (value === undefined) return 1;
      view.setBigUint64(cpu + Vcpu.offsets.temp, value, true);
      return 0;
    },
    wrmsr(cpu, index) {
      const entry = byBlock.get(cpu);
      const value = view.getBigUint64(cpu + Vcpu.offsets.temp, true);
      return entry?.processors.msrs.writeMsr(entry.id, index >>> 0, value) ? 0 : 1;
    },
    mmioRead(cpu, gpa, size) {
      const entry = byBlock.get(cpu);
      const scratch = cpu + Vcpu.offsets.scratch;
      // What is no device answers as an empty bus does.
      memory.u8.fill(0xff, scratch, scratch + size);
      if (!entry || !isLapic(gpa)) return;
      const value = entry.processors.lapics.mmioRead(entry.id, gpa & (PAGE_BYTES - 1), size);
      for (let i = 0; i < size; i++) view.setUint8(scratch + i, i < 4 ? value >>> (8 * i) : 0);
    },
    mmioWrite(cpu, gpa, size) {
      const entry = byBlock.get(cpu);
      if (!entry || !isLapic(gpa)) return;
      const scratch = cpu + Vcpu.offsets.scratch;
      const value =
        size >= 4
          ? view.getUint32(scratch, true)
          : size === 2
            ? view.getUint16(scratch, true)
            : view.getUint8(scratch);
      entry.processors.lapics.mmioWrite(entry.id, gpa & (PAGE_BYTES - 1), size, value);
    },
    upcall(cpu, vector) {
      const entry = byBlock.get(cpu);
      entry?.processors.lapics.raise(entry.id, vector);
    },
    refresh(cpu) {
      const entry = byBlock.get(cpu);
      entry?.processors.lapics.update(entry.id);
    },
  };
}
