/**
 * Makes a guest out of its options: finds what it boots from, opens what it is given, builds its machine. A guest that reboots gets
 * another machine with the same disks, folders and network.
 */
import { DomusError } from '../base/errors.ts';
import type { Share } from '../hypervisor/credit.ts';
import type { StoredImage } from '../image/store.ts';
import { defaultCacheFolder, joinPath } from '../platform/node/cache-folder.ts';
import type { Platform } from '../platform/platform.ts';
import { createSimulatedPlatform } from '../platform/sim/platform.ts';
import type { Sockets } from '../platform/sockets.ts';
import { abortable, abortError } from './abort.ts';
import type { BootPlan, BootRequest, Phase } from './boot.ts';
import { checkSeed, WEIGHT_DEFAULT } from './config.ts';
import { nodeDiskHost } from './disk-host.ts';
import { closeDisks, DISK_MODULES, openDisks } from './guest-disk.ts';
import { closeFolders, FOLDER_MODULES, type GuestFolder, openFolders } from './guest-folder.ts';
import type { Images } from './images.ts';
import type { MachineDisk, Shutdown, TwinPlatform } from './machine.ts';
import {
  type CheckedOptions,
  checkLimits,
  checkOptions,
  type MachineOptions,
  wantedFolders,
  wantedNetwork,
} from './machine-options.ts';
import { NETWORK_MODULES, type SwitchRoom, VirtualNetwork } from './network.ts';
import type { Parts } from './parts.ts';
import type { PcpuPool } from './pcpu-pool.ts';
import { newRoot, openThrowawayRoot, ROOT_DEVICE, ROOT_MODULES, type RootDisk } from './root-disk.ts';
import type { RunTurns, ScheduledTurn } from './run-turns.ts';
import type { Sharer } from './sharer.ts';
import { type Incarnation, type RestartState, VirtualMachine } from './virtual-machine.ts';

/** What all guests of a host share. */
export interface GuestWorld {
  readonly parts: Parts;
  readonly platform: Platform;
  readonly sockets: Sockets;
  readonly switches: SwitchRoom;
  readonly images: Images;
  readonly turns: RunTurns;
  readonly pcpus: PcpuPool;
  readonly sharer: Sharer;
  onPhase(phase: Phase): void;
}

export interface GuestPurpose {
  /** Commands are to run in it. */
  readonly needsAgent: boolean;
  /** It serves one command and powers itself off. */
  readonly isThrowaway: boolean;
  /** A root disk in the making, which the guest changes for good. */
  readonly rootPath?: string | undefined;
  onDestroyed(vm: VirtualMachine): void;
}

/** The guest's share of the host's thread; of one that runs on threads of its own, or in virtual time, there is none. */
export function takeTurn(
  { turns }: GuestWorld,
  options: Pick<MachineOptions, 'deterministic' | 'weight' | 'cap'>,
  { pcpus }: CheckedOptions,
): ScheduledTurn | undefined {
  return options.deterministic || pcpus > 1 ? undefined : turns.join(shareOf(options));
}

export const shareOf = ({
  weight = WEIGHT_DEFAULT,
  cap = 0,
}: Pick<MachineOptions, 'weight' | 'cap'>): Share => ({ weight, cap });

interface Devices {
  readonly disks: readonly MachineDisk[];
  readonly folders: readonly GuestFolder[];
}

export class GuestBuilder {
  readonly #world: GuestWorld;
  readonly #options: MachineOptions;
  readonly #purpose: GuestPurpose;
  readonly #checked: CheckedOptions;
  readonly #platform: Platform;
  readonly #turn: ScheduledTurn | undefined;
  #image: StoredImage | undefined;
  #network: VirtualNetwork | undefined;
  #root: RootDisk | undefined;

  /** @throws DomusError for values that no machine can have */
  constructor(world: GuestWorld, options: MachineOptions, purpose: GuestPurpose) {
    this.#world = world;
    this.#options = options;
    this.#purpose = purpose;
    this.#checked = checkOptions(options);
    const { platform } = world;
    this.#platform = options.deterministic
      ? createSimulatedPlatform(checkSeed(options.deterministic.seed), platform)
      : { ...platform, pacer: platform.newPacer?.() ?? platform.pacer };
    this.#turn = takeTurn(world, options, this.#checked);
  }

