/**
 * Reads and checks the structures of a VHD file. Nothing is believed: sizes are compared with the file's before
 * anything is allocated, and every BAT entry must lie inside the file.
 */
import type { BlockFile } from '../../platform/block-files.ts';
import { corrupt, unsupported } from '../errors.ts';
import { SECTOR_BYTES } from '../layer.ts';
import {
  BATMAP_COOKIE,
  BatmapHeader,
  FOOTER_BYTES,
  FORMAT_VERSION,
  footerFault,
  footerOf,
  HEADER_BYTES,
  headerFault,
  headerOf,
  NR_LOCATORS,
  SIZE_MAX_BYTES,
  sealHeader,
  textOf,
  UNUSED,
  VhdType,
} from './layout.ts';
import { fromUtf16, LOCATOR_MAX_BYTES, type Locator } from './locator.ts';

const BLOCK_MIN_BYTES = 4096;
const BLOCK_MAX_BYTES = 1 << 28;
/** 2040 GiB in blocks of 512 KiB, the smallest in use. */
const ENTRIES_MAX = 1 << 22;

export interface ParentReference {
  readonly uuid: Uint8Array;
  readonly name: string;
  readonly locators: readonly Locator[];
}

export interface VhdMetadata {
  readonly type: number;
  sizeBytes: number;
  /** As they stand in the file; what changes is sealed anew. */
  footer: Uint8Array;
  header: Uint8Array;
  headerOffset: number;
  readonly blockBytes: number;
  readonly bitmapBytes: number;
  readonly nrBlocks: number;
  tableOffset: number;
  /** Sector of each block; UNUSED where there is none. */
  table: Uint32Array;
  /** Behind everything that is not a block. */
  structuresEnd: number;
  /** Behind everything that is in use. */
  dataEnd: number;
  /** Where the footer at the end lies, or should. */
  footerAt: number;
  readonly hasBatmap: boolean;
  readonly parent?: ParentReference | undefined;
  /** What is wrong and does no harm to reading. */
  readonly faults: readonly string[];
  setTable(offset: number, entries: number): void;
}

export async function readExactly(
  file: BlockFile,
  position: number,
  count: number,
  what: string,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  if ((await file.read(position, bytes)) < count)
    throw corrupt(file.path, `${what} lies beyond the end of the file`);
  return bytes;
}

const offsetOf = (path: string, value: bigint, what: string): number => {
  if (value > 2n ** 52n) throw corrupt(path, `${what} lies beyond the end of the file`);
  return Number(value);
};

/** Where the blocks of an image could lie wrongly; told by `check`, refused by `readMetadata`. */
export interface EntryFault {
  readonly block: number;
  readonly why: string;
}

export interface Structures {
  readonly meta: VhdMetadata;
  readonly entryFaults: readonly EntryFault[];
  /** Blocks that the BAT has a place for, whether or not it is a good one. */
  readonly used: readonly number[];
}

export interface FoundFooter {
  readonly footer: Uint8Array;
  readonly faults: string[];
  readonly footerAt: number;
}

/** The footer that counts: the copy in sector 0 where there is one and it is whole, else the one at the end. */
export async function findFooter(file: BlockFile): Promise<FoundFooter> {
  const fileBytes = await file.size();
  if (fileBytes < FOOTER_BYTES) throw corrupt(file.path, 'it is too short for a VHD');
  const footerAt = fileBytes - FOOTER_BYTES;
  const end = await readExactly(file, footerAt, FOOTER_BYTES, 'the footer');
  const copy = await readExactly(file, 0, FOOTER_BYTES, 'the copy of the footer');
  const endFault = footerFault(end);
  const copyFault = footerFault(copy);
  // The first sector of a fixed image is the guest's, who may write there what it likes.
  const isFixed = endFault === undefined && footerOf(end).type === VhdType.fixed;
  if (isFixed) return { footer: end, faults: [], footerAt };
  if (copyFault === undefined && footerOf(copy).type !== VhdType.fixed) {
    const faults: string[] = [];
    if (endFault !== undefined) faults.push('the footer at the end is missing');
    else if (end.some((byte, i) => byte !== copy[i]))
      faults.push('the footer at the end differs from its copy');
    return { footer: copy, faults, footerAt: endFault === undefined ? footerAt : fileBytes };
  }
  if (endFault !== undefined) throw corrupt(file.path, endFault);
  return { footer: end, faults: ['the copy of the footer is missing'], footerAt };
}

