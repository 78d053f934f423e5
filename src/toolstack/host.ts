/**
 * The library's front door: a host that boots guests and runs commands in them.
 *
 *     await using host = await Host.open();
 *     const { exitCode, stdout } = await host.run({ command: ['uname', '-a'] });
 *
 *     await using vm = await host.create({ memory: '1G' });
 *     await vm.exec('echo hello');
 */
import { DomusError } from '../base/errors.ts';
import type { StoredImage } from '../image/store.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { nodeSockets } from '../platform/node/sockets.ts';
import type { Platform } from '../platform/platform.ts';
import { createSimulatedPlatform } from '../platform/sim/platform.ts';
import type { Sockets } from '../platform/sockets.ts';
import { abortable, abortError, createDeadline } from './abort.ts';
import type { BootPlan, BootRequest, Phase } from './boot.ts';
import { type InputSource, readAll } from './byte-io.ts';
import {
  checkEngine,
  checkMemory,
  checkPcpus,
  checkSeed,
  checkVcpus,
  MEMORY_DEFAULT_BYTES,
} from './config.ts';
import { createConsoleLog } from './console-log.ts';
import { nodeDiskHost } from './disk-host.ts';
import type { DiskSpec } from './disk-spec.ts';
import type { FolderSpec } from './folder-spec.ts';
import { closeDisks, DISK_MODULES, openDisks } from './guest-disk.ts';
import { closeFolders, FOLDER_MODULES, type GuestFolder, openFolders } from './guest-folder.ts';
import { type ImageRequest, Images } from './images.ts';
import type {
  ByteListener,
  MachineConfig,
  MachineDisk,
  Shutdown,
  TraceRequest,
  TwinPlatform,
} from './machine.ts';
import { chosenMode, NETWORK_MODULES, type NetworkOptions, SwitchRoom, VirtualNetwork } from './network.ts';
import type { Parts } from './parts.ts';
import { openNewRoot, openThrowawayRoot, ROOT_DEVICE, ROOT_MODULES, type RootDisk } from './root-disk.ts';
import { parseSize } from './size.ts';
import { type ExecOptions, type ExecResult, VirtualMachine } from './virtual-machine.ts';

export interface HostOptions {
  /** Other implementations of what lies below; for tests and for embedding. */
  readonly parts?: Parts;
  readonly platform?: Platform;
  /** The outside of the guests' networks; default: the host's own sockets. */
  readonly sockets?: Sockets;
  /** Hears what is being done for every guest of this host. */
  readonly onPhase?: (phase: Phase) => void;
}

export interface MachineOptions {
  /**
   * What the guest's root is made of: `debian:12`, `oci:FOLDER`, a name in the store (src/image/reference.ts). The root is a disk
   * of its own, thrown away with the guest. Default: a userland in memory.
   */
  readonly image?: string;
  /** A file, the name of a Debian package, or the kernel itself. Default: Debian's cloud kernel. */
  readonly kernel?: string | Uint8Array;
  /** A file or its contents. Together with no command the guest is the caller's own: only its console is used. */
  readonly initrd?: string | Uint8Array;
  /** Added to the kernel's command line. */
  readonly append?: string;
  /** Bytes, or text such as '512M'. Default 512 MiB. */
  readonly memory?: number | string;
  /** Default 1. */
  readonly vcpus?: number;
  /** Threads that run the vCPUs, each a core's worth. */
  readonly pcpus?: number;
  readonly engine?: string;
  /** Virtual time and seeded chance: two runs with the same input are identical. */
  readonly deterministic?: { readonly seed: number };
  readonly trace?: TraceRequest;
  readonly gdbPort?: number;
  /** `none` (the default, but for images), `nat`, `switch:NAME`, or with more to say. Ports, rules and faults mean `nat`. */
  readonly network?: string | NetworkOptions;
  /** Disk images, as `--disk` takes them or with their settings. They are xvda, xvdb, ...; with an image its root is xvda. */
  readonly disks?: readonly (string | DiskSpec)[];
  /** Folders of the host, as `-v` takes them or with their settings. */
  readonly folders?: readonly (string | FolderSpec)[];
  /** Hears the guest's console (hvc0). */
  readonly console?: ByteListener;
  /** Hears what is being done for this guest, besides the host's own listener. */
  readonly onPhase?: (phase: Phase) => void;
  readonly signal?: AbortSignal;
}

