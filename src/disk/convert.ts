/** Copies a disk, whatever it is made of, into a new image of one file. */
import { createFile } from './create.ts';
import type { Disk } from './disk.ts';
import { badSize } from './errors.ts';
import type { DiskHost, DiskProgress } from './host.ts';
import { isZero, type WritableLayer } from './layer.ts';
import { rawLayer } from './raw.ts';
import { checkVhdSize, writeNewVhd } from './vhd/create.ts';
import { VhdImage } from './vhd/image.ts';
import { readMetadata } from './vhd/metadata.ts';

const PIECE_BYTES = 1 << 20;

export interface ConvertOptions {
  readonly format: 'vhd' | 'raw';
  readonly type?: 'fixed' | 'dynamic' | undefined;
  readonly onProgress?: DiskProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws DomusError; the new file is then gone again */
export async function convertDisk(
  host: DiskHost,
  source: Disk,
  path: string,
  options: ConvertOptions,
): Promise<void> {
  const { format, type = 'dynamic' } = options;
  const { sizeBytes } = source;
  if (sizeBytes === 0) throw badSize(`${source.path} is empty`, 'name a disk that holds something');
  if (format === 'vhd') checkVhdSize(sizeBytes);
  await createFile(host, path, async file => {
    let target: WritableLayer;
    if (format === 'vhd') {
      await writeNewVhd(host, file, { type, sizeBytes, finalPath: path });
      target = new VhdImage(file, await readMetadata(file));
    } else {
      await file.resize(sizeBytes);
      target = rawLayer(file, sizeBytes);
    }
    await copyData(source, target, options);
    if (target instanceof VhdImage && type === 'dynamic') await target.trim();
    else await target.flush();
  });
}

async function copyData(source: Disk, target: WritableLayer, options: ConvertOptions): Promise<void> {
  const { sizeBytes } = source;
  const buffer = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    options.signal?.throwIfAborted();
    const piece = buffer.subarray(0, Math.min(PIECE_BYTES, sizeBytes - at));
    if (!(await source.isHole(at, piece.length))) {
      await source.read(at, piece);
      if (!isZero(piece)) await target.write(at, piece, false);
    }
    options.onProgress?.(at + piece.length, sizeBytes);
  }
}
