/** __HYPERVISOR_grant_table_op (20): unsigned cmd, void *list, unsigned count. */
import {
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ERESTART,
  XEN_ESRCH,
} from '../../abi/xen/errno.ts';
import * as abi from '../../abi/xen/grant-table.ts';
import type { FieldType, Struct } from '../../base/struct.ts';
import { copyGrants } from '../grant/copy.ts';
import { mapGrantRef, unmapGrantRef } from '../grant/map.ts';
import { activeGrant, grantTable, growGrantTable, nrGrants, swapEntries } from '../grant/table.ts';
import { copyIn, copyOut, copyToGuest } from '../guest-memory.ts';
import { GFN_NONE } from '../state.ts';
import { type Call, domainOf, type Operation, type OperationTable, uint } from './call.ts';

const { Gnttabop } = abi;
/** Entries of a list done per call before the guest has to come again. */
const LIST_BATCH = 256;

/** An operation on a list of structures, each with its own status. */
function overList<F extends Record<string, FieldType<unknown>>>(
  name: string,
  layout: Struct<F>,
  body: (call: Call, op: ReturnType<Struct<F>['at']>) => void,
  more: Partial<Operation> = {},
): Operation {
  return {
    name,
    ...more,
    run(call, list) {
      const count = uint(call.args[2]!);
      const now = Math.min(count, LIST_BATCH);
      for (let i = 0; i < now; i++) {
        const address = list + BigInt(i * layout.size);
        const op = copyIn(call.vcpu, layout, address);
        if (op === undefined) return -XEN_EFAULT;
        body(call, op.value);
        if (!copyOut(call.vcpu, address, op)) return -XEN_EFAULT;
      }
      if (now === count) return 0;
      call.args[1] = list + BigInt(now * layout.size);
      call.args[2] = BigInt(count - now);
      return -XEN_ERESTART;
    },
  };
}

/** An operation that takes exactly one structure. */
function single<F extends Record<string, FieldType<unknown>>>(
  name: string,
  layout: Struct<F>,
  body: (call: Call, op: ReturnType<Struct<F>['at']>) => number,
  more: Partial<Operation> = {},
): Operation {
  return {
    name,
    ...more,
    run(call, argument) {
      if (uint(call.args[2]!) !== 1) return -XEN_EINVAL;
      const op = copyIn(call.vcpu, layout, argument);
      if (op === undefined) return -XEN_EFAULT;
      const result = body(call, op.value);
      return copyOut(call.vcpu, argument, op) ? result : -XEN_EFAULT;
    },
  };
}

/** Status for a table that a guest may ask about: its own. */
function ownTable(call: Call, domain: number): number {
  const found = domainOf(call, domain);
  if (found === undefined) return abi.GNTST_bad_domain;
  return found === call.domain ? abi.GNTST_okay : abi.GNTST_permission_denied;
}

const mapOp = overList('map_grant_ref', abi.GnttabMapGrantRef, (call, op) => {
  const owner = call.hypervisor.domains.get(op.dom);
  if (owner === undefined || owner.state.isControl) {
    op.status = abi.GNTST_bad_domain;
    return;
  }
  const handle = mapGrantRef(call.domain, owner, op.ref, op.flags, op.host_addr);
  op.status = Math.min(handle, 0);
  if (handle >= 0) op.handle = handle;
  op.dev_bus_addr = 0n;
});

const unmapOp = overList('unmap_grant_ref', abi.GnttabUnmapGrantRef, (call, op) => {
  op.status = unmapGrantRef(call.domain, op.handle, op.host_addr);
});

const setupTable: Operation = single('setup_table', abi.GnttabSetupTable, (call, op) => {
  op.status = ownTable(call, op.dom);
  if (op.status !== abi.GNTST_okay) return 0;
  if (!growGrantTable(call.domain, op.nr_frames)) {
    op.status = abi.GNTST_general_error;
    return 0;
  }
  const table = grantTable(call.domain);
  const list = new BigUint64Array(op.nr_frames);
  for (let i = 0; i < list.length; i++) {
    const gfn = table.sharedGfn.get(i);
    list[i] = gfn === GFN_NONE ? 0xffff_ffff_ffff_ffffn : BigInt(gfn);
  }
  if (!copyToGuest(call.vcpu, op.frame_list, new Uint8Array(list.buffer)))
    op.status = abi.GNTST_bad_virt_addr;
  return 0;
});

const querySize = single(
  'query_size',
  abi.GnttabQuerySize,
  (call, op) => {
    op.status = ownTable(call, op.dom);
    if (op.status !== abi.GNTST_okay) return 0;
    op.nr_frames = call.domain.state.nrGrantFrames;
    op.max_nr_frames = call.domain.state.maxGrantFrames;
    return 0;
  },
  { compat: true },
);

const setVersion = single(
  'set_version',
  abi.GnttabSetVersion,
  (_call, op) => {
    if (op.version !== 1 && op.version !== 2) return -XEN_EINVAL;
    const result = op.version === 1 ? 0 : -XEN_ENOSYS;
    op.version = 1;
    return result;
  },
  { compat: true, note: 'version 1 only; 2 is -ENOSYS' },
);

const getVersion = single(
  'get_version',
  abi.GnttabGetVersion,
  (call, op) => {
    const status = ownTable(call, op.dom);
    if (status !== 0) return status === abi.GNTST_bad_domain ? -XEN_ESRCH : -XEN_EPERM;
    op.version = 1;
    return 0;
  },
  { compat: true },
);

const swap = overList(
  'swap_grant_ref',
  abi.GnttabSwapGrantRef,
  (call, op) => {
    const { ref_a: a, ref_b: b } = op;
    const limit = nrGrants(call.domain);
    if (a >= limit || b >= limit) op.status = abi.GNTST_bad_gntref;
    else if (isActive(call, a) || isActive(call, b)) op.status = abi.GNTST_eagain;
    else {
      swapEntries(call.domain, a, b);
      op.status = abi.GNTST_okay;
    }
  },
  { compat: true },
);

function isActive(call: Call, ref: number): boolean {
  const active = activeGrant(call.domain, ref);
  return active.readers + active.writers > 0;
}

/** What Xen allows HVM guests; all other commands are -ENOSYS. */
export const grantTableOperations: OperationTable = {
  [Gnttabop.map_grant_ref]: { ...mapOp, note: 'host mappings by guest-physical address, not of own grants' },
  [Gnttabop.unmap_grant_ref]: unmapOp,
  [Gnttabop.setup_table]: setupTable,
  [Gnttabop.copy]: overList('copy', abi.GnttabCopy, (call, op) => {
    op.status = copyGrants(call.domain, op);
  }),
  [Gnttabop.query_size]: querySize,
  [Gnttabop.set_version]: setVersion,
  [Gnttabop.get_version]: getVersion,
  [Gnttabop.swap_grant_ref]: swap,
};
