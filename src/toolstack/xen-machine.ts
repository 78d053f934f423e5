/**
 * The machine of one guest: a domain and what stands in the control domain's place on a machine host, and the loop that runs it.
 *
 * It has a machine memory of its own.
 */
import * as sched from '../abi/xen/sched.ts';
import { DomusError } from '../base/errors.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import { type Making, makerLink, startMaking } from '../cpu/translator/maker-thread.ts';
import type { MakerLink } from '../cpu/translator/translator.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import { cpuPolicy } from '../hypervisor/cpuid-policy.ts';
import { locked } from '../hypervisor/event/backend.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { crashReason, domainCrash, pauseDomain, shutdownCode, unpauseDomain } from '../hypervisor/life.ts';
import { createMachineHost, type MachineHost } from '../hypervisor/machine-host.ts';
import { type Pcpus, startPcpus } from '../hypervisor/pcpus.ts';
import { runOne, SLICE_FUEL, TURN_FUEL } from '../hypervisor/scheduler.ts';
import type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { RecordType, type SavedRecord } from '../state/format.ts';
import { readDomainRecord, restoreDomain } from '../state/restore-domain.ts';
import {
  forkDomain,
  rehearseFork,
  type SavedDomain,
  type ServiceFrames,
  saveDomain,
} from '../state/save-domain.ts';
import { buildDomain, EXTRA_FRAMES, serviceFrames } from './build-domain.ts';
import { ControlDomain } from './control-domain.ts';
import { createDomainControl, type DomainControl } from './domain-control.ts';
import { engineModules } from './engine-modules.ts';
import { type DebuggedDomain, debugDomain } from './gdb-domain.ts';
import { type GdbServer, startGdbServer } from './gdb-server.ts';
import type {
  AttachedDisk,
  ConsoleStream,
  ForkedMachine,
  GuestMachine,
  MachineConfig,
  MachineDisk,
  MachineStatus,
  Shutdown,
} from './machine.ts';
import { hashMachine } from './machine-hash.ts';
import { isParallel, isWatched, pagesFileOf, runsHere, sizeOf } from './machine-shape.ts';
import { loneTurn, type RunTurn } from './run-turns.ts';
import type { Sharer, SharingMember } from './sharer.ts';
import { traceEngine, traceNotices } from './trace-machine.ts';
import { kernelSymbols, vcpuStatus } from './trace-status.ts';

const PAGE = 4096;
const REASONS: Record<number, Shutdown['reason']> = {
  [sched.SHUTDOWN_poweroff]: 'poweroff',
  [sched.SHUTDOWN_reboot]: 'reboot',
  [sched.SHUTDOWN_suspend]: 'suspend',
  [sched.SHUTDOWN_crash]: 'crash',
  [sched.SHUTDOWN_watchdog]: 'watchdog',
  [sched.SHUTDOWN_soft_reset]: 'soft-reset',
};

/** The maker's link of a machine whose vCPUs this thread runs. */
function linkOf(making: Making, isLazy: boolean): MakerLink | undefined {
  if (isLazy) return making.lazyLink;
  const [link] = making.links;
  return link && makerLink(link);
}

/** Build a domain from the configuration; nothing runs before `start`. @throws DomusError */
export async function createXenMachine(config: MachineConfig): Promise<XenMachine> {
  let making: Making | undefined;
  try {
    const { runtime } = engineModules();
    if (config.engine === 'translator')
      making = startMaking({
        runtime,
        nrInstallers: isParallel(config) ? config.pcpus : 1,
        libraryFolder: config.regionsFolder,
      });
    const machine = new XenMachine(config, making, await config.trail?.arrival());
    if (config.gdbPort !== undefined) await machine.listenForGdb(config.gdbPort);
    return machine;
  } catch (error) {
    await making?.end();
    throw error;
  }
}

/** Of all guests. */
const POLICY = cpuPolicy();

/** Some machine of this process. */
let hasRehearsed = false;

/** A machine that does the same as another one, slice by slice. */
export interface Companion {
  /** The other machine has run a slice and served its backends. @throws DomusError E_LOCKSTEP */
  ranSlice(): void;
  /** The other machine has been idle, or let the host have a turn; that is its time now. */
  waited(nowNs: number): void;
}

