/** __HYPERVISOR_memory_op (12): unsigned cmd, void *arg. */
import * as errno from '../../abi/xen/errno.ts';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOENT, XEN_ENOSYS, XEN_EPERM } from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/memory.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import { grantTable, growGrantTable } from '../grant/table.ts';
import { copyFromGuest, copyIn, copyOut, copyToGuest } from '../guest-memory.ts';
import {
  forgoPaged,
  isForeign,
  mapGfn,
  mapSpecial,
  mfnOfGfn,
  p2mEntry,
  p2mType,
  populateGfn,
  ramOfGfn,
  takeReference,
  unmapGfn,
} from '../p2m.ts';
import { type Call, domainOf, fixed, mustBeSelf, type Operation, type OperationTable } from './call.ts';

const { Xenmem } = abi;
/** Largest extent of an ordinary guest: 2 MiB. */
const ORDER_MAX = 9;
/** Frames given or taken per call before the guest has to come again. */
const FRAMES_BATCH = 2048;
const EXTENTS_MAX = BigInt(0x7fff_ffff >> abi.MEMOP_EXTENT_SHIFT);

/** Work through the extents of a reservation from where an earlier call stopped. Errors show as fewer extents done. */
function reservation(
  name: string,
  perExtent: (call: Call, gfn: number, count: number) => boolean,
): Operation {
  return {
    name,
    note: 'extents of up to 2 MiB; returns how many were done',
    run(call, argument) {
      const start = Number((call.args[0]! & 0xffff_ffffn) >> BigInt(abi.MEMOP_EXTENT_SHIFT));
      const op = copyIn(call.vcpu, abi.XenMemoryReservation, argument);
      if (op === undefined) return start;
      const { nr_extents: total, extent_start: list, extent_order: order, mem_flags: flags } = op.value;
      if (total > EXTENTS_MAX || BigInt(start) >= total) return start;
      if (order > ORDER_MAX || (flags & abi.XENMEMF_vnode) !== 0) return start;
      if (mustBeSelf(call, op.value.domid) < 0) return start;
      const perCall = Math.max(1, FRAMES_BATCH >> order);
      const end = Math.min(Number(total), start + perCall);
      for (let i = start; i < end; i++) {
        const entry = copyFromGuest(call.vcpu, list + BigInt(i * 8), 8);
        const gfn = entry?.getBigUint64(0, true);
        if (gfn === undefined || gfn >= BigInt(call.domain.state.p2mCount)) return i;
        if (!perExtent(call, Number(gfn), 1 << order)) return i;
      }
      return end === Number(total) ? end : continueAt(call, end);
    },
  };
}

/** All frames of an extent, or none of them. */
function populateExtent(call: Call, gfn: number, count: number): boolean {
  if (gfn % count !== 0) return false;
  for (let i = 0; i < count; i++) {
    if (populateGfn(call.domain, gfn + i)) continue;
    while (--i >= 0) unmapGfn(call.domain, gfn + i);
    return false;
  }
  return true;
}

/** Only the guest's own RAM can be taken away: not grants, shared info or the grant table. */
function decreaseExtent(call: Call, gfn: number, count: number): boolean {
  for (let i = 0; i < count; i++) {
    if (forgoPaged(call.domain, gfn + i)) continue;
    if (ramOfGfn(call.domain, gfn + i) === 0) return false;
    unmapGfn(call.domain, gfn + i);
  }
  return true;
}

/** Machine frame that XENMEM_add_to_physmap is to show, and where it is seen now. Returns 0 or a negative errno. */
function addToPhysmapOne(call: Call, space: number, index: bigint, gpfn: bigint): number {
  const { domain } = call;
  const { state } = domain;
  if (gpfn >= BigInt(state.p2mCount)) return -XEN_EINVAL;
  const gfn = Number(gpfn);
  switch (space) {
    case abi.XENMAPSPACE_shared_info: {
      if (index !== 0n) return -XEN_EINVAL;
      if (!mapSpecial(domain, gfn, state.sharedInfo >>> 12, state.sharedInfoGfn)) return -XEN_EINVAL;
      state.sharedInfoGfn = gfn;
      return 0;
    }
    case abi.XENMAPSPACE_grant_table: {
      // Also refuses status frames (bit 31), which only version 2 has.
      if (index >= BigInt(state.maxGrantFrames)) return -XEN_EINVAL;
      const frame = Number(index);
      if (!growGrantTable(domain, frame + 1)) return -XEN_EINVAL;
      const table = grantTable(domain);
      if (!mapSpecial(domain, gfn, table.shared.get(frame) >>> 12, table.sharedGfn.get(frame))) {
        return -XEN_EINVAL;
      }
      table.sharedGfn.set(frame, gfn);
      return 0;
    }
    case abi.XENMAPSPACE_gmfn:
      return moveGfn(call, index, gfn);
    default:
      return -XEN_EINVAL;
  }
}

