/**
 * What the disks of all clones of a call build on: opened, checked and claimed once, under names of its own, as the guest that they are made of may be
 * gone before they are. It is closed when the last of them is removed.
 */
import type { Disk } from '../disk/disk.ts';
import { openGathered } from '../image/rootfs/root-disk.ts';
import { makeScratchFolder, removeFile } from '../platform/node/cache-folder.ts';
import { nodeDiskHost } from './disk-host.ts';
import { gather } from './saved-disk.ts';

export class HeldRoot {
  readonly disk: Disk;
  readonly #folder: string;
  #nrUsers = 0;

  private constructor(disk: Disk, folder: string) {
    this.disk = disk;
    this.#folder = folder;
  }

  /** @throws DomusError E_DISK_* */
  static async open(path: string, runsFolder: string): Promise<HeldRoot> {
    const folder = await makeScratchFolder(runsFolder);
    try {
      return new HeldRoot(
        await openGathered(nodeDiskHost(), path, folder, { gather, format: 'vhd' }),
        folder,
      );
    } catch (error) {
      await removeFile(folder);
      throw error;
    }
  }

  /** For somebody who uses it, or makes users. Returns what he calls when he does not any more; once counts. */
  retain(): () => Promise<void> {
    this.#nrUsers += 1;
    let isOver = false;
    return async () => {
      if (isOver) return;
      isOver = true;
      this.#nrUsers -= 1;
      if (this.#nrUsers === 0) await this.#close();
    };
  }

  async #close(): Promise<void> {
    await this.disk.close();
    await removeFile(this.#folder);
  }
}
