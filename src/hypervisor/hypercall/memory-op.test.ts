import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errno from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/memory.ts';
import { DOMID_SELF, Hypervisor } from '../../abi/xen/xen.ts';
import { gfn } from '../../base/brand.ts';
import { setMemoryMap } from '../guest-physical.ts';
import type { Vcpu } from '../hypervisor.ts';
import { mapMmio, mfnOfGfn, populateGfn, populateRange, rawEntry } from '../p2m.ts';
import { guestAddress, issue, issueOp, SCRATCH, testDomain, testMachine } from '../testing.ts';

const { Xenmem } = abi;
const { memory_op } = Hypervisor;
const LIST = 63 * 4096;

function reserve(vcpu: Vcpu, command: number, gfns: number[], more: Record<string, number | bigint> = {}) {
  const { view } = vcpu.domain.hypervisor.memory;
  for (const [i, n] of gfns.entries()) {
    view.setBigUint64(guestAddress(vcpu.domain, LIST + 8 * i), BigInt(n), true);
  }
  const values = { extent_start: BigInt(LIST), nr_extents: BigInt(gfns.length), domid: DOMID_SELF, ...more };
  return issueOp(vcpu, abi.XenMemoryReservation, values, a => issue(vcpu, memory_op, command, a)).result;
}

const addTo = (vcpu: Vcpu, space: number, idx: bigint, gpfn: bigint, size = 0, domid: number = DOMID_SELF) =>
  issueOp(vcpu, abi.XenAddToPhysmap, { domid, space, idx, gpfn, size }, a =>
    issue(vcpu, memory_op, Xenmem.add_to_physmap, a),
  ).result;

test('the balloon: pages go back and come again, zeroed, up to the maximum', () => {
  const machine = testMachine();
  const domain = testDomain(machine, { maxPages: 66 });
  const vcpu = domain.vcpus[0]!;
  const { memory, frames } = machine.hypervisor;
  const free = frames.nrFree;
  memory.u8[guestAddress(domain, 10 * 4096)] = 1;
  assert.equal(reserve(vcpu, Xenmem.decrease_reservation, [10, 11, 900]), 2);
  assert.equal(mfnOfGfn(domain, 10), 0);
  assert.equal(domain.state.totPages, 62);
  assert.equal(frames.nrFree, free + 2);
  assert.equal(domain.state.p2mStale, 1);
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [10, 70, 71, 72, 73]), 4);
  assert.equal(memory.u8[guestAddress(domain, 10 * 4096)], 0);
  assert.equal(domain.state.totPages, 66);
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [5000]), 0);
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [80], { extent_order: 10 }), 0);
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [80], { nr_extents: 1n << 40n }), 0);
  assert.equal(reserve(vcpu, Xenmem.decrease_reservation, [12], { domid: 0 }), 0);
  assert.equal(reserve(vcpu, Xenmem.decrease_reservation, [12], { extent_start: 1n << 40n }), 0);
  assert.equal(reserve(vcpu, Xenmem.increase_reservation, [12]), 0);
});

test('memory that nobody has looked at goes without ever having been there', () => {
  const machine = testMachine();
  const domain = testDomain(machine, { maxPages: 128 });
  const { frames } = machine.hypervisor;
  populateRange(domain, gfn(200), 10);
  const [free, pages] = [frames.nrFree, domain.state.totPages];
  const gfns = Array.from({ length: 10 }, (_, i) => 200 + i);
  assert.equal(reserve(domain.vcpus[0]!, Xenmem.decrease_reservation, gfns), 10);
  assert.deepEqual([frames.nrFree, domain.state.totPages], [free + 10, pages - 10]);
  assert.equal(rawEntry(domain, 200), 0);
  assert.equal(reserve(domain.vcpus[0]!, Xenmem.decrease_reservation, gfns), 0);
});

test('an extent of many frames is populated whole or not at all', () => {
  const machine = testMachine();
  const domain = testDomain(machine, { maxPages: 100 });
  const vcpu = domain.vcpus[0]!;
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [128], { extent_order: 5 }), 1);
  assert.equal(domain.state.totPages, 96);
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [256], { extent_order: 5 }), 0);
  assert.equal(domain.state.totPages, 96);
  assert.equal(reserve(vcpu, Xenmem.populate_physmap, [257], { extent_order: 1 }), 0);
});

test('a long list is worked off in portions', () => {
  const machine = testMachine();
  const domain = testDomain(machine, { p2mCount: 8192, maxPages: 6000 });
  const vcpu = domain.vcpus[0]!;
  for (let page = 100; page < 110; page++) populateGfn(domain, page);
  const { view } = machine.hypervisor.memory;
  for (let i = 0; i < 4000; i++) {
    view.setBigUint64(guestAddress(domain, 100 * 4096 + 8 * i), BigInt(1000 + i), true);
  }
  const values = { extent_start: BigInt(100 * 4096), nr_extents: 4000n, domid: DOMID_SELF };
  const pages = domain.state.totPages;
  let calls = 0;
  machine.hypervisor.notices.hypercall = () => calls++;
  const done = issueOp(vcpu, abi.XenMemoryReservation, values, a =>
    issue(vcpu, memory_op, Xenmem.populate_physmap, a),
  );
  assert.equal(done.result, 4000);
  assert.equal(calls, 2);
  assert.equal(domain.state.totPages, pages + 4000);
});

