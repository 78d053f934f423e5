/** New image files. What cannot be finished is removed again. */
import type { BlockFile } from '../platform/block-files.ts';
import { badSize } from './errors.ts';
import type { DiskHost } from './host.ts';
import { SECTOR_BYTES } from './layer.ts';
import { checkVhdSize, type NewVhd, writeNewVhd } from './vhd/create.ts';

export interface NewImage {
  readonly format: 'vhd' | 'raw';
  readonly sizeBytes: number;
  /** Of a VHD. Default dynamic. */
  readonly type?: 'fixed' | 'dynamic' | undefined;
  readonly blockBytes?: number | undefined;
}

export async function createFile(
  host: DiskHost,
  path: string,
  fill: (file: BlockFile) => Promise<void>,
): Promise<void> {
  const file = await host.files.create(path);
  try {
    await fill(file);
  } catch (error) {
    await file.close();
    await host.files.remove(path).catch(() => {});
    throw error;
  }
  await file.close();
}

/** @throws DomusError E_DISK_SIZE, E_DISK_EXISTS */
export async function createImage(host: DiskHost, path: string, image: NewImage): Promise<void> {
  const { format, sizeBytes, type = 'dynamic', blockBytes } = image;
  if (format === 'vhd') checkVhdSize(sizeBytes);
  else if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw badSize(`a disk cannot have ${sizeBytes} bytes`, 'choose a multiple of 512 bytes, such as 10G');
  }
  await createFile(host, path, async file => {
    if (format === 'raw') {
      await file.resize(sizeBytes);
      await file.flush();
      return;
    }
    const spec: NewVhd = { type, sizeBytes, finalPath: path, ...(blockBytes && { blockBytes }) };
    await writeNewVhd(host, file, spec);
  });
}
