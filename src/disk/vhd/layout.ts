/**
 * The structures of a VHD file: footer, dynamic header, parent locators. All fields are big-endian.
 * Source: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0; the `hidden` byte and the batmap are
 * those of Xen's blktap2.
 */
import { array, bytes, type FieldType, struct, u8 } from '../../base/struct.ts';

const be16: FieldType<number> = {
  size: 2,
  align: 2,
  get: (v, a) => v.getUint16(a),
  set: (v, a, x) => v.setUint16(a, x),
};
const be32: FieldType<number> = {
  size: 4,
  align: 4,
  get: (v, a) => v.getUint32(a),
  set: (v, a, x) => v.setUint32(a, x),
};
const be64: FieldType<bigint> = {
  size: 8,
  align: 8,
  get: (v, a) => v.getBigUint64(a),
  set: (v, a, x) => v.setBigUint64(a, x),
};

export const Footer = struct('vhd_footer', {
  cookie: bytes(8),
  features: be32,
  version: be32,
  dataOffset: be64,
  timestamp: be32,
  creatorApplication: bytes(4),
  creatorVersion: be32,
  creatorHost: bytes(4),
  originalSize: be64,
  currentSize: be64,
  cylinders: be16,
  heads: u8,
  sectorsPerTrack: u8,
  type: be32,
  checksum: be32,
  uuid: bytes(16),
  savedState: u8,
  hidden: u8,
  reserved: bytes(426),
});

export const ParentLocator = struct('vhd_parent_locator', {
  code: be32,
  /** Sectors by the specification; some writers put bytes. */
  space: be32,
  length: be32,
  reserved: be32,
  offset: be64,
});
export const NR_LOCATORS = 8;

export const DynamicHeader = struct('vhd_dynamic_header', {
  cookie: bytes(8),
  dataOffset: be64,
  tableOffset: be64,
  version: be32,
  maxTableEntries: be32,
  blockSize: be32,
  checksum: be32,
  parentUuid: bytes(16),
  parentTimestamp: be32,
  reserved: be32,
  parentName: bytes(512),
  locators: array(ParentLocator, NR_LOCATORS),
  reserved2: bytes(256),
});

/** Behind the BAT of images made by blktap2: one bit for each block that is fully written. */
export const BatmapHeader = struct('vhd_batmap', {
  cookie: bytes(8),
  offset: be64,
  sizeSectors: be32,
  version: be32,
  checksum: be32,
});

export const FOOTER_BYTES = Footer.size;
export const HEADER_BYTES = DynamicHeader.size;
export const FOOTER_COOKIE = 'conectix';
export const HEADER_COOKIE = 'cxsparse';
export const BATMAP_COOKIE = 'tdbatmap';
export const FORMAT_VERSION = 0x0001_0000;
export const FEATURES_RESERVED = 2;
export const NO_OFFSET = 0xffff_ffff_ffff_ffffn;
export const UNUSED = 0xffff_ffff;

export const VhdType = { fixed: 2, dynamic: 3, differencing: 4 } as const;

export const LocatorCode = {
  /** UTF-16, little-endian, relative to the child. */
  W2ru: 0x5732_7275,
  /** UTF-16, little-endian, absolute. */
  W2ku: 0x5732_6b75,
  /** A file URL in UTF-8. */
  MacX: 0x4d61_6358,
} as const;

/** VHD's timestamps count from 2000-01-01 UTC. */
export const EPOCH_SECONDS = 946_684_800;
/** What the sector numbers of the BAT leave room for, as Hyper-V and QEMU have it: 2040 GiB. */
export const SIZE_MAX_BYTES = 2040 * 2 ** 30;

const latin = new TextDecoder('latin1');
export const textOf = (field: Uint8Array): string => latin.decode(field);
export const setText = (field: Uint8Array, text: string): void => {
  field.set(new TextEncoder().encode(text));
};

/** One's complement of the sum of all bytes, those of the checksum itself counted as zero. */
export function checksum(structure: Uint8Array, checksumOffset: number): number {
  let sum = 0;
  for (let i = 0; i < structure.length; i++) {
    if (i < checksumOffset || i >= checksumOffset + 4) sum += structure[i] as number;
  }
  return ~sum >>> 0;
}

export type FooterView = ReturnType<typeof Footer.at>;
export type HeaderView = ReturnType<typeof DynamicHeader.at>;

const viewOf = (structure: Uint8Array): DataView =>
  new DataView(structure.buffer, structure.byteOffset, structure.byteLength);
export const footerOf = (structure: Uint8Array): FooterView => Footer.at(viewOf(structure), 0);
export const headerOf = (structure: Uint8Array): HeaderView => DynamicHeader.at(viewOf(structure), 0);

/** Why these 512 bytes are no footer; undefined if they are one. */
export function footerFault(structure: Uint8Array): string | undefined {
  const footer = footerOf(structure);
  if (textOf(footer.cookie) !== FOOTER_COOKIE) return 'there is no footer';
  if (footer.checksum !== checksum(structure, Footer.offsets.checksum))
    return "the footer's checksum is wrong";
  return undefined;
}

export function headerFault(structure: Uint8Array): string | undefined {
  const header = headerOf(structure);
  if (textOf(header.cookie) !== HEADER_COOKIE) return 'there is no dynamic header';
  if (header.checksum !== checksum(structure, DynamicHeader.offsets.checksum)) {
    return "the dynamic header's checksum is wrong";
  }
  return undefined;
}

export function sealFooter(structure: Uint8Array): Uint8Array {
  footerOf(structure).checksum = checksum(structure, Footer.offsets.checksum);
  return structure;
}
export function sealHeader(structure: Uint8Array): Uint8Array {
  headerOf(structure).checksum = checksum(structure, DynamicHeader.offsets.checksum);
  return structure;
}

/** Cylinders, heads and sectors that old systems are told; they reach to 127 GiB and say nothing about the size. */
export function geometry(sizeBytes: number): { cylinders: number; heads: number; sectorsPerTrack: number } {
  const sectors = Math.min(Math.floor(sizeBytes / 512), 65535 * 16 * 255);
  const result = (heads: number, sectorsPerTrack: number) => ({
    cylinders: Math.floor(Math.floor(sectors / sectorsPerTrack) / heads),
    heads,
    sectorsPerTrack,
  });
  if (sectors >= 65535 * 16 * 63) return result(16, 255);
  const tracks = Math.floor(sectors / 17);
  const heads = Math.max(4, Math.ceil(tracks / 1024));
  if (heads <= 16 && tracks < heads * 1024) return result(heads, 17);
  return Math.floor(sectors / 31) < 16 * 1024 ? result(16, 31) : result(16, 63);
}

export function formatUuid(uuid: Uint8Array): string {
  const digits = Array.from(uuid, byte => byte.toString(16).padStart(2, '0')).join('');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A random (version 4) UUID out of 16 random bytes. */
export function uuidFrom(random: Uint8Array): Uint8Array {
  const uuid = random.slice(0, 16);
  uuid[6] = ((uuid[6] as number) & 0x0f) | 0x40;
  uuid[8] = ((uuid[8] as number) & 0x3f) | 0x80;
  return uuid;
}