export interface RunOptions extends MachineOptions, Omit<ExecOptions, 'signal'> {
  /** Program and arguments, or a line for the shell. */
  readonly command?: readonly string[] | string;
  /** For everything together, from the look-up of the kernel to the command's end. */
  readonly timeoutMs?: number;
}

export interface RunResult extends ExecResult {
  /** Instructions that the guest has executed. */
  readonly instructions: number;
  /** Wall-clock time from the start of the machine to its end. */
  readonly durationMs: number;
  /** With `deterministic`: hash of memory and registers when the guest had stopped. */
  readonly stateHash?: string;
  /** How the guest ended, when it ended by itself. */
  readonly shutdown?: Shutdown;
}

interface RootOptions {
  /** A root disk in the making, which the guest changes for good. */
  readonly rootPath?: string;
}

/** The largest packages' scripts need no more. */
const FINISHING_MEMORY_BYTES = 768 * 2 ** 20;

interface CheckedOptions {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly pcpus: number;
  readonly engine: MachineConfig['engine'];
  readonly platform: Platform;
  readonly network: VirtualNetwork | undefined;
  readonly disks: readonly MachineDisk[];
  readonly folders: readonly GuestFolder[];
  readonly image: StoredImage | undefined;
  readonly root: RootDisk | undefined;
  readonly needsAgent: boolean;
  readonly isThrowaway: boolean;
}

