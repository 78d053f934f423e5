/**
 * What the toolstack needs in order to boot: files to start from, and a way to run commands once the guest is up.
 *
 * A *boot plan* is made by the image layer from a request. Its `connect` gives the agent: the host's side of the channel
 * to the program in the guest that runs commands (image/guest-agent), over the console hvc1. A guest that the user brings
 * with --initrd has no agent: its console is all there is.
 */
import type { KernelImage } from '../hypervisor/builder/domain-builder.ts';
import type { AgentState } from '../image/guest-agent/agent-state.ts';
import type { Identity } from '../image/guest-agent/identity.ts';
import type { MemoryReport } from '../image/guest-agent/memory-report.ts';
import type { RunningCommand } from '../image/guest-agent/session.ts';
import type { CommandSpec } from '../image/guest-agent/start.ts';
import type { FolderMount, GuestNetwork } from '../image/initramfs.ts';
import type { ConsoleStream } from './machine.ts';

/** What is happening now, for people who wait. */
export interface Phase {
  /** A short stable word: kernel, userland, create, boot, ready. */
  readonly name: string;
  readonly detail?: string;
  readonly done?: number;
  readonly total?: number;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export type { RunningCommand } from '../image/guest-agent/session.ts';
export type { CommandSpec } from '../image/guest-agent/start.ts';

export interface GuestAgent {
  /** The guest is up and takes commands. */
  readonly ready: Promise<void>;
  /** Whether commands may follow one another, as `vm.exec` needs it. */
  readonly isReusable: boolean;
  /** Start a command; several may run at the same time. @throws DomusError E_RUN_ARGUMENT, E_BUSY */
  run(command: CommandSpec): RunningCommand;
  /** Ask what the guest's kernel says about memory. */
  memory?(): Promise<MemoryReport>;
  /** Tell a copy of a guest who it is; undefined, and nothing done, where it must be told otherwise. */
  identify?(identity: Identity): Promise<void> | undefined;
  /** What another host needs to go on with the guest. */
  state?(): AgentState;
  /** The guest is gone and its consoles have handed over their last bytes. */
  finish?(): void;
}

export interface BootRequest {
  /** A file or the name of a Debian package; the default kernel when absent. */
  readonly kernel?: string | Uint8Array;
  readonly initrd?: string | Uint8Array;
  readonly append?: string;
  /** Wanted: a guest that runs commands. Otherwise the initrd is the user's own and left as it is. */
  readonly needsAgent: boolean;
  /** Modules of the kernel to be loaded at the beginning, as far as the kernel comes from a package. */
  readonly modules?: readonly string[];
  /** Disks that must be there before anything runs: `xvda`. */
  readonly disks?: readonly string[];
  /** The one of them that is the root. */
  readonly root?: string;
  /** A program in the root that becomes process 1, beside the agent: `/sbin/init`. */
  readonly init?: string;
  /** Shared folders that are mounted before anything runs. */
  readonly folders?: readonly FolderMount[];
  /** How the userland's init sets up the network interface. */
  readonly network?: GuestNetwork;
  /** The guest serves one command and then powers itself off, once its output has been taken. */
  readonly isThrowaway: boolean;
  onPhase(phase: Phase): void;
  readonly signal?: AbortSignal;
}

export interface BootPlan {
  /** Undefined where a saved machine goes on. */
  readonly kernel?: KernelImage;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  readonly nrConsoles: number;
  connect?(consoles: readonly ConsoleStream[]): GuestAgent;
}
