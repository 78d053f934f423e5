/**
 * Extended attributes as ext4 keeps them: behind the fields of the inode where there is room, else in one block of their own.
 * POSIX ACLs have another form on the disk than programs see.
 * Source: Linux, Documentation/filesystems/ext4/attributes.rst; fs/ext4/xattr.c (hashes), fs/ext4/acl.h.
 */
import { corrupt, tooLarge } from '../../compress/errors.ts';
import {
  ATTRIBUTE_MAGIC,
  AttributeBlock,
  AttributeEntry,
  BLOCK_BYTES,
  INODE_ATTRIBUTES_OFFSET,
  INODE_BYTES,
} from './structures.ts';

const ACL_NAMES = new Map([
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
]);
const PREFIXES: readonly (readonly [prefix: string, index: number])[] = [
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
  ['system.', 7],
];

interface Attribute {
  readonly index: number;
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

const encoder = new TextEncoder();
const roundUp = (bytes: number): number => Math.ceil(bytes / 4) * 4;

function attributeOf(fullName: string, value: Uint8Array): Attribute {
  const acl = ACL_NAMES.get(fullName);
  if (acl !== undefined) return { index: acl, name: new Uint8Array(0), value: aclOnDisk(value) };
  const found = PREFIXES.find(([prefix]) => fullName.startsWith(prefix) && fullName.length > prefix.length);
  if (!found) throw corrupt('extended attribute', `there is none of the name ${JSON.stringify(fullName)}`);
  const name = encoder.encode(fullName.slice(found[0].length));
  if (name.length > 255) throw corrupt('extended attribute', 'its name is too long');
  return { index: found[1], name, value };
}

const ACL_API_VERSION = 2;
const ACL_DISK_VERSION = 1;
/** Tags that come with the number of a user or group. */
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;

/** From {version, {tag, perm, id}...} to {version, {tag, perm[, id]}...}. */
function aclOnDisk(value: Uint8Array): Uint8Array {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length < 4 || value.length % 8 !== 4 || view.getUint32(0, true) !== ACL_API_VERSION) {
    throw corrupt('extended attribute', 'an access list that is none');
  }
  const disk = new DataView(new ArrayBuffer(value.length));
  disk.setUint32(0, ACL_DISK_VERSION, true);
  let at = 4;
  for (let from = 4; from < value.length; from += 8) {
    const tag = view.getUint16(from, true);
    disk.setUint16(at, tag, true);
    disk.setUint16(at + 2, view.getUint16(from + 2, true), true);
    at += 4;
    if (tag !== ACL_USER && tag !== ACL_GROUP) continue;
    disk.setUint32(at, view.getUint32(from + 4, true), true);
    at += 4;
  }
  return new Uint8Array(disk.buffer, 0, at);
}

function hashOf({ name, value }: Attribute): number {
  let hash = 0;
  for (const byte of name) hash = (hash << 5) ^ (hash >>> 27) ^ ((byte << 24) >> 24);
  const padded = new Uint8Array(roundUp(value.length));
  padded.set(value);
  const words = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += 4)
    hash = (hash << 16) ^ (hash >>> 16) ^ words.getUint32(at, true);
  return hash >>> 0;
}

/** Entries from the front, values from the back; false if they do not fit. Offsets of values count from the beginning of `area`. */
function fill(area: Uint8Array, start: number, attributes: readonly Attribute[]): boolean {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  let front = start;
  let back = area.length;
  for (const attribute of attributes) {
    const { index, name, value } = attribute;
    const entryBytes = roundUp(AttributeEntry.size + name.length);
    back -= roundUp(value.length);
    // Four zero bytes end the list.
    if (front + entryBytes + 4 > back) return false;
    Object.assign(AttributeEntry.at(view, front), {
      nameLength: name.length,
      nameIndex: index,
      valueOffset: value.length > 0 ? back : 0,
      valueSize: value.length,
      hash: hashOf(attribute),
    });
    area.set(name, front + AttributeEntry.size);
    area.set(value, back);
    front += entryBytes;
  }
  return true;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

/** One of the two places is given, or none when there are no attributes. */
export interface PlacedAttributes {
  /** For the inode's end, from INODE_ATTRIBUTES_OFFSET on. */
  readonly inInode?: Uint8Array;
  /** A whole block. */
  readonly block?: Uint8Array;
}

/** @throws DomusError E_IMAGE_CORRUPT, E_IMAGE_TOO_LARGE */
export function placeAttributes(xattrs: ReadonlyMap<string, Uint8Array>): PlacedAttributes {
  if (xattrs.size === 0) return {};
  const attributes = [...xattrs]
    .map(([name, value]) => attributeOf(name, value))
    .sort((a, b) => a.index - b.index || a.name.length - b.name.length || compareBytes(a.name, b.name));
  // In an inode the entries follow the magic number, and offsets count from the first entry.
  const inInode = new Uint8Array(INODE_BYTES - INODE_ATTRIBUTES_OFFSET);
  if (fill(inInode.subarray(4), 0, attributes)) {
    new DataView(inInode.buffer).setUint32(0, ATTRIBUTE_MAGIC, true);
    return { inInode };
  }
  const block = new Uint8Array(BLOCK_BYTES);
  if (!fill(block, AttributeBlock.size, attributes)) throw tooLarge('extended attributes', BLOCK_BYTES);
  let hash = 0;
  for (const attribute of attributes) hash = (hash << 16) ^ (hash >>> 16) ^ hashOf(attribute);
  Object.assign(AttributeBlock.at(new DataView(block.buffer), 0), {
    magic: ATTRIBUTE_MAGIC,
    references: 1,
    blocks: 1,
    hash: hash >>> 0,
  });
  return { block };
}
