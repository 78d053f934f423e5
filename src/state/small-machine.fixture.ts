/**
 * A machine that is small enough to be saved hundreds of times: one domain with a few pages, no devices, and code that counts. Time
 * passes with its instructions.
 */
import { gfn } from '../base/brand.ts';
import { setPvhEntryState } from '../hypervisor/builder/entry-state.ts';
import { createDomain } from '../hypervisor/domain.ts';
import { allocUnboundFor } from '../hypervisor/event/backend.ts';
import { bindIpi, bindVirq } from '../hypervisor/event/channel.ts';
import { seedGrant } from '../hypervisor/grant/table.ts';
import { writePhysical } from '../hypervisor/guest-physical.ts';
import type { Domain } from '../hypervisor/hypervisor.ts';
import { unpauseDomain } from '../hypervisor/life.ts';
import { createMachineHost, TSC_KHZ } from '../hypervisor/machine-host.ts';
import type { MemoryImage, SharedPages } from '../hypervisor/memory-image.ts';
import { addressOfGfn, mapSpecial, mfnOfGfn, populateRange, takeReference } from '../hypervisor/p2m.ts';
import { runOne } from '../hypervisor/scheduler.ts';
import type { StoredPages } from '../hypervisor/sharing/stored-pages.ts';
import { GFN_NONE } from '../hypervisor/state.ts';
import { setSingleshot } from '../hypervisor/time.ts';
import type { MachineMemory } from '../machine/memory.ts';
import { readAsset } from '../platform/node/files.ts';
import { createNodePlatform } from '../platform/node/platform.ts';
import { createSimulatedPlatform } from '../platform/sim/platform.ts';
import { openSaved, type SavedState, writeSaved } from './file.ts';
import { recordsByType } from './format.ts';
import { type Records, readDomainRecord, restoreDomain } from './restore-domain.ts';
import { forkDomain, type SavedDomain, type ServiceFrames, saveDomain } from './save-domain.ts';

const PAGES = 48;
const CODE = 0x1000;
/** inc eax; add ebx, 3; mov [0x2000], eax; jmp to the first */
const PROGRAM = Uint8Array.of(0x40, 0x83, 0xc3, 3, 0x89, 0x05, 0, 0x20, 0, 0, 0xeb, 0xf4);
const SLICE = 1000;

let modules: { runtime: WebAssembly.Module; interpreter: WebAssembly.Module } | undefined;

/** Its machine's. */
export const SMALL_SIZE = { guestBytes: 2 << 20, vcpus: 2 } as const;

function createHost(
  startNs: number,
  pages?: SavedState['pages'],
  store?: StoredPages,
  memory?: MachineMemory,
) {
  modules ??= {
    runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
    interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
  };
  const platform = createSimulatedPlatform(1, createNodePlatform(), {
    nowNs: startNs,
    chance: Uint8Array.from({ length: 16 }, (_, i) => i),
  });
  return createMachineHost({
    modules,
    platform,
    ...SMALL_SIZE,
    memory,
    translates: false,
    pages,
    store,
  });
}

export interface SmallMachine {
  readonly domain: Domain;
  /** Run so many slices. */
  run(slices: number): void;
  save(): SavedDomain;
  /** A clone of what it is now, whatever it does before its memory is listed. */
  fork(meanwhile?: () => void): { readonly clone: SmallMachine; readonly image: MemoryImage };
  /** What the program can see of itself. */
  state(): { readonly eax: bigint; readonly ebx: bigint; readonly counter: number; readonly retired: bigint };
}

function machineOf(
  host: ReturnType<typeof createHost>,
  domain: Domain,
  services: ServiceFrames,
  owner?: SharedPages,
): SmallMachine {
  const [vcpu] = domain.vcpus;
  if (!vcpu) throw new Error('no vCPU');
  return {
    domain,
    run(slices) {
      for (let i = 0; i < slices; i++) runOne(host.hypervisor, SLICE);
    },
    save: () => saveDomain(domain, host.engine.runtime, services),
    fork(meanwhile) {
      const { records, image, listMemory } = forkDomain(domain, host.engine.runtime, services, owner);
      meanwhile?.();
      const clone = restore(
        recordsByType([...records, ...listMemory()]),
        image.count,
        image.memory,
        image,
        host.hypervisor.store,
      );
      return { clone, image };
    },
    state: () => ({
      eax: vcpu.block.gpr.get(0),
      ebx: vcpu.block.gpr.get(3),
      counter: host.hypervisor.memory.view.getUint32(addressOfGfn(domain, 2), true),
      retired: vcpu.block.retired,
    }),
  };
}

/** @param store where shared pages of it are */
export function createSmallMachine(store?: StoredPages): SmallMachine {
  const host = createHost(5_000_000, undefined, store);
  const { hypervisor, processors, engine } = host;
  const domain = createDomain(hypervisor, { p2mCount: 1 << 12, maxPages: 64, vcpus: 2, tscKhz: TSC_KHZ });
  populateRange(domain, gfn(0), PAGES);
  writePhysical(domain, CODE, PROGRAM);
  for (let page = 10; page < 20; page++) writePhysical(domain, page * 4096, new Uint8Array(4096).fill(page));
  mapSpecial(domain, 0x800, domain.state.sharedInfo >>> 12, GFN_NONE);
  processors.attach(domain);
  for (const vcpu of domain.vcpus) engine.runtime.resetCpu(vcpu.state.block);
  const [boot] = domain.vcpus;
  if (!boot) throw new Error('no vCPU');
  setPvhEntryState(boot.block, CODE, 0);
  engine.runtime.updateMode(boot.state.block);
  engine.runtime.selectTlb(boot.state.block);
  allocUnboundFor(domain);
  bindVirq(domain, 0, 1);
  bindIpi(domain, 1);
  seedGrant(domain, 8, 20, 0);
  setSingleshot(boot, 10 ** 9);
  const services = { store: mfnOfGfn(domain, 30), console: mfnOfGfn(domain, 31) };
  for (const frame of Object.values(services)) takeReference(hypervisor, frame);
  unpauseDomain(domain);
  return machineOf(host, domain, services);
}

/**
 * @param prepare is called before anything has run
 * @param memory of the machine, made beforehand
 * @throws DomusError
 */
export function restoreSmallMachine(
  path: string,
  prepare?: (domain: Domain) => void,
  memory?: MachineMemory,
): SmallMachine {
  const saved = openSaved(path);
  return restore(saved.records, saved.nrPages, saved.pages, saved, undefined, prepare, memory);
}

function restore(
  records: Records,
  nrPages: number,
  pages: SavedState['pages'],
  owner: SharedPages,
  store?: StoredPages,
  prepare?: (domain: Domain) => void,
  memory?: MachineMemory,
): SmallMachine {
  const host = createHost(readDomainRecord(records).systemTimeNs, pages, store, memory);
  const { hypervisor, processors, engine } = host;
  const restored = restoreDomain(hypervisor, processors, engine.runtime, records, nrPages);
  prepare?.(restored.domain);
  restored.begin();
  return machineOf(host, restored.domain, restored.services, owner);
}

export const writeSmallMachine = (machine: SmallMachine, path: string): void => {
  const { records, pages } = machine.save();
  writeSaved(path, records, pages, false);
};