test('add_to_physmap: shared info, grant frames and moves', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 0n, 100n), 0);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 0n, 101n), 0);
  assert.deepEqual([mfnOfGfn(domain, 100), mfnOfGfn(domain, 101)], [0, domain.state.sharedInfo >>> 12]);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 0n, 101n), 0);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 1n, 102n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 0n, 1n << 50n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_grant_table, 64n, 102n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_grant_table, 0x8000_0000n, 102n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_grant_table, 63n, 102n), 0);
  assert.equal(domain.state.nrGrantFrames, 64);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_dev_mmio, 0n, 102n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_gmfn_foreign, 0n, 102n), -errno.XEN_ENOSYS);
  assert.equal(addTo(vcpu, 0, 0n, 102n, 0, 0), -errno.XEN_EPERM);
  assert.equal(addTo(vcpu, 0, 0n, 102n, 0, 77), -errno.XEN_ESRCH);
  mapMmio(domain, gfn(300));
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 0n, 300n), -errno.XEN_EINVAL);

  const frame = mfnOfGfn(domain, 20);
  const pages = domain.state.totPages;
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_gmfn, 20n, 400n), 0);
  assert.deepEqual([mfnOfGfn(domain, 20), mfnOfGfn(domain, 400)], [0, frame]);
  assert.equal(domain.state.totPages, pages);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_gmfn, 20n, 400n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_gmfn, 101n, 401n), -errno.XEN_EINVAL);
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_gmfn_range, 30n, 500n, 4), 0);
  assert.equal(mfnOfGfn(domain, 33), 0);
  assert.notEqual(mfnOfGfn(domain, 503), 0);
  assert.equal(domain.state.totPages, pages);
  // A move over RAM frees what was there.
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_gmfn, 400n, 40n), 0);
  assert.equal(domain.state.totPages, pages - 1);

  const remove = (gpfn: bigint) =>
    issueOp(vcpu, abi.XenRemoveFromPhysmap, { domid: DOMID_SELF, gpfn }, a =>
      issue(vcpu, memory_op, Xenmem.remove_from_physmap, a),
    ).result;
  assert.equal(remove(101n), 0);
  assert.equal(remove(101n), -errno.XEN_ENOENT);
  assert.equal(remove(1n << 60n), -errno.XEN_ENOENT);
  // shared_info still exists, and can be mapped again
  assert.equal(addTo(vcpu, abi.XENMAPSPACE_shared_info, 0n, 101n), 0);
});

test('a batch reports an error for each frame', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  const { view } = machine.hypervisor.memory;
  const at = (address: number) => guestAddress(domain, address);
  for (const [i, [from, to]] of [
    [20n, 400n],
    [999n, 401n],
    [21n, 402n],
  ].entries()) {
    view.setBigUint64(at(LIST + 8 * i), from!, true);
    view.setBigUint64(at(LIST + 256 + 8 * i), to!, true);
  }
  const values = {
    domid: DOMID_SELF,
    space: abi.XENMAPSPACE_gmfn,
    size: 3,
    idxs: BigInt(LIST),
    gpfns: BigInt(LIST + 256),
    errs: BigInt(LIST + 512),
  };
  const run = (more: Record<string, number | bigint>) =>
    issueOp(vcpu, abi.XenAddToPhysmapBatch, { ...values, ...more }, a =>
      issue(vcpu, memory_op, Xenmem.add_to_physmap_batch, a),
    ).result;
  assert.equal(run({}), 0);
  const errors = [0, 1, 2].map(i => view.getInt32(at(LIST + 512 + 4 * i), true));
  assert.deepEqual(errors, [0, -errno.XEN_EINVAL, 0]);
  assert.equal(run({ u: 5 }), -errno.XEN_EINVAL);
  assert.equal(run({ space: abi.XENMAPSPACE_gmfn_foreign, u: 0 }), -errno.XEN_EPERM);
  assert.equal(run({ space: abi.XENMAPSPACE_gmfn_foreign, u: 99 }), -errno.XEN_ESRCH);
  assert.equal(run({ errs: 1n << 40n }), -errno.XEN_EFAULT);
});

test('numbers and the memory map', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  const number = (command: number, domid: number = DOMID_SELF) =>
    issueOp(vcpu, abi.XenMemoryDomain, { domid }, a => issue(vcpu, memory_op, command, a)).result;
  assert.equal(number(Xenmem.current_reservation), 64);
  assert.equal(number(Xenmem.maximum_reservation), 128);
  assert.equal(number(Xenmem.maximum_gpfn), 64);
  assert.equal(number(Xenmem.maximum_gpfn, 0), -errno.XEN_EPERM);
  assert.equal(number(Xenmem.get_vnumainfo), -errno.XEN_EOPNOTSUPP);
  const map = (nr_entries: number) =>
    issueOp(vcpu, abi.XenMemoryMap, { nr_entries, buffer: BigInt(LIST) }, a =>
      issue(vcpu, memory_op, Xenmem.memory_map, a),
    );
  assert.equal(map(8).result, -errno.XEN_ENOSYS);
  setMemoryMap(domain, [
    { address: 0, size: 0x40000, type: abi.E820_RAM },
    { address: 0xfc000000, size: 0x9000, type: abi.E820_ACPI },
  ]);
  const two = map(8);
  assert.deepEqual([two.result, two.op.nr_entries], [0, 2]);
  const { view } = machine.hypervisor.memory;
  const second = guestAddress(domain, LIST + abi.E820_ENTRY_BYTES);
  assert.deepEqual([view.getBigUint64(second, true), view.getUint32(second + 16, true)], [0xfc000000n, 3]);
  assert.equal(map(1).op.nr_entries, 1);
  for (const command of [13, 16, 20, 21, 22, 24]) {
    assert.equal(issue(vcpu, memory_op, command, SCRATCH), -errno.XEN_EPERM);
  }
  assert.equal(issue(vcpu, memory_op, 28, SCRATCH), -errno.XEN_EACCES);
  assert.equal(issue(vcpu, memory_op, 40, SCRATCH), -errno.XEN_ENOSYS);
});
