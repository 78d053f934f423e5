/** Block device rings (public/io/blkif.h), in the layout of 64-bit guests. */
import { array, bytes, struct, u8, u16, u32, u64 } from '../../base/struct.ts';
import { i16 } from './types.ts';

export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
export const BLKIF_OP_WRITE_BARRIER = 2;
export const BLKIF_OP_FLUSH_DISKCACHE = 3;
export const BLKIF_OP_DISCARD = 5;
export const BLKIF_OP_INDIRECT = 6;

export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8;

export const BLKIF_RSP_OKAY = 0;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_EOPNOTSUPP = -2;

export const VDISK_CDROM = 1;
export const VDISK_REMOVABLE = 2;
export const VDISK_READONLY = 4;

export const BlkifRequestSegment = struct('blkif_request_segment', {
  gref: u32,
  first_sect: u8,
  last_sect: u8,
});

export const BlkifRequest = struct('blkif_request', {
  operation: u8,
  nr_segments: u8,
  handle: u16,
  id: u64,
  sector_number: u64,
  seg: array(BlkifRequestSegment, BLKIF_MAX_SEGMENTS_PER_REQUEST),
});

export const BlkifRequestDiscard = struct('blkif_request_discard', {
  operation: u8,
  flag: u8,
  handle: u16,
  id: u64,
  sector_number: u64,
  nr_sectors: u64,
});

export const BlkifRequestIndirect = struct('blkif_request_indirect', {
  operation: u8,
  indirect_op: u8,
  nr_segments: u16,
  id: u64,
  sector_number: u64,
  handle: u16,
  indirect_grefs: array(u32, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST),
});

export const BlkifResponse = struct('blkif_response', { id: u64, operation: u8, status: i16 });

/** A ring: four indices, then slots, of which the first is described. It goes on over as many pages as there are. */
export const BlkifSring = struct('blkif_sring', {
  req_prod: u32,
  req_event: u32,
  rsp_prod: u32,
  rsp_event: u32,
  pvt: bytes(4),
  __pad: bytes(44),
  ring: BlkifRequest,
});
