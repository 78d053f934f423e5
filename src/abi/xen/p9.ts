/** The shared page of a 9pfs ring (public/io/9pfs.h, public/io/ring.h): four byte counters, then the pages that hold the bytes. */
import { bytes, struct, u32 } from '../../base/struct.ts';

/** `in` runs from the backend to the frontend, `out` the other way. Behind it stand the grant references, 2^ring_order of them. */
export const Xen9pfsDataIntf = struct('xen_9pfs_data_intf', {
  in_cons: u32,
  in_prod: u32,
  pad1: bytes(56),
  out_cons: u32,
  out_prod: u32,
  pad2: bytes(56),
  ring_order: u32,
});

/** Bytes of one direction: half of the pages. */
export const flexRingBytes = (order: number): number => 1 << (order + 12 - 1);
