/**
 * What a guest's processors meet outside of memory: local APICs, model-specific registers, CPUID, ports and time.
 *
 * It is the CPU engine's host (`EngineHost`): the engine asks with the address of a vCPU block, and is answered for the
 * domain which that block belongs to. Ports are those of a PVH guest: none but the early console at 0xE9.
 */
import { type Gfn, gfn, PAGE_SIZE } from '../base/brand.ts';
import type { EngineHost } from '../cpu/engine.ts';
import { Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { createLapics, type Lapics } from './apic.ts';
import { LAPIC_STATE_BYTES } from './apic-state.ts';
import { LOCAL_APIC_BASE } from './builder/layout.ts';
import { cpuid } from './cpuid.ts';
import type { CpuPolicy } from './cpuid-policy.ts';
import type { Clock, Domain, Vcpu } from './hypervisor.ts';
import { vcpuUp } from './life.ts';
import { createMsrs, type Msrs } from './msr.ts';
import { MSR_STATE_BYTES } from './msr-state.ts';
import { addressOfGfn, mapMmio } from './p2m.ts';
import { takeRun } from './runs.ts';
import { NEVER, Pause } from './state.ts';
import { ticksToNs, timerArmed } from './time.ts';
import { interruptArrived } from './wake.ts';

const V = VcpuBlock.offsets;
const CR4_OSXSAVE = 1n << 18n;
const APIC_ENABLED = 1n << 11n;
const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
/** Xen's debug port: every byte written is a character of the early console. */
const PORT_XEN_CONSOLE = 0xe9;
const ALL_ONES = 0xffffffff;

/** The processors of one domain. */
export interface GuestProcessors {
  readonly domain: Domain;
  readonly lapics: Lapics;
  readonly msrs: Msrs;
}

export interface ProcessorOptions {
  readonly memory: MachineMemory;
  readonly clock: Clock;
  readonly policy: CpuPolicy;
  /** Fills bytes with randomness for RDRAND and RDSEED. */
  readonly random: (bytes: Uint8Array) => void;
  /** Characters that a guest writes to port 0xE9. */
  readonly earlyConsole?: (domain: Domain, character: number) => void;
  /** Put a processor into its state after INIT and start it in real mode at page `vector`. */
  readonly startProcessor: (vcpuAddress: number, vector: number) => void;
}

/** All processors of a machine, by the address of their block. */
export class ProcessorBoard {
  readonly #options: ProcessorOptions;
  readonly #byBlock = new Map<number, { processors: GuestProcessors; vcpu: Vcpu }>();

  constructor(options: ProcessorOptions) {
    this.#options = options;
  }

  /** Give a new domain's vCPUs their APICs and MSRs. */
  attach(domain: Domain): GuestProcessors {
    const { memory, clock } = this.#options;
    const count = domain.vcpus.length;
    const pages = (bytes: number) => Math.ceil((count * bytes) / PAGE_SIZE);
    const blocks = domain.vcpus.map(vcpu => vcpu.state.block);
    const at = (id: number) => domain.vcpus[id] as Vcpu;
    const lapics = createLapics(memory, takeRun(domain.hypervisor, pages(LAPIC_STATE_BYTES)), blocks, {
      nowNs: () => clock.systemTimeNs(),
      tsc: () => clock.tsc(),
      nsAtTsc: (_id, tsc) => this.#nsAtTsc(domain, tsc),
      setTimer: (id, atNs) => {
        at(id).state.lapicTimerNs = atNs < 0 ? NEVER : atNs;
        if (atNs >= 0) timerArmed(domain.hypervisor, atNs);
      },
      initVcpu: id => {
        at(id).state.pauseFlags |= Pause.down;
      },
      startVcpu: (id, vector) => {
        this.#options.startProcessor(at(id).state.block, vector);
        at(id).state.isInitialised = 1;
        vcpuUp(at(id));
      },
      nmi: () => {},
      wake: id => interruptArrived(domain.hypervisor, at(id).state.block),
    });
    const msrs = createMsrs(memory, takeRun(domain.hypervisor, pages(MSR_STATE_BYTES)), count, {
      lapics,
      tsc: () => clock.tsc(),
      setTsc: () => {},
      writeGuestPage: (frame: Gfn, page) => {
        const address = addressOfGfn(domain, frame);
        if (address === 0) return false;
        memory.u8.set(page, address);
        domain.hypervisor.engine.codeWritten?.(address, PAGE_SIZE);
        return true;
      },
    });
    lapics.initialise();
    msrs.initialise();
    mapMmio(domain, gfn(LOCAL_APIC_BASE / PAGE_SIZE));
    const processors = { domain, lapics, msrs };
    for (const vcpu of domain.vcpus) this.#byBlock.set(vcpu.state.block, { processors, vcpu });
    return processors;
  }

  detach(domain: Domain): void {
    for (const vcpu of domain.vcpus) this.#byBlock.delete(vcpu.state.block);
  }

  lapicsOf(block: number): Lapics | undefined {
    return this.#byBlock.get(block)?.processors.lapics;
  }
  vcpuOf(block: number): Vcpu | undefined {
    return this.#byBlock.get(block)?.vcpu;
  }

  #nsAtTsc(domain: Domain, tsc: bigint): number {
    const { clock } = this.#options;
    const ahead = tsc - clock.tsc();
    if (ahead <= 0n) return clock.systemTimeNs();
    const { tscToSystemMul, tscShift } = domain.state;
    return clock.systemTimeNs() + Number(ticksToNs(ahead, tscToSystemMul, tscShift));
  }

  /** What the CPU engine calls. */
  engineHost(): EngineHost {
    const { memory, clock, random, earlyConsole } = this.#options;
    const { view } = memory;
    const find = (block: number) => this.#byBlock.get(block >>> 0);
    const setTemp = (block: number, value: bigint) => view.setBigUint64(block + V.temp, value, true);
    const setRegister = (block: number, register: number, value: number) =>
      view.setBigUint64(block + V.gpr + register * 8, BigInt(value >>> 0), true);
    return {
      mmioRead: (block, gpa, size) => {
        const offset = (gpa >>> 0) - LOCAL_APIC_BASE;
        const found = find(block);
        const value = found ? found.processors.lapics.mmioRead(found.vcpu.id, offset, size) : ALL_ONES;
        view.setBigUint64(block + V.scratch, BigInt(value >>> 0), true);
      },
      mmioWrite: (block, gpa, size) => {
        const found = find(block);
        const value = view.getUint32(block + V.scratch, true);
        found?.processors.lapics.mmioWrite(found.vcpu.id, (gpa >>> 0) - LOCAL_APIC_BASE, size, value);
      },
      rdmsr: (block, index) => {
        const found = find(block);
        const value = found?.processors.msrs.readMsr(found.vcpu.id, index >>> 0);
        if (value === undefined) return 1;
        setTemp(block, value);
        return 0;
      },
      wrmsr: (block, index) => {
        const found = find(block);
        const value = view.getBigUint64(block + V.temp, true);
        return found?.processors.msrs.writeMsr(found.vcpu.id, index >>> 0, value) ? 0 : 1;
      },
      cpuid: block => {
        const answer = this.#cpuid(block >>> 0);
        setRegister(block, RAX, answer.eax);
        setRegister(block, RBX, answer.ebx);
        setRegister(block, RCX, answer.ecx);
        setRegister(block, RDX, answer.edx);
      },
      readTsc: block => setTemp(block, clock.tsc()),
      random: block => random(memory.u8.subarray(block + V.temp, block + V.temp + 8)),
      portIn: () => -1,
      portOut: (block, port, _size, value) => {
        const found = find(block);
        if (port === PORT_XEN_CONSOLE && found) earlyConsole?.(found.vcpu.domain, value & 0xff);
      },
    };
  }

  #cpuid(block: number) {
    const found = this.#byBlock.get(block);
    if (!found) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const { domain } = found.processors;
    const state = VcpuBlock.at(this.#options.memory.view, block);
    const { tscKhz, tscToSystemMul, tscShift } = domain.state;
    return cpuid(Number(state.gpr.get(RAX) & 0xffffffffn), Number(state.gpr.get(RCX) & 0xffffffffn), {
      policy: this.#options.policy,
      vcpuId: found.vcpu.id,
      vcpus: domain.vcpus.length,
      domainId: domain.id,
      osxsave: (state.cr4 & CR4_OSXSAVE) !== 0n,
      xcr0: Number(state.xcr0 & 0xffffffffn),
      apicEnabled: (state.apicBase & APIC_ENABLED) !== 0n,
      tsc: { khz: tscKhz, mul: tscToSystemMul, shift: tscShift, incarnation: 0 },
    });
  }
}
