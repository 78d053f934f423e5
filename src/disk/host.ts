/** What disks need of the world: files, the time for timestamps, and chance for UUIDs. */
import type { BlockFiles } from '../platform/block-files.ts';
import type { Clock, Entropy } from '../platform/platform.ts';

export interface DiskHost {
  readonly files: BlockFiles;
  readonly clock: Pick<Clock, 'wallNs'>;
  readonly entropy: Entropy;
}

export function randomBytes(host: DiskHost, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  host.entropy.fill(bytes);
  return bytes;
}

/** For names that nobody else has: two digits a byte. */
export const randomHex = (host: DiskHost, count: number): string =>
  Array.from(randomBytes(host, count), byte => byte.toString(16).padStart(2, '0')).join('');

/** What is being done, for people who wait. */
export type DiskProgress = (doneBytes: number, totalBytes: number) => void;
