/** What there is to know about an image, for people and programs. */
import type { Disk } from './disk.ts';
import type { DiskHost } from './host.ts';
import type { Layer } from './layer.ts';
import { VhdImage } from './vhd/image.ts';
import { EPOCH_SECONDS, footerOf, formatUuid, textOf, VhdType } from './vhd/layout.ts';

export interface ImageInfo {
  readonly path: string;
  readonly format: string;
  readonly type?: string;
  readonly sizeBytes: number;
  /** What the file takes on the host. */
  readonly fileBytes: number;
  readonly uuid?: string;
  readonly created?: string;
  readonly creator?: string;
  readonly blockBytes?: number;
  readonly blocks?: number;
  readonly blocksUsed?: number;
  /** Other disks build on it, so it is not written. */
  readonly isParent?: boolean;
}

const TYPES: Readonly<Record<number, string>> = {
  [VhdType.fixed]: 'fixed',
  [VhdType.dynamic]: 'dynamic',
  [VhdType.differencing]: 'differencing',
};

async function layerInfo(host: DiskHost, layer: Layer): Promise<ImageInfo> {
  const fileBytes = await host.files.allocatedBytes(layer.path);
  const common = { path: layer.path, format: layer.format, sizeBytes: layer.sizeBytes, fileBytes };
  if (!(layer instanceof VhdImage)) return common;
  const { meta } = layer;
  const footer = footerOf(meta.footer);
  return {
    ...common,
    type: TYPES[meta.type] ?? String(meta.type),
    uuid: formatUuid(footer.uuid),
    created: new Date((footer.timestamp + EPOCH_SECONDS) * 1000).toISOString(),
    creator: textOf(footer.creatorApplication)
      .replace(/[^ -~]/g, '')
      .trim(),
    isParent: layer.isHidden,
    ...(meta.type !== VhdType.fixed && {
      blockBytes: meta.blockBytes,
      blocks: meta.nrBlocks,
      blocksUsed: layer.nrBlocksUsed,
    }),
  };
}

/** From the top of the chain down. */
export const diskInfo = (host: DiskHost, disk: Disk): Promise<ImageInfo[]> =>
  Promise.all(disk.layers.map(layer => layerInfo(host, layer)));
