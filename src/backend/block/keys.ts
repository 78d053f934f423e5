/**
 * The xenstore keys of a block device, as libxl and Linux's blkback write them: the domain's area says where its
 * backend is, the backend's what the device can do.
 * Source: Xen public/io/blkif.h.
 */
import { VDISK_READONLY } from '../../abi/xen/blkif.ts';
import type { XenstoreClient } from '../../xenstore/client.ts';
import { writeAll, writeDeviceKeys } from '../keys.ts';
import { INDIRECT_SEGMENTS_MAX } from './request.ts';

export const KIND = 'vbd';
export const SECTOR_BYTES = 512;
/** A ring of up to 2^4 pages. */
export const RING_ORDER_MAX = 4;

export interface BlockDeviceKeys {
  readonly domid: number;
  /** The device's number, which names it in the domain: see vdev.ts. */
  readonly devid: number;
  readonly backendDomid: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly canDiscard: boolean;
  /** What a discard gives back: multiples of this. */
  readonly discardUnitBytes: number;
  readonly maxQueues: number;
  readonly hasPersistentGrants: boolean;
}

export function writeBlockDeviceKeys(xs: XenstoreClient, keys: BlockDeviceKeys): void {
  const { domid, devid, backendDomid } = keys;
  writeDeviceKeys(
    xs,
    { kind: KIND, domid, devid, backendDomid },
    {
      backend: {
        dev: keys.name,
        'device-type': 'disk',
        mode: keys.isReadOnly ? 'r' : 'w',
        removable: 0,
        bootable: 1,
        'feature-max-indirect-segments': INDIRECT_SEGMENTS_MAX,
        'feature-persistent': keys.hasPersistentGrants ? 1 : 0,
        'feature-flush-cache': keys.isReadOnly ? 0 : 1,
        'feature-barrier': 0,
        'feature-discard': keys.canDiscard ? 1 : 0,
        'discard-granularity': keys.discardUnitBytes,
        'discard-alignment': 0,
        'discard-secure': 0,
        'multi-queue-max-queues': keys.maxQueues,
        'max-ring-page-order': RING_ORDER_MAX,
      },
      fixed: { 'virtual-device': devid, 'device-type': 'disk' },
    },
  );
}

/** What the domain reads when both halves are connected. */
export function writeDiskFacts(
  xs: XenstoreClient,
  back: string,
  domid: number,
  backendDomid: number,
  facts: {
    readonly sizeBytes: number;
    readonly isReadOnly: boolean;
  },
): void {
  const values = {
    sectors: facts.sizeBytes / SECTOR_BYTES,
    info: facts.isReadOnly ? VDISK_READONLY : 0,
    'sector-size': SECTOR_BYTES,
    'physical-sector-size': 4096,
  };
  xs.transaction(t => writeAll(t, back, values, [`n${backendDomid}`, `r${domid}`]));
}
