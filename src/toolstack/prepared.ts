/**
 * Prepared machines: saved when the agent was ready for its first command, so that later runs need not boot. One for each set of
 * things that a boot depends on, in the cache; those that were used last stay.
 *
 *     prepared/<hash of all that the guest is made of>
 *     prepared/<the same>.disks-<chance>/   what was on its disk (saved-disk.ts)
 *     prepared-names/                       such hashes, and what they are of (kept-digest.ts)
 */
import { openImageCache } from '../image/cache.ts';
import type { ImageConfig } from '../image/config.ts';
import { GUEST_INIT } from '../image/guest-init/init.ts';
import { DEFAULT_KERNEL_PACKAGE, isKernelPackageName, USERLAND_PACKAGE } from '../image/package-names.ts';
import {
  fileAgeMs,
  fileExists,
  joinPath,
  listFolder,
  makeFolder,
  removeFile,
  sweep,
  touch,
} from '../platform/node/cache-folder.ts';
import { assetDigest, readPackageVersion } from '../platform/node/files.ts';
import { keptSha256Hex } from '../platform/node/kept-digest.ts';
import { commandLineFor } from './command-line.ts';
import { removeTrailOf } from './trails.ts';

/** Each has the pages that its guest has written: some 60 MiB, with an image 100. */
const KEPT = 4;

/** What is prepared for a run. */
export interface Preparation {
  readonly kernel: string | Uint8Array | undefined;
  readonly append: string | undefined;
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** Its interface to a NAT is set up. */
  readonly hasNetwork: boolean;
  readonly root: { readonly hash: string; readonly config: ImageConfig } | undefined;
}

/** Where that machine lies, or will lie; undefined when it is not known beforehand what it will be made of. */
export async function preparedPath({ kernel, append, ...shape }: Preparation): Promise<string | undefined> {
  const name = kernel ?? DEFAULT_KERNEL_PACKAGE;
  if (typeof name !== 'string' || !isKernelPackageName(name) || fileExists(name)) return undefined;
  const cache = openImageCache();
  const [kernelRecord, userlandRecord] = await Promise.all([
    cache.record(name),
    cache.record(USERLAND_PACKAGE),
  ]);
  if (!kernelRecord || !userlandRecord) return undefined;
  const parts = {
    domus: readPackageVersion(),
    agent: assetDigest('guest-agent'),
    init: GUEST_INIT,
    kernel: kernelRecord.sha256,
    userland: userlandRecord.sha256,
    commandLine: commandLineFor(append),
    ...shape,
  };
  const key = keptSha256Hex(joinPath(cache.folder, 'prepared-names'), JSON.stringify(parts));
  return joinPath(cache.folder, 'prepared', key);
}

/** Whether it is there; it counts as used then. */
export async function usePrepared(path: string): Promise<boolean> {
  if (!fileExists(path)) return false;
  await touch(path);
  return true;
}

/** Make room for another one. */
export async function makeRoomFor(path: string): Promise<void> {
  const folder = joinPath(path, '..');
  await makeFolder(folder);
  await sweep(folder);
  const names = (await listFolder(folder)).filter(name => /^[0-9a-f]{64}$/.test(name));
  const aged = await Promise.all(
    names.map(async name => ({ name, ageMs: (await fileAgeMs(joinPath(folder, name))) ?? 0 })),
  );
  aged.sort((a, b) => a.ageMs - b.ageMs);
  for (const { name } of aged.slice(KEPT - 1)) await dropPrepared(joinPath(folder, name));
}

/** With what was on its disks. */
export async function dropPrepared(path: string): Promise<void> {
  removeTrailOf(path);
  await removeFile(path);
  const folder = joinPath(path, '..');
  for (const name of (await listFolder(folder)).filter(each => each.startsWith(`${nameOf(path)}.`)))
    await removeFile(joinPath(folder, name));
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
