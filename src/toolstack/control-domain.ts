/**
 * What stands in the control domain's place beside one guest: xenstore, consoles, and the backends of its devices. The guest reaches
 * them through rings and event channels as it would on Xen. They work between two slices of the guest's (`serve`), and whenever files and
 * sockets of the host have something for them.
 */
import { HvmParam } from '../abi/xen/hvm.ts';
import { type BlockDevice, createBlockDevice } from '../backend/block/device.ts';
import { OpenRequests } from '../backend/block/open-requests.ts';
import { createConsoleDevice } from '../backend/console/device.ts';
import { writePrimaryConsoleKeys } from '../backend/console/keys.ts';
import { type ConsoleChannel, createPrimaryConsole } from '../backend/console/stream.ts';
import { createBackendHost } from '../backend/host.ts';
import { NetDevice } from '../backend/net/device.ts';
import { FolderDevice } from '../backend/p9/device.ts';
import { frameAddress, mfn } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import type { Disk, DiskCounters } from '../disk/disk.ts';
import { SpecialPage } from '../hypervisor/builder/layout.ts';
import { bindToGuest, deliverEvents, locked, notify } from '../hypervisor/event/backend.ts';
import type { Domain, Hypervisor } from '../hypervisor/hypervisor.ts';
import { kept, type Station } from '../net/frame.ts';
import { damaged, RecordType } from '../state/format.ts';
import { type Records, recordOf } from '../state/restore-domain.ts';
import type { ServiceFrames } from '../state/save-domain.ts';
import { writeDomainTree, writeGenerationId } from '../xenstore/domain-tree.ts';
import { createXenstored, type Xenstored } from '../xenstore/xenstored.ts';
import type { Traffic } from './domain-control.ts';
import type {
  AttachedDisk,
  ConsoleStream,
  MachineConfig,
  MachineDisk,
  MachineFolder,
  NetworkInterface,
} from './machine.ts';
import { uuidText } from './uuid.ts';

/** Frames that wait for a guest that is held; more are lost. */
const FRAMES_HELD_MAX = 1024;

export interface ControlDomainParts {
  readonly config: MachineConfig;
  readonly hypervisor: Hypervisor;
  readonly domain: Domain;
  readonly services: ServiceFrames;
  /** Is the guest held? Frames for it wait then. */
  isPaused(): boolean;
}

export class ControlDomain {
  readonly consoles: readonly ConsoleStream[];
  readonly #config: MachineConfig;
  readonly #hypervisor: Hypervisor;
  readonly #domain: Domain;
  readonly #services: ServiceFrames;
  readonly #isPaused: () => boolean;
  readonly #xenstored: Xenstored;
  readonly #channels: ConsoleChannel[] = [];
  readonly #blockDevices = new Set<BlockDevice>();
  /** Of all disks that it ever had. */
  readonly #diskCounters: DiskCounters[] = [];
  readonly #netDevices: NetDevice[] = [];
  /** Shared folders, and what settles when each is closed. */
  readonly #folderDevices: { readonly device: FolderDevice; readonly closed: Promise<void> }[] = [];
  readonly #deferred: (() => void)[] = [];
  /** The guest will not run again. */
  #isEnding = false;
  /** Nobody serves any more. */
  #isAtRest = false;

