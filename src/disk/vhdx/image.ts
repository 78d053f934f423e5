/**
 * Reads VHDX images, fixed and dynamic. Those that build on a parent are refused; one that was not closed is read through its
 * log (log.ts).
 *
 * Nothing is believed: sizes are compared with the file's before memory is taken, and every block must lie inside the file.
 * Source: MS-VHDX.
 */
import type { BlockFile } from '../../platform/block-files.ts';
import { corrupt, unsupported } from '../errors.ts';
import { type Layer, NO_OWNER, SECTOR_BYTES } from '../layer.ts';
import { crc32c } from './crc32c.ts';
import {
  BLOCK_FULLY_PRESENT,
  BLOCK_PARTIALLY_PRESENT,
  formatGuid,
  HEADER_BYTES,
  HEADER_OFFSETS,
  Header,
  Id,
  METADATA_ENTRIES_AT,
  METADATA_ENTRIES_MAX,
  METADATA_TABLE_BYTES,
  MetadataEntry,
  REGION_ENTRIES_AT,
  REGION_ENTRIES_MAX,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  RegionEntry,
  signatureOf,
} from './layout.ts';
import { type LogPlace, type ReadFile, readThroughLog } from './log.ts';

const MIB = 2 ** 20;
/** The format's own limit. */
const SIZE_MAX_BYTES = 64 * 2 ** 40;
/** 64 TiB in blocks of 32 MiB; smaller disks have smaller blocks. */
const BAT_MAX_BYTES = 64 * MIB;

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

async function readAll(read: ReadFile, position: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  await read(position, bytes);
  return bytes;
}

/** The log that has to be replayed, if there is one. */
async function readLogPlace(file: BlockFile): Promise<LogPlace | undefined> {
  const plain: ReadFile = async (position, into) => file.read(position, into);
  let best: { sequence: bigint; place: LogPlace | undefined } | undefined;
  for (const offset of HEADER_OFFSETS) {
    const bytes = await readAll(plain, offset, HEADER_BYTES);
    const header = Header.at(viewOf(bytes), 0);
    if (signatureOf(header.signature) !== 'head') continue;
    if (crc32c(bytes, Header.offsets.checksum) !== header.checksum) continue;
    if (best && best.sequence >= header.sequence) continue;
    if (header.version !== 1) throw unsupported(file.path, `it is VHDX of version ${header.version}`);
    const isEmpty = header.logGuid.every(byte => byte === 0);
    if (!isEmpty && header.logOffset > 2n ** 52n)
      throw corrupt(file.path, 'its log lies beyond the end of the file');
    const place = {
      guid: header.logGuid.slice(),
      offset: Number(header.logOffset),
      length: header.logLength,
    };
    best = { sequence: header.sequence, place: isEmpty ? undefined : place };
  }
  if (!best) throw corrupt(file.path, 'both headers are damaged');
  return best.place;
}

interface Region {
  readonly offset: number;
  readonly length: number;
}

async function readRegions(file: BlockFile, read: ReadFile): Promise<Map<string, Region>> {
  const fileBytes = await file.size();
  for (const offset of REGION_TABLE_OFFSETS) {
    const bytes = await readAll(read, offset, REGION_TABLE_BYTES);
    const view = viewOf(bytes);
    if (signatureOf(bytes.subarray(0, 4)) !== 'regi' || crc32c(bytes, 4) !== view.getUint32(4, true))
      continue;
    const count = view.getUint32(8, true);
    if (count > REGION_ENTRIES_MAX) throw corrupt(file.path, 'its region table is damaged');
    const regions = new Map<string, Region>();
    for (let i = 0; i < count; i++) {
      const entry = RegionEntry.at(view, REGION_ENTRIES_AT + i * RegionEntry.size);
      const id = formatGuid(entry.id);
      if (entry.offset > 2n ** 52n || Number(entry.offset) + entry.length > fileBytes) {
        throw corrupt(file.path, 'a region lies beyond the end of the file');
      }
      if (id !== Id.bat && id !== Id.metadata && (entry.required & 1) !== 0) {
        throw unsupported(file.path, 'it has a region that is not known here');
      }
      regions.set(id, { offset: Number(entry.offset), length: entry.length });
    }
    return regions;
  }
  throw corrupt(file.path, 'both region tables are damaged');
}

interface Parameters {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly sectorBytes: number;
}

