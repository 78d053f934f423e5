/**
 * Reads one request out of its copy and checks it: what remains is a range of the disk and the pages for it, or the status
 * that the domain gets at once.
 */
import * as blkif from '../../abi/xen/blkif.ts';
import { type GrantRef, gref, PAGE_SIZE } from '../../base/brand.ts';
import { GrantParts } from '../grant-parts.ts';
import type { TakenRequest } from './open-requests.ts';

const SECTOR_BYTES = 512;
const SECTORS_A_PAGE = PAGE_SIZE / SECTOR_BYTES;
const { size: SEGMENT_BYTES, offsets: SEGMENT } = blkif.BlkifRequestSegment;
const SEGMENTS_A_PAGE = PAGE_SIZE / SEGMENT_BYTES;
/** What one request may ask for, told as feature-max-indirect-segments. */
export const INDIRECT_SEGMENTS_MAX = 256;

export interface BlockRequest {
  /** What it was read from. */
  readonly taken: TakenRequest;
  readonly id: bigint;
  /** As in the response. Of an indirect request it is the one inside. */
  readonly operation: number;
  readonly kind: 'read' | 'write' | 'barrier' | 'flush' | 'discard';
  readonly offset: number;
  readonly sizeBytes: number;
  /** Where the domain has its bytes. */
  readonly parts: GrantParts;
}

export interface Refusal {
  readonly id: bigint;
  readonly operation: number;
  readonly status: number;
}

export interface DiskLimits {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canDiscard: boolean;
}

/** Copy `count` bytes of a granted page; undefined if the domain has not granted it. */
export type ReadGrant = (ref: GrantRef, offset: number, length: number) => Uint8Array | undefined;

const OPERATIONS: Readonly<Record<number, BlockRequest['kind']>> = {
  [blkif.BLKIF_OP_READ]: 'read',
  [blkif.BLKIF_OP_WRITE]: 'write',
  [blkif.BLKIF_OP_WRITE_BARRIER]: 'barrier',
  [blkif.BLKIF_OP_FLUSH_DISKCACHE]: 'flush',
  [blkif.BLKIF_OP_DISCARD]: 'discard',
};

const NO_PARTS = new GrantParts(0);

/** Add the segments of a request or of an indirect page. False if one of them makes no sense. */
function addSegments(parts: GrantParts, bytes: Uint8Array, start: number, count: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = start; at < start + count * SEGMENT_BYTES; at += SEGMENT_BYTES) {
    const first = view.getUint8(at + SEGMENT.first_sect);
    const last = view.getUint8(at + SEGMENT.last_sect);
    if (first > last || last >= SECTORS_A_PAGE) return false;
    const ref = gref(view.getUint32(at + SEGMENT.gref, true));
    parts.add(ref, first * SECTOR_BYTES, (last - first + 1) * SECTOR_BYTES);
  }
  return true;
}

function directParts(copy: Uint8Array, count: number): GrantParts | undefined {
  if (count > blkif.BLKIF_MAX_SEGMENTS_PER_REQUEST) return undefined;
  if (count === 0) return NO_PARTS;
  const parts = new GrantParts(count);
  return addSegments(parts, copy, blkif.BlkifRequest.offsets.seg, count) ? parts : undefined;
}

function indirectParts(view: DataView, readGrant: ReadGrant): GrantParts | undefined {
  const count = blkif.BlkifRequestIndirect.at(view, 0).nr_segments;
  if (count === 0 || count > INDIRECT_SEGMENTS_MAX) return undefined;
  const parts = new GrantParts(count);
  for (let page = 0; parts.count < count; page++) {
    const here = Math.min(SEGMENTS_A_PAGE, count - parts.count);
    const ref = view.getUint32(blkif.BlkifRequestIndirect.offsets.indirect_grefs + 4 * page, true);
    const bytes = readGrant(gref(ref), 0, here * SEGMENT_BYTES);
    if (!bytes || !addSegments(parts, bytes, 0, here)) return undefined;
  }
  return parts;
}

/** `copy` is the request's slot, and nobody else's. */
export function parseRequest(
  copy: Uint8Array,
  disk: DiskLimits,
  readGrant: ReadGrant,
): BlockRequest | Refusal {
  const view = new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
  const { id, sector_number: sector, nr_segments, operation: outer } = blkif.BlkifRequest.at(view, 0);
  const isIndirect = outer === blkif.BLKIF_OP_INDIRECT;
  // The domain expects the operation inside to be answered.
  const operation = isIndirect ? blkif.BlkifRequestIndirect.at(view, 0).indirect_op : outer;
  const refuse = (status: number): Refusal => ({ id, operation, status });
  const kind = OPERATIONS[operation];
  if (kind === undefined || (isIndirect && kind !== 'read' && kind !== 'write')) {
    return refuse(blkif.BLKIF_RSP_EOPNOTSUPP);
  }
  if (kind === 'discard') {
    if (!disk.canDiscard) return refuse(blkif.BLKIF_RSP_EOPNOTSUPP);
    const { nr_sectors } = blkif.BlkifRequestDiscard.at(view, 0);
    return (
      ranged({ taken: copy, id, operation, kind, parts: NO_PARTS }, sector, nr_sectors, disk) ??
      refuse(blkif.BLKIF_RSP_ERROR)
    );
  }
  const parts = isIndirect ? indirectParts(view, readGrant) : directParts(copy, nr_segments);
  if (!parts) return refuse(blkif.BLKIF_RSP_ERROR);
  const mayBeEmpty = kind === 'flush' || kind === 'barrier';
  if (parts.count === 0) {
    if (!mayBeEmpty) return refuse(blkif.BLKIF_RSP_ERROR);
    return { taken: copy, id, operation, kind, offset: 0, sizeBytes: 0, parts };
  }
  if (kind !== 'read' && disk.isReadOnly) return refuse(blkif.BLKIF_RSP_ERROR);
  return (
    ranged(
      { taken: copy, id, operation, kind, parts },
      sector,
      BigInt(parts.sizeBytes / SECTOR_BYTES),
      disk,
    ) ?? refuse(blkif.BLKIF_RSP_ERROR)
  );
}

function ranged(
  request: Omit<BlockRequest, 'offset' | 'sizeBytes'>,
  sector: bigint,
  nrSectors: bigint,
  disk: DiskLimits,
): BlockRequest | undefined {
  const end = BigInt(disk.sizeBytes / SECTOR_BYTES);
  if (nrSectors === 0n || sector > end || nrSectors > end - sector) return undefined;
  return { ...request, offset: Number(sector) * SECTOR_BYTES, sizeBytes: Number(nrSectors) * SECTOR_BYTES };
}
