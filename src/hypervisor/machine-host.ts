/**
 * One machine: memory, CPU engine, processors and hypervisor put together over an injected platform.
 *
 * It owns the order in which things meet when a vCPU is entered: the waiting interrupt is accepted from the APIC and
 * delivered, then the engine runs. Time is the platform's; in deterministic mode it passes with the instructions
 * that vCPUs retire, including those of the slice that is under way.
 */
import { type MachineAddress, type Mfn, maddr, PAGE_SIZE } from '../base/brand.ts';
import { createAlone } from '../cpu/alone.ts';
import { CpuEngine, type EngineHost, type EngineModules, layOutCode, retiredNow } from '../cpu/engine.ts';
import type { MakerLink } from '../cpu/translator/translator.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { VCPU_BLOCK_BYTES, Vcpu as VcpuBlock } from '../cpu/vcpu/layout.ts';
import { FrameTable } from '../machine/frames.ts';
import { machineHeader } from '../machine/header.ts';
import type { Lock } from '../machine/lock.ts';
import {
  createMachineMemory,
  MACHINE_BYTES_MAX,
  type MachineMemory,
  viewMachineMemory,
} from '../machine/memory.ts';
import type { Platform } from '../platform/platform.ts';
import { NS_PER_INSTRUCTION } from '../platform/sim/clock.ts';
import { BorrowedPages, keepBorrowed } from './borrowed-pages.ts';
import { type CpuPolicy, cpuPolicy } from './cpuid-policy.ts';
import { createHypervisor } from './domain.ts';
import { createExclusive } from './exclusive.ts';
import { createProcessors, type Processors } from './guest-processor.ts';
import type { Clock, Domain, Hypervisor, Notices } from './hypervisor.ts';
import { openPages } from './image-pages.ts';
import { fillCode } from './p2m.ts';
import type { PagesMemory } from './page-source.ts';
import { createGuestEntry, createParallel } from './parallel.ts';
import type { StoredPages } from './sharing/stored-pages.ts';

/** The guest's time-stamp counter runs at 1 GHz: a tick is a nanosecond. */
export const TSC_KHZ = 1_000_000;
/** What the hypervisor needs besides: frame table, p2m tables, event channels. */
const OVERHEAD_BYTES = 32 << 20;
/** A vCPU's block, APIC, registers and the hypervisor's state of it. */
const VCPU_BYTES = VCPU_BLOCK_BYTES + 16 * 4096;
const CODE_CACHE_BYTES = 128 << 20;
/** What a clone uses of it at first. */
const CLONE_CODE_BYTES = 768 << 10;

const V = VcpuBlock.offsets;

export interface MachineHostOptions {
  readonly modules: EngineModules;
  /** Translate hot code (the default); else the interpreter runs everything. */
  readonly translates?: boolean;
  /** Jumps to a place until it is translated. */
  readonly hotJumps?: number | undefined;
  /** Who makes regions of hot code, when it is another thread. */
  readonly makerLink?: MakerLink | undefined;
  readonly platform: Platform;
  /** Memory for guests. */
  readonly guestBytes: number;
  /** vCPUs of all guests together. */
  readonly vcpus: number;
  /** The machine's memory, when it has been made beforehand (`createMemoryFor`). */
  readonly memory?: MachineMemory | undefined;
  readonly notices?: Notices;
  readonly policy?: CpuPolicy;
  readonly earlyConsole?: (domain: Domain, character: number) => void;
  /** This thread is one of those that run vCPUs of the machine, or serves those that do. */
  readonly parallel?: {
    /** See `Parallel.pcpu`. */
    readonly pcpu: number;
    /** Tell the control domain's thread to look. */
    readonly call?: () => void;
    /** One thread executes all vCPUs: tell it that there is something to execute (exclusive.ts). */
    readonly ring?: () => void;
    /** The machine, when another thread has made it. */
    readonly adopt?: {
      readonly memory: WebAssembly.Memory;
      readonly wallStartNs: bigint;
      readonly clockOffsetNs: number;
    };
  };
  /** What the machine's clock shows now, when it goes on from where a saved one stood. */
  readonly startNs?: number;
  /** What paged frames of a restored domain are filled from. */
  readonly pages?: PagesMemory | undefined;
  /** Contents of shared pages. */
  readonly store?: StoredPages | undefined;
}

