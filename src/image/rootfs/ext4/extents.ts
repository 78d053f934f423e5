/**
 * Where the contents of a file lie, in the form that an inode has for it: up to four runs of blocks in the inode itself, or up
 * to four blocks of further entries.
 */
import { tooLarge } from '../../compress/errors.ts';
import type { Allocator } from './allocator.ts';
import type { BlockWriter } from './block-writer.ts';
import type { Run } from './geometry.ts';
import { BLOCK_BYTES, EXTENT_MAGIC, ExtentEntry, ExtentHeader, ExtentIndex } from './structures.ts';

const IN_INODE = 4;
const IN_BLOCK = Math.floor((BLOCK_BYTES - ExtentHeader.size) / ExtentEntry.size);
const NODE_BYTES = ExtentHeader.size + IN_INODE * ExtentEntry.size;

function writeHeader(view: DataView, entries: number, max: number, depth: number): void {
  Object.assign(ExtentHeader.at(view, 0), { magic: EXTENT_MAGIC, entries, max, depth });
}

/** Entries for `runs`, the first of which is block `firstBlock` of the file. */
function writeRuns(view: DataView, runs: readonly Run[], firstBlock: number, max: number): void {
  writeHeader(view, runs.length, max, 0);
  let block = firstBlock;
  for (const [i, { start, count }] of runs.entries()) {
    const entry = ExtentEntry.at(view, ExtentHeader.size + i * ExtentEntry.size);
    Object.assign(entry, { block, length: count, start });
    block += count;
  }
}

/** What goes into `i_block`, and the blocks that were needed for further entries. @throws DomusError E_IMAGE_TOO_LARGE */
export async function extentTree(
  runs: readonly Run[],
  allocator: Allocator,
  writer: BlockWriter,
): Promise<{ node: Uint8Array; leaves: number[] }> {
  const node = new Uint8Array(NODE_BYTES);
  const view = new DataView(node.buffer);
  if (runs.length <= IN_INODE) {
    writeRuns(view, runs, 0, IN_INODE);
    return { node, leaves: [] };
  }
  if (runs.length > IN_INODE * IN_BLOCK) throw tooLarge('a file', IN_INODE * IN_BLOCK * (128 << 20));
  const leaves: number[] = [];
  let block = 0;
  for (let i = 0; i * IN_BLOCK < runs.length; i++) {
    const part = runs.slice(i * IN_BLOCK, (i + 1) * IN_BLOCK);
    const leaf = allocator.takeOne();
    const bytes = new Uint8Array(BLOCK_BYTES);
    writeRuns(new DataView(bytes.buffer), part, block, IN_BLOCK);
    await writer.write(leaf, bytes);
    leaves.push(leaf);
    Object.assign(ExtentIndex.at(view, ExtentHeader.size + i * ExtentIndex.size), { block, leaf });
    block += part.reduce((sum, { count }) => sum + count, 0);
  }
  writeHeader(view, leaves.length, IN_INODE, 1);
  return { node, leaves };
}
