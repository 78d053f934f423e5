/** The library, as `import { Host } from 'domus'` sees it. */

export { DomusError } from '../base/errors.ts';
export type { Share } from '../hypervisor/credit.ts';
export type { SharingFacts } from '../hypervisor/sharing/sharing-facts.ts';
export type { Phase, TerminalSize } from './boot.ts';
export type { InputSource, OutputTarget } from './byte-io.ts';
export { type CrashReport, formatCrashReport, GuestFailure } from './crash-report.ts';
export { Daemon, type DaemonClientOptions, type LogOptions, type RemoteCommand } from './daemon/client.ts';
export type { GuestEvent } from './daemon/event-log.ts';
export type { GuestAction, GuestChange } from './daemon/guest-change.ts';
export type { LogRecord } from './daemon/guest-log.ts';
export type { GuestRecord, GuestView } from './daemon/guest-record.ts';
export type { GuestRequest } from './daemon/guest-request.ts';
export type { HostInfo } from './daemon/host-info.ts';
export type { SharingReport } from './daemon/sharing-report.ts';
export type { DiskSpec } from './disk-spec.ts';
export type { DomainStatus, ShutdownRequest, VcpuFacts } from './domain-control.ts';
export type { FolderSpec } from './folder-spec.ts';
export type { ExecOptions, ExecResult } from './guest-commands.ts';
export { GuestDisk } from './guest-disk.ts';
export { Host, type HostOptions, type RunOptions, type RunResult } from './host.ts';
export type {
  ByteListener,
  MachineStatus,
  Shutdown,
  StackFrame,
  TraceRequest,
  VcpuStatus,
} from './machine.ts';
export type { MachineOptions } from './machine-options.ts';
export { type NetworkOptions, type SwitchRoom, VirtualNetwork } from './network.ts';
export type { SharerStatus, SharingOptions } from './sharer.ts';
export { VirtualMachine } from './virtual-machine.ts';
