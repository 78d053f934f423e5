/**
 * Disks of a guest: opened before the machine is built, closed after it has stopped, and, while it runs, kept, cloned, grown and
 * taken away.
 */
import { DomusError } from '../base/errors.ts';
import { coalesce } from '../disk/coalesce.ts';
import type { Disk, DiskCounters } from '../disk/disk.ts';
import type { DiskHost, DiskProgress } from '../disk/host.ts';
import { openDisk } from '../disk/open.ts';
import { resizeDisk } from '../disk/resize.ts';
import { cloneDisk, snapshotDisk } from '../disk/snapshot.ts';
import { type DiskSpec, type NamedDisk, nameDisks } from './disk-spec.ts';
import type { AttachedDisk, MachineDisk } from './machine.ts';
import type { DiskFacts } from './machine-facts.ts';
import { type BegunFork, beginFork, keepDisk } from './saved-disk.ts';
import { parseSize } from './size.ts';

/** Modules of a Debian kernel that drive our disks. */
export const DISK_MODULES = ['xen-blkfront'];

/** Open all, or none. @throws DomusError */
export async function openDisks(
  host: DiskHost,
  specs: readonly (DiskSpec | string)[],
  taken?: ReadonlySet<string>,
): Promise<MachineDisk[]> {
  const opened: MachineDisk[] = [];
  try {
    for (const spec of nameDisks(specs, taken))
      opened.push({ ...settingsOf(spec), disk: await open(host, spec) });
  } catch (error) {
    await closeDisks(opened);
    throw error;
  }
  return opened;
}

async function open(host: DiskHost, { path, format, isReadOnly }: NamedDisk): Promise<Disk> {
  const disk = await openDisk(host, path, { format, isReadOnly });
  if (isReadOnly || disk.whyReadOnly === undefined) return disk;
  await disk.close();
  throw new DomusError(
    'E_DISK_READ_ONLY',
    `${path} cannot be written: ${disk.whyReadOnly}`,
    'add ",ro", or give the guest a clone: domus vhd clone',
  );
}

const settingsOf = ({ device, devid, queueDepth, requestsPerSecond, bytesPerSecond }: NamedDisk) => ({
  name: device,
  devid,
  queueDepth,
  limits: { requestsPerSecond, bytesPerSecond },
});

export async function closeDisks(disks: readonly MachineDisk[]): Promise<void> {
  await Promise.allSettled(disks.map(({ disk }) => disk.close()));
}

/** A disk that a guest has. */
export class GuestDisk {
  /** As the guest calls it: `xvda`. */
  readonly name: string;
  readonly #host: DiskHost;
  #disk: Disk;
  readonly #attached: AttachedDisk;
  readonly #deaths: unknown[] = [];
  /** Restarts come one after the other. */
  #restarting: Promise<unknown> = Promise.resolve();
  #machineDisk: MachineDisk;

  constructor(host: DiskHost, machineDisk: MachineDisk, attached: AttachedDisk) {
    const { name, disk } = machineDisk;
    this.name = name;
    this.#machineDisk = machineDisk;
    this.#host = host;
    this.#disk = disk;
    this.#attached = attached;
    attached.onDied(error => {
      this.#deaths.push(error);
      // It has waited for nothing so far. An image that cannot be opened is told to who calls `restart` next.
      this.restart().catch(() => {});
    });
  }

  /** Why backends of the disk have died under the guest, the oldest first: each was followed by another one. */
  get deaths(): readonly unknown[] {
    return this.#deaths;
  }

  get path(): string {
    return this.#disk.path;
  }
  /** Whether what the guest writes is there after its end. */
  get isKept(): boolean {
    return !this.#machineDisk.isThrowaway && !this.isReadOnly;
  }
  get isReadOnly(): boolean {
    return this.#disk.isReadOnly;
  }
  get sizeBytes(): number {
    return this.#disk.sizeBytes;
  }
  get counters(): Readonly<DiskCounters> {
    return this.#disk.counters;
  }
  /** The files that it is made of, from the top down. */
  get files(): string[] {
    return this.#disk.layers.map(layer => layer.path);
  }

  /** Keep what the disk holds now as another image. What the guest has not flushed yet is its own affair. */
  snapshot(path: string): Promise<void> {
    return snapshotDisk(this.#host, this.#disk, path);
  }

  /** A new image with what the disk holds now. */
  clone(path: string): Promise<void> {
    return cloneDisk(this.#host, this.#disk, path);
  }

  /** Keep what the disk holds now in a folder, while the guest is held. */
  keep(folder: string, isDurable: boolean): Promise<DiskFacts> {
    return keepDisk(this.#machineDisk, folder, isDurable);
  }

  /** The same for clones, which are gone with this process; begun before the guest is held. */
  beginFork(runsFolder: string): Promise<BegunFork> {
    return beginFork(this.#machineDisk, runsFolder);
  }

  /** Take a file out of the chain while the guest goes on. */
  async coalesce(path: string, onProgress?: DiskProgress): Promise<void> {
    const real = await this.#host.files.realPath(path);
    const reals = await Promise.all(this.files.map(file => this.#host.files.realPath(file)));
    const index = reals.indexOf(real);
    if (index < 1) {
      throw new DomusError(
        'E_DISK_PARENT',
        `${this.path} does not build on ${path}`,
        'name one of its parents',
      );
    }
    await coalesce(this.#host, this.#disk, index, { onProgress, breathe: () => this.#attached.breathe() });
  }

  /** Another size: the guest hears of it at once. */
  async resize(size: number | string): Promise<void> {
    await resizeDisk(this.#disk, typeof size === 'string' ? parseSize(size) : size);
    this.#attached.resized();
  }

  /**
   * Close the image with its backend and open both anew, under a guest that goes on: its requests wait, and what has been answered is in the
   * image. When the image cannot be opened the guest waits until a later try succeeds. @throws DomusError E_DISK_*
   */
  restart(): Promise<void> {
    const restarted = this.#restarting.then(() => this.#restart());
    this.#restarting = restarted.catch(() => {});
    return restarted;
  }
  async #restart(): Promise<void> {
    const { path, format, isReadOnly } = this.#disk;
    const { root } = this.#machineDisk;
    const options = { format, isReadOnly, root };
    const disk = await this.#attached.restart(() => openDisk(this.#host, path, options));
    this.#disk = disk;
    this.#machineDisk = { ...this.#machineDisk, disk };
  }

  /** Ask the guest to give the disk back, and close it when it has. */
  detach(): Promise<void> {
    return this.#attached.detach();
  }
}
