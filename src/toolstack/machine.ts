/**
 * What the toolstack needs of a machine: one guest that runs, its consoles, and what can be seen of it from outside.
 *
 * The implementation lies in the layers below (domain, engine, backends) and is put together in parts.ts. Listeners
 * are called from the machine's run loop, between two slices of guest work, never while guest code executes.
 */
import type { RateLimits } from '../backend/block/limits.ts';
import type { SharedFolder } from '../backend/p9/shared-folder.ts';
import type { Disk } from '../disk/disk.ts';
import type { KernelImage } from '../hypervisor/builder/domain-builder.ts';
import type { MemoryImage } from '../hypervisor/memory-image.ts';
import type { PcpuSeat } from '../hypervisor/shared-pcpu.ts';
import type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
import type { Station } from '../net/frame.ts';
import type { Platform } from '../platform/platform.ts';
import type { SavedState } from '../state/file.ts';
import type { SavedRecord } from '../state/format.ts';
import type { SavedDomain } from '../state/save-domain.ts';
import type { Engine } from './config.ts';
import type { DomainControl } from './domain-control.ts';
import type { RunTurn } from './run-turns.ts';
import type { Sharer } from './sharer.ts';
import type { GuestTrail } from './trails.ts';

/** A listener that returns a promise holds its stream back until the promise settles. */
export type ByteListener = (chunk: Uint8Array) => void | Promise<void>;

/** One PV console: hvc0 is the kernel's, hvc1 is the agent's channel. */
export interface ConsoleStream {
  /** Bytes that the guest wrote; each chunk is the listener's own copy. One listener a stream. */
  onData(listener: ByteListener): void;
  /** Offer bytes to the guest. Returns how many were taken; offer the rest again when `onWritable` reports. */
  write(chunk: Uint8Array): number;
  onWritable(listener: () => void): void;
  /** Nothing more will be written. */
  close(): void;
}

/** Why a guest stopped. The words are Xen's (SHUTDOWN_*, public/sched.h). */
export interface Shutdown {
  readonly reason: 'poweroff' | 'reboot' | 'suspend' | 'crash' | 'watchdog' | 'soft-reset';
  /** What the hypervisor knows about a crash: a triple fault, an instruction that is not implemented, ... */
  readonly detail?: string;
}

export interface StackFrame {
  readonly address: bigint;
  readonly symbol?: string;
  readonly offset?: number;
}

export interface VcpuStatus {
  readonly id: number;
  readonly state: 'running' | 'halted' | 'offline';
  /** Name and value, in the order in which they are shown: rip first. */
  readonly registers: readonly (readonly [name: string, value: bigint])[];
  /** Innermost first; symbols where they are known. */
  readonly backtrace: readonly StackFrame[];
}

export interface MachineStatus {
  /** Instructions retired by all vCPUs since the start. */
  readonly instructions: number;
  readonly vcpus: readonly VcpuStatus[];
}

/** A machine's state for clones of it. */
export interface ForkedMachine {
  readonly records: readonly SavedRecord[];
  readonly image: MemoryImage;
}

/**
 * A guest that has been built. `start` begins its run loop: slices of guest work, and between them the host's event
 * loop has its turn (`platform.pacer`). Everything that the guest wrote before it stopped is delivered to the
 * listeners before `onShutdown` reports.
 */
export interface GuestMachine {
  readonly consoles: readonly ConsoleStream[];
  start(): void;
  /** Settles when no vCPU executes any more. */
  pause(): Promise<void>;
  resume(): void;
  onShutdown(listener: (shutdown: Shutdown) => void): void;
  /** A failure of ours inside the run loop: the machine cannot go on, the host can. */
  onFailure(listener: (error: unknown) => void): void;
  /** What the toolstack can ask of the domain. */
  readonly control: DomainControl;
  /** Instructions retired by all vCPUs. */
  instructions(): number;
  /** Takes a fifth of a second: the kernel's symbols are read for the names in call traces. */
  status(): MachineStatus;
  /** Hash of the guest's memory and registers, as hexadecimal digits; for comparing deterministic runs. */
  stateHash(): string;
  /**
   * Hold the guest where it is, with nothing of its devices under way, while `task` has its state: records and pages, which are good
   * until it returns. The guest does not notice. `prepare` is for what takes longer, as disks do: it is awaited before.
   * @throws DomusError E_SAVE_UNSUPPORTED, E_DESTROYED
   */
  hold<T>(task: (state: SavedDomain) => T, prepare?: () => Promise<void>): Promise<T>;
  /**
   * The same for clones in this process: memory is not looked at, but shared from now on; see hypervisor/memory-image.ts. The image is
   * the caller's to close; `seen` is what `task` has returned. @throws DomusError E_SAVE_UNSUPPORTED, E_DESTROYED
   */
  fork<T>(
    task: () => T,
    prepare?: () => Promise<void>,
  ): Promise<{ readonly state: ForkedMachine; readonly seen: T }>;
  /** Memory of the host that the machine has used so far, at most; never less than before. */
  readonly touchedBytes: number;
  /** Pages of its memory and what sharing saves of them; undefined where it takes no part. */
  readonly sharing: SharingFacts | undefined;
  /** Milliseconds that it was held for the last time. */
  readonly heldMs: number;
  /** Plug a disk into the running guest. */
  attachDisk(disk: MachineDisk): AttachedDisk;
  /** The disks of the configuration, in its order. */
  readonly disks: readonly AttachedDisk[];
  /** The guest is about to be asked for something: it need not go on being as small as one that does nothing. */
  expectWork?(): void;
  /** The guest has done what it was to do: others that go on from the same saved machine may follow it. */
  leaveTrail?(): void;
  /** Stop and give back everything. Safe to call twice. */
  destroy(): Promise<void>;
}

