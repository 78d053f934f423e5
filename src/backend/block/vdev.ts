/**
 * Names of block devices and their numbers: `xvda` is 51712. Source: Xen docs/man/xen-vbd-interface.7.
 */

const MAJOR_XVD = 202;
/** Partitions that the old numbers leave room for. */
const MINORS = 16;
const EXTENDED = 1 << 28;
const EXTENDED_MINORS = 256;
const DISKS_MAX = 1 << 20;

/** The number of a device named `xvda`, `xvdb3`, `xvdaa`; undefined for other names. */
export function vdevNumber(name: string): number | undefined {
  const match = /^xvd([a-z]{1,3})(\d{1,3})?$/.exec(name);
  if (!match) return undefined;
  let disk = 0;
  for (const letter of match[1] as string) disk = disk * 26 + letter.charCodeAt(0) - 96;
  disk -= 1;
  const partition = Number(match[2] ?? 0);
  if (disk >= DISKS_MAX || partition >= EXTENDED_MINORS) return undefined;
  if (disk < 16 && partition < MINORS) return (MAJOR_XVD << 8) | (disk * MINORS) | partition;
  return EXTENDED | (disk << 8) | partition;
}

/** The name of the n-th disk, from 0. */
export function vdevName(index: number): string {
  let letters = '';
  for (let left = index + 1; left > 0; left = Math.floor((left - 1) / 26)) {
    letters = String.fromCharCode(97 + ((left - 1) % 26)) + letters;
  }
  return `xvd${letters}`;
}
