/**
 * Mapping another domain's grant at a guest-physical address of one's own, for backends in guests.
 *
 * A mapping holds one use of the grant (with its frame reference) for the handle, and the p2m entry's own reference.
 */
import * as gnttab from '../../abi/xen/grant-table.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import type { Domain } from '../hypervisor.ts';
import { isForeign, mapGfn, mfnOfGfn, p2mEntry, p2mType, takeReference, unmapGfn } from '../p2m.ts';
import { acquireGrant, giveHandleBack, maptrackAt, releaseGrant, takeHandle } from './table.ts';

/** Returns the handle, or a negative GNTST_*. */
export function mapGrantRef(
  domain: Domain,
  owner: Domain,
  ref: number,
  flags: number,
  hostAddress: bigint,
): number {
  if ((flags & (gnttab.GNTMAP_device_map | gnttab.GNTMAP_host_map)) === 0) return gnttab.GNTST_bad_gntref;
  const refused = gnttab.GNTMAP_device_map | gnttab.GNTMAP_application_map | gnttab.GNTMAP_contains_pte;
  if ((flags & refused) !== 0) return gnttab.GNTST_general_error;
  // A frame may be in a p2m once only: that is how its owner tells what the mapping is.
  if (owner === domain) return gnttab.GNTST_general_error;
  if ((hostAddress & 0xfffn) !== 0n || hostAddress >> 12n >= BigInt(domain.state.p2mCount)) {
    return gnttab.GNTST_general_error;
  }
  const gfn = Number(hostAddress >> 12n);
  const present = mfnOfGfn(domain, gfn);
  if (p2mType(p2mEntry(domain, gfn)) === P2m.mmio || (present !== 0 && isForeign(domain, present))) {
    return gnttab.GNTST_general_error;
  }
  const handle = takeHandle(domain);
  if (handle < 0) return gnttab.GNTST_no_space;
  const write = (flags & gnttab.GNTMAP_readonly) === 0;
  const frame = acquireGrant(owner, ref, domain.id, write);
  if (frame < 0) {
    giveHandleBack(domain, handle);
    return frame;
  }
  takeReference(domain.hypervisor, frame);
  mapGfn(domain, gfn, frame, write ? P2m.ram : P2m.readOnly);
  const track = maptrackAt(domain, handle);
  track.flags = flags & 0xffff;
  track.domid = owner.id;
  track.ref = ref;
  track.gfn = gfn;
  track.mfn = frame;
  return handle;
}

/** Returns GNTST_*. */
export function unmapGrantRef(domain: Domain, handle: number, hostAddress: bigint): number {
  if (handle >= domain.state.nrMaptrack) return gnttab.GNTST_bad_handle;
  const track = maptrackAt(domain, handle);
  if (track.flags === 0) return gnttab.GNTST_bad_handle;
  if (hostAddress !== BigInt(track.gfn) * 4096n) return gnttab.GNTST_bad_virt_addr;
  if (mfnOfGfn(domain, track.gfn) !== track.mfn) return gnttab.GNTST_general_error;
  const owner = domain.hypervisor.domains.get(track.domid);
  const write = (track.flags & gnttab.GNTMAP_readonly) === 0;
  const ref = track.ref;
  giveHandleBack(domain, handle);
  unmapGfn(domain, track.gfn);
  if (owner !== undefined) releaseGrant(owner, ref, write, track.mfn);
  return gnttab.GNTST_okay;
}
