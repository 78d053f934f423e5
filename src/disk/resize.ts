/** Changes the size of a disk: larger at any time, smaller only by what holds nothing but zeros. */
import type { Disk } from './disk.ts';
import { badSize, readOnly } from './errors.ts';
import { isZero, SECTOR_BYTES, type WritableLayer } from './layer.ts';
import { checkVhdSize } from './vhd/create.ts';

const PIECE_BYTES = 1 << 20;

/** @throws DomusError E_DISK_SIZE, E_DISK_READ_ONLY */
export async function resizeDisk(disk: Disk, sizeBytes: number): Promise<void> {
  if (disk.whyReadOnly !== undefined) throw readOnly(disk.path, disk.whyReadOnly);
  if (disk.format === 'vhd') checkVhdSize(sizeBytes);
  else if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw badSize(`a disk cannot have ${sizeBytes} bytes`, 'choose a multiple of 512 bytes, such as 10G');
  }
  const old = disk.sizeBytes;
  if (sizeBytes === old) return;
  if (sizeBytes < old) {
    const data = await firstData(disk, sizeBytes, old);
    if (data !== undefined) {
      throw badSize(
        `${disk.path} cannot become smaller: it holds data at ${data} bytes`,
        'shrink its file system and partitions first, and discard what lies behind them',
      );
    }
    if (disk.canDiscard) await disk.discard(sizeBytes, old - sizeBytes);
  }
  await disk.exclusively(async () => {
    const [top] = disk.layers;
    await (top as WritableLayer).resize(sizeBytes);
    // What is remembered of the chain is for the old size.
    disk.setLinks([...disk.links]);
  });
}

async function firstData(disk: Disk, start: number, end: number): Promise<number | undefined> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let at = start; at < end; at += PIECE_BYTES) {
    const piece = buffer.subarray(0, Math.min(PIECE_BYTES, end - at));
    if (await disk.isHole(at, piece.length)) continue;
    await disk.read(at, piece);
    if (!isZero(piece)) return at + piece.findIndex(byte => byte !== 0);
  }
  return undefined;
}
