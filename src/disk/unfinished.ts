/**
 * Images that are being made beside a disk, under names of their own until they are whole. A process that is killed leaves them; who
 * opens the disk for writing next takes them away, since nobody else can be making one then.
 */
import { type DiskHost, randomHex } from './host.ts';
import { folderOf, join, nameOf } from './path.ts';

const NONCE_BYTES = 6;
const NONCE = new RegExp(`^[0-9a-f]{${2 * NONCE_BYTES}}$`);

export const unfinishedName = (host: DiskHost, path: string): string =>
  `${path}.tmp-${randomHex(host, NONCE_BYTES)}`;

/** @param path of a disk that the caller has locked for writing, without symbolic links */
export async function removeUnfinished({ files }: DiskHost, path: string): Promise<void> {
  const folder = folderOf(path);
  const begin = `${nameOf(path)}.tmp-`;
  for (const name of await files.list(folder))
    if (name.startsWith(begin) && NONCE.test(name.slice(begin.length)))
      await files.remove(join(folder, name)).catch(() => {});
}
