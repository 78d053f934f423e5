/**
 * The CPU engine as a library: x86-64 processors over machine memory. It knows nothing of Xen; what a processor needs
 * from the machine around it comes through `EngineHost`.
 */

import { frameAddress, type MachineAddress, PAGE_SIZE } from '../base/brand.ts';
import { DomusError, invariant } from '../base/errors.ts';
import type { FrameTable } from '../machine/frames.ts';
import { machineHeader, usesAllCode } from '../machine/header.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { type CodeServices, RecordWriter } from './decode/records.ts';
import { FEW_TARGETS_UNTIL, useAllTargets } from './interpreter/jump-table.ts';
import { DIGEST_SECTION } from './interpreter/pseudo.ts';
import type { Services } from './interpreter/services.ts';
import { FORMS_DIGEST } from './isa/form-numbers.ts';
import { createRuntime, importsOf } from './runtime/runtime.ts';
import type { RuntimeExports, RuntimeImports } from './runtime/signatures.ts';
import { TranslatorState } from './translator/layout.ts';
import { type MakerLink, Translator } from './translator/translator.ts';
import { Exit } from './vcpu/exit.ts';
import { Seg, VCPU_BLOCK_BYTES, Vcpu } from './vcpu/layout.ts';
import { holdLateModule, lateModule } from './wasm/late-module.ts';

/** Machine-dependent behaviour of a processor. */
export type EngineHost = Services &
  Omit<RuntimeImports, 'decode'> &
  Pick<CodeServices, 'readPage' | 'originOf'>;

/** The compiled WebAssembly modules; the same for all engines of a process. */
export interface EngineModules {
  readonly runtime: WebAssembly.Module;
  readonly interpreter: WebAssembly.Module;
}

export interface EngineOptions {
  /** Memory for decoded instructions; when it is full all is decoded again. */
  readonly codeCacheBytes?: number;
  /** So much of it is used at first: see runtime/assembly/code/room.ts. Default: all of it. */
  readonly firstCodeBytes?: number;
  /** Guest code is executed here (the default); else the engine only changes what those look at who do. */
  readonly executes?: boolean;
  /** Translate hot code; else the interpreter runs everything. */
  readonly translates?: boolean;
  /** Jumps to a place until it is translated. */
  readonly hotJumps?: number;
  /** Entries of a small region until a larger one takes its place. */
  readonly hotEntries?: number;
  /** Who makes regions, when it is another thread. */
  readonly makerLink?: MakerLink | undefined;
}

/** Sees every instruction: a trace. The engine then executes one at a time. */
export interface InstructionObserver {
  before(cpu: MachineAddress): void;
  /** `executed` is 0 when something else came first: an interrupt window, a breakpoint, a fault of the fetch. */
  after(cpu: MachineAddress, executed: number): void;
}

const V = Vcpu.offsets;
/** What it costs to translate a place is what the interpreter needs for some ten thousand jumps there: docs/design/0022. */
const HOT_JUMPS = 48_000;
/** V8's second compiler comes to a small region at 10,000 to 20,000: in vain, if a large one takes its place then. */
const HOT_ENTRIES = 10_000;
const FLAG_TF = 1 << 8;
const FLAG_IF = 1 << 9;

/** A machine's code cache, where it has none yet. @param firstBytes of it that are used at first */
export function layOutCode(frames: FrameTable, sizeBytes: number, firstBytes = sizeBytes): void {
  const header = machineHeader(frames.memory);
  if (header.codeBase !== 0) return;
  header.codeBase = frameAddress(frames.reserveRun(Math.ceil(sizeBytes / PAGE_SIZE)));
  header.codeNext = header.codeBase;
  header.codeLimit = header.codeBase + firstBytes;
  header.codeEnd = header.codeBase + sizeBytes;
  header.translator = frameAddress(frames.allocateRun(Math.ceil(TranslatorState.size / PAGE_SIZE)));
}

export class CpuEngine {
  readonly memory: MachineMemory;
  readonly runtime: RuntimeExports;
  readonly #frames: FrameTable;
  readonly #run: (cpu: number) => void = () => invariant(false, 'this engine executes nothing');