export async function readStructures(file: BlockFile): Promise<Structures> {
  const { path } = file;
  const { footer: footerBytes, faults, footerAt } = await findFooter(file);
  const footer = footerOf(footerBytes);
  const sizeBytes = offsetOf(path, footer.currentSize, 'the size');
  if (footer.version >>> 16 !== FORMAT_VERSION >>> 16) throw unsupported(path, 'its format version is not 1');
  if (sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0)
    throw corrupt(path, `its size of ${sizeBytes} bytes cannot be`);
  if (sizeBytes > SIZE_MAX_BYTES) throw corrupt(path, 'it is larger than a VHD can be');
  const base = { type: footer.type, sizeBytes, footer: footerBytes, footerAt, faults, hasBatmap: false };
  const noTable = () => {
    throw corrupt(path, 'a fixed image has no BAT');
  };

  if (footer.type === VhdType.fixed) {
    if (footerAt < sizeBytes) throw corrupt(path, 'the file is shorter than the disk');
    const meta: VhdMetadata = {
      ...base,
      header: new Uint8Array(HEADER_BYTES),
      headerOffset: 0,
      blockBytes: 1 << 21,
      bitmapBytes: 0,
      nrBlocks: 0,
      tableOffset: 0,
      table: new Uint32Array(0),
      structuresEnd: 0,
      dataEnd: sizeBytes,
      setTable: noTable,
    };
    return { meta, entryFaults: [], used: [] };
  }
  if (footer.type !== VhdType.dynamic && footer.type !== VhdType.differencing) {
    throw unsupported(path, `it is a VHD of type ${footer.type}`);
  }

  const headerOffset = offsetOf(path, footer.dataOffset, 'the dynamic header');
  const headerBytes = await readExactly(file, headerOffset, HEADER_BYTES, 'the dynamic header');
  const headerIs = headerFault(headerBytes);
  if (headerIs !== undefined) throw corrupt(path, headerIs);
  const header = headerOf(headerBytes);
  if (header.version >>> 16 !== FORMAT_VERSION >>> 16) throw unsupported(path, 'its header version is not 1');
  const { blockSize, maxTableEntries } = header;
  if (blockSize < BLOCK_MIN_BYTES || blockSize > BLOCK_MAX_BYTES || (blockSize & (blockSize - 1)) !== 0) {
    throw corrupt(path, `blocks of ${blockSize} bytes cannot be`);
  }
  const nrBlocks = Math.ceil(sizeBytes / blockSize);
  if (nrBlocks > maxTableEntries) throw corrupt(path, 'its BAT is too short for its size');
  if (nrBlocks > ENTRIES_MAX) throw unsupported(path, `it has ${nrBlocks} blocks`);
  const tableOffset = offsetOf(path, header.tableOffset, 'the BAT');
  if (tableOffset % SECTOR_BYTES !== 0) throw corrupt(path, 'its BAT does not begin at a sector');
  const fileBytes = await file.size();
  if (tableOffset + nrBlocks * 4 > fileBytes) throw corrupt(path, 'the BAT lies beyond the end of the file');
  const { table, used } = readTable(await readExactly(file, tableOffset, nrBlocks * 4, 'the BAT'));
  const bitmapBytes = Math.ceil(blockSize / SECTOR_BYTES / 8 / SECTOR_BYTES) * SECTOR_BYTES;

  let dataEnd = Math.max(
    FOOTER_BYTES,
    headerOffset + HEADER_BYTES,
    tableOffset + Math.ceil(Math.min(maxTableEntries, ENTRIES_MAX) / 128) * SECTOR_BYTES,
  );
  const parent = footer.type === VhdType.differencing ? await readParent(file, headerBytes) : undefined;
  if (parent) dataEnd = Math.max(dataEnd, parent.end);
  const batmapAt = await findBatmap(
    file,
    footerBytes,
    tableOffset + Math.ceil((maxTableEntries * 4) / 512) * 512,
  );
  dataEnd = Math.max(dataEnd, batmapAt);
  if (dataEnd > fileBytes) throw corrupt(path, 'a structure lies beyond the end of the file');

  const structuresEnd = dataEnd;
  const entryFaults: EntryFault[] = [];
  for (const block of used) {
    const entry = table[block] as number;
    const end = entry * SECTOR_BYTES + bitmapBytes + blockSize;
    // QEMU and others end the file inside the last block when nothing was written behind.
    if (entry * SECTOR_BYTES + bitmapBytes > fileBytes || entry === 0) {
      entryFaults.push({ block, why: 'lies beyond the end of the file' });
    } else dataEnd = Math.max(dataEnd, end);
  }
  const meta: VhdMetadata = {
    ...base,
    header: headerBytes,
    headerOffset,
    blockBytes: blockSize,
    bitmapBytes,
    get nrBlocks() {
      return Math.ceil(this.sizeBytes / blockSize);
    },
    tableOffset,
    table,
    structuresEnd,
    dataEnd,
    hasBatmap: batmapAt > 0,
    parent: parent?.reference,
    setTable(offset, entries) {
      const changed = headerOf(this.header);
      changed.tableOffset = BigInt(offset);
      changed.maxTableEntries = entries;
      sealHeader(this.header);
      this.tableOffset = offset;
    },
  };
  return { meta, entryFaults, used };
}

