/**
 * Reads one request out of its copy and checks it: what remains is a range of the disk and the pages for it, or the status
 * that the domain gets at once.
 */
import * as blkif from '../../abi/xen/blkif.ts';
import { type GrantRef, gref, PAGE_SIZE } from '../../base/brand.ts';
import type { GrantParts } from '../grant-parts.ts';
import type { TakenRequest } from './open-requests.ts';

const SECTOR_BYTES = 512;
const SECTORS_A_PAGE = PAGE_SIZE / SECTOR_BYTES;
const { offsets: SEGMENT } = blkif.BlkifRequestSegment;
export const SEGMENT_BYTES = blkif.BlkifRequestSegment.size;
const R = blkif.BlkifRequest.offsets;
const I = blkif.BlkifRequestIndirect.offsets;
const D = blkif.BlkifRequestDiscard.offsets;
const SEGMENTS_A_PAGE = PAGE_SIZE / SEGMENT_BYTES;
/** What one request may ask for, told as feature-max-indirect-segments. */
export const INDIRECT_SEGMENTS_MAX = 256;

export interface BlockRequest {
  /** What it was read from. */
  readonly taken: TakenRequest;
  /** As in the response. Of an indirect request it is the one inside. */
  readonly operation: number;
  readonly kind: 'read' | 'write' | 'barrier' | 'flush' | 'discard';
  readonly offset: number;
  readonly sizeBytes: number;
  /** Where the domain has its bytes. */
  readonly parts: GrantParts;
}

export interface Refusal {
  readonly operation: number;
  readonly status: number;
}

export interface DiskLimits {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canDiscard: boolean;
}

/** A copy of the first bytes of a granted page, until the next one is asked for; undefined if the domain has not granted it. */
export type ReadGrant = (ref: GrantRef, length: number) => DataView | undefined;

const OPERATIONS: Readonly<Record<number, BlockRequest['kind']>> = {
  [blkif.BLKIF_OP_READ]: 'read',
  [blkif.BLKIF_OP_WRITE]: 'write',
  [blkif.BLKIF_OP_WRITE_BARRIER]: 'barrier',
  [blkif.BLKIF_OP_FLUSH_DISKCACHE]: 'flush',
  [blkif.BLKIF_OP_DISCARD]: 'discard',
};

/** Add the segments of a request or of an indirect page. False if one of them makes no sense. */
function addSegments(parts: GrantParts, view: DataView, start: number, count: number): boolean {
  for (let at = start; at < start + count * SEGMENT_BYTES; at += SEGMENT_BYTES) {
    const first = view.getUint8(at + SEGMENT.first_sect);
    const last = view.getUint8(at + SEGMENT.last_sect);
    if (first > last || last >= SECTORS_A_PAGE) return false;
    const ref = gref(view.getUint32(at + SEGMENT.gref, true));
    parts.add(ref, first * SECTOR_BYTES, (last - first + 1) * SECTOR_BYTES);
  }
  return true;
}

function addDirect(parts: GrantParts, view: DataView): boolean {
  const count = view.getUint8(R.nr_segments);
  if (count > blkif.BLKIF_MAX_SEGMENTS_PER_REQUEST) return false;
  return addSegments(parts, view, R.seg, count);
}

function addIndirect(parts: GrantParts, view: DataView, readGrant: ReadGrant): boolean {
  const count = view.getUint16(I.nr_segments, true);
  if (count === 0 || count > INDIRECT_SEGMENTS_MAX) return false;
  for (let page = 0; parts.count < count; page++) {
    const here = Math.min(SEGMENTS_A_PAGE, count - parts.count);
    const ref = view.getUint32(I.indirect_grefs + 4 * page, true);
    const segments = readGrant(gref(ref), here * SEGMENT_BYTES);
    if (!segments || !addSegments(parts, segments, 0, here)) return false;
  }
  return true;
}

/** @param parts empty, and filled with those of the request: room for INDIRECT_SEGMENTS_MAX */
export function parseRequest(
  taken: TakenRequest,
  disk: DiskLimits,
  readGrant: ReadGrant,
  parts: GrantParts,
): BlockRequest | Refusal {
  const { view } = taken;
  const outer = view.getUint8(R.operation);
  const isIndirect = outer === blkif.BLKIF_OP_INDIRECT;
  // The domain expects the operation inside to be answered.
  const operation = isIndirect ? view.getUint8(I.indirect_op) : outer;
  const kind = OPERATIONS[operation];
  if (kind === undefined || (isIndirect && kind !== 'read' && kind !== 'write')) {
    return { operation, status: blkif.BLKIF_RSP_EOPNOTSUPP };
  }
  const refused = { operation, status: blkif.BLKIF_RSP_ERROR };
  if (kind === 'discard') {
    if (!disk.canDiscard) return { operation, status: blkif.BLKIF_RSP_EOPNOTSUPP };
    const [sector, count] = [sectorsAt(view, R.sector_number), sectorsAt(view, D.nr_sectors)];
    if (!isRange(sector, count, disk)) return refused;
    const [offset, sizeBytes] = [sector * SECTOR_BYTES, count * SECTOR_BYTES];
    return { taken, operation, kind, offset, sizeBytes, parts };
  }
  const isRead = isIndirect ? addIndirect(parts, view, readGrant) : addDirect(parts, view);
  if (!isRead) return refused;
  const { sizeBytes } = parts;
  if (sizeBytes === 0) {
    const mayBeEmpty = kind === 'flush' || kind === 'barrier';
    return mayBeEmpty ? { taken, operation, kind, offset: 0, sizeBytes, parts } : refused;
  }
  if (kind !== 'read' && disk.isReadOnly) return refused;
  const sector = sectorsAt(view, isIndirect ? I.sector_number : R.sector_number);
  if (!isRange(sector, sizeBytes / SECTOR_BYTES, disk)) return refused;
  return { taken, operation, kind, offset: sector * SECTOR_BYTES, sizeBytes, parts };
}

/** Exact below 2^53; what is more is rounded to a number that no disk has. */
const sectorsAt = (view: DataView, at: number): number =>
  view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;

function isRange(sector: number, count: number, { sizeBytes }: DiskLimits): boolean {
  const end = Math.floor(sizeBytes / SECTOR_BYTES);
  return count > 0 && sector <= end && count <= end - sector;
}