  constructor(
    modules: EngineModules,
    frames: FrameTable,
    host: EngineHost,
    {
      codeCacheBytes = 96 << 20,
      firstCodeBytes = codeCacheBytes,
      translates = true,
      hotJumps = HOT_JUMPS,
      hotEntries = HOT_ENTRIES,
      executes = true,
      makerLink,
    }: EngineOptions = {},
  ) {
    checkBuild(modules.interpreter);
    this.#frames = frames;
    this.memory = frames.memory;
    const runtime: RuntimeExports = createRuntime(modules.runtime, this.memory, {
      decode: (cpu, hostPage, codePage, offset) => this.#decode(cpu, hostPage >>> 0, codePage >>> 0, offset),
      pageIn: host.pageIn,
      mmioRead: host.mmioRead,
      mmioWrite: host.mmioWrite,
      rdmsr: host.rdmsr,
      wrmsr: host.wrmsr,
    });
    this.runtime = runtime;
    const header = machineHeader(this.memory);
    header.hotJumps = translates ? hotJumps : 0;
    header.hotEntries = hotEntries;
    layOutCode(frames, codeCacheBytes, firstCodeBytes);
    this.#records = new RecordWriter(this.memory, {
      codeBehind: (cpu, codePage) => runtime.codeBehind(cpu, codePage) >>> 0,
      readPage: host.readPage,
      originOf: host.originOf,
      markCode: mfn => runtime.markCode(mfn),
      decoded: (cpu, page, codePage, isFirst, run) => {
        // Regions know no breakpoints, and are not put where records are about to be thrown away.
        if (this.#breakpoints.size === 0 && usesAllCode(this.memory))
          this.translator?.decoded(cpu, page, codePage, isFirst, run);
      },
    });
    if (!executes) return;
    holdLateModule('rare-forms');
    const imports = {
      env: { memory: this.memory.wasm },
      runtime: importsOf(runtime),
      services: {
        cpuid: host.cpuid,
        readTsc: host.readTsc,
        random: host.random,
        portIn: host.portIn,
        portOut: host.portOut,
        hot: (cpu: number, record: number) => this.#hot(cpu >>> 0, record >>> 0),
        breakpoint: (cpu: number) => this.#atBreakpoint(cpu),
        rareForms() {
          const module = lateModule('rare-forms', modules.interpreter);
          // It puts its handlers into the interpreter's table.
          new WebAssembly.Instance(module, { ...imports, interpreter: interpreter.exports });
        },
      },
    };
    const interpreter = new WebAssembly.Instance(modules.interpreter, imports);
    if (translates) {
      this.translator = new Translator({
        memory: this.memory,
        runtime,
        interpreter: interpreter.exports,
        link: makerLink,
      });
    }
    this.#run = interpreter.exports.run as (cpu: number) => void;
  }

  readonly #records: RecordWriter;
  /** Instructions, while they are few. */
  #nrExecuted = 0;
  /** Undefined when the interpreter runs everything. */
  readonly translator: Translator | undefined;

  #hot(cpu: number, record: number): void {
    // Regions know no breakpoints.
    if (this.#breakpoints.size === 0) this.translator?.hot(cpu, record);
  }

  #decode(cpu: number, hostPage: number, codePage: number, offset: number): number {
    if (this.#records.hasRoom()) return this.#records.decode(cpu, hostPage, codePage, offset);
    // The cache is full. The code page may go with what is in it, so the vCPU looks its position up again.
    this.runtime.makeRoom();
    return this.runtime.lookup(cpu);
  }

  /** Use all of the code cache from now on. */
  useAllCode(): void {
    const header = machineHeader(this.memory);
    header.codeLimit = header.codeEnd;
  }

  /** Told of every instruction while it is set. */
  observer: InstructionObserver | undefined;
  /** Linear addresses where the debugger stops. */
  #breakpoints: ReadonlySet<bigint> = new Set();
  #isStepping = false;
  /** The breakpoint that stopped a vCPU last: it lets the vCPU pass when nothing has been executed since. */
  #stopped = { cpu: 0, address: 0n, retired: 0 };

  /**
   * Stop with `Exit.breakpoint` before the instruction at one of these linear addresses, in whatever address space.
   * Guest memory stays as it is. Replaces all earlier breakpoints; not to be called while a vCPU executes.
   */
  setBreakpoints(addresses: Iterable<bigint>): void {
    this.#breakpoints = new Set(addresses);
    const { breakpointOffsets } = this.#records;
    breakpointOffsets.fill(0);
    for (const address of this.#breakpoints) breakpointOffsets[Number(address & 0xfffn)] = 1;
    this.runtime.discardCode();
  }

  #atBreakpoint(cpu: number): number {
    if (this.#isStepping) return 0;
    const { view } = this.memory;
    const base = view.getBigUint64(cpu + V.segBase + Seg.cs * 8, true);
    const address = BigInt.asUintN(64, view.getBigUint64(cpu + V.rip, true) + base);
    if (!this.#breakpoints.has(address)) return 0;
    const retired = retiredNow(this.memory, cpu);
    const last = this.#stopped;
    if (last.cpu === cpu && last.address === address && last.retired === retired) return 0;
    this.#stopped = { cpu, address, retired };
    return 1;
  }

  /** Execute one instruction (or deliver the fault that it raises), whether or not there is a breakpoint. */
  step(cpu: MachineAddress): number {
    this.#isStepping = true;
    try {
      return this.run(cpu, 1);
    } finally {
      this.#isStepping = false;
    }
  }

  /** Allocate a vCPU block in power-up state and link it into the machine. */
  createVcpu(id: number): MachineAddress {
    const cpu = frameAddress(this.#frames.allocateRun(Math.ceil(VCPU_BLOCK_BYTES / PAGE_SIZE)));
    const header = machineHeader(this.memory);
    const state = Vcpu.at(this.memory.view, cpu);
    state.id = id;
    state.nextVcpu = header.firstVcpu;
    state.exVector = -1;
    state.exDelivering = -1;
    state.pendingInterrupt = -1;
    header.firstVcpu = cpu;
    this.runtime.resetCpu(cpu);
    this.runtime.tlbFlushAll(cpu);
    return cpu;
  }

  /** Can the vCPU take an external interrupt now? */
  interruptible(cpu: MachineAddress): boolean {
    const { view } = this.memory;
    return (
      (view.getUint32(cpu + V.flagSys, true) & FLAG_IF) !== 0 &&
      !view.getUint32(cpu + V.interruptShadow, true)
    );
  }

  /** Deliver an external interrupt before the next instruction. Returns an exit reason, or undefined if all is well. */
  deliverInterrupt(cpu: MachineAddress, vector: number): number | undefined {
    if (this.runtime.interrupt(cpu, vector, 0) === 0) return undefined;
    const reason = this.runtime.deliver(cpu);
    return reason === 0 ? undefined : reason;
  }

  /** Between two entries `fuel` is what the slice has left, and `retired` counts everything. */
  #settle(cpu: MachineAddress, left: number): void {
    this.memory.view.setInt32(cpu + V.sliceFuel, Math.max(0, left), true);
    this.memory.view.setInt32(cpu + V.fuel, Math.max(0, left), true);
  }

  /**
   * Run up to `fuel` instructions. Returns why it stopped (vcpu/exit.ts); `Vcpu.retired` is brought up to date.
   */
  run(cpu: MachineAddress, fuel: number): number {
    const { view } = this.memory;
    let left = fuel;
    this.translator?.receive();
    while (left > 0) {
      // With TF set, every instruction is followed by a trap.
      const stepping = (view.getUint32(cpu + V.flagSys, true) & FLAG_TF) !== 0;
      const observer = this.observer;
      // After STI or MOV SS at the end of a slice one instruction runs before interrupts are looked at.
      const shadowed = view.getUint32(cpu + V.interruptShadow, true) !== 0;
      if (shadowed) view.setUint32(cpu + V.interruptShadow, 0, true);
      const slice = stepping || shadowed || observer ? 1 : left;
      observer?.before(cpu);
      view.setInt32(cpu + V.fuel, slice, true);
      view.setInt32(cpu + V.sliceFuel, slice, true);
      const deliveries = view.getUint32(cpu + V.deliveries, true);
      this.#run(cpu);
      const budget = view.getInt32(cpu + V.sliceFuel, true);
      const done = budget - view.getInt32(cpu + V.fuel, true);
      invariant(done >= 0, 'a slice cannot run backwards');
      view.setBigUint64(cpu + V.retired, view.getBigUint64(cpu + V.retired, true) + BigInt(done), true);
      observer?.after(cpu, done);
      if (this.#nrExecuted >= FEW_TARGETS_UNTIL) useAllTargets(this.memory, cpu);
      else this.#nrExecuted += done;
      left -= Math.max(done, 1);
      this.#settle(cpu, left);
      const reason = view.getUint32(cpu + V.exitReason, true);
      if (reason === Exit.breakpoint || reason === Exit.kick || reason === Exit.exclusive) {
        // What was to happen around the instruction that has not been executed is still to come: also where STI has just cut the
        // slice so that one more instruction runs.
        const isDelayed = budget < slice && budget - done === 1;
        if ((shadowed && done === 0) || isDelayed) view.setUint32(cpu + V.interruptShadow, 1, true);
        // After one instruction of two there is a trap first.
        if (!stepping || done === 0) return reason;
      }
      // No trap when the instruction ended in a handler instead: delivery has cleared TF.
      const completed = view.getUint32(cpu + V.deliveries, true) === deliveries;
      if (stepping && completed && reason !== Exit.tripleFault && reason !== Exit.unsupported) {
        const failed = this.runtime.singleStep(cpu);
        if (failed !== 0) return failed;
      }
      if (reason !== Exit.fuel) return reason;
      if (budget < slice || shadowed) return Exit.interruptWindow;
    }
    return Exit.fuel;
  }
}

/** Instructions retired so far, also in the middle of a slice. */
export function retiredNow(memory: MachineMemory, cpu: number): number {
  const { view } = memory;
  const before = view.getUint32(cpu + V.retired, true) + view.getUint32(cpu + V.retired + 4, true) * 2 ** 32;
  return before + view.getInt32(cpu + V.sliceFuel, true) - view.getInt32(cpu + V.fuel, true);
}

/** @throws DomusError E_STALE_BUILD when the interpreter was generated from another instruction table */
function checkBuild(interpreter: WebAssembly.Module): void {
  const [section] = WebAssembly.Module.customSections(interpreter, DIGEST_SECTION);
  if (section && new TextDecoder().decode(section) === String(FORMS_DIGEST)) return;
  throw new DomusError(
    'E_STALE_BUILD',
    'dist/ was built from other sources than those that run',
    'run "npm run build"',
  );
}
