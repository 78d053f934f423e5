/** Writes a new VHD file. */
import type { BlockFile } from '../../platform/block-files.ts';
import { badSize } from '../errors.ts';
import { type DiskHost, randomBytes } from '../host.ts';
import { SECTOR_BYTES } from '../layer.ts';
import { folderOf, nameOf } from '../path.ts';
import {
  EPOCH_SECONDS,
  FEATURES_RESERVED,
  FOOTER_BYTES,
  FOOTER_COOKIE,
  FORMAT_VERSION,
  footerOf,
  geometry,
  HEADER_BYTES,
  HEADER_COOKIE,
  headerOf,
  NO_OFFSET,
  SIZE_MAX_BYTES,
  sealFooter,
  sealHeader,
  setText,
  uuidFrom,
  VhdType,
} from './layout.ts';
import { locatorsFor, utf16 } from './locator.ts';

export const BLOCK_DEFAULT_BYTES = 2 << 20;
/** A child's BAT has to be written when a snapshot is taken: its size bounds the time that takes. */
const CHILD_ENTRIES_MAX = 1 << 14;

/** Block size of an image over another: as there, and larger where the BAT would become too long. */
export function childBlockBytes(sizeBytes: number, parentBlockBytes: number): number {
  let blockBytes = parentBlockBytes;
  while (sizeBytes / blockBytes > CHILD_ENTRIES_MAX) blockBytes *= 2;
  return blockBytes;
}

/** A VHD ends where its sector numbers do. @throws DomusError E_DISK_SIZE */
export function checkVhdSize(sizeBytes: number): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % SECTOR_BYTES !== 0) {
    throw badSize(`a disk cannot have ${sizeBytes} bytes`, 'choose a multiple of 512 bytes, such as 10G');
  }
  if (sizeBytes > SIZE_MAX_BYTES) {
    throw badSize(
      'a VHD holds 2040 GiB at most',
      'choose a smaller size, or the raw format, which has no such limit',
    );
  }
}

export interface ParentOfNew {
  /** Absolute. */
  readonly path: string;
  readonly uuid: Uint8Array;
  readonly timestamp: number;
}

export interface NewVhd {
  readonly type: 'fixed' | 'dynamic' | 'differencing';
  readonly sizeBytes: number;
  readonly blockBytes?: number;
  readonly parent?: ParentOfNew;
  /** Absolute path that the image will have; parents are named relative to it. */
  readonly finalPath: string;
}

export const vhdTimestamp = (host: DiskHost): number =>
  Math.max(0, Number(host.clock.wallNs() / 1_000_000_000n) - EPOCH_SECONDS) >>> 0;

/** The creator that makes other programs take the size from the size field, not from the geometry. */
const CREATOR = { application: 'win ', version: 0x000a_0000, host: 'Wi2k' };
/** The version says which images over others are ours. */
const VERSION_OF_CHILD = CREATOR.version + 1;
export const isOwnChild = (bytes: Uint8Array): boolean => footerOf(bytes).creatorVersion === VERSION_OF_CHILD;

function newFooter(host: DiskHost, { type, sizeBytes }: NewVhd): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const footer = footerOf(bytes);
  setText(footer.cookie, FOOTER_COOKIE);
  footer.features = FEATURES_RESERVED;
  footer.version = FORMAT_VERSION;
  footer.dataOffset = type === 'fixed' ? NO_OFFSET : BigInt(FOOTER_BYTES);
  footer.timestamp = vhdTimestamp(host);
  setText(footer.creatorApplication, CREATOR.application);
  footer.creatorVersion = type === 'differencing' ? VERSION_OF_CHILD : CREATOR.version;
  setText(footer.creatorHost, CREATOR.host);
  footer.originalSize = BigInt(sizeBytes);
  footer.currentSize = BigInt(sizeBytes);
  Object.assign(footer, geometry(sizeBytes));
  footer.type = VhdType[type];
  footer.uuid.set(uuidFrom(randomBytes(host, 16)));
  return sealFooter(bytes);
}

/** Put the name and the locators of a parent into a header; `position` is where the locators' data will lie. */
export function describeParent(
  header: Uint8Array,
  parent: ParentOfNew,
  childPath: string,
  position: number,
): Uint8Array {
  const fields = headerOf(header);
  fields.parentUuid.set(parent.uuid);
  fields.parentTimestamp = parent.timestamp;
  fields.parentName.fill(0);
  fields.parentName.set(utf16(nameOf(parent.path).slice(0, 255), false));
  const locators = locatorsFor(`${folderOf(childPath)}/x`, parent.path);
  const data = new Uint8Array(locators.reduce((sum, each) => sum + roundUp(each.data.length), 0));
  let at = 0;
  for (let i = 0; i < 8; i++) {
    const entry = fields.locators.get(i);
    const locator = locators[i];
    entry.code = locator?.code ?? 0;
    entry.space = locator ? roundUp(locator.data.length) / SECTOR_BYTES : 0;
    entry.length = locator?.data.length ?? 0;
    entry.reserved = 0;
    entry.offset = BigInt(locator ? position + at : 0);
    if (!locator) continue;
    data.set(locator.data, at);
    at += roundUp(locator.data.length);
  }
  sealHeader(header);
  return data;
}

const roundUp = (bytes: number): number => Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;

/** Fill an empty file. It is an image, durably, when this returns. */
export async function writeNewVhd(host: DiskHost, file: BlockFile, spec: NewVhd): Promise<void> {
  const { sizeBytes, type, blockBytes = BLOCK_DEFAULT_BYTES } = spec;
  checkVhdSize(sizeBytes);
  const footer = newFooter(host, spec);
  if (type === 'fixed') {
    await file.write(sizeBytes, footer);
    await file.flush();
    return;
  }
  const header = new Uint8Array(HEADER_BYTES);
  const fields = headerOf(header);
  const nrBlocks = Math.ceil(sizeBytes / blockBytes);
  const tableOffset = FOOTER_BYTES + HEADER_BYTES;
  const tableBytes = roundUp(nrBlocks * 4);
  setText(fields.cookie, HEADER_COOKIE);
  fields.dataOffset = NO_OFFSET;
  fields.tableOffset = BigInt(tableOffset);
  fields.version = FORMAT_VERSION;
  fields.maxTableEntries = nrBlocks;
  fields.blockSize = blockBytes;
  const tableEnd = tableOffset + tableBytes;
  const locators = spec.parent && describeParent(header, spec.parent, spec.finalPath, tableEnd);
  sealHeader(header);
  const end = tableEnd + (locators?.length ?? 0);
  const whole = new Uint8Array(end + FOOTER_BYTES).fill(0xff, tableOffset, tableEnd);
  whole.set(footer, 0);
  whole.set(header, FOOTER_BYTES);
  if (locators) whole.set(locators, tableEnd);
  whole.set(footer, end);
  await file.write(0, whole);
  await file.flush();
}