export class XenMachine implements GuestMachine {
  readonly consoles: readonly ConsoleStream[];
  readonly disks: readonly AttachedDisk[];
  readonly control: DomainControl;
  readonly #config: MachineConfig;
  readonly #host: MachineHost;
  readonly #domain: Domain;
  readonly #services: ServiceFrames;
  /** Lets the domain run for the first time. */
  #begin: (() => void) | undefined;
  readonly #controlDomain: ControlDomain;
  #onShutdown: (shutdown: Shutdown) => void = () => {};
  #onFailure: (error: unknown) => void = () => {};
  #shutdown: Shutdown | undefined;
  #isRunning = false;
  #isPaused = false;
  #isDestroyed = false;
  heldMs = 0;
  #holding: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;
  /** The threads that run the vCPUs; undefined where this one does, in turn. */
  #pcpus: Pcpus | undefined;
  /** The thread that makes regions of hot code. */
  readonly #making: Making | undefined;
  readonly #turn: RunTurn;
  readonly #debug: DebuggedDomain;
  #gdb: GdbServer | undefined;
  readonly #sharer: Sharer | undefined;
  /** From the start on. */
  #sharing: SharingMember | undefined;
  /** Settles when the loop has come to rest. */
  #loop: Promise<void> = Promise.resolve();