  /** A guest that is ready to start. What it has taken it gives back when it is destroyed. */
  async build(): Promise<VirtualMachine> {
    const { image, signal } = this.#options;
    this.#image = image === undefined ? undefined : await this.#obtain(image);
    const wanted = wantedNetwork(this.#options);
    const { sockets, switches } = this.#world;
    this.#network =
      wanted &&
      (await VirtualNetwork.open(wanted.options, wanted.mode, {
        platform: this.#platform,
        sockets,
        switches,
      }));
    try {
      this.#root = await this.#openRoot();
      const devices = await this.#openDevices();
      const { plan, first } = await this.#closingOnFailure(devices, async () => {
        const plan = await this.#plan(devices);
        this.#report({ name: 'create', detail: 'building the machine' });
        await this.#network?.publish();
        return { plan, first: await this.#createMachine(plan, devices) };
      });
      if (signal?.aborted) {
        await first.machine.destroy();
        throw abortError(signal);
      }
      return this.#takeOver(plan, first, devices);
    } catch (error) {
      this.#turn?.leave();
      await this.#network?.close();
      await this.#root?.remove();
      throw error;
    }
  }

  #takeOver(plan: BootPlan, first: Incarnation, { folders }: Devices): VirtualMachine {
    const { console, gdbPort } = this.#options;
    const vm = new VirtualMachine(first, {
      connect: plan.connect,
      shape: { ...this.#checked, nrConsoles: plan.nrConsoles },
      platform: this.#platform,
      onPhase: phase => this.#report(phase),
      console,
      onDestroyed: () => this.#purpose.onDestroyed(vm),
      turn: this.#turn,
      network: this.#network,
      writesToFolders: folders.some(({ mount }) => !mount.isReadOnly),
      image: this.#image?.config,
      cleanUp: this.#root?.remove,
      restart: { after: this.#restartsAfter(), next: state => this.#again(plan, state) },
    });
    if (gdbPort !== undefined)
      this.#report({ name: 'gdb', detail: `waiting for gdb on 127.0.0.1:${gdbPort}` });
    return vm;
  }

  #restartsAfter(): Set<Shutdown['reason']> {
    const { boot, onReboot = boot ? 'restart' : 'destroy', onPoweroff, onCrash } = this.#options;
    const reasons = new Set<Shutdown['reason']>();
    if (onReboot === 'restart') reasons.add('reboot');
    if (onPoweroff === 'restart') reasons.add('poweroff');
    if (onCrash === 'restart') for (const reason of ['crash', 'watchdog'] as const) reasons.add(reason);
    return reasons;
  }

