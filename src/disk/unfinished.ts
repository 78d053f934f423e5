/**
 * Images that are being made beside a disk, under names of their own until they are whole. A process that is killed leaves them; who
 * opens the disk for writing next takes them away, since nobody else can be making one then.
 *
 * What a snapshot keeps has its name before the moment, as a second one of the disk, and the new image is made before that and builds on it. So where
 * the moment has not come the new image says which name is to go: otherwise it would show what is written from now on.
 */
import { type DiskHost, randomHex } from './host.ts';
import { folderOf, join, nameOf } from './path.ts';
import { parentCandidates } from './vhd/locator.ts';
import { readMetadata } from './vhd/metadata.ts';

const NONCE_BYTES = 6;
const NONCE = new RegExp(`^[0-9a-f]{${2 * NONCE_BYTES}}$`);

export const unfinishedName = (host: DiskHost, path: string): string =>
  `${path}.tmp-${randomHex(host, NONCE_BYTES)}`;

/** @param path of a disk that the caller has locked for writing, without symbolic links */
export async function removeUnfinished(host: DiskHost, path: string): Promise<void> {
  const { files } = host;
  const folder = folderOf(path);
  const begin = `${nameOf(path)}.tmp-`;
  for (const name of await files.list(folder)) {
    if (!name.startsWith(begin) || !NONCE.test(name.slice(begin.length))) continue;
    const image = join(folder, name);
    for (const parent of await parentsOf(host, image).catch(() => []))
      if (parent !== path && (await files.isSame(parent, path))) await files.remove(parent).catch(() => {});
    await files.remove(image).catch(() => {});
  }
}

/** Where an image says that its parent is. @throws DomusError when it was cut off itself */
async function parentsOf({ files }: DiskHost, path: string): Promise<string[]> {
  const file = await files.open(path, 'read');
  try {
    const { parent } = await readMetadata(file);
    return parent ? parentCandidates(path, parent.name, parent.locators) : [];
  } finally {
    await file.close();
  }
}
