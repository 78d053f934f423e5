/**
 * A new ext4 file system with a journal: contents of files are stored as they come, in order, and when the tree is complete
 * everything else is written around them.
 *
 *     const fs = await Ext4.create(disk, { sizeBytes, uuid, hashSeed, label, time });
 *     tree.put('hello', { kind: 'file', attributes, contents: await fs.store(5, chunks) });
 *     await fs.finish(tree);
 *
 * What was stored and is in no tree at the end becomes free space. The disk must hold zeros where nothing is written.
 */
import { truncated } from '../../compress/errors.ts';
import type { DirectoryNode, FileTree, TreeEntry, TreeNode } from '../tree.ts';
import { plainAttributes } from '../tree.ts';
import { Allocator, tooManyFiles } from './allocator.ts';
import { placeAttributes } from './attributes.ts';
import { type BlockTarget, BlockWriter } from './block-writer.ts';
import { directoryBlocks, type Name } from './directory.ts';
import { extentTree } from './extents.ts';
import { type Geometry, geometryOf, INODES_PER_GROUP, type Run } from './geometry.ts';
import { deviceBlock, FAST_SYMLINK_BYTES, type InodeFields, inodeBytes } from './inode.ts';
import {
  BLOCK_BYTES,
  FIRST_INODE,
  INODE_BYTES,
  JOURNAL_INODE,
  JOURNAL_MAGIC,
  JOURNAL_SUPERBLOCK_V2,
  JournalSuperblock,
  ROOT_INODE,
} from './structures.ts';
import { writeDescription } from './super.ts';

/** Contents of a file, on the disk already. */
export interface StoredFile {
  readonly sizeBytes: number;
  readonly runs: readonly Run[];
}

export interface Ext4Options {
  /** A multiple of 128 MiB, 256 MiB at least. */
  readonly sizeBytes: number;
  /** 16 bytes each. */
  readonly uuid: Uint8Array;
  readonly hashSeed: Uint8Array;
  readonly label: string;
  /** Seconds since 1970: when it was made. */
  readonly time: number;
}

const JOURNAL_BLOCKS_MAX = 8192;
const JOURNAL_BLOCKS_MIN = 1024;
const LOST_AND_FOUND = 'lost+found';

type Node = TreeNode<StoredFile>;
interface Numbered {
  readonly node: Node;
  readonly inode: number;
  nrLinks: number;
  /** Of a folder: the inode of the one that it is in. */
  readonly parent: number;
}

export class Ext4 {
  readonly #options: Ext4Options;
  readonly #geometry: Geometry;
  readonly #allocator: Allocator;
  readonly #writer: BlockWriter;
  readonly #used: Run[] = [];
  readonly #journal: readonly Run[];

  /** @throws DomusError E_DISK_SIZE */
  constructor(target: BlockTarget, options: Ext4Options) {
    this.#options = options;
    this.#geometry = geometryOf(options.sizeBytes);
    this.#allocator = new Allocator(this.#geometry);
    this.#writer = new BlockWriter(target);
    const nrBlocks = Math.floor(this.#geometry.nrBlocks / 64);
    this.#journal = this.#allocator.take(
      Math.min(JOURNAL_BLOCKS_MAX, Math.max(JOURNAL_BLOCKS_MIN, nrBlocks)),
    );
  }