  constructor({ config, hypervisor, domain, services, isPaused }: ControlDomainParts) {
    this.#config = config;
    this.#hypervisor = hypervisor;
    this.#domain = domain;
    this.#services = services;
    this.#isPaused = isPaused;
    this.#xenstored = createXenstored({ wake: () => config.platform.pacer.wake() });
    if (config.saved) this.#restoreXenstore(config.saved.records);
    this.consoles = [...this.#attachRings(), ...this.#attachConsoles()].map(channel => this.#stream(channel));
    for (const [devid, network] of (config.networks ?? []).entries()) this.#attachNetwork(network, devid);
    for (const [devid, folder] of (config.folders ?? []).entries()) this.#attachFolder(folder, devid);
  }

  /** A client of its xenstore, with the control domain's rights. */
  client(): ReturnType<Xenstored['client']> {
    return this.#xenstored.client();
  }

  // ---- at work ----

  get hasWork(): boolean {
    return this.#xenstored.hasWork || this.#deferred.length > 0;
  }
  /** Let the backends do what events and watches asked for. */
  serve(): void {
    this.#xenstored.pump();
    for (const task of this.#deferred.splice(0)) task();
    deliverEvents(this.#hypervisor);
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

  get hasDisks(): boolean {
    return this.#blockDevices.size > 0;
  }
  /** In virtual time the guest does not run on while its disk works: every run is the same. */
  async awaitDisks(): Promise<void> {
    for (const device of this.#blockDevices) {
      while (device.pending) {
        await device.pending;
        this.serve();
      }
    }
  }

  /** Until the backends have done all that the domain asked them for. */
  async quiesce(): Promise<void> {
    const hypervisor = this.#hypervisor;
    for (;;) {
      locked(hypervisor, () => this.serve());
      const busy = [...this.#blockDevices].find(device => device.running > 0);
      if (!busy && !this.hasWork) return;
      await (busy?.pending ?? this.#config.platform.pacer.breathe());
    }
  }

  /** All that the guest has written to its consoles goes out. */
  drainConsoles(): void {
    for (const channel of this.#channels) channel.drain();
  }
  /** xenstore, as a saved domain keeps it. */
  save(): Uint8Array {
    return this.#xenstored.save();
  }
  get hasFolders(): boolean {
    return this.#folderDevices.length > 0;
  }
  traffic(): Traffic {
    const [disks, nets] = [this.#diskCounters, this.#netDevices];
    const sum = <T>(all: readonly T[], of: (each: T) => number) =>
      all.reduce((total, each) => total + of(each), 0);
    return {
      diskReadBytes: sum(disks, ({ readBytes }) => readBytes),
      diskWrittenBytes: sum(disks, ({ writtenBytes }) => writtenBytes),
      netReceivedBytes: sum(nets, ({ counters }) => counters.receive.bytes),
      netSentBytes: sum(nets, ({ counters }) => counters.transmit.bytes),
    };
  }

  // ---- the end ----

  /** The guest will not run again: nobody waits for it any more. */
  end(): void {
    this.#isEnding = true;
  }
  /** @returns what went wrong: what an image has not taken, its owner must learn of */
  async close(): Promise<readonly unknown[]> {
    const failures: unknown[] = [];
    for (const device of [...this.#blockDevices]) {
      device.remove(true);
      await device.disk.close().catch(error => failures.push(error));
    }
    this.#isAtRest = true;
    for (const task of this.#deferred.splice(0)) task();
    for (const { device } of this.#folderDevices) device.remove(true);
    await Promise.all(this.#folderDevices.map(({ closed }) => closed));
    return failures;
  }
  closeConsoles(): void {
    for (const channel of this.#channels) channel.close();
  }

  // ---- devices ----

  /** What every backend works with. */
  #surroundings() {
    return {
      xs: this.#xenstored.client(),
      host: createBackendHost(this.#hypervisor),
      defer: this.#defer,
      domid: this.#domain.id,
    };
  }

  /** @param isKnown the domain was restored with it */
  attachDisk(machineDisk: MachineDisk, isKnown: boolean): AttachedDisk {
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
        ...this.#surroundings(),
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
        if (this.#isEnding) {
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
    while (device.running > 0 && !this.#isEnding) {
      this.serve();
      await (device.pending ?? this.#config.platform.pacer.breathe());
    }
  }

  #attachNetwork(network: NetworkInterface, devid: number): void {
    let outside: Station | undefined;
    const device = new NetDevice({
      ...this.#surroundings(),
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
        if (!this.#isPaused()) {
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
      ...this.#surroundings(),
      devid,
      folder,
      tag,
      onRemoved: resolve,
    });
    this.#folderDevices.push({ device, closed });
  }

  /** Ring page and event channel of one of the services that every domain has from the start. */
  #service(frame: number, portParam: number, onEvent: () => void) {
    const hypervisor = this.#hypervisor;
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
    const { memory } = this.#hypervisor;
    const state = recordOf(records, RecordType.xenstore, 'xenstore');
    const service = this.#service(this.#services.store, HvmParam.STORE_EVTCHN, () => connection?.onEvent());
    this.#xenstored.restore(state, domid => (domid === this.#domain.id ? { memory, ...service } : undefined));
    const connection = this.#xenstored.connection(this.#domain.id);
    if (!connection) throw damaged('xenstore does not know the domain');
    const { generationId } = this.#config;
    if (generationId) writeGenerationId(this.#xenstored.client(), this.#domain.id, generationId);
  }

  #introduceToXenstore(consolePort: number): void {
    const { memory } = this.#hypervisor;
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
    const { memory } = this.#hypervisor;
    const { id: domid } = this.#domain;
    const console = this.#service(this.#services.console, HvmParam.CONSOLE_EVTCHN, () => channel.onEvent());
    const channel = createPrimaryConsole({ domid, memory, defer: this.#defer, ...console });
    if (!this.#config.saved) this.#introduceToXenstore(console.guestPort);
    this.#channels.push(channel);
    return [channel];
  }

  /** Consoles beyond the first: split devices. */
  #attachConsoles(): ConsoleChannel[] {
    const devices = Array.from({ length: this.#config.nrConsoles - 1 }, (_, i) =>
      createConsoleDevice({
        ...this.#surroundings(),
        devid: i + 1,
        isRestored: this.#config.saved !== undefined,
      }),
    );
    const channels = devices.map(device => device.stream);
    this.#channels.push(...channels);
    return channels;
  }

  #stream(channel: ConsoleChannel): ConsoleStream {
    return {
      onData: listener => void channel.onData(listener),
      write: chunk => {
        const taken = locked(this.#hypervisor, () => channel.write(chunk));
        if (taken > 0) this.#config.platform.pacer.wake();
        return taken;
      },
      onWritable: listener => void channel.onWritable(listener),
      close: () => channel.close(),
    };
  }
}
