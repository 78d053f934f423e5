/**
 * The xenstore keys of a shared folder, as libxl writes them, and those that the domain writes.
 * Source: Xen docs/misc/9pfs.pandoc.
 */
import type { XenstoreClient } from '../../xenstore/client.ts';
import { writeDeviceKeys } from '../keys.ts';
import { parseUnsigned } from '../xenbus.ts';

export const KIND = '9pfs';
/** The protocol's version. */
const VERSION = 1;
export const MAX_RINGS = 4;
/** Rings of up to 2^9 pages: 1 MiB in each direction. Linux takes what it may, two rings of it. */
export const MAX_RING_ORDER = 9;

export interface FolderDeviceKeys {
  readonly domid: number;
  readonly devid: number;
  readonly backendDomid: number;
  /** What the domain mounts it by. */
  readonly tag: string;
  readonly maxRingOrder: number;
}

export function writeFolderDeviceKeys(xs: XenstoreClient, keys: FolderDeviceKeys): void {
  const { domid, devid, backendDomid, tag, maxRingOrder } = keys;
  writeDeviceKeys(
    xs,
    { kind: KIND, domid, devid, backendDomid },
    {
      backend: {
        // Where the folder is on the host is not the domain's to know. Owners are kept apart from the host's files.
        security_model: 'mapped',
        versions: VERSION,
        'max-rings': MAX_RINGS,
        'max-ring-page-order': maxRingOrder,
      },
      frontend: { tag },
    },
  );
}

export interface RingKeys {
  readonly ref: number;
  readonly port: number;
}

/** The rings that the domain describes, or why they cannot be used. */
export function readRingKeys(read: (key: string) => string | undefined): RingKeys[] | string {
  if (parseUnsigned(read('version')) !== VERSION)
    return `only version ${VERSION} of the protocol is spoken here`;
  const count = parseUnsigned(read('num-rings'));
  if (count === undefined || count < 1 || count > MAX_RINGS) return 'the number of rings is impossible';
  const rings: RingKeys[] = [];
  for (let i = 0; i < count; i++) {
    const ref = parseUnsigned(read(`ring-ref${i}`));
    const port = parseUnsigned(read(`event-channel-${i}`));
    if (ref === undefined || port === undefined) return 'ring-ref and event-channel are not both numbers';
    rings.push({ ref, port });
  }
  return rings;
}
