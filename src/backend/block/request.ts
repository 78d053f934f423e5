/**
 * Reads one request out of its copy and checks it: what remains is a range of the disk and the pages for it, or the status
 * that the domain gets at once.
 */
import * as blkif from '../../abi/xen/blkif.ts';
import { type GrantRef, gref, PAGE_SIZE } from '../../base/brand.ts';

const SECTOR_BYTES = 512;
const SECTORS_A_PAGE = PAGE_SIZE / SECTOR_BYTES;
const SEGMENT_BYTES = blkif.BlkifRequestSegment.size;
const SEGMENTS_A_PAGE = PAGE_SIZE / SEGMENT_BYTES;
/** What one request may ask for, told as feature-max-indirect-segments. */
export const INDIRECT_SEGMENTS_MAX = 256;

export interface Segment {
  readonly ref: GrantRef;
  /** Range in the page. */
  readonly offset: number;
  readonly length: number;
}

export interface BlockRequest {
  readonly id: bigint;
  /** As in the response. Of an indirect request it is the one inside. */
  readonly operation: number;
  readonly kind: 'read' | 'write' | 'barrier' | 'flush' | 'discard';
  readonly offset: number;
  readonly sizeBytes: number;
  readonly segments: readonly Segment[];
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

/** Segments of a request or of an indirect page; undefined if one of them makes no sense. */
function segmentsOf(bytes: Uint8Array, start: number, count: number): Segment[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + i * SEGMENT_BYTES;
    const first = view.getUint8(at + blkif.BlkifRequestSegment.offsets.first_sect);
    const last = view.getUint8(at + blkif.BlkifRequestSegment.offsets.last_sect);
    if (first > last || last >= SECTORS_A_PAGE) return undefined;
    segments.push({
      ref: gref(view.getUint32(at, true)),
      offset: first * SECTOR_BYTES,
      length: (last - first + 1) * SECTOR_BYTES,
    });
  }
  return segments;
}

function indirectSegments(copy: Uint8Array, view: DataView, readGrant: ReadGrant): Segment[] | undefined {
  const request = blkif.BlkifRequestIndirect.at(view, 0);
  const count = request.nr_segments;
  if (count === 0 || count > INDIRECT_SEGMENTS_MAX) return undefined;
  const segments: Segment[] = [];
  for (let page = 0; segments.length < count; page++) {
    const part = Math.min(SEGMENTS_A_PAGE, count - segments.length);
    const ref = view.getUint32(blkif.BlkifRequestIndirect.offsets.indirect_grefs + 4 * page, true);
    const bytes = readGrant(gref(ref), 0, part * SEGMENT_BYTES);
    const found = bytes && segmentsOf(bytes, 0, part);
    if (!found) return undefined;
    segments.push(...found);
  }
  return copy.length > 0 ? segments : undefined;
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
      ranged({ id, operation, kind, segments: [] }, sector, nr_sectors, disk) ?? refuse(blkif.BLKIF_RSP_ERROR)
    );
  }
  let segments: Segment[] | undefined;
  if (isIndirect) segments = indirectSegments(copy, view, readGrant);
  else if (nr_segments <= blkif.BLKIF_MAX_SEGMENTS_PER_REQUEST) {
    segments = segmentsOf(copy, blkif.BlkifRequest.offsets.seg, nr_segments);
  }
  if (!segments) return refuse(blkif.BLKIF_RSP_ERROR);
  const mayBeEmpty = kind === 'flush' || kind === 'barrier';
  if (segments.length === 0) {
    if (!mayBeEmpty) return refuse(blkif.BLKIF_RSP_ERROR);
    return { id, operation, kind, offset: 0, sizeBytes: 0, segments };
  }
  if (kind !== 'read' && disk.isReadOnly) return refuse(blkif.BLKIF_RSP_ERROR);
  const nrSectors = segments.reduce((sum, segment) => sum + segment.length, 0) / SECTOR_BYTES;
  return (
    ranged({ id, operation, kind, segments }, sector, BigInt(nrSectors), disk) ??
    refuse(blkif.BLKIF_RSP_ERROR)
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
