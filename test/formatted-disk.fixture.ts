/** Disks for guests, with a file system that e2fsprogs made. */
import { execFileSync } from 'node:child_process';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { convertDisk } from '../src/disk/convert.ts';
import { openDisk } from '../src/disk/open.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';

/** A VHD with an empty ext4; its path. @throws when there is no `mke2fs` */
export async function formattedDisk(
  path: string,
  sizeBytes: number,
  features: readonly string[] = [],
): Promise<string> {
  const disks = nodeDiskHost();
  const raw = `${path}.fs.raw`;
  writeFileSync(raw, '');
  truncateSync(raw, sizeBytes);
  execFileSync('mke2fs', [
    '-q',
    '-t',
    'ext4',
    '-L',
    basename(path),
    ...features.flatMap(feature => ['-O', feature]),
    raw,
  ]);
  const source = await openDisk(disks, raw);
  await convertDisk(disks, source, path, { format: 'vhd' });
  await source.close();
  rmSync(raw);
  return path;
}
