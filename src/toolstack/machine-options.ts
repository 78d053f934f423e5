/** What a guest can be made of, and the limits that hold for it. */
import { DomusError } from '../base/errors.ts';
import type { Platform } from '../platform/platform.ts';
import type { Phase } from './boot.ts';
import {
  checkCap,
  checkEngine,
  checkMemory,
  checkMinMemory,
  checkPcpus,
  checkUuid,
  checkVcpus,
  checkWeight,
  type DomainEndAction,
  type Engine,
  MEMORY_DEFAULT_BYTES,
  WEIGHT_DEFAULT,
} from './config.ts';
import type { DiskSpec } from './disk-spec.ts';
import type { FolderSpec } from './folder-spec.ts';
import type { ByteListener, MachineDisk, TraceRequest } from './machine.ts';
import { chosenMode, type NetworkMode, type NetworkOptions } from './network.ts';
import { parseSize } from './size.ts';

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
  /** What the memory can be raised to while the guest runs; in the same units. Default: `memory`. */
  readonly maxMemory?: number | string;
  /**
   * It may have less than `memory`, but not less than this, while other guests of the host need theirs, and more, up to `maxMemory`, when it
   * does. Default: it has `memory`, until somebody asks it for another amount. For guests that stay.
   */
  readonly minMemory?: number | string;
  /** Default 1. */
  readonly vcpus?: number;
  /** What their number can be raised to while the guest runs. Default: `vcpus`. */
  readonly maxVcpus?: number;
  /** Threads that run the vCPUs, each a core's worth. */
  readonly pcpus?: number;
  readonly engine?: string;
  /** Virtual time and seeded chance: two runs with the same input are identical. */
  readonly deterministic?: { readonly seed: number };
  readonly trace?: TraceRequest;
  readonly gdbPort?: number;
  /** A saved machine to go on from, instead of booting one: memory, vCPUs and all else are its own then. */
  readonly from?: string;
  /** `none` (the default, but for images), `nat`, `switch:NAME`, or with more to say. Ports, rules and faults mean `nat`. */
  readonly network?: string | NetworkOptions;
  /** Disk images, as `--disk` takes them or with their settings. They are xvda, xvdb, ...; with an image its root is xvda. */
  readonly disks?: readonly (string | DiskSpec)[];
  /** Folders of the host, as `-v` takes them or with their settings. */
  readonly folders?: readonly (string | FolderSpec)[];
  /**
   * Boot the root's own init, `/sbin/init`, instead of taking one command: of the image, else of the first disk, or of a folder that is
   * mounted on `/`. Commands can run beside it (`vm.exec`).
   */
  readonly boot?: boolean | undefined;
  /** What a reboot of the guest does: start it anew, or end it as power-off does. Default: `restart` with `boot`, else `destroy`. */
  readonly onReboot?: DomainEndAction | undefined;
  /** The same for power-off and for a crash. Default: `destroy`. */
  readonly onPoweroff?: DomainEndAction | undefined;
  readonly onCrash?: DomainEndAction | undefined;
  /** Nothing of ours is put into the guest, and no commands run in it: it is the caller's own. So is one with an `initrd`. */
  readonly isOwn?: boolean | undefined;
  /** Built and not started: `vm.resume` starts it. */
  readonly isPaused?: boolean | undefined;
  /** As the guest sees itself in xenstore. */
  readonly name?: string | undefined;
  /** Default: a new one. */
  readonly uuid?: string | undefined;
  /** Share of the processor beside other guests of the host, 1 to 65535; default 256. */
  readonly weight?: number | undefined;
  /** Percent of one processor that it may use at most; 0, the default: all that is left by others. */
  readonly cap?: number | undefined;
  /** Hears the guest's console (hvc0). */
  readonly console?: ByteListener;
  /** Hears what is being done for this guest, besides the host's own listener. */
  readonly onPhase?: (phase: Phase) => void;
  readonly signal?: AbortSignal;
}

export interface CheckedOptions {
  /** What it can have at most, and what it has at first. */
  readonly memoryBytes: number;
  readonly memoryTargetBytes: number;
  readonly vcpus: number;
  readonly vcpusOnline: number;
  readonly pcpus: number;
  readonly engine: Engine;
}

/** @throws DomusError E_SIZE, E_MEMORY_SIZE */
export const bytesOf = (size: number | string): number =>
  checkMemory(typeof size === 'string' ? parseSize(size) : size);

/** @throws DomusError E_MEMORY_SIZE, E_VCPU_COUNT, E_PCPU_COUNT, E_ENGINE, E_SCHED_CREDIT, E_UUID */
export function checkOptions(options: MachineOptions): CheckedOptions {
  const { memory = MEMORY_DEFAULT_BYTES, vcpus = 1, pcpus = 1, engine } = options;
  const { maxMemory = memory, maxVcpus = vcpus, weight = WEIGHT_DEFAULT, cap = 0, uuid } = options;
  const memoryTargetBytes = bytesOf(memory);
  const vcpusOnline = checkVcpus(vcpus);
  const nrVcpus = Math.max(vcpusOnline, checkVcpus(maxVcpus));
  if (options.minMemory !== undefined) checkMinMemory(bytesOf(options.minMemory), memoryTargetBytes);
  checkWeight(weight);
  checkCap(cap, nrVcpus);
  if (pcpus > 1 && (options.weight !== undefined || cap > 0)) {
    throw new DomusError(
      'E_SCHED_CREDIT',
      'a guest that runs on threads of its own has no weight and no cap: the host system schedules it',
      'leave out pcpus, or weight and cap',
    );
  }
  if (uuid !== undefined) checkUuid(uuid);
  return {
    memoryBytes: Math.max(memoryTargetBytes, bytesOf(maxMemory)),
    memoryTargetBytes,
    vcpus: nrVcpus,
    vcpusOnline,
    pcpus: Math.min(checkPcpus(pcpus), nrVcpus),
    engine: checkEngine(engine ?? 'translator'),
  };
}

/** The network that is wanted, and of what kind; undefined when there is to be none. @throws DomusError E_NET_* */
export function wantedNetwork({ image, network, deterministic }: MachineOptions):
  | {
      readonly options: NetworkOptions;
      readonly mode: NetworkMode;
    }
  | undefined {
  // An image is there to be worked with, and its packages come over a network.
  const usual = image !== undefined && !deterministic ? 'nat' : {};
  const given = network ?? usual;
  const options = typeof given === 'string' ? { mode: given } : given;
  const mode = chosenMode(options);
  if (mode.kind === 'none') return undefined;
  if (!deterministic) return { options, mode };
  throw new DomusError(
    'E_NET_DETERMINISTIC',
    'what comes over a network differs from run to run, so a deterministic run has none',
    'leave out the network or --deterministic',
  );
}

/** The folders that are wanted. @throws DomusError E_FOLDER_DETERMINISTIC, E_USAGE */
export function wantedFolders(
  { folders = [], deterministic }: MachineOptions,
  needsAgent: boolean,
): readonly (string | FolderSpec)[] {
  if (folders.length > 0 && deterministic) {
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
  return folders;
}

/** A limit in real time would make two runs differ. @throws DomusError E_USAGE */
export function checkLimits(disks: readonly MachineDisk[], platform: Platform): void {
  const limited = disks.find(({ limits }) => limits?.requestsPerSecond || limits?.bytesPerSecond);
  if (!limited || !platform.isDeterministic) return;
  throw new DomusError(
    'E_USAGE',
    `the rate limits of ${limited.name} count in real time, which a deterministic run does not have`,
    'leave out iops and bps, or --deterministic',
  );
}
