/**
 * The machine of one guest: a domain with its xenstore and consoles on a machine host, and the loop that runs it.
 *
 * It has a machine memory of its own. Backends live here, in the control domain's place; the guest reaches them
 * through rings and event channels as it would on Xen.
 */
import { HvmParam } from '../abi/xen/hvm.ts';
import * as sched from '../abi/xen/sched.ts';
import { type BlockDevice, createBlockDevice } from '../backend/block/device.ts';
import { OpenRequests } from '../backend/block/open-requests.ts';
import { createConsoleDevice } from '../backend/console/device.ts';
import { writePrimaryConsoleKeys } from '../backend/console/keys.ts';
import { type ConsoleChannel, createPrimaryConsole } from '../backend/console/stream.ts';
import { createBackendHost } from '../backend/host.ts';
import { NetDevice } from '../backend/net/device.ts';
import { FolderDevice } from '../backend/p9/device.ts';
import { frameAddress, type Gfn, mfn } from '../base/brand.ts';
import { DomusError, invariant } from '../base/errors.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import { type Making, makerLink, startMaking } from '../cpu/translator/maker-thread.ts';
import type { MakerLink } from '../cpu/translator/translator.ts';
import { Exit } from '../cpu/vcpu/exit.ts';
import type { Disk, DiskCounters } from '../disk/disk.ts';
import { buildPvhDomain } from '../hypervisor/builder/domain-builder.ts';
import { setPvhEntryState } from '../hypervisor/builder/entry-state.ts';
import { SpecialPage } from '../hypervisor/builder/layout.ts';
import { cpuPolicy } from '../hypervisor/cpuid-policy.ts';
import { createDomain } from '../hypervisor/domain.ts';
import { allocUnboundFor, bindToGuest, deliverEvents, locked, notify } from '../hypervisor/event/backend.ts';
import { seedGrant } from '../hypervisor/grant/table.ts';
import { builderMemory, setMemoryMap } from '../hypervisor/guest-physical.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { crashReason, domainCrash, pauseDomain, shutdownCode, unpauseDomain } from '../hypervisor/life.ts';
import { createMachineHost, type MachineHost, TSC_KHZ } from '../hypervisor/machine-host.ts';
import { mfnOfGfn, takeReference } from '../hypervisor/p2m.ts';
import type { PageFile } from '../hypervisor/page-file.ts';
import { type Pcpus, startPcpus } from '../hypervisor/pcpus.ts';
import { runOne, SLICE_FUEL } from '../hypervisor/scheduler.ts';
import type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
import { kept, type Station } from '../net/frame.ts';
import { damaged, RecordType, type SavedRecord } from '../state/format.ts';
import { type Records, readDomainRecord, recordOf, restoreDomain } from '../state/restore-domain.ts';
import {
  forkDomain,
  rehearseFork,
  type SavedDomain,
  type ServiceFrames,
  saveDomain,
} from '../state/save-domain.ts';
import { writeDomainTree, writeGenerationId } from '../xenstore/domain-tree.ts';
import { createXenstored, type Xenstored } from '../xenstore/xenstored.ts';
import { createDomainControl, type DomainControl, type Traffic } from './domain-control.ts';
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
  MachineFolder,
  MachineStatus,
  NetworkInterface,
  Shutdown,
} from './machine.ts';
import { hashMachine } from './machine-hash.ts';
import { loneTurn, type RunTurn } from './run-turns.ts';
import type { Sharer, SharingMember } from './sharer.ts';
import { traceEngine, traceNotices } from './trace-machine.ts';
import { kernelSymbols, vcpuStatus } from './trace-status.ts';
import { newUuid, uuidBytes, uuidText } from './uuid.ts';

const PAGE = 4096;
/** p2m tables reach to 4 GiB: Linux picks unused frame numbers anywhere below. */
const P2M_FRAMES = 0x100000;
/** ACPI tables, special pages and what the guest maps besides its RAM. */
const EXTRA_FRAMES = 256;
/** Grant references that libxl reserves for the console and xenstore rings. */
const GRANT_CONSOLE = 0;
const GRANT_XENSTORE = 1;
/** Frames that wait for a guest that is held; more are lost. */
const FRAMES_HELD_MAX = 1024;
/**
 * Fuel between two turns of the host's event loop. Not a number of slices: those of vCPUs that wait for each other end after a few
 * instructions, and there may be thousands before the one that they wait for has its own.
 */