/** XENMAPSPACE_gmfn: a frame of the guest's RAM moves to another gfn. */
function moveGfn(call: Call, from: bigint, to: number): number {
  const { domain, hypervisor } = call;
  const old = from < BigInt(domain.state.p2mCount) ? Number(from) : -1;
  const frame = ramOfGfn(domain, old);
  if (frame === 0) return -XEN_EINVAL;
  if (old === to) return 0;
  const present = mfnOfGfn(domain, to);
  if (p2mType(p2mEntry(domain, to)) === P2m.mmio || (present !== 0 && isForeign(domain, present))) {
    return -XEN_EINVAL;
  }
  takeReference(hypervisor, frame);
  unmapGfn(domain, old);
  mapGfn(domain, to, frame);
  domain.state.totPages += 1;
  return 0;
}

function addToPhysmap(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenAddToPhysmap, argument);
  if (op === undefined) return -XEN_EFAULT;
  const refused = mustBeSelf(call, op.value.domid);
  if (refused < 0) return refused;
  const { space, idx, gpfn, size } = op.value;
  // Foreign frames come by the batch operation only.
  if (space === abi.XENMAPSPACE_gmfn_foreign) return -XEN_ENOSYS;
  if (space !== abi.XENMAPSPACE_gmfn_range) return addToPhysmapOne(call, space, idx, gpfn);
  return inPortions(call, size, i =>
    addToPhysmapOne(call, abi.XENMAPSPACE_gmfn, idx + BigInt(i), gpfn + BigInt(i)),
  );
}

/** `count` steps, from where the command word says an earlier call stopped; the first error ends them. */
function inPortions(call: Call, count: number, step: (index: number) => number): number {
  const start = Number((call.args[0]! & 0xffff_ffffn) >> BigInt(abi.MEMOP_EXTENT_SHIFT));
  const end = Math.min(count, start + FRAMES_BATCH);
  for (let i = start; i < end; i++) {
    const result = step(i);
    if (result < 0) return result;
  }
  return end >= count ? 0 : continueAt(call, end);
}

function continueAt(call: Call, extent: number): number {
  const command = Number(call.args[0]! & BigInt(abi.MEMOP_CMD_MASK));
  call.args[0] = BigInt(command + extent * 2 ** abi.MEMOP_EXTENT_SHIFT);
  return -errno.XEN_ERESTART;
}

function addToPhysmapBatch(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenAddToPhysmapBatch, argument);
  if (op === undefined) return -XEN_EFAULT;
  const refused = mustBeSelf(call, op.value.domid);
  if (refused < 0) return refused;
  const { space, size, idxs, gpfns, errs, u } = op.value;
  if (space === abi.XENMAPSPACE_gmfn_foreign) {
    // Mapping another domain's frames takes the right to control it, which no guest has yet.
    return call.hypervisor.domains.has(u) || u === 0x7ff0 ? -XEN_EPERM : -errno.XEN_ESRCH;
  }
  if (u !== 0) return -XEN_EINVAL;
  return inPortions(call, size, i => {
    const index = copyFromGuest(call.vcpu, idxs + BigInt(i * 8), 8);
    const gpfn = copyFromGuest(call.vcpu, gpfns + BigInt(i * 8), 8);
    if (index === undefined || gpfn === undefined) return -XEN_EFAULT;
    const result = new Int32Array(1);
    result[0] = addToPhysmapOne(call, space, index.getBigUint64(0, true), gpfn.getBigUint64(0, true));
    return copyToGuest(call.vcpu, errs + BigInt(i * 4), new Uint8Array(result.buffer)) ? 0 : -XEN_EFAULT;
  });
}

function removeFromPhysmap(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenRemoveFromPhysmap, argument);
  if (op === undefined) return -XEN_EFAULT;
  const refused = mustBeSelf(call, op.value.domid);
  if (refused < 0) return refused;
  if (op.value.gpfn >= BigInt(call.domain.state.p2mCount)) return -XEN_ENOENT;
  const gfn = Number(op.value.gpfn);
  const frame = mfnOfGfn(call.domain, gfn);
  if (frame === 0) return -XEN_ENOENT;
  if (isForeign(call.domain, frame)) return -XEN_EINVAL;
  unmapGfn(call.domain, gfn);
  return 0;
}

