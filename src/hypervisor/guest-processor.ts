/**
 * The processors of domains: each new domain gets local APICs and model-specific registers here, and the CPU engine its
 * host (`EngineHost`), which answers by vCPU block. Ports are those of a PVH guest: none but the early console.
 */
import { type Gfn, gfn, PAGE_SIZE } from '../base/brand.ts';
import type { EngineHost } from '../cpu/engine.ts';
import { Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { createLapics } from './apic.ts';
import { LAPIC_STATE_BYTES } from './apic-state.ts';
import { LOCAL_APIC_BASE } from './builder/layout.ts';
import { type CpuServices, createCpuServices } from './cpu-services.ts';
import type { CpuPolicy } from './cpuid-policy.ts';
import { attachRun } from './domain.ts';
import { upcallPending } from './event/upcall.ts';
import type { Clock, Domain, Vcpu } from './hypervisor.ts';
import { vcpuDown, vcpuUp } from './life.ts';
import { createMsrs } from './msr.ts';
import { MSR_STATE_BYTES } from './msr-state.ts';
import { addressOfGfn, mapMmio, pageIn, pageInForFetch } from './p2m.ts';
import { DomainRun } from './state.ts';
import { setApicTimer, ticksToNs } from './time.ts';
import { interruptArrived, vcpuOfBlock } from './wake.ts';

const TEMP = VcpuBlock.offsets.temp;
/** Xen's debug port: every byte written is a character of the early console. */
const PORT_XEN_CONSOLE = 0xe9;

export interface ProcessorOptions {
  readonly memory: MachineMemory;
  /** See `CodeServices`. */
  readonly readPage: EngineHost['readPage'];
  readonly originOf: EngineHost['originOf'];
  readonly clock: Clock;
  readonly policy: CpuPolicy;
  /** Fills bytes with randomness, for RDRAND and RDSEED. */
  readonly random: (bytes: Uint8Array) => void;
  /** Characters that a guest writes to port 0xE9. */
  readonly earlyConsole?: ((domain: Domain, character: number) => void) | undefined;
  /** Put a processor into its state after INIT and start it in real mode at page `vector`. */
  readonly startProcessor: (vcpuAddress: number, vector: number) => void;
}

export interface Processors {
  readonly services: CpuServices;
  readonly engineHost: EngineHost;
  /** Give a new domain's vCPUs their APICs and MSRs; an adopted one has them, and gets handles in this thread. */
  attach(domain: Domain, isAdopted?: boolean): void;
  /** A vCPU that got its start-up IPI (`VcpuState.startUp`) has left its pCPU: start it. */
  startLate(vcpu: Vcpu): void;
  detach(domain: Domain): void;
  /** A local APIC's timer is due. */
  timerFired(vcpuAddress: number): void;
}

export function createProcessors(options: ProcessorOptions): Processors {
  const { memory, readPage, originOf, clock, random, earlyConsole } = options;
  const services = createCpuServices(memory);
  const domains = new Map<number, { domain: Domain; timerFired(vcpuId: number): void }>();
  const domainIdOf = (block: number) => memory.u32[(block + VcpuBlock.offsets.domain) >>> 2]!;

  const engineHost: EngineHost = {
    pageIn: (block, frame, isFetch) => {
      const entry = domains.get(domainIdOf(block >>> 0));
      if (!entry) return;
      if (isFetch === 0) pageIn(entry.domain, frame);
      else pageInForFetch(entry.domain, frame);
    },
    readPage,
    originOf,
    mmioRead: (block, gpa, size) => services.mmioRead(block >>> 0, gpa, size),
    mmioWrite: (block, gpa, size) => services.mmioWrite(block >>> 0, gpa, size),
    rdmsr: (block, index) => services.rdmsr(block >>> 0, index),
    wrmsr: (block, index) => services.wrmsr(block >>> 0, index),
    cpuid: block => services.cpuid(block >>> 0),
    // Kernels read it in every system call: without a BigInt.
    readTsc: block => {
      const ticks = clock.tsc();
      const at = ((block >>> 0) + TEMP) >>> 2;
      memory.u32[at] = ticks;
      memory.u32[at + 1] = ticks / 2 ** 32;
    },
    random: block => {
      // Copied: the host's generator may refuse to write to shared memory.
      const bytes = new Uint8Array(8);
      random(bytes);
      memory.u8.set(bytes, (block >>> 0) + TEMP);
    },
    portIn: () => -1,
    portOut: (block, port, _size, value) => {
      const entry = domains.get(domainIdOf(block >>> 0));
      if (port === PORT_XEN_CONSOLE && entry) earlyConsole?.(entry.domain, value & 0xff);
    },
  };

  return {
    services,
    engineHost,
    attach(domain, isAdopted = false) {
      const count = domain.vcpus.length;
      const vcpuBlocks = domain.vcpus.map(vcpu => vcpu.state.block);
      const at = (id: number) => domain.vcpus[id] as Vcpu;
      const lapics = createLapics(
        memory,
        attachRun(domain, DomainRun.lapics, count * LAPIC_STATE_BYTES),
        vcpuBlocks,
        {
          nowNs: () => clock.systemTimeNs(),
          tsc: () => BigInt(clock.tsc()),
          nsAtTsc: (_id, tsc) => nsAtTsc(domain, tsc),
          setTimer: (id, atNs) => setApicTimer(at(id), atNs),
          initVcpu: id => {
            at(id).state.startUp = 0;
            vcpuDown(at(id));
          },
          startVcpu: (id, vector) => {
            // Its pCPU may not have seen the INIT yet: then it starts it.
            if (at(id).state.runningOn !== 0) at(id).state.startUp = vector + 1;
            else startVcpu(at(id), vector);
          },
          // Nothing sends NMIs to a PVH guest yet, and a guest's own NMI IPIs (backtraces) are not delivered.
          nmi: () => {},
          enabled: id => {
            const { upcallVector } = at(id).state;
            if (upcallVector !== 0 && upcallPending(at(id))) lapics.raise(id, upcallVector);
          },
          wake: id => interruptArrived(domain.hypervisor, at(id).state.block),
        },
      );
      const msrs = createMsrs(memory, attachRun(domain, DomainRun.msrs, count * MSR_STATE_BYTES), count, {
        lapics,
        tsc: () => BigInt(clock.tsc()),
        // The TSC is the machine's: writes have no effect, as with a TSC that the hypervisor emulates.
        setTsc: () => {},
        writeGuestPage: (frame, page) => writeGuestPage(domain, frame, page),
      });
      if (!isAdopted) {
        lapics.initialise();
        msrs.initialise();
        mapMmio(domain, gfn(LOCAL_APIC_BASE / PAGE_SIZE));
      }
      services.attach({
        domainId: domain.id,
        vcpuBlocks,
        policy: options.policy,
        lapics,
        msrs,
        tsc: () => {
          const { tscKhz, tscToSystemMul, tscShift } = domain.state;
          return { khz: tscKhz, mul: tscToSystemMul, shift: tscShift, incarnation: 0 };
        },
      });
      domains.set(domain.id, { domain, timerFired: id => lapics.timerFired(id) });
    },
    startLate(vcpu) {
      const vector = vcpu.state.startUp - 1;
      vcpu.state.startUp = 0;
      startVcpu(vcpu, vector);
    },
    detach(domain) {
      services.detach(domain.id);
      domains.delete(domain.id);
    },
    timerFired(block) {
      const entry = domains.get(domainIdOf(block));
      const vcpu = entry && vcpuOfBlock(entry.domain.hypervisor, block);
      if (vcpu) entry.timerFired(vcpu.id);
    },
  };

  function startVcpu(vcpu: Vcpu, vector: number): void {
    options.startProcessor(vcpu.state.block, vector);
    vcpu.state.isInitialised = 1;
    vcpuUp(vcpu);
  }

  function nsAtTsc(domain: Domain, tsc: bigint): number {
    const ahead = tsc - BigInt(clock.tsc());
    if (ahead <= 0n) return clock.systemTimeNs();
    return (
      clock.systemTimeNs() + Number(ticksToNs(ahead, domain.state.tscToSystemMul, domain.state.tscShift))
    );
  }
}

function writeGuestPage(domain: Domain, frame: Gfn, page: Uint8Array): boolean {
  const address = addressOfGfn(domain, frame);
  if (address === 0) return false;
  domain.hypervisor.memory.u8.set(page, address);
  domain.hypervisor.engine.codeWritten?.(address, PAGE_SIZE);
  return true;
}
