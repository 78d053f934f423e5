/** GNTTABOP_copy: bytes between two frames, each either a guest frame of one's own or another domain's grant. */
import * as gnttab from '../../abi/xen/grant-table.ts';
import { DOMID_SELF } from '../../abi/xen/xen.ts';
import { PAGE_SIZE } from '../../base/brand.ts';
import { wroteTo } from '../guest-memory.ts';
import type { Accessor, Domain } from '../hypervisor.ts';
import { gfnOfNumber, ramOfGfn } from '../p2m.ts';
import { acquireGrant, releaseGrant } from './table.ts';

type Pointer = Accessor<typeof gnttab.GnttabCopyPtr>;

/** One side of a copy while it lasts: the frame, and how to let go of it. */
interface Side {
  status: number;
  frame: number;
  release(): void;
}

const failed = (status: number): Side => ({ status, frame: 0, release: () => {} });

function openSide(domain: Domain, pointer: Pointer, isGrant: boolean, write: boolean): Side {
  if (!isGrant) {
    if (pointer.domid !== DOMID_SELF) return failed(gnttab.GNTST_permission_denied);
    const frame = ramOfGfn(domain, gfnOfNumber(pointer.u));
    return frame === 0 ? failed(gnttab.GNTST_general_error) : { status: 0, frame, release: () => {} };
  }
  const owner = pointer.domid === DOMID_SELF ? domain : domain.hypervisor.domains.get(pointer.domid);
  if (owner === undefined || owner.state.isControl) return failed(gnttab.GNTST_bad_domain);
  const ref = Number(pointer.u & 0xffff_ffffn);
  const frame = acquireGrant(owner, ref, domain.id, write);
  if (frame < 0) return failed(frame);
  return { status: 0, frame, release: () => releaseGrant(owner, ref, write, frame) };
}

/** Returns GNTST_*. */
export function copyGrants(domain: Domain, op: Accessor<typeof gnttab.GnttabCopy>): number {
  const { source, dest, len, flags } = op;
  if (source.offset + len > PAGE_SIZE || dest.offset + len > PAGE_SIZE) return gnttab.GNTST_bad_copy_arg;
  const from = openSide(domain, source, (flags & gnttab.GNTCOPY_source_gref) !== 0, false);
  if (from.status < 0) return from.status;
  const to = openSide(domain, dest, (flags & gnttab.GNTCOPY_dest_gref) !== 0, true);
  if (to.status === 0) {
    const { u8 } = domain.hypervisor.memory;
    const start = from.frame * PAGE_SIZE + source.offset;
    const target = to.frame * PAGE_SIZE + dest.offset;
    u8.copyWithin(target, start, start + len);
    wroteTo(domain.hypervisor, target, len);
  }
  to.release();
  from.release();
  return to.status;
}