export type TraceKind = 'instructions' | 'hypercalls';

export interface TraceRequest {
  readonly kind: TraceKind;
  /** One line without its end. */
  write(line: string): void;
}

/** A network device to be. */
export interface NetworkInterface {
  readonly mac: Uint8Array;
  readonly mtu: number;
  /**
   * Called once with the device and with what runs a task soon, between two slices of guest work. Returns where the
   * guest's frames go.
   */
  plug(device: Station, defer: (task: () => void) => void): Station;
}

/** A disk to be attached. Its machine closes it. */
export interface MachineDisk {
  readonly disk: Disk;
  /** As the guest calls it: `xvda`. */
  readonly name: string;
  readonly devid: number;
  readonly queueDepth?: number | undefined;
  readonly limits?: RateLimits | undefined;
  /** What it builds on, where that stays open for as long as the guest is there. */
  readonly root?: Disk | undefined;
  /** It is gone with its guest. */
  readonly isThrowaway?: boolean | undefined;
}

export interface AttachedDisk {
  /** Call `listener` when the backend has died by its own fault: the guest's requests wait for `restart`. */
  onDied(listener: (error: unknown) => void): void;
  /** The disk has another size: tell the guest. */
  resized(): void;
  /**
   * Close the disk and give the guest what `open` opens in its place. The guest's requests wait meanwhile, and when it fails until the
   * next try. @throws what `open` throws, E_DESTROYED
   */
  restart(open: () => Promise<Disk>): Promise<Disk>;
  /** Settles when the guest has given the disk back and it is closed. */
  detach(): Promise<void>;
  /** Lets the guest run on. */
  breathe(): Promise<void>;
}

/** A folder of the host to be shared. Its machine closes it. */
export interface MachineFolder {
  readonly folder: SharedFolder;
  /** What the guest mounts it by. */
  readonly tag: string;
}

/** A deterministic platform whose time another one leads. */
export interface TwinPlatform {
  readonly platform: Platform;
  advanceTo(timeNs: number): void;
}

export interface MachineConfig {
  /** Without meaning where a saved machine is restored. */
  readonly kernel?: KernelImage | undefined;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  /** Go on from here instead of booting. The rest of the configuration must fit to it. Its machine closes it. */
  readonly saved?: SavedState;
  /** What a guest from there looks at first. Its machine closes it. */
  readonly trail?: GuestTrail;
  /** What it can have at most. */
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** What it has at first; default: all of it. */
  readonly memoryTargetBytes?: number;
  readonly vcpusOnline?: number;
  readonly name?: string | undefined;
  readonly uuid?: string | undefined;
  /** `resume` runs it for the first time, not `start`. */
  readonly isPaused?: boolean | undefined;
  /** Threads that run the vCPUs at the same time; 1: the thread of the caller runs them in turn. */
  readonly pcpus: number;
  readonly nrConsoles: number;
  readonly networks?: readonly NetworkInterface[];
  readonly disks?: readonly MachineDisk[];
  readonly folders?: readonly MachineFolder[];
  readonly engine: Engine;
  /** Of a machine that goes on from a saved one: what says in its xenstore that it is another copy; 16 bytes. */
  readonly generationId?: Uint8Array;
  /** Folder for translated code that is kept for later runs. */
  readonly regionsFolder?: string;
  readonly platform: Platform;
  /** Who shares identical pages of guests; not those of one whose every step is to be seen or to be the same again. */
  readonly sharer?: Sharer;
  /** The run loop's part of the thread, which it may share with others. */
  readonly turn?: RunTurn;
  /** In its place: another thread executes the vCPUs, in turn, as those of other guests. */
  readonly seat?: PcpuSeat;
  /** With engine `lockstep`: another platform that begins as `platform` does, for the second machine. */
  readonly twin?: TwinPlatform;
  readonly trace?: TraceRequest;
  /** TCP port on 127.0.0.1 where gdb may attach; the machine then waits for it before its first instruction. */
  readonly gdbPort?: number;
}
