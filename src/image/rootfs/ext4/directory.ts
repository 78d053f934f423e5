/** The contents of a folder: blocks of names with inode numbers, without an index; Linux makes one when the folder grows. */
import type { TreeNode } from '../tree.ts';
import { BLOCK_BYTES, DirectoryEntry } from './structures.ts';

/** As in a directory entry. */
const FILE_TYPES: Readonly<Record<TreeNode<unknown>['kind'], number>> = {
  file: 1,
  directory: 2,
  'char-device': 3,
  'block-device': 4,
  fifo: 5,
  symlink: 7,
};

export interface Name {
  readonly name: string;
  readonly inode: number;
  readonly kind: TreeNode<unknown>['kind'];
}

const encoder = new TextEncoder();
const roundUp = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/** `.` and `..` come first. */
export function directoryBlocks(names: readonly Name[]): Uint8Array {
  const encoded = names.map(({ name, inode, kind }) => ({ bytes: encoder.encode(name), inode, kind }));
  const blocks: Uint8Array[] = [];
  let block = new Uint8Array(BLOCK_BYTES);
  let at = 0;
  let last = 0;
  const close = (): void => {
    // The last entry reaches to the end of its block.
    DirectoryEntry.at(new DataView(block.buffer), last).recordLength = BLOCK_BYTES - last;
    blocks.push(block);
  };
  for (const { bytes, inode, kind } of encoded) {
    const recordLength = roundUp(DirectoryEntry.size + bytes.length);
    if (at + recordLength > BLOCK_BYTES) {
      close();
      block = new Uint8Array(BLOCK_BYTES);
      at = 0;
    }
    const entry = DirectoryEntry.at(new DataView(block.buffer), at);
    Object.assign(entry, { inode, recordLength, nameLength: bytes.length, fileType: FILE_TYPES[kind] });
    block.set(bytes, at + DirectoryEntry.size);
    last = at;
    at += recordLength;
  }
  close();
  const whole = new Uint8Array(blocks.length * BLOCK_BYTES);
  for (const [i, part] of blocks.entries()) whole.set(part, i * BLOCK_BYTES);
  return whole;
}