function memoryMap(call: Call, argument: bigint): number {
  const op = copyIn(call.vcpu, abi.XenMemoryMap, argument);
  if (op === undefined) return -XEN_EFAULT;
  const { e820, nrE820 } = call.domain.state;
  if (nrE820 === 0) return -XEN_ENOSYS;
  const count = Math.min(op.value.nr_entries, nrE820);
  op.value.nr_entries = count;
  const { u8 } = call.hypervisor.memory;
  const entries = u8.slice(e820, e820 + count * abi.E820_ENTRY_BYTES);
  if (!copyToGuest(call.vcpu, op.value.buffer, entries)) return -XEN_EFAULT;
  return copyOut(call.vcpu, argument, op) ? 0 : -XEN_EFAULT;
}

/** Numbers about a domain, which a guest may ask about itself. */
function domainNumber(name: string, get: (call: Call) => number): Operation {
  return {
    name,
    compat: true,
    run(call, argument) {
      const op = copyIn(call.vcpu, abi.XenMemoryDomain, argument);
      if (op === undefined) return -XEN_EFAULT;
      const refused = mustBeSelf(call, op.value.domid);
      return refused < 0 ? refused : get(call);
    },
  };
}

const vnumaInfo: Operation = {
  name: 'get_vnumainfo',
  note: 'there is none: -EOPNOTSUPP',
  run(call, argument) {
    const op = copyIn(call.vcpu, abi.XenMemoryDomain, argument);
    if (op === undefined) return -XEN_EFAULT;
    if (domainOf(call, op.value.domid) === undefined) return -errno.XEN_ESRCH;
    return mustBeSelf(call, op.value.domid) < 0 ? -XEN_EPERM : -errno.XEN_EOPNOTSUPP;
  },
};

const privileged = (name: string): Operation => fixed(name, -XEN_EPERM, 'control domains only: -EPERM');

export const memoryOperations: OperationTable = {
  [Xenmem.increase_reservation]: {
    name: 'increase_reservation',
    run: call => Number((call.args[0]! & 0xffff_ffffn) >> BigInt(abi.MEMOP_EXTENT_SHIFT)),
    note: 'nothing is given to an auto-translated guest this way: 0 extents',
  },
  [Xenmem.decrease_reservation]: reservation('decrease_reservation', decreaseExtent),
  [Xenmem.maximum_ram_page]: {
    name: 'maximum_ram_page',
    compat: true,
    run: call => Math.floor(call.hypervisor.memory.sizeBytes / 4096),
  },
  [Xenmem.current_reservation]: domainNumber('current_reservation', call => call.domain.state.totPages),
  [Xenmem.maximum_reservation]: domainNumber('maximum_reservation', call => call.domain.state.maxPages),
  [Xenmem.machphys_mfn_list]: fixed('machphys_mfn_list', -XEN_EPERM, 'PV only'),
  [Xenmem.populate_physmap]: reservation('populate_physmap', populateExtent),
  [Xenmem.add_to_physmap]: {
    name: 'add_to_physmap',
    run: addToPhysmap,
    note: 'shared_info, grant_table, gmfn, gmfn_range',
  },
  [Xenmem.memory_map]: { name: 'memory_map', run: memoryMap },
  [Xenmem.machine_memory_map]: fixed('machine_memory_map', -XEN_ENOSYS, 'PV only'),
  [Xenmem.exchange]: fixed('exchange', -XEN_ENOSYS, 'PV only'),
  [Xenmem.machphys_mapping]: fixed('machphys_mapping', -XEN_ENOSYS, 'PV only'),
  [Xenmem.set_memory_map]: privileged('set_memory_map'),
  [Xenmem.maximum_gpfn]: domainNumber('maximum_gpfn', call =>
    Math.max(0, call.domain.state.maxMappedGfn - 1),
  ),
  [Xenmem.remove_from_physmap]: { name: 'remove_from_physmap', run: removeFromPhysmap },
  [Xenmem.set_pod_target]: privileged('set_pod_target'),
  [Xenmem.get_pod_target]: privileged('get_pod_target'),
  [Xenmem.get_sharing_freed_pages]: fixed('get_sharing_freed_pages', 0, 'guests are not told: 0'),
  [Xenmem.get_sharing_shared_pages]: fixed('get_sharing_shared_pages', 0, 'guests are not told: 0'),
  [Xenmem.paging_op]: privileged('paging_op'),
  [Xenmem.access_op]: privileged('access_op'),
  [Xenmem.sharing_op]: privileged('sharing_op'),
  [Xenmem.add_to_physmap_batch]: {
    name: 'add_to_physmap_batch',
    run: addToPhysmapBatch,
    note: 'foreign frames: -EPERM',
  },
  [Xenmem.claim_pages]: privileged('claim_pages'),
  [Xenmem.get_vnumainfo]: vnumaInfo,
  [Xenmem.reserved_device_memory_map]: fixed('reserved_device_memory_map', -XEN_ENOSYS, ''),
  [Xenmem.acquire_resource]: fixed('acquire_resource', -errno.XEN_EACCES, 'hardware domain only: -EACCES'),
};
