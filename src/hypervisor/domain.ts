/** Creating the hypervisor, domains and vCPUs; destroying domains; rebuilding all handles from machine memory. */

import { RUNSTATE_offline } from '../abi/xen/vcpu.ts';
import { DOMID_FIRST_RESERVED, SharedInfo, VcpuInfo, XEN_LEGACY_MAX_VCPUS } from '../abi/xen/xen.ts';
import { type DomainId, domid, frameAddress, mfn, PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import {
  P2m,
  TLB_EMPTY_TAG,
  TLB_PAGE_0_ENTRIES,
  VCPU_BLOCK_BYTES,
  Vcpu as VcpuBlock,
} from '../cpu/vcpu/layout.ts';
import { machineHeader } from '../machine/header.ts';
import { locked } from './event/backend.ts';
import { resetChannels } from './event/channel.ts';
import { channelAt } from './event/table.ts';
import { releaseGrants, setUpGrantTable } from './grant/table.ts';
import type { Domain, Hypervisor, HypervisorOptions, Vcpu } from './hypervisor.ts';
import { MemoryImages } from './memory-image.ts';
import { dropReference, forgoPaged, p2mType, pageIn, rawEntry } from './p2m.ts';
import { p2mFrames } from './p2m-pages.ts';
import { removeFromQueue } from './run-queue.ts';
import { giveRunBack, mfnOf, takeFrame, takeRun } from './runs.ts';
import * as layout from './state.ts';
import { startDomainTime } from './time.ts';

/**
 * The hypervisor over a machine memory. On fresh memory it creates the control domain (domain 0); on memory that
 * already has a hypervisor (another worker's, or a restored one) it builds handles for what is there.
 */
export function createHypervisor(options: HypervisorOptions): Hypervisor {
  const state = layout.HypervisorState.at(options.memory.view, layout.HYPERVISOR_STATE);
  const hypervisor: Hypervisor = {
    ...options,
    notices: options.notices ?? {},
    leavesCode: options.leavesCode ?? false,
    state,
    domains: new Map(),
    vcpus: new Map(),
    callbacks: new Map(),
    images: new MemoryImages(options.memory, options.store, task => locked(hypervisor, task)),
    pendingCallbacks: [],
    pace: { nsPerFuel: 20, elapsedNs: 0, fuel: 0 },
  };
  if (state.magic === layout.HYPERVISOR_MAGIC) {
    // Newest first in the list; handles are in order of creation, as they were in the first hypervisor.
    const addresses: number[] = [];
    for (let at = state.firstDomain; at !== 0; ) {
      addresses.unshift(at);
      at = layout.DomainState.at(options.memory.view, at).nextDomain;
    }
    for (const address of addresses) adopt(hypervisor, address);
    if (!options.parallel) requeueCallbacks(hypervisor);
    return hypervisor;
  }
  state.magic = layout.HYPERVISOR_MAGIC;
  state.nextTimerNs = layout.NEVER;
  const control = newDomain(hypervisor, domid(0));
  control.state.isControl = 1;
  control.state.maxPort = layout.CHANNEL_FRAMES_MAX * layout.CHANNELS_PER_FRAME - 1;
  return hypervisor;
}

/** Events for the control domain that were not delivered yet: those of other threads, or from before a restore. */
export function requeueCallbacks(hypervisor: Hypervisor): void {
  const control = hypervisor.domains.get(0);
  for (let port = 1; control && port < control.state.nrPorts; port++) {
    if (channelAt(control, port).pending !== 0) hypervisor.pendingCallbacks.push(port);
  }
}

/** Build the handles of a domain from its state. */
function adopt(hypervisor: Hypervisor, address: number): Domain {
  const state = layout.DomainState.at(hypervisor.memory.view, address);
  const domain: Domain = { hypervisor, id: domid(state.id), state, vcpus: [] };
  hypervisor.domains.set(state.id, domain);
  for (let id = 0; id < state.nrVcpus; id++) adoptVcpu(domain, state.vcpu.get(id));
  return domain;
}

function adoptVcpu(domain: Domain, address: number): Vcpu {
  const { view } = domain.hypervisor.memory;
  const state = layout.VcpuState.at(view, address);
  const vcpu: Vcpu = { domain, id: state.id, state, block: VcpuBlock.at(view, state.block) };
  domain.vcpus[state.id] = vcpu;
  domain.hypervisor.vcpus.set(address, vcpu);
  return vcpu;
}

function newDomain(hypervisor: Hypervisor, id: DomainId): Domain {
  const address = frameAddress(takeFrame(hypervisor));
  const domain = adoptEmpty(hypervisor, address, id);
  const { state } = domain;
  state.shutdownCode = layout.SHUTDOWN_CODE_INVALID;
  state.sharedInfoGfn = layout.GFN_NONE;
  state.pauseCount = 1;
  for (let i = 0; i < 2; i++) state.watchdogNs.set(i, layout.NEVER);
  state.events = frameAddress(takeFrame(hypervisor));
  state.nextDomain = hypervisor.state.firstDomain;
  hypervisor.state.firstDomain = address;
  return domain;
}

function adoptEmpty(hypervisor: Hypervisor, address: number, id: DomainId): Domain {
  layout.DomainState.at(hypervisor.memory.view, address).id = id;
  return adopt(hypervisor, address);
}

export interface DomainOptions {
  /** Guest frames that the p2m has room for: one more than the highest gfn that will ever be mapped. */
  p2mCount: number;
  /** RAM frames that the domain may have. */
  maxPages: number;
  vcpus: number;
  /** Rate of the guest's TSC. */
  tscKhz: number;
  /** Default: the next number that is free. */
  id?: DomainId;
  maxEventChannelPort?: number;
  maxGrantFrames?: number;
  maxMaptrackFrames?: number;
  /** May write to the hypervisor's console. */
  console?: boolean;
  /** UUID, 16 bytes. */
  handle?: Uint8Array;
  weight?: number;
  cap?: number;
}

/**
 * Create a domain, paused and without memory. vCPU 0 is up, the others wait for VCPUOP_up or a start-up IPI.
 * @throws DomusError when machine memory is used up or an option is out of range.
 */
export function createDomain(hypervisor: Hypervisor, options: DomainOptions): Domain {
  if (options.id !== undefined && hypervisor.domains.has(options.id)) {
    throw new DomusError(
      'E_DOMAIN_EXISTS',
      `there already is a domain ${options.id}`,
      'choose another number',
    );
  }
  if (!(options.vcpus >= 1 && options.vcpus <= layout.VCPUS_MAX)) {
    throw new DomusError(
      'E_VCPUS',
      `a domain cannot have ${options.vcpus} vCPUs`,
      `ask for 1 to ${layout.VCPUS_MAX}`,
    );
  }
  const domain = newDomain(hypervisor, options.id ?? freeDomainId(hypervisor));
  try {
    furnish(domain, options);
  } catch (error) {
    destroyDomain(domain);
    throw error;
  }
  return domain;
}

function furnish(domain: Domain, options: DomainOptions): void {
  const { state, hypervisor } = domain;
  state.p2mCount = options.p2mCount;
  state.p2m = takeRun(hypervisor, p2mFrames(options.p2mCount));
  state.maxPages = options.maxPages;
  state.maxPort = Math.min(
    options.maxEventChannelPort ?? 1023,
    layout.CHANNEL_FRAMES_MAX * layout.CHANNELS_PER_FRAME - 1,
  );
  state.maxGrantFrames = Math.min(options.maxGrantFrames ?? 64, layout.GRANT_FRAMES_MAX);
  state.maxMaptrackFrames = Math.min(options.maxMaptrackFrames ?? 64, layout.MAPTRACK_FRAMES_MAX);
  state.isConsole = options.console ? 1 : 0;
  state.tscKhz = options.tscKhz;
  state.weight = options.weight ?? 256;
  state.cap = options.cap ?? 0;
  if (options.handle) state.handle.set(options.handle.subarray(0, 16));
  state.sharedInfo = frameAddress(takeFrame(hypervisor));
  state.e820 = frameAddress(takeFrame(hypervisor));
  setUpGrantTable(domain);
  for (let id = 0; id < options.vcpus; id++) createVcpu(domain, id);
  startDomainTime(domain);
}

const BLOCK_FRAMES = Math.ceil(VCPU_BLOCK_BYTES / PAGE_SIZE);

function freeDomainId(hypervisor: Hypervisor): DomainId {
  const { state } = hypervisor;
  for (let tries = 0; tries < DOMID_FIRST_RESERVED; tries++) {
    const id = Math.max(1, state.nextDomainId);
    state.nextDomainId = (id + 1) % DOMID_FIRST_RESERVED;
    if (!hypervisor.domains.has(id)) return domid(id);
  }
  throw new DomusError('E_DOMAINS', 'there are as many domains as can be', 'destroy some');
}

function createVcpu(domain: Domain, id: number): Vcpu {
  const { hypervisor } = domain;
  // The run first: it is what may fail, and nothing is to be undone then.
  const block = takeRun(hypervisor, BLOCK_FRAMES);
  const address = frameAddress(takeFrame(hypervisor));
  const state = layout.VcpuState.at(hypervisor.memory.view, address);
  state.id = id;
  state.domain = domain.state.address;
  state.block = block;
  state.runstate = RUNSTATE_offline;
  state.runstateEntryNs = hypervisor.clock.systemTimeNs();
  state.pollPort = layout.POLL_NONE;
  state.singleshotNs = state.periodicNextNs = state.pollNs = state.apicNs = layout.NEVER;
  if (id === 0) state.isInitialised = 1;
  else state.pauseFlags = layout.Pause.down;
  // vCPUs that the shared info page has no room for have a place behind their state until they register one.
  state.vcpuInfo =
    id < XEN_LEGACY_MAX_VCPUS
      ? domain.state.sharedInfo + SharedInfo.offsets.vcpu_info + id * VcpuInfo.size
      : address + PAGE_SIZE - VcpuInfo.size;
  domain.state.vcpu.set(id, address);
  domain.state.nrVcpus = Math.max(domain.state.nrVcpus, id + 1);
  const vcpu = adoptVcpu(domain, address);
  initialiseBlock(vcpu);
  return vcpu;
}

function initialiseBlock(vcpu: Vcpu): void {
  const { block, domain } = vcpu;
  const { memory } = domain.hypervisor;
  const header = machineHeader(memory);
  block.id = vcpu.id;
  block.domain = domain.id;
  block.p2m = domain.state.p2m;
  block.p2mCount = domain.state.p2mCount;
  block.pendingInterrupt = -1;
  block.exVector = -1;
  block.exDelivering = -1;
  block.flagSys = 2;
  for (const offset of TLB_PAGE_0_ENTRIES)
    memory.view.setBigInt64(block.address + offset, TLB_EMPTY_TAG, true);
  block.nextVcpu = header.firstVcpu;
  header.firstVcpu = block.address;
}

function unlinkBlock(vcpu: Vcpu): void {
  const { memory } = vcpu.domain.hypervisor;
  const header = machineHeader(memory);
  const next = vcpu.block.nextVcpu;
  if (header.firstVcpu === vcpu.block.address) {
    header.firstVcpu = next;
    return;
  }
  for (let at = header.firstVcpu; at !== 0; at = VcpuBlock.at(memory.view, at).nextVcpu) {
    const block = VcpuBlock.at(memory.view, at);
    if (block.nextVcpu === vcpu.block.address) block.nextVcpu = next;
  }
}

/**
 * Memory of the hypervisor's own for another part's state of this domain (`which` is a DomainRun), zeroed; it goes
 * with the domain. Asking again returns the same address.
 */
export function attachRun(domain: Domain, which: number, sizeBytes: number): number {
  const { runs } = domain.state;
  if (runs.get(2 * which) === 0) {
    const count = Math.ceil(sizeBytes / PAGE_SIZE);
    runs.set(2 * which, takeRun(domain.hypervisor, count));
    runs.set(2 * which + 1, count);
  }
  return runs.get(2 * which);
}

/** Stop a domain for good and give back everything it had. Its handle is dead afterwards. */
export function destroyDomain(domain: Domain): void {
  const { hypervisor, state } = domain;
  if (state.life === layout.Life.dying || state.isControl) return;
  state.life = layout.Life.dying;
  for (const vcpu of domain.vcpus) removeFromQueue(vcpu);
  resetChannels(domain);
  if (state.grants !== 0) releaseGrants(domain);
  for (let gfn = 0; gfn < state.maxMappedGfn; gfn++) {
    const entry = rawEntry(domain, gfn);
    const type = p2mType(entry);
    if (forgoPaged(domain, gfn) || type === P2m.mmio || entry === 0) continue;
    if (type === P2m.frozen) pageIn(domain, gfn);
    dropReference(hypervisor, entry & P2m.mfnMask);
  }
  for (const vcpu of domain.vcpus) {
    if (vcpu.state.vcpuInfoMfn !== 0) dropReference(hypervisor, vcpu.state.vcpuInfoMfn);
    unlinkBlock(vcpu);
    giveRunBack(hypervisor, vcpu.state.block, BLOCK_FRAMES);
    hypervisor.vcpus.delete(vcpu.state.address);
    dropReference(hypervisor, mfnOf(vcpu.state.address));
  }
  for (let which = 0; which < layout.DOMAIN_RUNS; which++) {
    const run = state.runs.get(2 * which);
    if (run !== 0) giveRunBack(hypervisor, run, state.runs.get(2 * which + 1));
  }
  if (state.p2m !== 0) giveRunBack(hypervisor, state.p2m, p2mFrames(state.p2mCount));
  for (let i = 0; i < state.nrPorts / layout.CHANNELS_PER_FRAME; i++) {
    dropReference(hypervisor, mfnOf(hypervisor.memory.u32[state.events / 4 + i]!));
  }
  for (const address of [state.events, state.sharedInfo, state.e820]) {
    if (address !== 0) dropReference(hypervisor, mfnOf(address));
  }
  unlinkDomain(domain);
  hypervisor.domains.delete(domain.id);
  hypervisor.engine.p2mChanged?.(domain);
  dropReference(hypervisor, mfn(mfnOf(state.address)));
}

function unlinkDomain(domain: Domain): void {
  const { hypervisor, state } = domain;
  if (hypervisor.state.firstDomain === state.address) {
    hypervisor.state.firstDomain = state.nextDomain;
    return;
  }
  for (const other of hypervisor.domains.values()) {
    if (other.state.nextDomain === state.address) other.state.nextDomain = state.nextDomain;
  }
}
