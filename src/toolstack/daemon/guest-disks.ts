/** Disks of a guest that runs: shown, plugged in and taken away, kept, cloned, merged and resized while it goes on. */
import { DomusError } from '../../base/errors.ts';
import { type DiskSpec, nameDisks } from '../disk-spec.ts';
import type { GuestDisk } from '../guest-disk.ts';
import { parseNewSize } from '../size.ts';
import type { VirtualMachine } from '../virtual-machine.ts';

export interface DiskView {
  /** As the guest calls it: `xvda`. */
  readonly device: string;
  /** Its file, and those that this one builds on, from the top down. */
  readonly files: readonly string[];
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  /** Since it was attached. */
  readonly readBytes: number;
  readonly writtenBytes: number;
}

export type DiskAction =
  | { readonly action: 'snapshot' | 'clone' | 'coalesce'; readonly path: string }
  /** `20G`, or `+5G`. */
  | { readonly action: 'resize'; readonly size: string };

const bad = (what: string) => new DomusError('E_API_REQUEST', `the request is not understood: ${what}`);

export const diskView = (disk: GuestDisk): DiskView => ({
  device: disk.name,
  files: disk.files,
  sizeBytes: disk.sizeBytes,
  isReadOnly: disk.isReadOnly,
  readBytes: disk.counters.readBytes,
  writtenBytes: disk.counters.writtenBytes,
});

/** @throws DomusError E_API_REQUEST, E_USAGE */
export function parseDiskRequest(value: unknown): DiskSpec {
  const { path } = (value ?? {}) as { path?: unknown };
  if (typeof path !== 'string' || !path.startsWith('/')) throw bad('path is no absolute path');
  nameDisks([value as DiskSpec]);
  return value as DiskSpec;
}

/** @throws DomusError E_API_REQUEST, E_SIZE */
export function parseDiskAction(value: unknown): DiskAction {
  const { action, path, size } = (value ?? {}) as { action?: unknown; path?: unknown; size?: unknown };
  if (action === 'resize') {
    if (typeof size !== 'string') throw bad('size is no text');
    parseNewSize(size, 0);
    return { action, size };
  }
  if (action !== 'snapshot' && action !== 'clone' && action !== 'coalesce')
    throw bad('there is no such action');
  if (typeof path !== 'string' || !path.startsWith('/')) throw bad('path is no absolute path');
  return { action, path };
}

/** @throws DomusError E_DISK_UNKNOWN */
export function diskOf(vm: VirtualMachine, device: string): GuestDisk {
  const disk = vm.disks.get(device);
  if (disk) return disk;
  const known = [...vm.disks.keys()].join(', ');
  throw new DomusError('E_DISK_UNKNOWN', `the guest has no disk ${device}`, `it has ${known || 'none'}`);
}

/** @throws DomusError E_DISK_* */
export async function actOnDisk(disk: GuestDisk, request: DiskAction): Promise<void> {
  if (request.action === 'resize') await disk.resize(parseNewSize(request.size, disk.sizeBytes));
  else await disk[request.action](request.path);
}
