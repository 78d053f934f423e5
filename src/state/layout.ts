/**
 * Layouts of the records of a saved domain. They are a format: a field is never moved, renamed or given another meaning. New ones go
 * to the end; in an older file they are zero. What is copied by name from the hypervisor's own structures has the same name there.
 */
import { array, bytes, i32, struct, u8, u16, u32, u64, u64n } from '../base/struct.ts';

/** How a frame of the guest's is named: its gfn, or LOOSE_FRAME + index in the record `loose`, or NO_FRAME. */
export const NO_FRAME = 0xffff_ffff;
export const LOOSE_FRAME = 0x8000_0000;

/** What is copied by name. */
export const DomainStateRecord = struct('domain_state', {
  shutdownCode: u8,
  isShutDown: u8,
  shutdownVcpu: u8,
  isConsole: u8,
  maxMappedGfn: u32,
  maxPort: u32,
  usesFifo: u32,
  fifoWords: u32,
  hvmParams: array(u64, 39),
  vmAssist: u32,
  handle: bytes(16),
  tscKhz: u32,
  tscToSystemMul: u32,
  tscShift: i32,
  tscBase: u64,
  systemBaseNs: u64n,
  watchdogUsed: u32,
  watchdogNs: array(u64n, 2),
  weight: u32,
  cap: u32,
});

export const DomainRecord = struct('domain', {
  id: u16,
  nrVcpus: u16,
  p2mCount: u32,
  maxPages: u32,
  maxGrantFrames: u32,
  maxMaptrackFrames: u32,
  /** When it was saved: nanoseconds of the machine's clock, which timers and time records count in. */
  systemTimeNs: u64n,
  /** No timer was due before. */
  nextTimerNs: u64n,
  state: DomainStateRecord,
  /** Frames of FIFO event words. */
  eventArray: array(u32, 128),
  /** vCPUs on the run queue, first to run first. */
  nrQueued: u32,
  queued: array(u8, 128),
  /** Frames of the rings of xenstore and the first console. */
  storeFrame: u32,
  consoleFrame: u32,
});

export const ChannelRecord = struct('event_channel', {
  state: u8,
  priority: u8,
  pending: u8,
  lastPriority: u8,
  lastVcpu: u16,
  notifyVcpu: u16,
  remoteDomain: u16,
  remotePort: u32,
});

const SegmentRecord = struct('segment', {
  selector: u16,
  pad: u16,
  attributes: u32,
  limit: u32,
  hiddenBase: u32,
});

/** What a program or kernel can see of its processor, and what the processor remembers between two instructions. */
export const ProcessorRecord = struct('processor', {
  gpr: array(u64, 16),
  rip: u64,
  segBase: array(u64, 8),
  segment: array(SegmentRecord, 8),
  gdtBase: u64,
  idtBase: u64,
  gdtLimit: u32,
  idtLimit: u32,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  xcr0: u64,
  dr: array(u64, 8),
  efer: u64,
  star: u64,
  lstar: u64,
  cstar: u64,
  fmask: u64,
  kernelGsBase: u64,
  sysenterCs: u64,
  sysenterEsp: u64,
  sysenterEip: u64,
  pat: u64,
  tscAux: u64,
  apicBase: u64,
  miscEnable: u64,
  cpl: u32,
  exVector: i32,
  exError: u32,
  exHasError: u32,
  exDelivering: i32,
  exCr2: u64,
  interruptShadow: u32,
  pendingInterrupt: i32,
  halted: u32,
  nmiBlocked: u32,
  retired: u64,
  fcw: u16,
  fsw: u16,
  ftw: u16,
  fop: u16,
  fip: u64,
  fdp: u64,
  fcs: u16,
  fds: u16,
  mxcsr: u32,
  fpr: array(bytes(16), 8),
  ymm: array(bytes(32), 16),
  pdpte: array(u64, 4),
});

/** The hypervisor's part of a vCPU. */
export const VcpuStateRecord = struct('vcpu_state', {
  pauseFlags: u32,
  isInitialised: u32,
  startUp: u32,
  upcallVector: u32,
  runstate: i32,
  runstateEntryNs: u64n,
  runstateTimeNs: array(u64n, 4),
  runstateArea: u64,
  timeArea: u64,
  singleshotNs: u64n,
  periodicPeriodNs: u64n,
  periodicNextNs: u64n,
  pollNs: u64n,
  pollPort: i32,
  apicNs: u64n,
  virqPort: array(u32, 24),
  fifoTail: array(u32, 16),
});

export const LapicRecord = struct('lapic', {
  id: u32,
  waitForSipi: u32,
  tprLow: u32,
  ldr: u32,
  dfr: u32,
  svr: u32,
  esr: u32,
  esrPending: u32,
  icrLow: u32,
  icrHigh: u32,
  lvt: array(u32, 6),
  timerInitial: u32,
  timerDivide: u32,
  timerRunning: i32,
  timerStartNs: u64n,
  tscDeadline: u64,
  published: i32,
  irr: array(u32, 8),
  isr: array(u32, 8),
  tmr: array(u32, 8),
});

export const MsrRecord = struct('msr_state', {
  mtrrDefType: u64,
  mtrrFixed: array(u64, 11),
  mtrrVariable: array(u64, 16),
  mcgStatus: u64,
  mceBanks: array(u64, 8),
  debugCtl: u64,
});

export const VcpuRecord = struct('vcpu', {
  rflags: u64,
  processor: ProcessorRecord,
  state: VcpuStateRecord,
  lapic: LapicRecord,
  msrs: MsrRecord,
  /** Where its vcpu_info lies: a frame that the guest has registered, else the shared info page or `ownInfo`. */
  vcpuInfoFrame: u32,
  vcpuInfoOffset: u32,
  /** Of a vCPU that the shared info page has no room for. */
  ownInfo: bytes(64),
  fifoControlFrame: u32,
  fifoControlOffset: u32,
});

/** Before the grant frames, each 4096 bytes; behind them the references that were in use, u32 each. */
export const GrantsRecord = struct('grants', { nrFrames: u32, nrInUse: u32 });

/** What lies at `count` guest frames from `gfn` on. */
export const MapRun = struct('map_run', {
  gfn: u32,
  count: u32,
  kind: u32,
  /** `pages`: number of the first page; `grantFrame`: number of the first grant frame. */
  first: u32,
});
export const MapKind = { zero: 1, pages: 2, mmio: 3, sharedInfo: 4, grantFrame: 5 } as const;