async function readParameters(file: BlockFile, read: ReadFile, region: Region): Promise<Parameters> {
  const { path } = file;
  if (region.length < METADATA_TABLE_BYTES) throw corrupt(path, 'its metadata are too short');
  const table = await readAll(read, region.offset, METADATA_TABLE_BYTES);
  const view = viewOf(table);
  if (signatureOf(table.subarray(0, 8)) !== 'metadata') throw corrupt(path, 'there are no metadata');
  const count = view.getUint16(10, true);
  if (count > METADATA_ENTRIES_MAX) throw corrupt(path, 'its metadata are damaged');
  const items = new Map<string, DataView>();
  for (let i = 0; i < count; i++) {
    const entry = MetadataEntry.at(view, METADATA_ENTRIES_AT + i * MetadataEntry.size);
    if (entry.offset < METADATA_TABLE_BYTES || entry.offset + 8 > region.length) continue;
    items.set(formatGuid(entry.id), viewOf(await readAll(read, region.offset + entry.offset, 8)));
  }
  const item = (id: string): DataView => {
    const found = items.get(id);
    if (!found) throw corrupt(path, 'a part of its metadata is missing');
    return found;
  };
  const blockBytes = item(Id.fileParameters).getUint32(0, true);
  if ((item(Id.fileParameters).getUint32(4, true) & 2) !== 0)
    throw unsupported(path, 'it builds on a parent');
  if (blockBytes < MIB || blockBytes > 256 * MIB || (blockBytes & (blockBytes - 1)) !== 0) {
    throw corrupt(path, `blocks of ${blockBytes} bytes cannot be`);
  }
  const sectorBytes = item(Id.logicalSectorSize).getUint32(0, true);
  if (sectorBytes !== 512 && sectorBytes !== 4096)
    throw corrupt(path, `sectors of ${sectorBytes} bytes cannot be`);
  const size = item(Id.virtualDiskSize).getBigUint64(0, true);
  if (size === 0n || size > BigInt(SIZE_MAX_BYTES) || Number(size) % SECTOR_BYTES !== 0) {
    throw corrupt(path, `its size of ${size} bytes cannot be`);
  }
  return { sizeBytes: Number(size), blockBytes, sectorBytes };
}

export async function openVhdx(file: BlockFile): Promise<Layer> {
  const { path } = file;
  const start = await readAll(async (position, into) => file.read(position, into), 0, 8);
  if (signatureOf(start) !== 'vhdxfile') throw corrupt(path, 'it is no VHDX image');
  const read = await readThroughLog(file, await readLogPlace(file));
  const regions = await readRegions(file, read);
  const metadata = regions.get(Id.metadata);
  const batRegion = regions.get(Id.bat);
  if (!metadata || !batRegion) throw corrupt(path, 'a region is missing');
  const { sizeBytes, blockBytes, sectorBytes } = await readParameters(file, read, metadata);
  // After so many entries for blocks comes one for a bitmap, which only images with parents use.
  const chunkRatio = (2 ** 23 * sectorBytes) / blockBytes;
  const nrBlocks = Math.ceil(sizeBytes / blockBytes);
  const entries = nrBlocks + Math.floor((nrBlocks - 1) / chunkRatio);
  if (entries * 8 > Math.min(batRegion.length, BAT_MAX_BYTES))
    throw corrupt(path, 'its BAT is too short for its size');
  const bat = viewOf(await readAll(read, batRegion.offset, entries * 8));
  const fileBytes = await file.size();

  /** Where a block lies; undefined if it reads as zeros. */
  const positionOf = (block: number): number | undefined => {
    const at = (block + Math.floor(block / chunkRatio)) * 8;
    const low = bat.getUint32(at, true);
    const state = low & 7;
    if (state === BLOCK_PARTIALLY_PRESENT) throw corrupt(path, `block ${block} is partly that of a parent`);
    if (state !== BLOCK_FULLY_PRESENT) return undefined;
    // In units of 1 MiB from bit 20 on.
    const position = (low >>> 20) * MIB + bat.getUint32(at + 4, true) * 4096 * MIB;
    if (position < MIB || position >= fileBytes)
      throw corrupt(path, `block ${block} lies beyond the end of the file`);
    return position;
  };

  const readBlocks = async (offset: number, into: Uint8Array): Promise<void> => {
    for (let done = 0; done < into.length; ) {
      const block = Math.floor((offset + done) / blockBytes);
      const inside = offset + done - block * blockBytes;
      const piece = into.subarray(done, done + Math.min(into.length - done, blockBytes - inside));
      const position = positionOf(block);
      const count = position === undefined ? 0 : await read(position + inside, piece);
      piece.fill(0, count);
      done += piece.length;
    }
  };

  return {
    format: 'vhdx',
    path,
    sizeBytes,
    unitBytes: blockBytes,
    claim(firstSector, owners, id) {
      const isThere = positionOf(Math.floor((firstSector * SECTOR_BYTES) / blockBytes)) !== undefined;
      let left = 0;
      for (let i = 0; i < owners.length; i++) {
        if (owners[i] !== NO_OWNER) continue;
        if (isThere) owners[i] = id;
        else left += 1;
      }
      return left;
    },
    read: readBlocks,
    readHeld: readBlocks,
    close: () => file.close(),
  };
}