export interface MachineHost {
  readonly hypervisor: Hypervisor;
  readonly engine: CpuEngine;
  readonly processors: Processors;
  /** From now on the guest is to be fast, and not small. */
  expectWork(): void;
  /** The time of day when the machine's clock was at 0. */
  readonly wallStartNs: bigint;
  /** The machine's clock is so far ahead of the platform's. */
  readonly clockOffsetNs: number;
}

type MachineSize = Pick<MachineHostOptions, 'guestBytes' | 'vcpus'>;

const machineBytes = ({ guestBytes, vcpus }: MachineSize): number =>
  guestBytes + CODE_CACHE_BYTES + OVERHEAD_BYTES + vcpus * VCPU_BYTES;

/**
 * Memory for a machine that is about to be made, in which some frames are reserved, and the code cache has its place; undefined when there is no
 * room for them.
 */
export function createMemoryFor(
  size: MachineSize,
  nrReserved: number,
): { readonly memory: MachineMemory; readonly first: Mfn } | undefined {
  const sizeBytes = machineBytes(size) + nrReserved * PAGE_SIZE;
  if (sizeBytes > MACHINE_BYTES_MAX) return undefined;
  const memory = createMachineMemory(sizeBytes);
  const frames = new FrameTable(memory);
  const first = frames.reserveRun(nrReserved);
  layOutCode(frames, CODE_CACHE_BYTES);
  return { memory, first };
}

