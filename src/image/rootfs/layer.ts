/**
 * Lays a tar archive over a tree: a layer of an OCI image, with its whiteouts, or the file system part of a Debian package.
 *
 * Source: OCI image specification, layer.md ("Applying Changesets", "Whiteouts").
 */
import type { TarHeader } from '../archive/tar-headers.ts';
import { corrupt, unsupported } from '../compress/errors.ts';
import type { Attributes, FileTree, PutOptions, TreeNode } from './tree.ts';

const WHITEOUT_PREFIX = '.wh.';
const OPAQUE = '.wh..wh..opq';
const ID_MAX = 0xffff_fffe;
const MINOR_MAX = 0xf_ffff;
const MAJOR_MAX = 0xfff;

export const attributesOf = ({ name, mode, uid, gid, mtime, xattrs }: TarHeader): Attributes => {
  if (uid > ID_MAX || gid > ID_MAX) throw corrupt('layer', `${name} has an owner that Linux cannot have`);
  return { mode, uid, gid, mtime, xattrs };
};

/** The node for everything but files and hard links. */
function nodeOf<C>(header: TarHeader): TreeNode<C> {
  const attributes = attributesOf(header);
  const { name, type, link, major, minor } = header;
  switch (type) {
    case 'directory':
      return { kind: 'directory', attributes, entries: new Map() };
    case 'symlink':
      return { kind: 'symlink', attributes, target: link };
    case 'char-device':
    case 'block-device':
    case 'fifo':
      if (major > MAJOR_MAX || minor > MINOR_MAX) {
        throw corrupt('layer', `${name} is a device that Linux cannot have`);
      }
      return { kind: type, attributes, major, minor };
    default:
      throw unsupported('layer', `${name} is of a type that is not known`);
  }
}

/** One entry; `store` puts a file's contents where they are to be. */
export async function applyEntry<C>(
  tree: FileTree<C>,
  header: TarHeader,
  store: () => Promise<C> | C,
  options: PutOptions = {},
): Promise<void> {
  if (header.type === 'hardlink') tree.link(header.name, header.link);
  else if (header.type === 'file') {
    const attributes = attributesOf(header);
    tree.put(header.name, { kind: 'file', attributes, contents: await store() });
  } else tree.put(header.name, nodeOf(header), options);
}

/** Whether a name is a whiteout, which is then carried out. */
export function applyWhiteout<C>(tree: FileTree<C>, path: string): boolean {
  const slash = path.lastIndexOf('/');
  const folder = path.slice(0, slash + 1);
  const name = path.slice(slash + 1);
  if (!name.startsWith(WHITEOUT_PREFIX)) return false;
  if (name === OPAQUE) tree.makeOpaque(folder);
  // Other names with this beginning are AUFS's own records.
  else if (!name.startsWith(`${WHITEOUT_PREFIX}${WHITEOUT_PREFIX}`)) {
    const target = name.slice(WHITEOUT_PREFIX.length);
    if (target === '' || target === '.' || target === '..') throw corrupt('layer', 'a whiteout of no name');
    tree.whiteOut(`${folder}${target}`);
  }
  return true;
}