const TURN_FUEL = 4 * SLICE_FUEL;

const REASONS: Record<number, Shutdown['reason']> = {
  [sched.SHUTDOWN_poweroff]: 'poweroff',
  [sched.SHUTDOWN_reboot]: 'reboot',
  [sched.SHUTDOWN_suspend]: 'suspend',
  [sched.SHUTDOWN_crash]: 'crash',
  [sched.SHUTDOWN_watchdog]: 'watchdog',
  [sched.SHUTDOWN_soft_reset]: 'soft-reset',
};

/**
 * Do several threads run the vCPUs? Not where every step is to be seen or to be the same again: a debugger, a trace, virtual time.
 */
const isParallel = (config: MachineConfig): boolean =>
  config.pcpus > 1 && config.vcpus > 1 && !isWatched(config) && pagesFileOf(config) !== 'memory';

const isWatched = ({ platform, gdbPort, trace }: MachineConfig): boolean =>
  platform.isDeterministic || gdbPort !== undefined || trace !== undefined;

/** What threads fill the memory of a restored domain from; an image in this thread's memory is of no use to others. */
const pagesFileOf = ({ saved }: MachineConfig): PageFile | 'memory' | undefined =>
  saved && ('read' in saved.pages ? 'memory' : saved.pages);

/** The maker's link of a machine whose vCPUs this thread runs. */
function linkOf(making: Making, isLazy: boolean): MakerLink | undefined {
  if (isLazy) return making.lazyLink;
  const [link] = making.links;
  return link && makerLink(link);
}

/** A new domain, with the kernel at its beginning. */
function buildDomain({ hypervisor, processors, engine }: MachineHost, config: MachineConfig): Domain {
  invariant(config.kernel, 'there is nothing to boot');
  const domain = createDomain(hypervisor, {
    p2mCount: P2M_FRAMES,
    maxPages: config.memoryBytes / PAGE + EXTRA_FRAMES,
    vcpus: config.vcpus,
    tscKhz: TSC_KHZ,
    handle: uuidBytes(config.uuid ?? newUuid(config.platform.entropy)),
  });
  const built = buildPvhDomain(builderMemory(domain), {
    memoryBytes: config.memoryBytes,
    vcpus: config.vcpus,
    kernel: config.kernel,
    initrd: config.initrd,
    commandLine: config.commandLine,
  });
  setMemoryMap(domain, built.memoryMap);
  processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const boot = domain.vcpus[0];
  if (!boot) throw new DomusError('E_VCPUS', 'a domain needs a vCPU', 'ask for at least one');
  setPvhEntryState(boot.block, built.entry, built.startInfo);
  engine.runtime.updateMode(boot.state.block);
  engine.runtime.selectTlb(boot.state.block);
  return domain;
}

/** The rings of xenstore and the first console: their pages, grants and ports, as the domain finds them. */
function serviceFrames(domain: Domain): ServiceFrames {
  const service = (page: Gfn, grant: number, pfnParam: number, portParam: number): number => {
    seedGrant(domain, grant, page, 0);
    domain.state.hvmParams.set(pfnParam, BigInt(page));
    domain.state.hvmParams.set(portParam, BigInt(allocUnboundFor(domain)));
    const frame = mfnOfGfn(domain, page);
    // Held for as long as the machine lives: a guest that gives the page away must not have it used for something else.
    takeReference(domain.hypervisor, frame);
    return frame;
  };
  return {
    store: service(SpecialPage.xenstore, GRANT_XENSTORE, HvmParam.STORE_PFN, HvmParam.STORE_EVTCHN),
    console: service(SpecialPage.console, GRANT_CONSOLE, HvmParam.CONSOLE_PFN, HvmParam.CONSOLE_EVTCHN),
  };
}

