/**
 * Hypervisor state in machine memory: what a domain is, apart from its memory and its processors' registers.
 *
 * The root lies at a fixed address; everything else is found from it by machine addresses, so handles (see
 * hypervisor.ts) can be rebuilt from the memory alone. All of it is in frames owned by DOMID_XEN, out of the guest's
 * reach. Addresses are machine addresses, 0 meaning "none".
 */

import { EVTCHN_FIFO_MAX_QUEUES } from '../abi/xen/event-channel.ts';
import { HVM_NR_PARAMS } from '../abi/xen/hvm.ts';
import { NR_VIRQS } from '../abi/xen/xen.ts';
import { array, bytes, i32, struct, u8, u16, u32, u64, u64n } from '../base/struct.ts';

/** Fixed place of the root, after the machine header (machine/header.ts) and below the runtime's static data. */
export const HYPERVISOR_STATE = 0x9000;
export const HYPERVISOR_MAGIC = 0x44_4f_4d_55;

export const VCPUS_MAX = 128;
export const GRANT_FRAMES_MAX = 128;
export const MAPTRACK_FRAMES_MAX = 256;
/** No gfn. */
export const GFN_NONE = 0xffff_ffff;
/** A timer that is not set. Times are nanoseconds since boot of the machine. */
export const NEVER = Number.MAX_SAFE_INTEGER;

export const HypervisorState = struct('hypervisor_state', {
  magic: u32,
  /** Head of the list of domains (`DomainState.nextDomain`). */
  firstDomain: u32,
  /** Run queue of the one pCPU: list of vCPUs through `VcpuState.runNext`. */
  runHead: u32,
  runTail: u32,
  /** Given back runs of frames (runs.ts): address of the first one. */
  freeRuns: u32,
  /** Where the search for a free domain number begins: numbers come again as late as possible. */
  nextDomainId: u32,
  /** No timer is due before this time; recomputed when it passes. */
  nextTimerNs: u64n,
});

/** Where a domain is in its life (`DomainState.life`). */
export const Life = { created: 0, running: 1, dying: 2 } as const;
export const SHUTDOWN_CODE_INVALID = 0xff;

export const DomainState = struct('domain', {
  id: u16,
  life: u8,
  /** SHUTDOWN_*, or SHUTDOWN_CODE_INVALID while the domain has not shut down. */
  shutdownCode: u8,
  /** All vCPUs are stopped because of the shutdown. */
  isShutDown: u8,
  /** The pseudo domain of the TypeScript backends: no memory, no vCPUs. */
  isControl: u8,
  /** May write to the hypervisor's console (CONSOLEIO_write). */
  isConsole: u8,
  /** vCPU that called SCHEDOP_shutdown. */
  shutdownVcpu: u8,
  nextDomain: u32,
  pauseCount: u32,
  nrVcpus: u32,
  /** VcpuState of every vCPU. */
  vcpu: array(u32, VCPUS_MAX),

  p2m: u32,
  /** Entries of the p2m. */
  p2mCount: u32,
  totPages: u32,
  maxPages: u32,
  /** One past the highest gfn that ever was mapped. */
  maxMappedGfn: u32,
  sharedInfo: u32,
  sharedInfoGfn: u32,
  /** 1 when the p2m has lost entries that a TLB may still have. */
  p2mStale: u32,
  /** Runs of frames that belong to the domain (DomainRun): pairs of address and number of frames. */
  runs: array(u32, 2 * 4),

  /** EventTable */
  events: u32,
  /** Highest port that the domain may use. */
  maxPort: u32,
  /** Ports below this have a channel record. */
  nrPorts: u32,
  usesFifo: u32,
  /** Event words that the guest has given pages for. */
  fifoWords: u32,

  /** GrantTable */
  grants: u32,
  nrGrantFrames: u32,
  maxGrantFrames: u32,
  nrMaptrack: u32,
  /** First free maptrack handle + 1, 0 when none. */
  freeMaptrack: u32,
  maxMaptrackFrames: u32,

  hvmParams: array(u64, HVM_NR_PARAMS),
  /** Frame with the E820 entries. */
  e820: u32,
  nrE820: u32,
  /** VMASST_TYPE_* bits. */
  vmAssist: u32,
  handle: bytes(16),

  /** Guest time: at TSC value `tscBase` the system time is `systemBaseNs`. */
  tscKhz: u32,
  tscToSystemMul: u32,
  tscShift: i32,
  tscBase: u64,
  systemBaseNs: u64n,
  /** Deadlines of SCHEDOP_watchdog, NEVER when stopped; `watchdogUsed` has a bit for each. */
  watchdogUsed: u32,
  watchdogNs: array(u64n, 2),

  /** Scheduling: weight and cap in percent, kept for the toolstack. */
  weight: u32,
  cap: u32,

  /** Why the domain was crashed: UTF-8. */
  crashReasonLength: u32,
  crashReason: bytes(512),
  /** Pages of the p2m that ever had an entry, a bit each: there may be a lot of nothing between them. */
  p2mInUse: array(u32, 32),
});

