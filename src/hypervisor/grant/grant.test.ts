import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errno from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/grant-table.ts';
import { DOMID_SELF, Hypervisor } from '../../abi/xen/xen.ts';
import { gfn } from '../../base/brand.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import { destroyDomain } from '../domain.ts';
import type { Domain } from '../hypervisor.ts';
import { mfnOfGfn, p2mEntry, p2mType } from '../p2m.ts';
import { guestAddress, issue, issueOp, SCRATCH, testDomain, testMachine } from '../testing.ts';
import { mapGrant, seedGrant, unmapGrant } from './table.ts';

const { Gnttabop } = abi;
const { grant_table_op } = Hypervisor;

/** The guest's first grant frame, straight in machine memory. */
const entryOf = (domain: Domain, ref: number) => {
  const { view, u32 } = domain.hypervisor.memory;
  return abi.GrantEntryV1.at(view, u32[domain.state.grants / 4]! + ref * 8);
};

function grant(domain: Domain, ref: number, grantee: number, frame: number, flags = abi.GTF_permit_access) {
  const entry = entryOf(domain, ref);
  entry.domid = grantee;
  entry.frame = frame;
  entry.flags = flags;
}

function map(
  domain: Domain,
  owner: Domain | number,
  ref: number,
  where: number,
  flags = abi.GNTMAP_host_map,
) {
  const dom = typeof owner === 'number' ? owner : owner.id;
  return issueOp(domain.vcpus[0]!, abi.GnttabMapGrantRef, { host_addr: BigInt(where), flags, ref, dom }, a =>
    issue(domain.vcpus[0]!, grant_table_op, Gnttabop.map_grant_ref, a, 1),
  ).op;
}

const unmap = (domain: Domain, handle: number, where: number) =>
  issueOp(domain.vcpus[0]!, abi.GnttabUnmapGrantRef, { host_addr: BigInt(where), handle }, a =>
    issue(domain.vcpus[0]!, grant_table_op, Gnttabop.unmap_grant_ref, a, 1),
  ).op.status;

test('a grant is mapped, seen, counted and unmapped', () => {
  const machine = testMachine();
  const owner = testDomain(machine);
  const user = testDomain(machine);
  const frame = mfnOfGfn(owner, 5);
  const references = () => machine.hypervisor.frames.entry(frame as never).count;
  grant(owner, 8, user.id, 5);
  const mapped = map(user, owner, 8, 200 * 4096);
  assert.equal(mapped.status, abi.GNTST_okay);
  assert.equal(mfnOfGfn(user, 200), frame);
  assert.equal(p2mType(p2mEntry(user, 200)), P2m.ram);
  assert.equal(entryOf(owner, 8).flags, abi.GTF_permit_access | abi.GTF_reading | abi.GTF_writing);
  assert.equal(references(), 3);

  const readOnly = map(user, owner, 8, 201 * 4096, abi.GNTMAP_host_map | abi.GNTMAP_readonly);
  assert.equal(p2mType(p2mEntry(user, 201)), P2m.readOnly);
  assert.notEqual(readOnly.handle, mapped.handle);

  assert.equal(unmap(user, mapped.handle, 201 * 4096), abi.GNTST_bad_virt_addr);
  assert.equal(unmap(user, mapped.handle, 200 * 4096), abi.GNTST_okay);
  assert.equal(unmap(user, mapped.handle, 200 * 4096), abi.GNTST_bad_handle);
  assert.equal(mfnOfGfn(user, 200), 0);
  assert.equal(entryOf(owner, 8).flags, abi.GTF_permit_access | abi.GTF_reading);
  assert.equal(unmap(user, readOnly.handle, 201 * 4096), abi.GNTST_okay);
  assert.equal(entryOf(owner, 8).flags, abi.GTF_permit_access);
  assert.equal(references(), 1);
});

