/** Shared folders of a guest: opened before the machine is built, closed when their device is gone. */
import { LockTable } from '../backend/p9/locks.ts';
import { DomusError } from '../base/errors.ts';
import type { FolderMount } from '../image/initramfs.ts';
import type { Clock } from '../platform/platform.ts';
import { checkFolderSpec, type FolderSpec, parseFolderSpec } from './folder-spec.ts';
import type { MachineFolder } from './machine.ts';

/** Modules of a Debian kernel that drive our shared folders. */
export const FOLDER_MODULES = ['9p', '9pnet_xen'];

/** Locks between all guests of this process: two of them may share a folder. */
const locks = new LockTable();

export interface GuestFolder extends MachineFolder {
  readonly mount: FolderMount;
}

/** Open all, or none. @throws DomusError */
export async function openFolders(
  specs: readonly (FolderSpec | string)[],
  clock: Clock,
): Promise<GuestFolder[]> {
  const opened: GuestFolder[] = [];
  try {
    for (const given of specs) {
      const spec = typeof given === 'string' ? parseFolderSpec(given) : checkFolderSpec(given);
      const { path, target, isReadOnly = false } = spec;
      // Nobody else changes a root while it is in use.
      const { cache = target === '/' ? 'loose' : 'mmap' } = spec;
      if (opened.some(other => other.mount.target === target)) {
        throw new DomusError(
          'E_USAGE',
          `two folders are to be mounted on ${target}`,
          'leave out one of them',
        );
      }
      // Most guests have none.
      const { SharedFolder } = await import('../backend/p9/shared-folder.ts');
      const { nodeFolderFiles } = await import('../platform/node/folder-files.ts');
      const folder = await SharedFolder.open({ files: nodeFolderFiles, path, isReadOnly, clock, locks });
      const tag = `domus${opened.length}`;
      opened.push({ folder, tag, mount: { tag, target, isReadOnly, cache } });
    }
  } catch (error) {
    closeFolders(opened);
    throw error;
  }
  return opened;
}

export function closeFolders(folders: readonly MachineFolder[]): void {
  for (const { folder } of folders) folder.close();
}