  async #again(plan: BootPlan, state: RestartState): Promise<Incarnation> {
    const devices = await this.#openDevices();
    return this.#closingOnFailure(devices, () => this.#createMachine(plan, devices, state));
  }

  #obtain(reference: string): Promise<StoredImage> {
    const { signal } = this.#options;
    this.#report({ name: 'image', detail: `looking for ${reference}` });
    const progress = (phase: string, detail: string) =>
      this.#report({ name: 'image', detail: `${phase} ${detail}` });
    const { images } = this.#world;
    return abortable(images.obtain({ reference, progress, ...(signal && { signal }) }), signal);
  }

  async #openRoot(): Promise<RootDisk | undefined> {
    const { rootPath } = this.#purpose;
    if (rootPath !== undefined) return newRoot(rootPath);
    return this.#image && openThrowawayRoot(this.#world.images, this.#image);
  }

  /** All of them, or none. @throws DomusError E_DISK_*, E_FOLDER_* */
  async #openDevices(): Promise<Devices> {
    const folders = wantedFolders(this.#options, this.#purpose.needsAgent);
    const root = await this.#root?.open();
    const opened: Devices = { disks: root ? [root] : [], folders: [] };
    return this.#closingOnFailure(opened, async () => {
      const taken = new Set(opened.disks.map(({ name }) => name));
      const others = await openDisks(nodeDiskHost(), this.#options.disks ?? [], taken);
      const disks = [...opened.disks, ...others];
      return this.#closingOnFailure({ disks: others, folders: [] }, async () => {
        checkLimits(disks, this.#platform);
        return { disks, folders: await openFolders(folders, this.#platform.clock) };
      });
    });
  }

  async #closingOnFailure<T>({ disks, folders }: Devices, use: () => Promise<T>): Promise<T> {
    try {
      return await use();
    } catch (error) {
      await closeDisks(disks);
      closeFolders(folders);
      throw error;
    }
  }

  /** The device that the init mounts as the root, if it is a disk. */
  #rootDevice({ disks, folders }: Devices): string | undefined {
    if (this.#root) return ROOT_DEVICE;
    if (!this.#options.boot || folders.some(({ mount }) => mount.target === '/')) return undefined;
    const [first] = disks;
    if (first) return first.name;
    throw new DomusError(
      'E_USAGE',
      'there is no root to boot from',
      'name an image or a disk, or share a folder as /',
    );
  }

  #createRequest(devices: Devices): Omit<BootRequest, 'onPhase'> {
    const { kernel, initrd, append, signal, boot } = this.#options;
    const { needsAgent, isThrowaway } = this.#purpose;
    const { disks, folders } = devices;
    const root = this.#rootDevice(devices);
    const network = this.#network;
    return {
      kernel,
      initrd,
      append,
      needsAgent,
      isThrowaway,
      signal,
      modules: [
        ...(network ? NETWORK_MODULES : []),
        // One that stays may get disks later.
        ...(disks.length > 0 || !isThrowaway ? DISK_MODULES : []),
        ...(root ? ROOT_MODULES : []),
        ...(folders.length > 0 ? FOLDER_MODULES : []),
      ],
      ...(network && { network: network.settings }),
      disks: disks.map(({ name }) => name),
      folders: folders.map(({ mount }) => mount),
      ...(root !== undefined && { root }),
      ...(boot && { init: ROOT_INIT }),
    };
  }

  async #plan(devices: Devices): Promise<BootPlan> {
    const { signal } = this.#options;
    let current = 'looking for a kernel';
    const onPhase = (phase: Phase) => {
      current = phase.detail ?? phase.name;
      this.#report(phase);
    };
    const request = this.#createRequest(devices);
    try {
      return await abortable(this.#world.parts.planBoot({ ...request, onPhase }), signal);
    } catch (error) {
      if (!(error instanceof DomusError) || error.code !== 'E_TIMEOUT') throw error;
      throw new DomusError(error.code, `${error.message} while ${current}`, error.remedy, { cause: error });
    }
  }

  async #createMachine(
    plan: BootPlan,
    { disks, folders }: Devices,
    again?: RestartState,
  ): Promise<Incarnation> {
    const { deterministic, trace, gdbPort, name, uuid, isPaused } = this.#options;
    const machine = await this.#world.parts.createMachine({
      ...this.#checked,
      name,
      uuid,
      ...(again ?? { isPaused }),
      kernel: plan.kernel,
      initrd: plan.initrd,
      commandLine: plan.commandLine,
      nrConsoles: plan.nrConsoles,
      networks: this.#network ? [this.#network.interface] : [],
      disks,
      folders,
      regionsFolder: regionsFolder(),
      platform: this.#platform,
      sharer: this.#world.sharer,
      ...(this.#turn && { turn: this.#turn }),
      ...(this.#checked.engine === 'lockstep' && { twin: this.#twin(deterministic?.seed ?? 0) }),
      trace,
      gdbPort,
    });
    return { machine, disks };
  }

  /** Time and chance for the second machine of two in lockstep. */
  #twin(seed: number): TwinPlatform {
    const platform = createSimulatedPlatform(checkSeed(seed), this.#world.platform);
    return { platform, advanceTo: timeNs => platform.clock.advanceTo(timeNs) };
  }

  #report(phase: Phase): void {
    this.#world.onPhase(phase);
    this.#options.onPhase?.(phase);
  }
}

/** Where translated code is kept for later runs. */
export const regionsFolder = (): string => joinPath(defaultCacheFolder(), 'regions');

/** Where every distribution has its init. */
const ROOT_INIT = '/sbin/init';
