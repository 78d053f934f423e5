/** Looks at a disk image after a guest: its own structure, and the file system in it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { checkImage } from '../src/disk/check.ts';
import { convertDisk } from '../src/disk/convert.ts';
import { openDisk } from '../src/disk/open.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';

const disks = nodeDiskHost();

/**
 * What `domus vhd check` and `e2fsck` say; it repairs (replays the journal) only where `mayReplay`.
 * @returns the disk as a raw file beside the image
 */
export async function examine(image: string, mayReplay = false): Promise<string> {
  const check = await checkImage(disks, image);
  assert.deepEqual(
    check.findings.filter(finding => finding.kind === 'damage'),
    [],
  );
  const flat = `${image}.flat.raw`;
  rmSync(flat, { force: true });
  const disk = await openDisk(disks, image, { isReadOnly: true });
  await convertDisk(disks, disk, flat, { format: 'raw' });
  await disk.close();
  if (mayReplay) {
    // 1: it has repaired something; the journal is replayed without asking.
    try {
      execFileSync('e2fsck', ['-p', flat], { stdio: 'pipe' });
    } catch (error) {
      assert.equal((error as { status?: number }).status, 1);
    }
  }
  execFileSync('e2fsck', ['-fn', flat], { stdio: 'pipe' });
  return flat;
}