test('what a grant does not permit is refused', () => {
  const machine = testMachine();
  const owner = testDomain(machine);
  const user = testDomain(machine);
  grant(owner, 8, user.id, 5, abi.GTF_permit_access | abi.GTF_readonly);
  grant(owner, 9, user.id + 1, 5);
  grant(owner, 10, user.id, 900);
  grant(owner, 11, user.id, 5, abi.GTF_accept_transfer);
  const at = 200 * 4096;
  assert.equal(map(user, owner, 8, at).status, abi.GNTST_general_error);
  assert.equal(map(user, owner, 9, at).status, abi.GNTST_general_error);
  assert.equal(map(user, owner, 10, at).status, abi.GNTST_bad_page);
  assert.equal(entryOf(owner, 10).flags, abi.GTF_permit_access);
  assert.equal(map(user, owner, 11, at).status, abi.GNTST_general_error);
  assert.equal(map(user, owner, 512, at).status, abi.GNTST_bad_gntref);
  assert.equal(map(user, owner, 0xffff_ffff, at).status, abi.GNTST_bad_gntref);
  assert.equal(map(user, 99, 8, at).status, abi.GNTST_bad_domain);
  assert.equal(map(user, 0, 8, at).status, abi.GNTST_bad_domain);
  assert.equal(map(user, owner, 8, at, 0).status, abi.GNTST_bad_gntref);
  const readOnly = abi.GNTMAP_host_map | abi.GNTMAP_readonly;
  assert.equal(map(user, owner, 8, at, readOnly | abi.GNTMAP_device_map).status, abi.GNTST_general_error);
  assert.equal(map(user, owner, 8, at + 1, readOnly).status, abi.GNTST_general_error);
  assert.equal(map(user, owner, 8, 5000 * 4096, readOnly).status, abi.GNTST_general_error);
  assert.equal(map(user, owner, 8, at, readOnly).status, abi.GNTST_okay);
  assert.equal(map(user, owner, 8, at, readOnly).status, abi.GNTST_general_error);
});

test('a granted frame outlives the owner that gives it away, until it is unmapped', () => {
  const machine = testMachine();
  const owner = testDomain(machine);
  const user = testDomain(machine);
  const free = machine.hypervisor.frames.nrFree;
  grant(owner, 8, user.id, 5);
  const { handle, status } = map(user, owner, 8, 200 * 4096);
  assert.equal(status, 0);
  const frame = mfnOfGfn(owner, 5);
  machine.hypervisor.memory.u8[frame * 4096] = 42;
  destroyDomain(owner);
  assert.equal(machine.hypervisor.memory.u8[guestAddress(user, 200 * 4096)], 42);
  assert.equal(unmap(user, handle, 200 * 4096), abi.GNTST_okay);
  assert.ok(machine.hypervisor.frames.nrFree > free);
  assert.equal(machine.hypervisor.frames.entry(frame as never).count, 0);
});

test('a backend maps, the guest cannot pull the frame away, and unmap balances', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  seedGrant(domain, 0, gfn(7), 0);
  const address = mapGrant(domain, 0, true);
  assert.equal(address, guestAddress(domain, 7 * 4096));
  assert.equal(mapGrant(domain, 3, true), abi.GNTST_general_error);
  domain.state.totPages = 128;
  const reservation = { extent_start: BigInt(SCRATCH + 64), nr_extents: 1n, domid: DOMID_SELF };
  machine.hypervisor.memory.view.setBigUint64(guestAddress(domain, SCRATCH + 64), 7n, true);
  const values = reservation;
  const memory = machine.hypervisor.memory;
  const base = guestAddress(domain, SCRATCH);
  memory.view.setBigUint64(base, values.extent_start, true);
  memory.view.setBigUint64(base + 8, 1n, true);
  memory.view.setBigUint64(base + 16, 0n, true);
  memory.view.setUint16(base + 24, DOMID_SELF, true);
  assert.equal(issue(domain.vcpus[0]!, Hypervisor.memory_op, 1, SCRATCH), 1);
  assert.equal(mfnOfGfn(domain, 7), 0);
  assert.equal(machine.hypervisor.frames.entry((address / 4096) as never).count, 1);
  unmapGrant(domain, 0, true);
  assert.equal(machine.hypervisor.frames.entry((address / 4096) as never).count, 0);
  assert.equal(entryOf(domain, 0).flags, abi.GTF_permit_access);
  unmapGrant(domain, 0, true);
});