/** What `DomainState.runs` is for; the other parts of the hypervisor attach their state here (attachRun). */
export const DomainRun = { lapics: 0, msrs: 1, affinity: 2 } as const;
export const DOMAIN_RUNS = 4;

/** Why a vCPU does not run (`VcpuState.pauseFlags`). */
export const Pause = {
  /** Waits for an event: HLT, SCHEDOP_block or SCHEDOP_poll. */
  blocked: 1 << 0,
  /** Not brought up, or taken down. */
  down: 1 << 1,
  /** Stopped by the toolstack or a debugger. */
  paused: 1 << 2,
} as const;

/** What SCHEDOP_poll waits for (`VcpuState.pollPort`), if not for one port. */
export const POLL_NONE = -2;
export const POLL_ANY = -1;

export const VcpuState = struct('vcpu_state', {
  id: u32,
  /** Address of the DomainState. */
  domain: u32,
  /** Address of the vCPU block (cpu/vcpu/layout.ts). */
  block: u32,
  pauseFlags: u32,
  isInitialised: u32,
  onRunQueue: u32,
  /** Several pCPUs: the one that has the vCPU now (from 1), 0 if none. */
  runningOn: u32,
  /** A start-up IPI that came before the vCPU had left its pCPU: its vector + 1, else 0. */
  startUp: u32,
  runNext: u32,
  /** Machine address of this vCPU's vcpu_info. */
  vcpuInfo: u32,
  /** Frame that the guest registered it in, 0 while it is in the shared info page. */
  vcpuInfoMfn: u32,
  /** Vector of HVMOP_set_evtchn_upcall_vector, 0 if none. */
  upcallVector: u32,

  runstate: i32,
  runstateEntryNs: u64n,
  runstateTimeNs: array(u64n, 4),
  /** Guest virtual addresses of registered areas, 0 if none. */
  runstateArea: u64,
  timeArea: u64,

  singleshotNs: u64n,
  periodicPeriodNs: u64n,
  periodicNextNs: u64n,
  pollNs: u64n,
  pollPort: i32,
  /** Timer of the vCPU's interrupt controller. */
  apicNs: u64n,

  /** Port bound to each VIRQ, 0 if none. */
  virqPort: array(u32, NR_VIRQS),

  /** FIFO control block: machine address and frame. */
  fifoControl: u32,
  fifoControlMfn: u32,
  /** Last port of each queue. */
  fifoTail: array(u32, EVTCHN_FIFO_MAX_QUEUES),
});

/** Life of an event channel (`EventChannel.state`). */
export const Channel = { free: 0, reserved: 1, unbound: 2, interdomain: 3, virq: 4, ipi: 5 } as const;

export const EventChannel = struct('event_channel', {
  state: u8,
  priority: u8,
  /** Set while there is no event word for the port yet; for the control domain, until it is delivered. */
  pending: u8,
  /** Queue that the event was last linked on. */
  lastPriority: u8,
  lastVcpu: u16,
  notifyVcpu: u16,
  remoteDomain: u16,
  /** For `virq` channels the VIRQ. */
  remotePort: u32,
});
export const CHANNELS_PER_FRAME = 256;
export const CHANNEL_FRAMES_MAX = 512;
export const EVENT_WORDS_PER_PAGE = 1024;
export const EVENT_ARRAY_PAGES_MAX = 128;

/** One frame per domain. */
export const EventTable = struct('event_table', {
  /** Frames of EventChannel records. */
  channels: array(u32, CHANNEL_FRAMES_MAX),
  /** Frames of FIFO event words, given by the guest. */
  eventArray: array(u32, EVENT_ARRAY_PAGES_MAX),
});

/** One frame per domain. */
export const GrantTable = struct('grant_table', {
  /** Frames of grant entries, shared with the guest, and where the guest sees them. */
  shared: array(u32, GRANT_FRAMES_MAX),
  sharedGfn: array(u32, GRANT_FRAMES_MAX),
  /** Frames of ActiveGrant records, two for each frame of entries. */
  active: array(u32, 2 * GRANT_FRAMES_MAX),
  maptrack: array(u32, MAPTRACK_FRAMES_MAX),
});

/** Use of one grant entry by others. */
export const ActiveGrant = struct('active_grant', {
  readers: u16,
  writers: u16,
  domid: u16,
  mfn: u32,
});
export const ACTIVE_PER_FRAME = 256;
export const ACTIVE_BYTES = 16;
export const GRANTS_PER_FRAME = 512;

/** One mapping of another domain's grant; the grant handle is its index. */
export const Maptrack = struct('maptrack', {
  /** GNTMAP_* of the mapping, 0 when the entry is free. */
  flags: u16,
  domid: u16,
  /** The reference; in a free entry the next free handle + 1. */
  ref: u32,
  gfn: u32,
  mfn: u32,
});
export const MAPTRACK_PER_FRAME = 256;
