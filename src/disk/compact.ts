/**
 * Makes a VHD file smaller: blocks that hold only zeros are dropped, and blocks from the end move into the gaps. Each
 * block is durable in its new place before the BAT says so, and the old place is cut off at the very end.
 */
import { Disk } from './disk.ts';
import { readOnly, unsupported } from './errors.ts';
import type { DiskProgress } from './host.ts';
import { isZero, SECTOR_BYTES } from './layer.ts';
import { VhdImage } from './vhd/image.ts';
import { UNUSED, VhdType } from './vhd/layout.ts';

const DATA_ALIGN = 4096;
/** Blocks moved between two flushes. */
const BATCH = 8;
const PIECE_BYTES = 1 << 20;

export interface CompactResult {
  readonly droppedBlocks: number;
  readonly movedBlocks: number;
}

/** @throws DomusError E_DISK_UNSUPPORTED, E_DISK_READ_ONLY */
export async function compactDisk(
  disk: Disk,
  onProgress: DiskProgress = () => {},
  signal?: AbortSignal,
): Promise<CompactResult> {
  const [image] = disk.layers;
  if (!(image instanceof VhdImage) || image.meta.type === VhdType.fixed) {
    throw unsupported(disk.path, 'only dynamic and differencing VHD images can be compacted');
  }
  if (image.meta.hasBatmap) throw unsupported(disk.path, 'images with a batmap are not compacted');
  if (disk.whyReadOnly !== undefined) throw readOnly(disk.path, disk.whyReadOnly);
  return disk.exclusively(async () => {
    const below =
      disk.links.length > 1 ? new Disk(disk.path, [...disk.links.slice(1)], 'it lies below') : undefined;
    const { meta } = image;
    const total = meta.nrBlocks * meta.blockBytes * 2;
    let dropped = 0;
    for (let block = 0; block < meta.nrBlocks; block++) {
      signal?.throwIfAborted();
      if (meta.table[block] !== UNUSED && (await holdsNothing(image, block, below))) {
        image.freeBlock(block);
        dropped += 1;
      }
      onProgress((block + 1) * meta.blockBytes, total);
    }
    await image.flush();
    const moved = await fillGaps(
      image,
      done => onProgress(total / 2 + done * meta.blockBytes, total),
      signal,
    );
    await image.trim();
    disk.setLinks([...disk.links]);
    return { droppedBlocks: dropped, movedBlocks: moved };
  });
}

/** Without the block everything would read the same. */
async function holdsNothing(image: VhdImage, block: number, below: Disk | undefined): Promise<boolean> {
  const { blockBytes, sizeBytes } = image.meta;
  const end = Math.min(sizeBytes, (block + 1) * blockBytes);
  const bits = await image.bitmaps?.get(block);
  for (let at = block * blockBytes; at < end; at += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, end - at));
    await image.read(at, piece);
    if (!isZero(piece)) return false;
    if (!below || !bits) continue;
    const lower = piece.subarray(0, Math.max(0, Math.min(piece.length, below.sizeBytes - at)));
    await below.read(at, lower);
    for (let i = 0; i < lower.length; i += SECTOR_BYTES) {
      const sector = (at - block * blockBytes + i) / SECTOR_BYTES;
      if (image.bitmaps?.has(bits, sector) && !isZero(lower.subarray(i, i + SECTOR_BYTES))) return false;
    }
  }
  return true;
}

async function fillGaps(
  image: VhdImage,
  onMoved: (count: number) => void,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { meta } = image;
  const length = meta.bitmapBytes + meta.blockBytes;
  const positionOf = (block: number) => (meta.table[block] as number) * SECTOR_BYTES;
  const used = [...meta.table.keys()].filter(block => meta.table[block] !== UNUSED);
  used.sort((a, b) => positionOf(a) - positionOf(b));

  // Gaps in front of each block; what lies in front of the first one are structures.
  const gaps: number[] = [];
  let end = used.length > 0 ? positionOf(used[0] as number) : 0;
  for (const block of used) {
    for (;;) {
      const place = Math.ceil((end + meta.bitmapBytes) / DATA_ALIGN) * DATA_ALIGN - meta.bitmapBytes;
      if (place + length > positionOf(block)) break;
      gaps.push(place);
      end = place + length;
    }
    end = positionOf(block) + length;
  }
  let moved = 0;
  let inBatch = 0;
  for (const place of gaps) {
    signal?.throwIfAborted();
    const last = used.pop();
    if (last === undefined || positionOf(last) <= place) break;
    await copy(image, positionOf(last), place, length);
    image.moveBlock(last, place);
    moved += 1;
    inBatch += 1;
    if (inBatch === BATCH) {
      await image.flush();
      inBatch = 0;
    }
    onMoved(moved);
  }
  await image.flush();
  image.findEnd();
  return moved;
}

async function copy(image: VhdImage, from: number, to: number, length: number): Promise<void> {
  const buffer = new Uint8Array(Math.min(length, PIECE_BYTES));
  for (let done = 0; done < length; done += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, length - done));
    const count = await image.file.read(from + done, piece);
    piece.fill(0, count);
    await image.file.write(to + done, piece);
  }
}