test('copy moves bytes between own frames and grants, within one page', () => {
  const machine = testMachine();
  const owner = testDomain(machine);
  const user = testDomain(machine);
  grant(owner, 8, user.id, 5);
  grant(owner, 9, user.id, 6, abi.GTF_permit_access | abi.GTF_readonly);
  const { u8, view } = machine.hypervisor.memory;
  u8.fill(0xab, guestAddress(user, 10 * 4096), guestAddress(user, 10 * 4096) + 4096);
  const copy = (
    source: [bigint, number, number],
    dest: [bigint, number, number],
    len: number,
    flags: number,
  ) => {
    const at = guestAddress(user, SCRATCH);
    const op = abi.GnttabCopy.at(view, at);
    for (const [side, [u, domain, offset]] of [
      [op.source, source],
      [op.dest, dest],
    ] as const) {
      side.u = u;
      side.domid = domain;
      side.offset = offset;
    }
    op.len = len;
    op.flags = flags;
    op.status = 99;
    assert.equal(issue(user.vcpus[0]!, grant_table_op, Gnttabop.copy, SCRATCH, 1), 0);
    return op.status;
  };
  const { GNTCOPY_dest_gref: toGrant, GNTCOPY_source_gref: fromGrant } = abi;
  assert.equal(copy([10n, DOMID_SELF, 0], [8n, owner.id, 16], 100, toGrant), 0);
  assert.equal(u8[guestAddress(owner, 5 * 4096 + 115)], 0xab);
  assert.equal(u8[guestAddress(owner, 5 * 4096 + 116)], 0);
  assert.equal(entryOf(owner, 8).flags, abi.GTF_permit_access);
  assert.equal(copy([8n, owner.id, 16], [11n, DOMID_SELF, 0], 10, fromGrant), 0);
  assert.equal(u8[guestAddress(user, 11 * 4096 + 9)], 0xab);
  assert.equal(copy([8n, owner.id, 4090], [11n, DOMID_SELF, 0], 10, fromGrant), abi.GNTST_bad_copy_arg);
  assert.equal(copy([10n, DOMID_SELF, 0], [9n, owner.id, 0], 10, toGrant), abi.GNTST_general_error);
  assert.equal(copy([10n, owner.id, 0], [8n, owner.id, 0], 10, toGrant), abi.GNTST_permission_denied);
  assert.equal(copy([999n, DOMID_SELF, 0], [8n, owner.id, 0], 10, toGrant), abi.GNTST_general_error);
});

test('versions, sizes and the table as the guest sees it', () => {
  const machine = testMachine();
  const domain = testDomain(machine);
  const other = testDomain(machine);
  const vcpu = domain.vcpus[0]!;
  const version = (value: number) =>
    issueOp(vcpu, abi.GnttabSetVersion, { version: value }, a =>
      issue(vcpu, grant_table_op, Gnttabop.set_version, a, 1),
    ).result;
  assert.equal(version(1), 0);
  assert.equal(version(2), -errno.XEN_ENOSYS);
  assert.equal(version(3), -errno.XEN_EINVAL);
  const query = (dom: number, count = 1) =>
    issueOp(vcpu, abi.GnttabQuerySize, { dom }, a =>
      issue(vcpu, grant_table_op, Gnttabop.query_size, a, count),
    );
  assert.equal(query(DOMID_SELF, 2).result, -errno.XEN_EINVAL);
  assert.equal(query(other.id).op.status, abi.GNTST_permission_denied);
  assert.equal(query(1234).op.status, abi.GNTST_bad_domain);
  const setup = issueOp(
    vcpu,
    abi.GnttabSetupTable,
    { dom: DOMID_SELF, nr_frames: 2, frame_list: BigInt(SCRATCH + 256) },
    a => issue(vcpu, grant_table_op, Gnttabop.setup_table, a, 1),
  );
  assert.deepEqual([setup.result, setup.op.status, domain.state.nrGrantFrames], [0, 0, 2]);
  const tooMany = issueOp(vcpu, abi.GnttabSetupTable, { dom: DOMID_SELF, nr_frames: 65 }, a =>
    issue(vcpu, grant_table_op, Gnttabop.setup_table, a, 1),
  );
  assert.equal(tooMany.op.status, abi.GNTST_general_error);
  grant(domain, 8, 1, 2);
  grant(domain, 9, 3, 4);
  const swapped = issueOp(vcpu, abi.GnttabSwapGrantRef, { ref_a: 8, ref_b: 9 }, a =>
    issue(vcpu, grant_table_op, Gnttabop.swap_grant_ref, a, 1),
  );
  assert.equal(swapped.op.status, 0);
  assert.deepEqual([entryOf(domain, 8).domid, entryOf(domain, 9).frame], [3, 2]);
  assert.equal(issue(vcpu, grant_table_op, Gnttabop.transfer, SCRATCH, 1), -errno.XEN_ENOSYS);
});