/** Build a domain from the configuration; nothing runs before `start`. @throws DomusError */
export async function createXenMachine(config: MachineConfig): Promise<XenMachine> {
  const making =
    config.engine === 'translator'
      ? startMaking({
          runtime: engineModules().runtime,
          nrInstallers: isParallel(config) ? config.pcpus : 1,
          libraryFolder: config.regionsFolder,
        })
      : undefined;
  try {
    const machine = new XenMachine(config, making);
    if (config.gdbPort !== undefined) await machine.listenForGdb(config.gdbPort);
    return machine;
  } catch (error) {
    await making?.end();
    throw error;
  }
}

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
  readonly #blockDevices = new Set<BlockDevice>();
  /** Of all disks that it ever had. */
  readonly #diskCounters: DiskCounters[] = [];
  readonly #netDevices: NetDevice[] = [];
  /** Shared folders, and what settles when each is closed. */
  readonly #folderDevices: { readonly device: FolderDevice; readonly closed: Promise<void> }[] = [];
  readonly control: DomainControl;
  readonly #config: MachineConfig;
  readonly #host: MachineHost;
  readonly #domain: Domain;
  readonly #services: ServiceFrames;
  /** Lets the domain run for the first time. */
  #begin: (() => void) | undefined;
  readonly #xenstored: Xenstored;
  readonly #channels: ConsoleChannel[] = [];
  #onShutdown: (shutdown: Shutdown) => void = () => {};
  #onFailure: (error: unknown) => void = () => {};
  #shutdown: Shutdown | undefined;
  #isRunning = false;
  #isPaused = false;
  #isDestroyed = false;
  heldMs = 0;
  #holding: Promise<void> = Promise.resolve();
  #hasFailed = false;
  /** The loop has ended for good. */
  #isAtRest = false;
  /** The threads that run the vCPUs; undefined where this one does, in turn. */
  #pcpus: Pcpus | undefined;
  /** The thread that makes regions of hot code. */
  readonly #making: Making | undefined;
  readonly #policy = cpuPolicy();
  readonly #turn: RunTurn;
  readonly #debug: DebuggedDomain;
  #gdb: GdbServer | undefined;
  readonly #sharer: Sharer | undefined;
  /** From the start on. */
  #sharing: SharingMember | undefined;
  /** Settles when the loop has come to rest. */
  #loop: Promise<void> = Promise.resolve();

  /** @param making where regions come from; without it the thread that runs the guest makes them itself */
  constructor(config: MachineConfig, making?: Making) {
    this.#config = config;
    this.#making = making;
    making?.onFailure(error => this.#fail(error));
    const { platform, saved } = config;
    this.#turn = config.turn ?? loneTurn(platform.pacer);
    const record = saved && readDomainRecord(saved.records);
    const isShared = isParallel(config);
    this.#sharer = isWatched(config) ? undefined : config.sharer;
    const link = isShared ? undefined : making && linkOf(making, saved !== undefined);
    this.#host = createMachineHost({
      modules: engineModules(),
      // Where pCPUs do it, this thread runs no guest code.
      translates: config.engine === 'translator' && !isShared,
      ...(link && { makerLink: this.#endingTrail(link) }),
      platform,
      guestBytes: config.memoryBytes + EXTRA_FRAMES * PAGE,
      vcpus: config.vcpus,
      policy: this.#policy,
      ...(saved && record && { startNs: record.systemTimeNs, pages: saved.pages }),
      ...(isShared && { parallel: { pcpu: 0 } }),
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
      if (!isShared && !isWatched(config)) config.trail?.begin(this.#domain);
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

    this.#xenstored = createXenstored({ wake: () => platform.pacer.wake() });
    if (saved) this.#restoreXenstore(saved.records);
    this.consoles = [...this.#attachRings(), ...this.#attachConsoles()].map(channel => this.#stream(channel));
    for (const [devid, network] of (config.networks ?? []).entries()) this.#attachNetwork(network, devid);
    for (const [devid, folder] of (config.folders ?? []).entries()) this.#attachFolder(folder, devid);
    this.control = createDomainControl({
      domain: this.#domain,
      xs: this.#xenstored.client(),
      memoryBytes: config.memoryBytes,
      pcpus: isShared ? config.pcpus : 1,
      extraFrames: EXTRA_FRAMES,
      traffic: () => trafficOf(this.#diskCounters, this.#netDevices),
      wake: () => platform.pacer.wake(),
    });
    this.disks = (config.disks ?? []).map(disk => this.#attachDisk(disk, saved !== undefined));
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
  leaveTrail(): void {
    if (!this.#hasFailed) this.#config.trail?.leave();
  }

  attachDisk(disk: MachineDisk): AttachedDisk {
    return this.#attachDisk(disk, false);
  }
  /** @param isKnown the domain was restored with it */
  #attachDisk(machineDisk: MachineDisk, isKnown: boolean): AttachedDisk {
    const { platform } = this.#config;
    const { promise: gone, resolve } = Promise.withResolvers<void>();
    // Who detaches it hears of a failure, and so does who destroys the machine.
    gone.catch(() => {});
    const open = new OpenRequests();
    let isDead = false;
    let onDied: (error: unknown) => void = () => {};
    const begin = (disk: Disk, goesOn: boolean): BlockDevice => {
      isDead = false;
      const begun = createBlockDevice({
        ...machineDisk,
        disk,
        xs: this.#xenstored.client(),
        host: createBackendHost(this.#host.hypervisor),
        defer: this.#defer,
        domid: this.#domain.id,
        isRestored: goesOn,
        isSerial: platform.isDeterministic,
        maxQueues: this.#config.vcpus,
        clock: platform.clock,
        timers: platform.timers,
        open,
        onDied: error => {
          isDead = true;
          onDied(error);
        },
        onRemoved: () => {
          this.#blockDevices.delete(begun);
          resolve(disk.close());
        },
      });
      this.#blockDevices.add(begun);
      this.#diskCounters.push(disk.counters);
      platform.pacer.wake();
      return begun;
    };
    let device = begin(machineDisk.disk, isKnown);
    return {
      onDied: listener => {
        onDied = listener;
      },
      restart: async openImage => {
        device.hold();
        // What a dead one had begun ends with its disk, and is done again.
        if (!isDead) await this.#drain(device);
        device.abandon();
        await device.disk.close();
        const disk = await openImage();
        if (this.#isDestroyed) {
          await disk.close();
          throw new DomusError('E_DESTROYED', 'the guest has stopped', 'start another one');
        }
        this.#blockDevices.delete(device);
        const { sizeBytes } = device.disk;
        device = begin(disk, true);
        if (disk.sizeBytes !== sizeBytes) device.resized();
        return disk;
      },
      resized: () => {
        device.resized();
        platform.pacer.wake();
      },
      detach: () => {
        device.remove();
        platform.pacer.wake();
        return gone;
      },
      breathe: () => platform.pacer.breathe(),
    };
  }

  /** Until the device has answered what was on its way, also where no loop runs. */
  async #drain(device: BlockDevice): Promise<void> {
    while (device.running > 0 && !this.#isDestroyed) {
      this.#serveBackends();
      await (device.pending ?? this.#config.platform.pacer.breathe());
    }
  }

  /** In virtual time the guest does not run on while its disk works: every run is the same. */
  async #awaitDisks(): Promise<void> {
    for (const device of this.#blockDevices) {
      while (device.pending) {
        await device.pending;
        this.#serveBackends();
      }
    }
  }

  #attachNetwork(network: NetworkInterface, devid: number): void {
    let outside: Station | undefined;
    const device = new NetDevice({
      xs: this.#xenstored.client(),
      host: createBackendHost(this.#host.hypervisor),
      defer: this.#defer,
      domid: this.#domain.id,
      devid,
      isRestored: this.#config.saved !== undefined,
      mac: network.mac,
      mtu: network.mtu,
      cable: { receive: frame => outside?.receive(frame) },
    });
    this.#netDevices.push(device);
    // A line with a delay brings its frames when it likes: the guest's memory changes between slices alone.
    const inward: Station = {
      receive: frame => {
        if (!this.#isPaused) {
          device.receive(frame);
        } else if (this.#deferred.length < FRAMES_HELD_MAX) {
          const held = kept(frame);
          this.#defer(() => device.receive(held));
        }
      },
    };
    outside = network.plug(inward, this.#defer);
  }

  #attachFolder({ folder, tag }: MachineFolder, devid: number): void {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const device = new FolderDevice({
      xs: this.#xenstored.client(),
      host: createBackendHost(this.#host.hypervisor),
      defer: this.#defer,
      domid: this.#domain.id,
      devid,
      folder,
      tag,
      onRemoved: resolve,
    });
    this.#folderDevices.push({ device, closed });
  }

  /** Ring page and event channel of one of the services that every domain has from the start. */
  #service(frame: number, portParam: number, onEvent: () => void) {
    const { hypervisor } = this.#host;
    const guestPort = Number(this.#domain.state.hvmParams.get(portParam));
    const port = bindToGuest(this.#domain, guestPort, onEvent);
    if (port < 0) throw damaged('an event channel that every domain has is missing');
    return {
      ringAddress: frameAddress(mfn(frame)),
      guestPort,
      notify: () => void notify(hypervisor, port),
    };
  }

  #restoreXenstore(records: Records): void {
    const { memory } = this.#host.hypervisor;
    const state = recordOf(records, RecordType.xenstore, 'xenstore');
    const service = this.#service(this.#services.store, HvmParam.STORE_EVTCHN, () => connection?.onEvent());
    this.#xenstored.restore(state, domid => (domid === this.#domain.id ? { memory, ...service } : undefined));
    const connection = this.#xenstored.connection(this.#domain.id);
    if (!connection) throw damaged('xenstore does not know the domain');
    const { generationId } = this.#config;
    if (generationId) writeGenerationId(this.#xenstored.client(), this.#domain.id, generationId);
  }

  #introduceToXenstore(consolePort: number): void {
    const { memory } = this.#host.hypervisor;
    const { id: domid } = this.#domain;
    const store = this.#service(this.#services.store, HvmParam.STORE_EVTCHN, () => connection.onEvent());
    const connection = this.#xenstored.introduceDomain({ domid, memory, ...store });
    const xs = this.#xenstored.client();
    const { memoryBytes, memoryTargetBytes = memoryBytes, vcpus, vcpusOnline = vcpus } = this.#config;
    writeDomainTree(xs, {
      domid,
      name: this.#config.name ?? `domus-${domid}`,
      uuid: uuidText(this.#domain.state.handle),
      memoryKiB: memoryBytes / 1024,
      memoryTargetKiB: memoryTargetBytes / 1024,
      vcpus,
      vcpusOnline,
      storeGfn: SpecialPage.xenstore,
      storePort: store.guestPort,
    });
    writePrimaryConsoleKeys(xs, { domid, gfn: SpecialPage.console, port: consolePort });
  }

  /** xenstore and the first console. */
  #attachRings(): ConsoleChannel[] {
    const { memory } = this.#host.hypervisor;
    const { id: domid } = this.#domain;
    const console = this.#service(this.#services.console, HvmParam.CONSOLE_EVTCHN, () => channel.onEvent());
    const channel = createPrimaryConsole({ domid, memory, defer: this.#defer, ...console });
    if (!this.#config.saved) this.#introduceToXenstore(console.guestPort);
    this.#channels.push(channel);
    return [channel];
  }

  /** Consoles beyond the first: split devices. */
  #attachConsoles(): ConsoleChannel[] {
    const host = createBackendHost(this.#host.hypervisor);
    const devices = Array.from({ length: this.#config.nrConsoles - 1 }, (_, i) =>
      createConsoleDevice({
        xs: this.#xenstored.client(),
        host,
        defer: this.#defer,
        domid: this.#domain.id,
        devid: i + 1,
        isRestored: this.#config.saved !== undefined,
      }),
    );
    const channels = devices.map(device => device.stream);
    this.#channels.push(...channels);
    return channels;
  }

  readonly #defer = (task: () => void): void => {
    // No loop will come to it any more: what a host's file has to say at the end is heard at once.
    if (this.#isAtRest) {
      task();
      return;
    }
    this.#deferred.push(task);
    this.#config.platform.pacer.wake();
  };
  readonly #deferred: (() => void)[] = [];

  #stream(channel: ConsoleChannel): ConsoleStream {
    return {
      onData: listener => void channel.onData(listener),
      write: chunk => {
        const taken = locked(this.#host.hypervisor, () => channel.write(chunk));
        if (taken > 0) this.#config.platform.pacer.wake();
        return taken;
      },
      onWritable: listener => void channel.onWritable(listener),
      close: () => channel.close(),
    };
  }

  // ---- running ----

  start(): void {
    this.#isRunning = true;
    this.#isPaused = true;
    const pages = pagesFileOf(this.#config);
    if (isParallel(this.#config) && pages !== 'memory') {
      const { platform } = this.#config;
      this.#pcpus = startPcpus({
        host: this.#host,
        count: this.#config.pcpus,
        modules: engineModules(),
        policy: this.#policy,
        clock: platform.clock,
        pages,
        makers: this.#making?.links ?? [],
        called: () => platform.pacer.wake(),
        failed: error => this.#fail(error),
      });
    }
    this.#sharing = this.#sharer?.join(this.#domain);
    // A restored domain's devices connect before it runs.
    if (this.#config.saved) locked(this.#host.hypervisor, () => this.#serveBackends());
    // With a debugger the first instruction is its to allow.
    if (!this.#gdb && !this.#config.isPaused) this.resume();
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
        locked(hypervisor, () => pcpus.answer());
        this.#serveBackends();
        locked(hypervisor, () => {
          const code = shutdownCode(this.#domain);
          if (code !== undefined) this.#stopped(this.#domain, code);
        });
        if (this.#shutdown) {
          pcpus.awaitStopped(this.#domain);
          await this.#finish(this.#shutdown);
          return;
        }
        if (this.#hasWork()) await pacer.breathe();
        else await pacer.idle(Number.POSITIVE_INFINITY);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#hasFailed = true;
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
          this.#serveBackends();
          this.companion?.ranSlice();
          if (platform.isDeterministic && this.#blockDevices.size > 0) await this.#awaitDisks();
          if (outcome.kind === 'idle' && !this.#hasWork()) idleNs = outcome.waitNs;
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
    this.#serveBackends();
  }
  /** Its last words. */
  settle(): void {
    this.#serveBackends();
    for (const channel of this.#channels) channel.drain();
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

  #hasWork(): boolean {
    return this.#xenstored.hasWork || this.#deferred.length > 0;
  }
  /** Let the backends do what events and watches asked for. */
  #serveBackends(): void {
    this.#xenstored.pump();
    for (const task of this.#deferred.splice(0)) task();
    deliverEvents(this.#host.hypervisor);
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
      this.#serveBackends();
    });
    for (const channel of this.#channels) channel.drain();
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
    using closing = new DisposableStack();
    const { image, records, listMemory, own, seen } = await this.#held(() => {
      const forked = forkDomain(this.#domain, runtime, this.#services, this.#config.saved);
      closing.defer(() => forked.image.close());
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
    return [{ type: RecordType.xenstore, payload: this.#xenstored.save() }, ...(chance ? [chance] : [])];
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
    if (this.#folderDevices.length > 0) {
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
      await this.#quiesce();
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
  /** Until the backends have done all that the domain asked them for. */
  async #quiesce(): Promise<void> {
    const { hypervisor } = this.#host;
    for (;;) {
      locked(hypervisor, () => this.#serveBackends());
      const busy = [...this.#blockDevices].find(device => device.running > 0);
      if (!busy && !this.#hasWork()) return;
      await (busy?.pending ?? this.#config.platform.pacer.breathe());
    }
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
    const { engine, vcpus: debugged } = this.#debug;
    const symbols = kernelSymbols(engine, debugged);
    const vcpus = debugged.map(vcpu => vcpuStatus(engine, vcpu, symbols));
    return { instructions: this.instructions(), vcpus };
  }
  stateHash(): string {
    const { hypervisor, engine } = this.#host;
    return hashMachine(hypervisor.memory, this.#domain, block => engine.runtime.getFlags(block));
  }

  async #stopPcpus(): Promise<void> {
    if (!this.#pcpus) return;
    if (!this.#hasFailed) {
      locked(this.#host.hypervisor, () => pauseDomain(this.#domain));
      this.#pcpus.awaitStopped(this.#domain);
    }
    await this.#pcpus.stop();
    this.#pcpus = undefined;
  }

  async destroy(): Promise<void> {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#isRunning = false;
    this.#config.platform.pacer.wake();
    await this.#loop;
    // While the threads end this one holds the hypervisor's lock.
    this.#sharing?.rest();
    await this.#stopPcpus();
    this.#sharing?.leave();
    await this.#making?.end();
    await this.#gdb?.close();
    const failures: unknown[] = [];
    for (const device of [...this.#blockDevices]) {
      device.remove(true);
      await device.disk.close().catch(error => failures.push(error));
    }
    this.#isAtRest = true;
    for (const task of this.#deferred.splice(0)) task();
    for (const { device } of this.#folderDevices) device.remove(true);
    await Promise.all(this.#folderDevices.map(({ closed }) => closed));
    this.#config.trail?.close();
    this.#config.saved?.close();
    // The machine's memory goes with this object: nothing else refers to it.
    for (const channel of this.#channels) channel.close();
    // What an image has not taken, its owner must learn of.
    if (failures.length > 0) throw failures[0];
  }
}

function trafficOf(disks: readonly DiskCounters[], nets: readonly NetDevice[]): Traffic {
  const sum = <T>(all: readonly T[], of: (each: T) => number) =>
    all.reduce((total, each) => total + of(each), 0);
  return {
    diskReadBytes: sum(disks, ({ readBytes }) => readBytes),
    diskWrittenBytes: sum(disks, ({ writtenBytes }) => writtenBytes),
    netReceivedBytes: sum(nets, ({ counters }) => counters.receive.bytes),
    netSentBytes: sum(nets, ({ counters }) => counters.transmit.bytes),
  };
}
