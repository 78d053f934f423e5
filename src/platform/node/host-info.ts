/** What the machine and the runtime are: for `domus version` and `domus doctor`. */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';

export const hostEnvironment = (): Readonly<Record<string, string | undefined>> => process.env;

export interface RuntimeVersion {
  readonly node: string;
  readonly v8: string;
  readonly platform: string;
  readonly architecture: string;
}

export const runtimeVersion = (): RuntimeVersion => ({
  node: process.versions.node,
  v8: process.versions.v8 ?? 'unknown',
  platform: process.platform,
  architecture: process.arch,
});

/** What compiled code depends on, as far as it is known. */
export const hostKind = (): string => [process.versions.v8, process.platform, process.arch].join(' ');

/** Whether types can be stripped, that is, whether the sources of a clone run as they are. */
export const canStripTypes = (): boolean => Boolean(process.features.typescript);

export interface HostResources {
  readonly nrCpus: number;
  readonly memoryBytes: number;
  readonly freeMemoryBytes: number;
}

export function hostResources(): HostResources {
  return { nrCpus: availableParallelism(), memoryBytes: totalmem(), freeMemoryBytes: availableMemory() };
}

/** Of this process: what it has of the machine's memory, and the processor time that it has used. */
export const processMemoryBytes = (): number => process.memoryUsage.rss();
export function processTimeNs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Memory that this process can still have: of a container with a limit, what that leaves. */
export function availableMemoryBytes(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  const available = availableMemory();
  if (limit === 0 || limit >= totalmem()) return available;
  return Math.max(0, Math.min(available, limit - processMemoryBytes()));
}

/** Linux counts reclaimable caches as available; os.freemem() does not. */
function availableMemory(): number {
  try {
    const match = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    if (match) return Number(match[1]) * 1024;
  } catch {
    // Not Linux.
  }
  return freemem();
}

/** Full path of an executable on PATH. */
export function findExecutable(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue;
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** 'absent', 'usable' (read and write), or 'denied'. */
export function deviceAccess(path: string): 'absent' | 'usable' | 'denied' {
  if (!existsSync(path)) return 'absent';
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return 'usable';
  } catch {
    return 'denied';
  }
}

/** Whether files can be written below `path`, or its nearest parent that exists; the complaint if not. */
export function complaintAboutFolder(path: string): string | undefined {
  let folder = resolve(path);
  while (!existsSync(folder)) folder = dirname(folder);
  try {
    if (!statSync(folder).isDirectory()) return `${folder} is not a folder`;
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch {
    return `${folder} cannot be written`;
  }
  // The kernel's own file systems claim to be writable and hold no files.
  if (VIRTUAL_FILE_SYSTEMS.has(statfsSync(folder).type)) return `${folder} cannot hold files`;
  return undefined;
}

/** PROC_SUPER_MAGIC, SYSFS_MAGIC (linux/magic.h). */
const VIRTUAL_FILE_SYSTEMS = new Set([0x9fa0, 0x62656572]);

export function freeDiskBytes(path: string): number | undefined {
  try {
    let folder = resolve(path);
    while (!existsSync(folder)) folder = dirname(folder);
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** Bytes of all files below a folder; 0 when it does not exist. */
export async function folderSize(path: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    sum += await stat(join(entry.parentPath, entry.name)).then(
      found => found.size,
      () => 0,
    );
  }
  return sum;
}

/** Remove these entries of a folder, and nothing else that may lie in it. */
export async function removeEntries(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true });
}
