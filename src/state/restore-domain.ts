/**
 * A domain out of records. They come from a file, so every number is checked before it is used for anything of ours; what only the
 * guest would stumble over is taken as it is.
 *
 * The domain is left paused, at the moment at which it was saved. Its event channels to the control domain are unbound, and its
 * grants to it not in use: backends take them again.
 */
import { GrantEntryV1, GTF_reading, GTF_writing } from '../abi/xen/grant-table.ts';
import { E820_ENTRY_BYTES } from '../abi/xen/memory.ts';
import { VcpuInfo, XEN_LEGACY_MAX_VCPUS } from '../abi/xen/xen.ts';
import { domid, frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import type { RuntimeExports } from '../cpu/runtime/signatures.ts';
import { LAPIC_STATE_BYTES, LapicState } from '../hypervisor/apic-state.ts';
import { createDomain } from '../hypervisor/domain.ts';
import { channelAt, eventTable, growEventTable } from '../hypervisor/event/table.ts';
import { grantTable, growGrantTable, nrGrants } from '../hypervisor/grant/table.ts';
import type { Processors } from '../hypervisor/guest-processor.ts';
import type { Accessor, Domain, Hypervisor, Vcpu } from '../hypervisor/hypervisor.ts';
import { unpauseDomain } from '../hypervisor/life.ts';
import { MSR_STATE_BYTES, MsrState } from '../hypervisor/msr-state.ts';
import { enqueue } from '../hypervisor/run-queue.ts';
import {
  CHANNEL_FRAMES_MAX,
  CHANNELS_PER_FRAME,
  Channel,
  DomainRun,
  EVENT_ARRAY_PAGES_MAX,
  EVENT_WORDS_PER_PAGE,
  GRANT_FRAMES_MAX,
  Life,
  MAPTRACK_FRAMES_MAX,
  NEVER,
  VCPUS_MAX,
} from '../hypervisor/state.ts';
import { updateWallClock } from '../hypervisor/time.ts';
import * as copies from './copies.ts';
import { damaged, RecordType } from './format.ts';
import { ChannelRecord, DomainRecord, GrantsRecord, VcpuRecord } from './layout.ts';
import { FrameNames, restoreMap } from './restore-map.ts';
import type { ServiceFrames } from './save-domain.ts';

type DomainFields = Accessor<typeof DomainRecord>;
type VcpuFields = Accessor<typeof VcpuRecord>;

/** Tables reach to 4 GiB of guest-physical memory. */
const P2M_COUNT_MAX = 0x10_0000;
/** Vectors of exceptions, and one beyond them that the engine uses. */
const EXCEPTION_MAX = 256;
const PRIORITIES = 16;

/** Records by type, as format.ts gives them. */
export type Records = ReadonlyMap<number, readonly Uint8Array[]>;

/** The only record of its type. @throws DomusError E_SAVE_DAMAGED */
export function recordOf(records: Records, type: number, what: string): Uint8Array {
  const found = records.get(type) ?? [];
  const [payload] = found;
  if (payload === undefined || found.length > 1) throw damaged(`it has ${found.length} records of ${what}`);
  return payload;
}

/** To read, and as long as its layout, whatever an older version has left out. */
function padded(payload: Uint8Array, sizeBytes: number): DataView {
  if (payload.length >= sizeBytes) return new DataView(payload.buffer, payload.byteOffset, payload.length);
  const whole = new Uint8Array(sizeBytes);
  whole.set(payload);
  return new DataView(whole.buffer);
}

const check = (isGood: boolean, what: string): void => {
  if (!isGood) throw damaged(`${what} is impossible`);
};

/** @throws DomusError E_SAVE_DAMAGED */
export function readDomainRecord(records: Records): DomainFields {
  const view = padded(recordOf(records, RecordType.domain, 'the domain'), DomainRecord.size);
  const record = DomainRecord.at(view, 0);
  const { state } = record;
  check(record.id > 0 && record.id < 0x7ff0, 'the number of the domain');
  check(record.nrVcpus >= 1 && record.nrVcpus <= VCPUS_MAX, 'the number of vCPUs');
  check(record.p2mCount <= P2M_COUNT_MAX && record.maxPages <= record.p2mCount, 'its memory');
  check(record.maxGrantFrames <= GRANT_FRAMES_MAX, 'the grant table');
  check(record.maxMaptrackFrames <= MAPTRACK_FRAMES_MAX, 'the grant table');
  check(state.maxPort < CHANNEL_FRAMES_MAX * CHANNELS_PER_FRAME, 'the number of event channels');
  check(record.systemTimeNs < NEVER && state.systemBaseNs < NEVER, 'its time');
  check(record.nextTimerNs <= NEVER, 'its time');
  check(state.tscKhz > 0 && Math.abs(state.tscShift) < 32, 'its time');
  check(state.shutdownVcpu < record.nrVcpus && state.isShutDown <= 1, 'how it was shut down');
  check(state.usesFifo <= 1 && state.fifoWords % EVENT_WORDS_PER_PAGE === 0, 'its event words');
  check(state.fifoWords <= EVENT_ARRAY_PAGES_MAX * EVENT_WORDS_PER_PAGE, 'its event words');
  for (let i = 0; i < 2; i++) check(state.watchdogNs.get(i) <= NEVER, 'its watchdog');
  check(record.nrQueued <= record.nrVcpus, 'its run queue');
  return record;
}

export interface RestoredDomain {
  readonly domain: Domain;
  readonly services: ServiceFrames;
  /** Let it run, from exactly where it was. */
  begin(): void;
}

/**
 * Make the domain in a machine whose clock stands where the record says. `hypervisor.pages` must be set: pages are read from there as
 * the guest comes to them. After an error the machine is good for nothing.
 * @throws DomusError E_SAVE_DAMAGED, E_MACHINE_FULL, E_DOMAIN_EXISTS
 */
export function restoreDomain(
  hypervisor: Hypervisor,
  processors: Processors,
  runtime: RuntimeExports,
  records: Records,
  nrPages: number,
): RestoredDomain {
  const record = readDomainRecord(records);
  const domain = createDomain(hypervisor, {
    id: domid(record.id),
    p2mCount: record.p2mCount,
    // It may have more than it is to have: one that was told to give some back does so later.
    maxPages: record.p2mCount,
    vcpus: record.nrVcpus,
    tscKhz: record.state.tscKhz,
    maxEventChannelPort: record.state.maxPort,
    maxGrantFrames: record.maxGrantFrames,
    maxMaptrackFrames: record.maxMaptrackFrames,
  });
  processors.attach(domain);
  for (const vcpu of domain.vcpus) runtime.resetCpu(vcpu.state.block);
  const services = furnish(domain, record, runtime, records, nrPages);
  return {
    domain,
    services,
    begin: () => {
      unpauseDomain(domain);
      // Whoever was woken to look at the timers waits for the lock.
      hypervisor.state.nextTimerNs = record.nextTimerNs;
    },
  };
}

function furnish(
  domain: Domain,
  record: DomainFields,
  runtime: RuntimeExports,
  records: Records,
  nrPages: number,
): ServiceFrames {
  const { state, hypervisor } = domain;
  const { u8 } = hypervisor.memory;
  restoreGrants(domain, recordOf(records, RecordType.grants, 'grants'));
  restoreChannels(domain, recordOf(records, RecordType.channels, 'event channels'));
  restoreMap(domain, recordOf(records, RecordType.map, 'the map of memory'), nrPages);
  state.maxPages = record.maxPages;
  const sharedInfo = recordOf(records, RecordType.sharedInfo, 'shared info');
  check(sharedInfo.length === PAGE_SIZE, 'shared info');
  u8.set(sharedInfo, state.sharedInfo);
  const memoryMap = recordOf(records, RecordType.memoryMap, 'the memory map');
  check(memoryMap.length <= PAGE_SIZE && memoryMap.length % E820_ENTRY_BYTES === 0, 'the memory map');
  u8.set(memoryMap, state.e820);
  state.nrE820 = memoryMap.length / E820_ENTRY_BYTES;

  copies.domainState.restore(state, record.state);
  const names = new FrameNames(domain, recordOf(records, RecordType.loose, 'loose frames'), nrPages);
  const { eventArray } = eventTable(domain);
  for (let i = 0; i < state.fifoWords / EVENT_WORDS_PER_PAGE; i++) {
    const frame = names.take(record.eventArray.get(i));
    check(frame !== 0, 'a page of event words');
    eventArray.set(i, frameAddress(mfn(frame)));
  }
  const vcpuRecords = records.get(RecordType.vcpu) ?? [];
  check(vcpuRecords.length === domain.vcpus.length, 'the number of vCPUs');
  for (const [id, vcpu] of domain.vcpus.entries()) {
    const view = padded(vcpuRecords[id] as Uint8Array, VcpuRecord.size);
    restoreVcpu(vcpu, VcpuRecord.at(view, 0), runtime, names);
  }
  for (let i = 0; i < record.nrQueued; i++) {
    const vcpu = domain.vcpus[record.queued.get(i)];
    check(vcpu !== undefined && vcpu.state.onRunQueue === 0, 'its run queue');
    if (vcpu) enqueue(vcpu);
  }
  state.life = Life.running;
  updateWallClock(domain);
  return { store: names.take(record.storeFrame), console: names.take(record.consoleFrame) };
}

/** Who used a grant is not here any more: its entry says so until somebody takes it again. */
function restoreGrants(domain: Domain, payload: Uint8Array): void {
  const { u8, view: memory } = domain.hypervisor.memory;
  const view = padded(payload, GrantsRecord.size);
  const { nrFrames, nrInUse } = GrantsRecord.at(view, 0);
  const refsAt = GrantsRecord.size + nrFrames * PAGE_SIZE;
  check(
    nrFrames <= domain.state.maxGrantFrames && payload.length === refsAt + 4 * nrInUse,
    'the grant table',
  );
  check(nrFrames >= domain.state.nrGrantFrames && growGrantTable(domain, nrFrames), 'the grant table');
  const { shared } = grantTable(domain);
  for (let i = 0; i < nrFrames; i++) {
    const at = GrantsRecord.size + i * PAGE_SIZE;
    u8.set(payload.subarray(at, at + PAGE_SIZE), shared.get(i));
  }
  const perFrame = PAGE_SIZE / GrantEntryV1.size;
  for (let i = 0; i < nrInUse; i++) {
    const ref = view.getUint32(refsAt + 4 * i, true);
    check(ref < nrGrants(domain), 'a grant reference');
    const at = shared.get(Math.floor(ref / perFrame)) + (ref % perFrame) * GrantEntryV1.size;
    GrantEntryV1.at(memory, at).flags &= ~(GTF_reading | GTF_writing);
  }
}

function restoreChannels(domain: Domain, payload: Uint8Array): void {
  const nrPorts = payload.length / ChannelRecord.size;
  check(Number.isInteger(nrPorts) && growEventTable(domain, nrPorts), 'the event channels');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  for (let port = 1; port < nrPorts; port++) {
    // Most ports have never been used, and so are as new ones are.
    if (isZero(payload, port * ChannelRecord.size, ChannelRecord.size)) continue;
    const record = ChannelRecord.at(view, port * ChannelRecord.size);
    check(record.notifyVcpu < domain.vcpus.length, 'an event channel');
    check(record.lastVcpu < domain.vcpus.length && record.lastPriority < PRIORITIES, 'an event channel');
    check(record.state <= Channel.ipi && record.priority < PRIORITIES, 'an event channel');
    const channel = channelAt(domain, port);
    copies.channel.restore(channel, record);
    if (channel.state !== Channel.interdomain) continue;
    check(channel.remoteDomain === 0, 'an event channel');
    channel.state = Channel.unbound;
    channel.remotePort = 0;
  }
}

function isZero(bytes: Uint8Array, from: number, count: number): boolean {
  for (let i = from; i < from + count; i++) if (bytes[i] !== 0) return false;
  return true;
}

function restoreVcpu(vcpu: Vcpu, record: VcpuFields, runtime: RuntimeExports, names: FrameNames): void {
  const { domain, state, block } = vcpu;
  const { view, u8 } = domain.hypervisor.memory;
  checkVcpu(record, domain);
  copies.processor.restore(block, record.processor);
  runtime.setFlags(state.block, record.rflags, 0xffff_ffffn);
  runtime.updateMode(state.block);
  runtime.selectTlb(state.block);
  // In 64-bit mode they were zero; updateMode has looked at the hidden ones only if the mode has changed.
  copies.restoreSegmentBases(block, record.processor);
  copies.vcpuState.restore(state, record.state);
  const runOf = (which: number) => domain.state.runs.get(2 * which);
  copies.lapic.restore(
    LapicState.at(view, runOf(DomainRun.lapics) + vcpu.id * LAPIC_STATE_BYTES),
    record.lapic,
  );
  copies.msrs.restore(MsrState.at(view, runOf(DomainRun.msrs) + vcpu.id * MSR_STATE_BYTES), record.msrs);

  const infoFrame = names.take(record.vcpuInfoFrame);
  if (infoFrame !== 0) {
    check(record.vcpuInfoOffset <= PAGE_SIZE - VcpuInfo.size, 'the place of a vcpu_info');
    state.vcpuInfoMfn = infoFrame;
    state.vcpuInfo = frameAddress(mfn(infoFrame)) + record.vcpuInfoOffset;
  } else if (vcpu.id >= XEN_LEGACY_MAX_VCPUS) u8.set(record.ownInfo, state.vcpuInfo);
  const controlFrame = names.take(record.fifoControlFrame);
  if (controlFrame === 0) return;
  check(record.fifoControlOffset % 8 === 0, 'the place of a control block');
  state.fifoControlMfn = controlFrame;
  state.fifoControl = frameAddress(mfn(controlFrame)) + record.fifoControlOffset;
}

function checkVcpu({ processor, state, fifoControlOffset }: VcpuFields, domain: Domain): void {
  const { nrPorts } = domain.state;
  check(processor.cpl <= 3, 'a privilege level');
  for (const vector of [processor.exVector, processor.exDelivering]) {
    check(vector >= -1 && vector <= EXCEPTION_MAX, 'a pending exception');
  }
  check(processor.pendingInterrupt >= -1 && processor.pendingInterrupt <= 255, 'a pending interrupt');
  check(processor.interruptShadow <= 1 && processor.halted <= 1, 'the state of a processor');
  check(state.runstate >= 0 && state.runstate <= 3, 'a runstate');
  check(state.upcallVector <= 255 && state.startUp <= 256, 'a vector');
  check(state.isInitialised <= 1, 'the state of a vCPU');
  const times = [
    state.runstateEntryNs,
    state.singleshotNs,
    state.periodicPeriodNs,
    state.periodicNextNs,
    state.pollNs,
    state.apicNs,
    ...Array.from({ length: 4 }, (_, i) => state.runstateTimeNs.get(i)),
  ];
  check(
    times.every(time => time <= NEVER),
    'a time',
  );
  check(state.periodicNextNs === NEVER || state.periodicPeriodNs > 0, 'a timer');
  for (let i = 0; i < state.virqPort.length; i++)
    check(state.virqPort.get(i) < Math.max(1, nrPorts), 'a port');
  for (let i = 0; i < state.fifoTail.length; i++)
    check(state.fifoTail.get(i) < Math.max(1, nrPorts), 'a port');
  // 72 bytes.
  check(fifoControlOffset <= PAGE_SIZE - 72, 'the place of a control block');
}