/** Read an image that is to be used. @throws DomusError E_DISK_CORRUPT, E_DISK_UNSUPPORTED */
export async function readMetadata(file: BlockFile): Promise<VhdMetadata> {
  const { meta, entryFaults, used } = await readStructures(file);
  const [first] = entryFaults;
  if (first) throw corrupt(file.path, `block ${first.block} ${first.why}`);
  const overlap = findOverlaps(meta, used)[0];
  if (overlap !== undefined) throw corrupt(file.path, `block ${overlap} lies over something else`);
  return meta;
}

/** In the place of its bytes, and which blocks are in use. */
function readTable(bytes: Uint8Array): { table: Uint32Array; used: number[] } {
  const { buffer, byteOffset } = bytes;
  const view = new DataView(buffer, byteOffset, bytes.byteLength);
  const table = new Uint32Array(buffer, byteOffset, bytes.length >> 2);
  const used = usedBlocks(table);
  for (const block of used) table[block] = view.getUint32(4 * block);
  return { table, used };
}

/** Most of a large disk are not. As i32 they are small numbers: for others V8 makes an object each. */
function usedBlocks({ buffer, byteOffset, length }: Uint32Array): number[] {
  const entries = new Int32Array(buffer, byteOffset, length);
  const used: number[] = [];
  for (let block = 0; block < length; block++) if (entries[block] !== (UNUSED | 0)) used.push(block);
  return used;
}

/** Blocks that lie over another block, or over the structures at the beginning. @param known those that are in use */
export function findOverlaps(meta: VhdMetadata, known: readonly number[]): number[] {
  const sectors = (meta.bitmapBytes + meta.blockBytes) / SECTOR_BYTES;
  const { table } = meta;
  const at = (block: number) => table[block] as number;
  const used = known.toSorted((a, b) => at(a) - at(b));
  const structures: [number, number][] = [
    [0, 1],
    [meta.headerOffset / SECTOR_BYTES, HEADER_BYTES / SECTOR_BYTES],
    [meta.tableOffset / SECTOR_BYTES, Math.ceil(meta.table.length / 128)],
  ];
  const overlapping = used.filter(block =>
    structures.some(([start, count]) => at(block) < start + count && start < at(block) + sectors),
  );
  for (let i = 1; i < used.length; i++) {
    const block = used[i] as number;
    if (at(block) < at(used[i - 1] as number) + sectors) overlapping.push(block);
  }
  return overlapping;
}

async function readParent(file: BlockFile, headerBytes: Uint8Array) {
  const header = headerOf(headerBytes);
  const locators: Locator[] = [];
  let end = 0;
  for (let i = 0; i < NR_LOCATORS; i++) {
    const { code, length, offset } = header.locators.get(i);
    if (code === 0 || length === 0) continue;
    if (length > LOCATOR_MAX_BYTES) throw corrupt(file.path, 'the path of its parent is too long');
    const position = offsetOf(file.path, offset, 'the path of its parent');
    locators.push({ code, data: await readExactly(file, position, length, 'the path of its parent') });
    end = Math.max(end, Math.ceil((position + length) / SECTOR_BYTES) * SECTOR_BYTES);
  }
  const name = fromUtf16(header.parentName, false);
  return { end, reference: { uuid: header.parentUuid.slice(), name, locators } };
}

/** End of the batmap that blktap2's images have, or 0. */
async function findBatmap(file: BlockFile, footerBytes: Uint8Array, position: number): Promise<number> {
  const footer = footerOf(footerBytes);
  if (textOf(footer.creatorApplication) !== 'tap\0') return 0;
  if (footer.creatorVersion <= 0x0001_0000)
    throw unsupported(file.path, 'its bitmaps are those of blktap 0.1');
  const bytes = new Uint8Array(SECTOR_BYTES);
  if ((await file.read(position, bytes)) < bytes.length) return 0;
  const header = BatmapHeader.at(new DataView(bytes.buffer), 0);
  if (textOf(header.cookie) !== BATMAP_COOKIE) return 0;
  return offsetOf(file.path, header.offset, 'the batmap') + header.sizeSectors * SECTOR_BYTES;
}