  /** Put the contents of a file on the disk. @throws DomusError E_IMAGE_TOO_LARGE, E_IMAGE_TRUNCATED */
  async store(
    sizeBytes: number,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<StoredFile> {
    const runs = this.#allocator.take(Math.ceil(sizeBytes / BLOCK_BYTES));
    let stored = 0;
    let run = -1;
    let left = 0;
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length; ) {
        if (left === 0) {
          const next = runs[++run];
          if (!next) throw truncated('file');
          await this.#writer.seek(next.start);
          left = next.count * BLOCK_BYTES;
        }
        const part = chunk.subarray(at, at + left);
        await this.#writer.append(part);
        at += part.length;
        left -= part.length;
        stored += part.length;
      }
    }
    if (stored !== sizeBytes) throw truncated('file');
    if (stored > 0) await this.#writer.pad();
    return { sizeBytes, runs };
  }

  /** Write everything that is not there yet. @throws DomusError E_IMAGE_TOO_LARGE */
  async finish(tree: FileTree<StoredFile>): Promise<void> {
    if (tree.root.entries.get(LOST_AND_FOUND)?.node.kind !== 'directory') {
      tree.remove(LOST_AND_FOUND);
      tree.put(LOST_AND_FOUND, {
        kind: 'directory',
        attributes: { ...plainAttributes(0o700), mtime: this.#options.time },
        entries: new Map(),
      });
    }
    const numbered = this.#number(tree.root);
    const journal = await this.#writeJournal();
    const table = new InodeTable(this.#geometry, this.#writer);
    table.set(JOURNAL_INODE, journal.inode);
    for (const each of numbered.values()) {
      const fields = await this.#fieldsOf(each, numbered);
      await table.reach(each.inode);
      table.set(each.inode, inodeBytes(fields));
    }
    await table.flush();
    const all = [...numbered.values()];
    await writeDescription(this.#writer, this.#geometry, {
      ...this.#options,
      journal,
      used: [...this.#used, ...this.#journal],
      lastInode: all.reduce((last, { inode }) => Math.max(last, inode), FIRST_INODE),
      directories: all.filter(({ node }) => node.kind === 'directory').map(({ inode }) => inode),
    });
  }

  /** Inodes in the order of their numbers, the root first, then /lost+found, then folder by folder. */
  #number(root: DirectoryNode<StoredFile>): Map<Node, Numbered> {
    const numbered = new Map<Node, Numbered>();
    const queue: DirectoryNode<StoredFile>[] = [];
    let next = FIRST_INODE;
    const add = (node: Node, inode: number, parent: number): void => {
      numbered.set(node, { node, inode, nrLinks: node.kind === 'directory' ? 2 : 1, parent });
      if (node.kind === 'directory') queue.push(node);
    };
    const lostFirst = (
      [a]: readonly [string, TreeEntry<StoredFile>],
      [b]: readonly [string, TreeEntry<StoredFile>],
    ) => Number(b === LOST_AND_FOUND) - Number(a === LOST_AND_FOUND);
    add(root, ROOT_INODE, ROOT_INODE);
    // The queue grows while it is worked on.
    for (const folder of queue) {
      const above = numbered.get(folder)!;
      const entries = folder === root ? [...folder.entries].sort(lostFirst) : [...folder.entries];
      for (const [, { node }] of entries) {
        const known = numbered.get(node);
        if (known) known.nrLinks += 1;
        else add(node, next++, above.inode);
        if (node.kind === 'directory') above.nrLinks += 1;
      }
      if (next > this.#geometry.groups.length * INODES_PER_GROUP) throw tooManyFiles(this.#geometry);
    }
    return numbered;
  }

  async #fieldsOf(
    { node, inode, nrLinks, parent }: Numbered,
    numbered: ReadonlyMap<Node, Numbered>,
  ): Promise<InodeFields> {
    const { kind, attributes } = node;
    const { inInode, block } = placeAttributes(attributes.xattrs);
    let attributesBlock: number | undefined;
    if (block) {
      attributesBlock = this.#allocator.takeOne();
      this.#used.push({ start: attributesBlock, count: 1 });
      await this.#writer.write(attributesBlock, block);
    }
    const own = attributesBlock === undefined ? 0 : 1;
    const common = { kind, attributes, nrLinks, attributesInInode: inInode, attributesBlock, nrBlocks: own };
    switch (node.kind) {
      case 'file':
        return { ...common, ...(await this.#extents(node.contents.runs, node.contents.sizeBytes, own)) };
      case 'directory': {
        const names: Name[] = [
          { name: '.', inode, kind: 'directory' },
          { name: '..', inode: parent, kind: 'directory' },
        ];
        for (const [name, entry] of node.entries) {
          names.push({ name, inode: numbered.get(entry.node)!.inode, kind: entry.node.kind });
        }
        return { ...common, ...(await this.#write(directoryBlocks(names), own)) };
      }
      case 'symlink': {
        const target = new TextEncoder().encode(node.target);
        if (target.length <= FAST_SYMLINK_BYTES)
          return { ...common, sizeBytes: target.length, block: target };
        return { ...common, ...(await this.#write(target, own)) };
      }
      default:
        return { ...common, sizeBytes: 0, block: deviceBlock(node.major, node.minor) };
    }
  }

  async #write(bytes: Uint8Array, own: number) {
    const { runs } = await this.store(bytes.length, [bytes]);
    return this.#extents(runs, bytes.length, own);
  }

  async #extents(runs: readonly Run[], sizeBytes: number, own: number) {
    const { node, leaves } = await extentTree(runs, this.#allocator, this.#writer);
    this.#used.push(...runs, ...leaves.map(start => ({ start, count: 1 })));
    const nrBlocks = own + leaves.length + runs.reduce((sum, { count }) => sum + count, 0);
    return { sizeBytes, block: node, hasExtents: true, nrBlocks };
  }

  /** An empty journal: its superblock says so, whatever the other blocks hold. */
  async #writeJournal() {
    const bytes = new Uint8Array(BLOCK_BYTES);
    const nrBlocks = this.#journal.reduce((sum, { count }) => sum + count, 0);
    const superblock = JournalSuperblock.at(new DataView(bytes.buffer), 0);
    Object.assign(superblock, {
      magic: JOURNAL_MAGIC,
      blockType: JOURNAL_SUPERBLOCK_V2,
      blockSize: BLOCK_BYTES,
      maxLength: nrBlocks,
      first: 1,
      sequence: 1,
      nrUsers: 1,
    });
    superblock.uuid.set(this.#options.uuid);
    await this.#writer.write(this.#journal[0]!.start, bytes);
    const { node: block } = await extentTree(this.#journal, this.#allocator, this.#writer);
    const sizeBytes = nrBlocks * BLOCK_BYTES;
    const inode = inodeBytes({
      kind: 'file',
      attributes: { ...plainAttributes(0o600), mtime: this.#options.time },
      nrLinks: 1,
      sizeBytes,
      block,
      hasExtents: true,
      nrBlocks,
    });
    return { block, sizeBytes, inode };
  }
}

/** The inode table, written group by group as far as it is used. */
class InodeTable {
  readonly #geometry: Geometry;
  readonly #writer: BlockWriter;
  #group = 0;
  #bytes = new Uint8Array(INODES_PER_GROUP * INODE_BYTES);
  #end = 0;

  constructor(geometry: Geometry, writer: BlockWriter) {
    this.#geometry = geometry;
    this.#writer = writer;
  }

  /** Inodes below this one's group are complete. */
  async reach(inode: number): Promise<void> {
    const group = Math.floor((inode - 1) / INODES_PER_GROUP);
    if (group === this.#group) return;
    await this.flush();
    this.#group = group;
    this.#bytes.fill(0);
    this.#end = 0;
  }

  set(inode: number, bytes: Uint8Array): void {
    const at = ((inode - 1) % INODES_PER_GROUP) * INODE_BYTES;
    this.#bytes.set(bytes, at);
    this.#end = Math.max(this.#end, at + INODE_BYTES);
  }

  async flush(): Promise<void> {
    const { inodeTable } = this.#geometry.groups[this.#group]!;
    await this.#writer.write(inodeTable, this.#bytes.subarray(0, this.#end));
  }
}