export class Host implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #platform: Platform;
  readonly #onPhase: (phase: Phase) => void;
  readonly #machines = new Set<VirtualMachine>();
  readonly #sockets: Sockets;
  /** The switches of this host's guests. */
  readonly switches: SwitchRoom;
  /** The images that guests can have for a root. */
  readonly images: Images;

  private constructor(parts: Parts, options: HostOptions) {
    this.#parts = parts;
    this.#platform = options.platform ?? createNodePlatform();
    this.#onPhase = options.onPhase ?? (() => {});
    this.#sockets = options.sockets ?? nodeSockets;
    this.switches = new SwitchRoom(this.#platform.clock);
    this.images = new Images((rootPath, script, request) => this.#finishRoot(rootPath, script, request));
  }

  static async open(options: HostOptions = {}): Promise<Host> {
    if (options.parts) return new Host(options.parts, options);
    // With them comes the engine, which most commands do without.
    const { defaultParts } = await import('./parts.ts');
    return new Host(await defaultParts(), options);
  }

  /**
   * Boot a throwaway guest, run the command in it, destroy it. Without a command the guest must bring its own
   * initrd, and the run lasts until it stops.
   */
  run(options: RunOptions): Promise<RunResult> {
    return this.#run(options);
  }

  async #run(options: RunOptions & RootOptions): Promise<RunResult> {
    const hasCommand = options.command !== undefined || options.image !== undefined;
    if (!hasCommand && options.initrd === undefined) {
      throw new DomusError(
        'E_NO_COMMAND',
        'there is nothing to run',
        'give a command, or an initrd of your own',
      );
    }
    using deadline = createDeadline(this.#platform.timers, options.timeoutMs, options.signal);
    const { signal } = deadline;
    const stdin = await this.#repeatableInput(options);
    const startedNs = this.#platform.clock.monotonicNs();
    const vm = await this.#boot({ ...options, signal }, hasCommand, true);
    try {
      const exec = { ...options, stdin, signal };
      // Listeners first: not a byte of the guest's may be lost.
      const end = hasCommand ? vm.exec(vm.commandOf(options.command), exec) : vm.attach(exec);
      vm.start();
      const ended = await end;
      // The moment when the host learns of the command's end depends on the host; the guest's power-off does not.
      if (options.deterministic) await abortable(vm.stopped, signal);
      const shutdown = 'shutdown' in ended ? (ended.shutdown as Shutdown) : undefined;
      return {
        exitCode: ended.exitCode,
        stdout: ended.stdout,
        stderr: ended.stderr,
        instructions: vm.instructions(),
        durationMs: (this.#platform.clock.monotonicNs() - startedNs) / 1e6,
        ...(options.deterministic && { stateHash: vm.stateHash() }),
        ...(shutdown && { shutdown }),
      };
    } finally {
      await this.#destroy(vm);
    }
  }

  /** Boot a guest that stays until it is destroyed. */
  async create(options: MachineOptions = {}): Promise<VirtualMachine> {
    const vm = await this.#boot(options, options.initrd === undefined, false);
    vm.start();
    return vm;
  }

  /** Destroy every guest that is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#machines].map(vm => this.#destroy(vm)));
  }

  async #destroy(vm: VirtualMachine): Promise<void> {
    this.#machines.delete(vm);
    await vm.destroy();
  }

  /** Input that arrives when it likes would make two runs differ: a deterministic run reads it before it starts. */
  async #repeatableInput(options: RunOptions): Promise<InputSource | undefined> {
    if (options.stdin === undefined || !options.deterministic || options.terminal) return options.stdin;
    return readAll(options.stdin);
  }

  /** A new root runs its own scripts, with all of the machine's power and without a network. */
  async #finishRoot(rootPath: string, script: string, { signal, progress }: ImageRequest): Promise<void> {
    const log = createConsoleLog();
    const listen = (chunk: Uint8Array): void => {
      log.add(chunk);
      const last = log.lastLines().at(-1);
      if (last !== undefined) progress?.('configure', last);
    };
    const { exitCode } = await this.#run({
      rootPath,
      command: ['/bin/sh', '-c', script],
      memory: FINISHING_MEMORY_BYTES,
      stdout: listen,
      stderr: listen,
      ...(signal && { signal }),
    });
    if (exitCode === 0) return;
    throw new DomusError(
      'E_IMAGE_CONFIGURE',
      `the new system could not configure itself (exit code ${exitCode}): ${log.lastLines().slice(-10).join(' / ')}`,
      'try again; if it stays so, the packages of the suite may be at fault',
    );
  }

  async #boot(
    options: MachineOptions & RootOptions,
    needsAgent: boolean,
    isThrowaway: boolean,
  ): Promise<VirtualMachine> {
    const memoryBytes = checkMemory(
      typeof options.memory === 'string'
        ? parseSize(options.memory)
        : (options.memory ?? MEMORY_DEFAULT_BYTES),
    );
    const vcpus = checkVcpus(options.vcpus ?? 1);
    const pcpus = checkPcpus(options.pcpus ?? 1);
    const engine = checkEngine(options.engine ?? 'translator');
    const platform = options.deterministic
      ? createSimulatedPlatform(checkSeed(options.deterministic.seed), this.#platform)
      : { ...this.#platform, pacer: this.#platform.newPacer?.() ?? this.#platform.pacer };
    const image = options.image === undefined ? undefined : await this.#image(options.image, options);
    const network = await this.#openNetwork(options, platform);
    let disks: readonly MachineDisk[] = [];
    let folders: readonly GuestFolder[] = [];
    let root: RootDisk | undefined;
    try {
      if (options.rootPath !== undefined) root = await openNewRoot(options.rootPath);
      else if (image) root = await openThrowawayRoot(this.images, image);
      disks = root ? [root.disk] : [];
      disks = [...disks, ...(await openDisks(nodeDiskHost(), options.disks ?? [], namesOf(disks)))];
      checkLimits(disks, platform);
      folders = await this.#openFolders(options, platform, needsAgent);
      return await this.#build(options, {
        image,
        root,
        disks,
        folders,
        memoryBytes,
        vcpus,
        pcpus: Math.min(pcpus, vcpus),
        engine,
        platform,
        network,
        needsAgent,
        isThrowaway,
      });
    } catch (error) {
      await network?.close();
      await closeDisks(disks);
      closeFolders(folders);
      await root?.remove();
      throw error;
    }
  }

  #image(reference: string, options: MachineOptions): Promise<StoredImage> {
    const { signal } = options;
    this.#report({ name: 'image', detail: `looking for ${reference}` }, options);
    const progress = (phase: string, detail: string) =>
      this.#report({ name: 'image', detail: `${phase} ${detail}` }, options);
    return abortable(this.images.obtain({ reference, progress, ...(signal && { signal }) }), signal);
  }

  /** Time and chance for the second machine of two in lockstep. */
  #twin({ deterministic }: MachineOptions): TwinPlatform {
    const platform = createSimulatedPlatform(checkSeed(deterministic?.seed ?? 0), this.#platform);
    return { platform, advanceTo: timeNs => platform.clock.advanceTo(timeNs) };
  }

  /** @throws DomusError E_NET_* */
  async #openNetwork(options: MachineOptions, platform: Platform): Promise<VirtualNetwork | undefined> {
    // An image is there to be worked with, and its packages come over a network.
    const usual = options.image !== undefined && !options.deterministic ? 'nat' : {};
    const given = options.network ?? usual;
    const wanted = typeof given === 'string' ? { mode: given } : given;
    const mode = chosenMode(wanted);
    if (mode.kind === 'none') return undefined;
    if (options.deterministic) {
      throw new DomusError(
        'E_NET_DETERMINISTIC',
        'what comes over a network differs from run to run, so a deterministic run has none',
        'leave out the network or --deterministic',
      );
    }
    return VirtualNetwork.open(wanted, mode, { platform, sockets: this.#sockets, switches: this.switches });
  }

  /** @throws DomusError E_FOLDER_* */
  #openFolders(options: MachineOptions, platform: Platform, needsAgent: boolean): Promise<GuestFolder[]> {
    const { folders = [] } = options;
    if (folders.length > 0 && platform.isDeterministic) {
      throw new DomusError(
        'E_FOLDER_DETERMINISTIC',
        'what the host does in a shared folder differs from run to run, so a deterministic run has none',
        'use --disk, or leave out --deterministic',
      );
    }
    if (folders.length > 0 && !needsAgent) {
      throw new DomusError(
        'E_USAGE',
        'folders are mounted by the init that runs commands, and this guest has its own',
        'give a COMMAND',
      );
    }
    return openFolders(folders, platform.clock);
  }

  async #build(options: MachineOptions, checked: CheckedOptions): Promise<VirtualMachine> {
    const {
      memoryBytes,
      vcpus,
      pcpus,
      engine,
      platform,
      network,
      disks,
      folders,
      image,
      root,
      needsAgent,
      isThrowaway,
    } = checked;
    const { kernel, initrd, append, signal } = options;
    const report = (phase: Phase) => this.#report(phase, options);
    const plan = await this.#plan(report, {
      kernel,
      initrd,
      append,
      needsAgent,
      isThrowaway,
      signal,
      modules: [
        ...(network ? NETWORK_MODULES : []),
        ...(disks.length > 0 ? DISK_MODULES : []),
        ...(root ? ROOT_MODULES : []),
        ...(folders.length > 0 ? FOLDER_MODULES : []),
      ],
      ...(network && { network: network.settings }),
      disks: disks.map(({ name }) => name),
      folders: folders.map(({ mount }) => mount),
      ...(root && { root: ROOT_DEVICE }),
    });
    report({ name: 'create', detail: 'building the machine' });
    await network?.publish();
    const machine = await this.#parts.createMachine({
      kernel: plan.kernel,
      initrd: plan.initrd,
      commandLine: plan.commandLine,
      nrConsoles: plan.nrConsoles,
      networks: network ? [network.interface] : [],
      disks,
      folders,
      memoryBytes,
      vcpus,
      pcpus,
      engine,
      platform,
      ...(engine === 'lockstep' && { twin: this.#twin(options) }),
      trace: options.trace,
      gdbPort: options.gdbPort,
    });
    if (signal?.aborted) {
      await machine.destroy();
      throw abortError(signal);
    }
    const vm = new VirtualMachine(machine, {
      plan,
      platform,
      onPhase: report,
      console: options.console,
      onDestroyed: () => this.#machines.delete(vm),
      network,
      disks,
      image: image?.config,
      cleanUp: root?.remove,
    });
    this.#machines.add(vm);
    if (options.gdbPort !== undefined) {
      report({ name: 'gdb', detail: `waiting for gdb on 127.0.0.1:${options.gdbPort}` });
    }
    return vm;
  }

  #report(phase: Phase, options: MachineOptions): void {
    this.#onPhase(phase);
    options.onPhase?.(phase);
  }

  async #plan(report: (phase: Phase) => void, request: Omit<BootRequest, 'onPhase'>): Promise<BootPlan> {
    let current = 'looking for a kernel';
    const onPhase = (phase: Phase) => {
      current = phase.detail ?? phase.name;
      report(phase);
    };
    try {
      return await abortable(this.#parts.planBoot({ ...request, onPhase }), request.signal);
    } catch (error) {
      if (!(error instanceof DomusError) || error.code !== 'E_TIMEOUT') throw error;
      throw new DomusError(error.code, `${error.message} while ${current}`, error.remedy, { cause: error });
    }
  }
}

const namesOf = (disks: readonly MachineDisk[]): ReadonlySet<string> =>
  new Set(disks.map(({ name }) => name));

/** A limit in real time would make two runs differ. */
function checkLimits(disks: readonly MachineDisk[], platform: Platform): void {
  const limited = disks.find(({ limits }) => limits?.requestsPerSecond || limits?.bytesPerSecond);
  if (!limited || !platform.isDeterministic) return;
  throw new DomusError(
    'E_USAGE',
    `the rate limits of ${limited.name} count in real time, which a deterministic run does not have`,
    'leave out iops and bps, or --deterministic',
  );
}