  /**
   * @param making where regions come from; without it the thread that runs the guest makes them itself
   * @param memory for the machine, made beforehand
   */
  constructor(config: MachineConfig, making?: Making, memory?: MachineMemory) {
    this.#config = config;
    this.#making = making;
    making?.onFailure(error => this.#fail(error));
    const { platform, saved } = config;
    this.#turn = config.turn ?? loneTurn(platform.pacer);
    const record = saved && readDomainRecord(saved.records);
    const isShared = isParallel(config);
    this.#sharer = isWatched(config) ? undefined : config.sharer;
    const { seat } = config;
    const link = runsHere(config) ? making && linkOf(making, saved !== undefined) : undefined;
    this.#host = createMachineHost({
      modules: engineModules(),
      // Where pCPUs do it, this thread runs no guest code.
      translates: config.engine === 'translator' && runsHere(config),
      ...(link && { makerLink: this.#endingTrail(link) }),
      platform,
      ...sizeOf(config),
      memory,
      policy: POLICY,
      ...(saved && record && { startNs: record.systemTimeNs, pages: saved.pages }),
      ...(isShared && { parallel: { pcpu: 0 } }),
      ...(seat && { parallel: { pcpu: 0, ring: () => seat.ring() } }),
      store: this.#sharer?.store,
      notices: {
        ...traceNotices(config.trace),
        shutdown: (domain, code) => this.#stopped(domain, code),
        wake: () => platform.pacer.wake(),
      },
    });
    const { hypervisor, processors, engine } = this.#host;
    making?.begin(hypervisor.memory);
    if (saved) {
      const restored = restoreDomain(hypervisor, processors, engine.runtime, saved.records, saved.nrPages);
      this.#domain = restored.domain;
      this.#services = restored.services;
      this.#begin = restored.begin;
      config.trail?.begin(this.#domain);
    } else {
      this.#domain = buildDomain(this.#host, config);
      this.#services = serviceFrames(this.#domain);
      this.#begin = () => unpauseDomain(this.#domain);
    }

    traceEngine(engine, config.trace);
    this.#debug = debugDomain({
      engine,
      domain: this.#domain,
      pause: () => this.pause(),
      resume: () => this.resume(),
      kill: () => {
        domainCrash(this.#domain, 'killed by the debugger');
        this.resume();
      },
    });

    this.#controlDomain = new ControlDomain({
      ...{ config, hypervisor, domain: this.#domain, services: this.#services },
      isPaused: () => this.#isPaused,
    });
    this.consoles = this.#controlDomain.consoles;
    this.control = createDomainControl({
      domain: this.#domain,
      xs: this.#controlDomain.client(),
      memoryBytes: config.memoryBytes,
      pcpus: isShared ? config.pcpus : 1,
      extraFrames: EXTRA_FRAMES,
      traffic: () => this.#controlDomain.traffic(),
      wake: () => platform.pacer.wake(),
    });
    this.disks = (config.disks ?? []).map(disk => this.#controlDomain.attachDisk(disk, saved !== undefined));
    // The other thread needs some milliseconds for it, in which this one makes more.
    if (seat) this.#pcpus = this.#startPcpus();
  }

  /** The maker of regions changes code. */
  #endingTrail(link: MakerLink): MakerLink {
    const { trail } = this.#config;
    if (!trail) return link;
    const wake = (areHot: boolean): void => {
      if (areHot) trail.end();
      link.wake(areHot);
    };
    return { ...link, wake };
  }
  expectWork(): void {
    locked(this.#host.hypervisor, () => this.#host.expectWork());
  }
  leaveTrail(): void {
    if (!this.#failure) this.#config.trail?.leave();
  }

  attachDisk(disk: MachineDisk): AttachedDisk {
    return this.#controlDomain.attachDisk(disk, false);
  }
  // ---- running ----

  start(): void {
    this.#isRunning = true;
    this.#isPaused = true;
    if (this.#failure) {
      this.#isRunning = false;
      this.#onFailure(this.#failure.error);
      return;
    }
    this.#pcpus ??= this.#startPcpus();
    this.#sharing = this.#sharer?.join(this.#domain);
    // A restored domain's devices connect before it runs.
    if (this.#config.saved) locked(this.#host.hypervisor, () => this.#controlDomain.serve());
    // With a debugger the first instruction is its to allow.
    if (!this.#gdb && !this.#config.isPaused) this.resume();
  }

  /** Where other threads run the vCPUs: from now on, if the domain is not paused. */
  #startPcpus(): Pcpus | undefined {
    const { platform, pcpus: count, seat, engine } = this.#config;
    const common = {
      ...{ host: this.#host, policy: POLICY },
      called: () => platform.pacer.wake(),
      failed: (error: unknown) => this.#fail(error),
    };
    const making = this.#making;
    if (seat) {
      return seat.run({
        ...common,
        pages: this.#config.saved?.pages,
        translates: engine === 'translator',
        known: making?.lazyLink.known,
        makerLink: () => making?.links[0],
      });
    }
    const pages = pagesFileOf(this.#config);
    if (!isParallel(this.#config) || pages === 'memory') return undefined;
    const makers = making?.links ?? [];
    return startPcpus({ ...common, count, modules: engineModules(), clock: platform.clock, pages, makers });
  }

  async listenForGdb(port: number): Promise<void> {
    this.#gdb = await startGdbServer(this.#debug, port);
  }

  /** Serve the guest while pCPUs run it. */
  async #serve(pcpus: Pcpus): Promise<void> {
    const { pacer } = this.#config.platform;
    const { hypervisor } = this.#host;
    try {
      await pcpus.ready;
      if (!this.#isRunning) return;
      locked(hypervisor, () => this.#unpause());
      while (this.#isRunning && !this.#isPaused) {
        pcpus.answer();
        this.#controlDomain.serve();
        const code = shutdownCode(this.#domain);
        if (code !== undefined) locked(hypervisor, () => this.#stopped(this.#domain, code));
        if (this.#shutdown) {
          pcpus.awaitStopped(this.#domain);
          await this.#finish(this.#shutdown);
          return;
        }
        if (this.#controlDomain.hasWork) await pacer.breathe();
        else await pacer.idle(Number.POSITIVE_INFINITY);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#sharing?.rest();
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.#config.platform.pacer.wake();
    this.#onFailure(error);
  }

  async #run(): Promise<void> {
    const { platform } = this.#config;
    const turn = this.#turn;
    try {
      await turn.next(true);
      while (this.#isRunning && !this.#isPaused) {
        let idleNs = -1;
        for (let fuel = TURN_FUEL; fuel > 0 && idleNs < 0 && !this.#shutdown; ) {
          if (fuel < TURN_FUEL && !turn.mayGoOn()) break;
          const outcome = runOne(this.#host.hypervisor);
          fuel -= outcome.kind === 'ran' ? outcome.used : SLICE_FUEL;
          this.#controlDomain.serve();
          this.companion?.ranSlice();
          if (platform.isDeterministic && this.#controlDomain.hasDisks)
            await this.#controlDomain.awaitDisks();
          if (outcome.kind === 'idle' && !this.#controlDomain.hasWork) idleNs = outcome.waitNs;
          if (outcome.kind === 'ran' && outcome.exit === Exit.breakpoint) {
            this.#isPaused = true;
            pauseDomain(this.#domain);
            this.#debug.stopped({ kind: 'breakpoint', vcpu: outcome.vcpu.id });
            return;
          }
        }
        if (this.#shutdown) {
          await this.#finish(this.#shutdown);
          return;
        }
        if (idleNs > 0) {
          turn.rest();
          await platform.pacer.idle(platform.clock.monotonicNs() + idleNs);
        }
        await turn.next(idleNs > 0);
        this.companion?.waited(platform.clock.monotonicNs());
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      turn.rest();
    }
  }

  /** Set before the start. */
  companion: Companion | undefined;
  /** What a companion does instead of its own run loop. */
  runSlice(): void {
    runOne(this.#host.hypervisor);
    this.#controlDomain.serve();
  }
  /** Its last words. */
  settle(): void {
    this.#controlDomain.serve();
    this.#controlDomain.drainConsoles();
  }
  get engine(): CpuEngine {
    return this.#host.engine;
  }
  get domain(): Domain {
    return this.#domain;
  }
  /** How the guest ended, once it has. */
  get ended(): Shutdown | undefined {
    return this.#shutdown;
  }

  #stopped(domain: Domain, code: number): void {
    const reason = REASONS[code] ?? 'crash';
    const detail =
      crashReason(domain) || (reason === 'crash' ? 'reported by the guest itself, see its console' : '');
    this.#shutdown = { reason, ...(detail && { detail }) };
  }

  /** Everything that the guest wrote goes out before its end is reported. */
  async #finish(shutdown: Shutdown): Promise<void> {
    this.#isRunning = false;
    locked(this.#host.hypervisor, () => {
      this.#pcpus?.answer();
      this.#controlDomain.serve();
    });
    this.#controlDomain.drainConsoles();
    await this.#config.platform.pacer.breathe();
    this.#debug.stopped({ kind: 'shutdown', isCrash: shutdown.reason === 'crash' });
    this.#onShutdown(shutdown);
  }

  async pause(): Promise<void> {
    if (this.#isPaused || !this.#isRunning) return;
    this.#isPaused = true;
    this.#config.platform.pacer.wake();
    await this.#loop;
    locked(this.#host.hypervisor, () => pauseDomain(this.#domain));
    this.#pcpus?.awaitStopped(this.#domain);
  }
  resume(): void {
    if (!this.#isPaused || !this.#isRunning) return;
    this.#isPaused = false;
    if (this.#pcpus) {
      this.#loop = this.#serve(this.#pcpus);
      return;
    }
    this.#unpause();
    this.#loop = this.#run();
  }
  #unpause(): void {
    const begin = this.#begin ?? (() => unpauseDomain(this.#domain));
    this.#begin = undefined;
    begin();
  }

  hold<T>(task: (state: SavedDomain) => T, prepare?: () => Promise<void>): Promise<T> {
    return this.#held(() => {
      const { pages, records } = saveDomain(this.#domain, this.#host.engine.runtime, this.#services);
      return task({ pages, records: [...records, ...this.#ownRecords()] });
    }, prepare);
  }
  async fork<T>(task: () => T, prepare?: () => Promise<void>): Promise<{ state: ForkedMachine; seen: T }> {
    const { runtime } = this.#host.engine;
    this.#rehearseFork();
    this.#host.hypervisor.images.prepare();
    using closing = new DisposableStack();
    const { image, records, listMemory, own, seen } = await this.#held(() => {
      const forked = forkDomain(this.#domain, runtime, this.#services, this.#config.saved);
      closing.defer(() => forked.image.close());
      this.#pcpus?.froze?.(forked.image.memory);
      return { ...forked, own: this.#ownRecords(), seen: task() };
    }, prepare);
    const state = { image, records: [...records, ...listMemory(), ...own] };
    // The image is the caller's now.
    closing.move();
    return { state, seen };
  }
  /** See `rehearseFork`; where other threads run the vCPUs they stand still only while they are held. */
  #rehearseFork(): void {
    if (hasRehearsed || this.#pcpus) return;
    hasRehearsed = true;
    rehearseFork(this.#domain, this.#host.engine.runtime, this.#services);
    this.#ownRecords();
  }
  /** What there is besides the domain. */
  #ownRecords(): SavedRecord[] {
    const { entropy } = this.#config.platform;
    const chance = entropy.state && { type: RecordType.chance, payload: entropy.state() };
    return [{ type: RecordType.xenstore, payload: this.#controlDomain.save() }, ...(chance ? [chance] : [])];
  }
  /** One after the other: each finds the guest running, or paused by its owner. */
  async #held<T>(task: () => T, prepare?: () => Promise<void>): Promise<T> {
    const before = this.#holding;
    const own = Promise.withResolvers<void>();
    this.#holding = own.promise;
    await before;
    try {
      return await this.#holdNow(task, prepare);
    } finally {
      own.resolve();
    }
  }
  async #holdNow<T>(task: () => T, prepare?: () => Promise<void>): Promise<T> {
    if (!this.#isRunning) throw new DomusError('E_DESTROYED', 'the guest does not run', 'start another one');
    if (this.#controlDomain.hasFolders) {
      throw new DomusError(
        'E_SAVE_UNSUPPORTED',
        "a guest with shared folders cannot be saved: the files that it has open are the host's",
        'start it without -v, and give it a disk',
      );
    }
    const wasPaused = this.#isPaused;
    await this.#halt();
    const { clock } = this.#config.platform;
    const startNs = clock.monotonicNs();
    try {
      // What the guest has told before it stood still: others would wait for the answer for ever.
      this.#pcpus?.answer();
      await this.#controlDomain.quiesce();
      // Whatever comes in from outside meanwhile waits for the loop.
      await prepare?.();
      return locked(this.#host.hypervisor, task);
    } finally {
      this.heldMs = (clock.monotonicNs() - startNs) / 1e6;
      if (!wasPaused) this.#goOn();
    }
  }
  /** Stop the loop. Where this thread runs the vCPUs, that is all, and nobody in the domain can tell. */
  async #halt(): Promise<void> {
    if (this.#pcpus) {
      await this.pause();
      return;
    }
    this.#isPaused = true;
    this.#config.platform.pacer.wake();
    await this.#loop;
  }
  #goOn(): void {
    if (this.#pcpus) {
      this.resume();
      return;
    }
    if (!this.#isPaused || !this.#isRunning) return;
    this.#isPaused = false;
    this.#loop = this.#run();
  }
  get touchedBytes(): number {
    return this.#host.hypervisor.frames.nrTouched * PAGE;
  }
  get sharing(): SharingFacts | undefined {
    return this.#sharing?.facts;
  }

  onShutdown(listener: (shutdown: Shutdown) => void): void {
    this.#onShutdown = listener;
  }
  onFailure(listener: (error: unknown) => void): void {
    this.#onFailure = listener;
  }

  instructions(): number {
    return this.#domain.vcpus.reduce((sum, vcpu) => sum + Number(vcpu.block.retired), 0);
  }
  status(): MachineStatus {
    // Reading the kernel's symbols makes pages be there.
    return locked(this.#host.hypervisor, () => this.#statusNow());
  }
  #statusNow(): MachineStatus {
    const { engine, vcpus: debugged } = this.#debug;
    const symbols = kernelSymbols(engine, debugged);
    const vcpus = debugged.map(vcpu => vcpuStatus(engine, vcpu, symbols));
    return { instructions: this.instructions(), vcpus };
  }
  stateHash(): string {
    const { hypervisor, engine } = this.#host;
    return locked(hypervisor, () =>
      hashMachine(hypervisor.memory, this.#domain, block => engine.runtime.getFlags(block)),
    );
  }

  async #stopPcpus(): Promise<void> {
    if (!this.#pcpus) return;
    if (!this.#failure) {
      locked(this.#host.hypervisor, () => pauseDomain(this.#domain));
      this.#pcpus.awaitStopped(this.#domain);
    }
    await this.#pcpus.stop();
    this.#pcpus = undefined;
  }

  async destroy(): Promise<void> {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#controlDomain.end();
    this.#isRunning = false;
    this.#config.platform.pacer.wake();
    await this.#loop;
    // While the threads end this one holds the hypervisor's lock.
    this.#sharing?.rest();
    await this.#stopPcpus();
    this.#sharing?.leave();
    await this.#making?.end();
    await this.#gdb?.close();
    const failures = await this.#controlDomain.close();
    this.#config.trail?.close();
    this.#config.saved?.close();
    // The machine's memory goes with this object: nothing else refers to it.
    this.#controlDomain.closeConsoles();
    // What an image has not taken, its owner must learn of.
    if (failures.length > 0) throw failures[0];
  }
}
