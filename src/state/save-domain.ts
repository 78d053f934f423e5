/**
 * A domain as records. None of its vCPUs may run, nothing of its backends may be under way, and both stay so until its pages have
 * been written. Nothing about the domain changes: it can go on as if this had not happened.
 */
import { E820_ENTRY_BYTES } from '../abi/xen/memory.ts';
import { PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import type { RuntimeExports } from '../cpu/runtime/signatures.ts';
import { LAPIC_STATE_BYTES, LapicState } from '../hypervisor/apic-state.ts';
import { channelAt, eventTable, usedPorts } from '../hypervisor/event/table.ts';
import { rehearseFreeze } from '../hypervisor/frozen-map.ts';
import { activeGrant, grantsInUse, grantTable, maptrackAt } from '../hypervisor/grant/table.ts';
import { type Domain, isParallel, type Vcpu } from '../hypervisor/hypervisor.ts';
import type { MemoryImage, SharedPages } from '../hypervisor/memory-image.ts';
import { MSR_STATE_BYTES, MsrState } from '../hypervisor/msr-state.ts';
import { DomainRun, VcpuState } from '../hypervisor/state.ts';
import * as copies from './copies.ts';
import { RecordType, type SavedRecord } from './format.ts';
import { ChannelRecord, DomainRecord, GrantsRecord, NO_FRAME, VcpuRecord } from './layout.ts';
import { freezeForImage, PageList, type SavedMap, type SavedPages, saveMap } from './save-map.ts';

export interface SavedDomain {
  readonly records: readonly SavedRecord[];
  readonly pages: SavedPages;
}
/** A domain to be gone on with by clones in this process. */
export interface ForkedDomain {
  /** All but those of its memory. */
  readonly records: readonly SavedRecord[];
  readonly image: MemoryImage;
  /** The records of its memory, to be asked for once, before the image is read: the domain may have gone on. */
  listMemory(): readonly SavedRecord[];
}

/** Machine frames of the rings that every domain has. */
export interface ServiceFrames {
  readonly store: number;
  readonly console: number;
}

/** @throws DomusError E_SAVE_UNSUPPORTED */
export function saveDomain(domain: Domain, runtime: RuntimeExports, services: ServiceFrames): SavedDomain {
  const pages = new PageList(domain);
  checkMaptrack(domain);
  const map = saveMap(domain, usedFrames(domain, services), pages);
  const records = [...domainRecords(domain, runtime, services, map), ...memoryRecords(map)];
  return {
    records: [...records, { type: RecordType.pages, payload: new Uint8Array(pages.checks.buffer) }],
    pages,
  };
}

/**
 * As it is now, without a look at its memory: that is frozen instead, and what the domain goes on to change is copied first. The domain
 * can go on at once. Its image belongs to the caller.
 * @param owner who keeps open what the domain itself is filled from
 * @throws DomusError E_SAVE_UNSUPPORTED
 */
export function forkDomain(
  domain: Domain,
  runtime: RuntimeExports,
  services: ServiceFrames,
  owner: SharedPages | undefined,
): ForkedDomain {
  const { hypervisor } = domain;
  const { pages, images } = hypervisor;
  const image = images.add(pages && owner && { pages, owner });
  try {
    checkMaptrack(domain);
    const used = usedFrames(domain, services);
    // Their addresses are known to backends and to other threads: nobody asks before he writes.
    const kept = new Set([...used, ...grantedFrames(domain)]);
    for (const frame of kept) images.keep(frame);
    if (isParallel(hypervisor)) {
      const map = saveMap(domain, used, image);
      image.copyAll();
      const records = domainRecords(domain, runtime, services, map);
      return { records, image, listMemory: () => memoryRecords(map) };
    }
    const map = freezeForImage(domain, runtime, used, kept, image);
    const records = domainRecords(domain, runtime, services, map);
    return { records, image, listMemory: () => memoryRecords(map.list()) };
  } catch (error) {
    image.close();
    throw error;
  }
}

/**
 * What is to be done while a domain is held, for nothing: the second time it takes a fifth of the first. The domain's vCPUs are between two
 * slices. @throws DomusError E_SAVE_UNSUPPORTED
 */
export function rehearseFork(domain: Domain, runtime: RuntimeExports, services: ServiceFrames): void {
  checkMaptrack(domain);
  usedFrames(domain, services);
  grantedFrames(domain);
  rehearseFreeze(domain, runtime);
  domainRecords(domain, runtime, services, { nameOf: () => NO_FRAME });
}

function domainRecords(
  domain: Domain,
  runtime: RuntimeExports,
  services: ServiceFrames,
  map: Pick<SavedMap, 'nameOf'>,
): SavedRecord[] {
  const { memory } = domain.hypervisor;
  const { sharedInfo, e820, nrE820 } = domain.state;
  return [
    { type: RecordType.domain, payload: saveState(domain, services, map) },
    ...domain.vcpus.map(vcpu => ({ type: RecordType.vcpu, payload: saveVcpu(vcpu, runtime, map) })),
    { type: RecordType.channels, payload: saveChannels(domain) },
    { type: RecordType.sharedInfo, payload: memory.u8.slice(sharedInfo, sharedInfo + PAGE_SIZE) },
    { type: RecordType.grants, payload: saveGrants(domain) },
    { type: RecordType.memoryMap, payload: memory.u8.slice(e820, e820 + nrE820 * E820_ENTRY_BYTES) },
  ];
}

const memoryRecords = ({ runs, loose }: Pick<SavedMap, 'runs' | 'loose'>): SavedRecord[] => [
  { type: RecordType.map, payload: runs },
  { type: RecordType.loose, payload: loose },
];

function checkMaptrack(domain: Domain): void {
  for (let handle = 0; handle < domain.state.nrMaptrack; handle++) {
    if (maptrackAt(domain, handle).flags === 0) continue;
    throw new DomusError(
      'E_SAVE_UNSUPPORTED',
      'a guest that has mapped grants of another guest cannot be saved',
      'save it when it has given them back',
    );
  }
}

/** Frames that backends have mapped. */
const grantedFrames = (domain: Domain): number[] =>
  grantsInUse(domain).map(ref => activeGrant(domain, ref).mfn);

/** Frames of guest memory that the hypervisor writes to by itself. */
function usedFrames(domain: Domain, { store, console }: ServiceFrames): Set<number> {
  const frames = new Set([store, console]);
  for (const { state } of domain.vcpus) {
    frames.add(state.vcpuInfoMfn);
    frames.add(state.fifoControlMfn);
  }
  const { eventArray } = eventTable(domain);
  for (let i = 0; i < eventArray.length; i++) frames.add(eventArray.get(i) >>> 12);
  frames.delete(0);
  return frames;
}

function saveState(domain: Domain, services: ServiceFrames, map: Pick<SavedMap, 'nameOf'>): Uint8Array {
  const { hypervisor, state } = domain;
  const payload = new Uint8Array(DomainRecord.size);
  const record = DomainRecord.at(new DataView(payload.buffer), 0);
  record.id = domain.id;
  record.nrVcpus = state.nrVcpus;
  record.p2mCount = state.p2mCount;
  record.maxPages = state.maxPages;
  record.maxGrantFrames = state.maxGrantFrames;
  record.maxMaptrackFrames = state.maxMaptrackFrames;
  record.systemTimeNs = hypervisor.clock.systemTimeNs();
  record.nextTimerNs = hypervisor.state.nextTimerNs;
  copies.domainState.save(record.state, state);
  const { eventArray } = eventTable(domain);
  for (let i = 0; i < eventArray.length; i++) {
    record.eventArray.set(i, map.nameOf(eventArray.get(i) >>> 12));
  }
  for (let at = hypervisor.state.runHead; at !== 0; ) {
    const queued = VcpuState.at(hypervisor.memory.view, at);
    at = queued.runNext;
    if (queued.domain !== state.address) continue;
    record.queued.set(record.nrQueued, queued.id);
    record.nrQueued += 1;
  }
  record.storeFrame = map.nameOf(services.store);
  record.consoleFrame = map.nameOf(services.console);
  return payload;
}

function saveVcpu(vcpu: Vcpu, runtime: RuntimeExports, map: Pick<SavedMap, 'nameOf'>): Uint8Array {
  const { domain, state, block } = vcpu;
  const { view, u8 } = domain.hypervisor.memory;
  const payload = new Uint8Array(VcpuRecord.size);
  const record = VcpuRecord.at(new DataView(payload.buffer), 0);
  record.rflags = runtime.getFlags(state.block);
  copies.processor.save(record.processor, block);
  copies.vcpuState.save(record.state, state);
  const runOf = (which: number) => domain.state.runs.get(2 * which);
  copies.lapic.save(record.lapic, LapicState.at(view, runOf(DomainRun.lapics) + vcpu.id * LAPIC_STATE_BYTES));
  copies.msrs.save(record.msrs, MsrState.at(view, runOf(DomainRun.msrs) + vcpu.id * MSR_STATE_BYTES));
  record.vcpuInfoFrame = map.nameOf(state.vcpuInfoMfn);
  record.vcpuInfoOffset = state.vcpuInfo % PAGE_SIZE;
  record.ownInfo.set(u8.subarray(state.vcpuInfo, state.vcpuInfo + record.ownInfo.length));
  record.fifoControlFrame = map.nameOf(state.fifoControlMfn);
  record.fifoControlOffset = state.fifoControl % PAGE_SIZE;
  return payload;
}

function saveChannels(domain: Domain): Uint8Array {
  const { nrPorts } = domain.state;
  const payload = new Uint8Array(nrPorts * ChannelRecord.size);
  const view = new DataView(payload.buffer);
  for (const port of usedPorts(domain)) {
    copies.channel.save(ChannelRecord.at(view, port * ChannelRecord.size), channelAt(domain, port));
  }
  return payload;
}

function saveGrants(domain: Domain): Uint8Array {
  const { nrGrantFrames } = domain.state;
  const inUse = grantsInUse(domain);
  for (const ref of inUse) {
    const { domid } = activeGrant(domain, ref);
    if (domid === 0) continue;
    throw new DomusError(
      'E_SAVE_UNSUPPORTED',
      `a guest whose memory domain ${domid} has mapped cannot be saved`,
      'save it when that has given it back',
    );
  }
  const refsAt = GrantsRecord.size + nrGrantFrames * PAGE_SIZE;
  const payload = new Uint8Array(refsAt + 4 * inUse.length);
  const view = new DataView(payload.buffer);
  const record = GrantsRecord.at(view, 0);
  record.nrFrames = nrGrantFrames;
  record.nrInUse = inUse.length;
  const { u8 } = domain.hypervisor.memory;
  const { shared } = grantTable(domain);
  for (let i = 0; i < nrGrantFrames; i++) {
    payload.set(u8.subarray(shared.get(i), shared.get(i) + PAGE_SIZE), GrantsRecord.size + i * PAGE_SIZE);
  }
  for (const [i, ref] of inUse.entries()) view.setUint32(refsAt + 4 * i, ref, true);
  return payload;
}