export function createMachineHost(options: MachineHostOptions): MachineHost {
  const { platform } = options;
  const adopt = options.parallel?.adopt;
  const memory = adopt
    ? viewMachineMemory(adopt.memory)
    : (options.memory ?? createMachineMemory(machineBytes(options)));
  const frames = new FrameTable(memory);
  const { view } = memory;
  let running = 0;
  /** What the vCPU had retired when it was entered. */
  let retiredBefore = 0;
  // Instructions of the entry that is under way, which the platform's clock has not been told of yet.
  const untold = (): number => (running === 0 ? 0 : retiredNow(memory, running) - retiredBefore);
  const offset = adopt?.clockOffsetNs ?? offsetTo(options.startNs, platform);
  const now = platform.isDeterministic
    ? () => platform.clock.monotonicNs() + untold() * NS_PER_INSTRUCTION + offset
    : () => Math.floor(platform.clock.monotonicNs()) + offset;
  const wallStart = adopt?.wallStartNs ?? platform.clock.wallNs() - BigInt(Math.floor(now()));
  const clock: Clock = {
    systemTimeNs: now,
    tsc: now,
    wallClockNs: () => wallStart + BigInt(now()),
    ...(platform.isDeterministic && {
      fuelUntil: (deadlineNs: number) => Math.ceil((deadlineNs - now()) / NS_PER_INSTRUCTION),
    }),
  };
  const processors = createProcessors({
    memory,
    readPage: (page, into) => hypervisor.pages?.read(page, into),
    originOf: page => hypervisor.pages?.originOf?.(page),
    clock,
    policy: options.policy ?? cpuPolicy(),
    random: bytes => platform.entropy.fill(bytes),
    earlyConsole: options.earlyConsole,
    startProcessor: (block, vector) => engine.runtime.sipi(block, vector),
  });
  /** Whoever makes regions reads the code that he makes them of, and has them in the code cache. */
  const wake = (areHot: boolean): void => {
    if (areHot) {
      fillCode(hypervisor);
      expectWork();
    }
    options.makerLink?.wake(areHot);
  };
  const expectWork = (): void => {
    engine.useAllCode();
    keepBorrowed(hypervisor);
  };
  const alone = createAlone(memory);
  const { pcpu = 0, call = () => {}, ring } = options.parallel ?? {};
  const exclusive = ring && createExclusive(memory, pcpu, call, ring);
  const parallel = options.parallel && !exclusive ? createParallel(memory, alone, pcpu, call) : undefined;
  // Who executes a machine alone has the lock; the control domain's thread looks at guest memory without it.
  const lock = (parallel ?? (pcpu === 0 ? exclusive : undefined))?.lock;
  const engineHost = lock ? lockedServices(processors.engineHost, lock) : processors.engineHost;
  const executes = options.parallel === undefined || pcpu !== 0;
  // Nobody else reads code or keeps anything in the code cache until the maker of regions is woken for hot code.
  const isLazy = !parallel && (options.makerLink?.isLazy ?? options.translates === false);
  const isClone = options.pages !== undefined && !('fd' in options.pages);
  const engine: CpuEngine = new CpuEngine(options.modules, frames, engineHost, {
    codeCacheBytes: CODE_CACHE_BYTES,
    ...(isLazy && isClone && { firstCodeBytes: CLONE_CODE_BYTES }),
    executes,
    translates: options.translates ?? true,
    makerLink: options.makerLink && { ...options.makerLink, wake },
    ...(options.hotJumps !== undefined && { hotJumps: options.hotJumps }),
  });
  if (parallel) machineHeader(memory).isParallel = 1;
  const enterGuest = parallel && createGuestEntry(engine, alone, parallel);

  /** Deliver the interrupt that waits, if the vCPU takes one. Returns an exit reason when that failed. */
  function acceptInterrupt(block: MachineAddress): number | undefined {
    const vector = view.getInt32(block + V.pendingInterrupt, true);
    if (vector < 0 || !engine.interruptible(block)) return undefined;
    // The APIC sees from the empty slot that its interrupt was taken.
    view.setInt32(block + V.pendingInterrupt, -1, true);
    return engine.deliverInterrupt(block, vector);
  }

  const hypervisor: Hypervisor = createHypervisor({
    memory,
    frames,
    clock,
    notices: options.notices ?? {},
    parallel: parallel ?? exclusive,
    pages: options.pages && openPages(options.pages),
    leavesCode: isLazy,
    ...(executes && isLazy && isClone && { borrowed: new BorrowedPages() }),
    store: options.store,
    interrupts: {
      upcall: (block, vector) => processors.services.upcall(block, vector),
      refresh: block => processors.services.refresh(block),
      timerFired: block => processors.timerFired(block),
      startLate: vcpu => processors.startLate(vcpu),
    },
    engine: {
      run(address, fuel) {
        if (enterGuest) return enterGuest(address, fuel);
        const block = maddr(address);
        if (exclusive?.isWanted(block)) {
          exclusive.giveWay();
          view.setInt32(block + V.fuel, fuel, true);
          return Exit.kick;
        }
        const failed = acceptInterrupt(block);
        if (failed !== undefined) return failed;
        retiredBefore = retiredNow(memory, block);
        running = block;
        try {
          return engine.run(block, fuel);
        } finally {
          running = 0;
          platform.pacer.retired(retiredNow(memory, block) - retiredBefore);
        }
      },
      translate: (block, gva, write) => engine.runtime.translate(block, gva, write ? 1 : 0, 1) >>> 0,
      p2mChanged: domain => engine.runtime.flushDomain(domain.id),
      codeWritten: (address, sizeBytes) =>
        engine.runtime.invalidateCode(address >>> 12, address & 4095, sizeBytes),
    },
  });
  if (adopt) {
    for (const domain of hypervisor.domains.values()) {
      if (!domain.state.isControl) processors.attach(domain, true);
    }
  }
  return { hypervisor, engine, processors, expectWork, wallStartNs: wallStart, clockOffsetNs: offset };
}

/** How far the machine's clock is ahead of the platform's when it shows `startNs` now. */
const offsetTo = (startNs: number | undefined, { clock }: Platform): number =>
  startNs === undefined ? 0 : startNs - Math.floor(clock.monotonicNs());

/** The services that touch the hypervisor's state, which guest code needs in the middle of an instruction. */
function lockedServices(host: EngineHost, lock: Lock): EngineHost {
  return {
    ...host,
    pageIn: (cpu, gfn, isFetch) => lock.during(() => host.pageIn(cpu, gfn, isFetch)),
    mmioRead: (cpu, gpa, size) => lock.during(() => host.mmioRead(cpu, gpa, size)),
    mmioWrite: (cpu, gpa, size) => lock.during(() => host.mmioWrite(cpu, gpa, size)),
    rdmsr: (cpu, index) => lock.during(() => host.rdmsr(cpu, index)),
    wrmsr: (cpu, index) => lock.during(() => host.wrmsr(cpu, index)),
  };
}
