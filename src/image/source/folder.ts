/**
 * A plain folder of the host as a root file system. What belongs to the user who runs Domus belongs to root in the image:
 * somebody without root can have no other files.
 */
import { DomusError } from '../../base/errors.ts';
import { readStream } from '../../platform/node/file-streams.ts';
import { ownGid, ownUid, type WalkedEntry, walkFolder } from '../../platform/node/folder-walk.ts';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import { PLAIN_CONFIG } from '../config.ts';
import type { Attributes, TreeNode } from '../rootfs/tree.ts';
import type { ImageSource } from './source.ts';

const cannotRead = (path: string, error: unknown): DomusError =>
  new DomusError(
    'E_FILE_READ',
    `cannot read the folder ${path}: ${error instanceof Error ? error.message.replace(/, \w+ '.*$/, '') : error}`,
    'check its name and rights',
  );

function attributesOf({ mode, uid, gid, mtime }: WalkedEntry): Attributes {
  return { mode, uid: uid === ownUid() ? 0 : uid, gid: gid === ownGid() ? 0 : gid, mtime, xattrs: new Map() };
}

/** @throws DomusError E_FILE_READ */
export async function openFolder(path: string): Promise<ImageSource> {
  const entries: WalkedEntry[] = [];
  try {
    for await (const entry of walkFolder(path)) entries.push(entry);
  } catch (error) {
    throw cannotRead(path, error);
  }
  if (entries[0]?.kind !== 'directory') throw cannotRead(path, 'it is no folder');
  const listing = entries.map(({ hostPath, ...facts }) => JSON.stringify(facts)).join('\n');
  return {
    identity: `dir ${sha256Hex(new TextEncoder().encode(listing))}`,
    config: PLAIN_CONFIG,
    blobs: [],
    async fill(fs, tree) {
      const firstNames = new Map<string, string>();
      for (const entry of entries) {
        const attributes = attributesOf(entry);
        const first = entry.nrLinks > 1 && entry.kind === 'file' && firstNames.get(entry.identity);
        if (first) {
          tree.link(entry.path, first);
          continue;
        }
        firstNames.set(entry.identity, entry.path);
        // Sockets are nothing without the process that has them open.
        if (entry.kind === 'other') continue;
        let node: TreeNode<Awaited<ReturnType<typeof fs.store>>>;
        if (entry.kind === 'directory') node = { kind: 'directory', attributes, entries: new Map() };
        else if (entry.kind === 'symlink') node = { kind: 'symlink', attributes, target: entry.link };
        else if (entry.kind === 'file') {
          const contents = readStream(entry.hostPath, { start: 0, size: entry.size });
          node = { kind: 'file', attributes, contents: await fs.store(entry.size, contents) };
        } else node = { kind: entry.kind, attributes, major: entry.major, minor: entry.minor };
        tree.put(entry.path, node);
      }
    },
  };
}
