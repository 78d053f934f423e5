/** The structures of a VHDX file, all little-endian. Source: Microsoft, MS-VHDX. */
import { bytes, struct, u16, u32, u64 } from '../../base/struct.ts';

const guid = bytes(16);

export const Header = struct('vhdx_header', {
  signature: bytes(4),
  checksum: u32,
  sequence: u64,
  fileWriteGuid: guid,
  dataWriteGuid: guid,
  logGuid: guid,
  logVersion: u16,
  version: u16,
  logLength: u32,
  logOffset: u64,
});
export const HEADER_BYTES = 4096;
export const HEADER_OFFSETS = [0x1_0000, 0x2_0000] as const;

export const RegionEntry = struct('vhdx_region', { id: guid, offset: u64, length: u32, required: u32 });
export const REGION_TABLE_BYTES = 0x1_0000;
export const REGION_TABLE_OFFSETS = [0x3_0000, 0x4_0000] as const;
export const REGION_ENTRIES_AT = 16;
export const REGION_ENTRIES_MAX = 2047;

export const MetadataEntry = struct('vhdx_metadata', {
  id: guid,
  offset: u32,
  length: u32,
  flags: u32,
  reserved: u32,
});
export const METADATA_ENTRIES_AT = 32;
export const METADATA_ENTRIES_MAX = 2047;
export const METADATA_TABLE_BYTES = 0x1_0000;

export const LogEntry = struct('vhdx_log_entry', {
  signature: bytes(4),
  checksum: u32,
  length: u32,
  tail: u32,
  sequence: u64,
  nrDescriptors: u32,
  reserved: u32,
  logGuid: guid,
  flushedFileOffset: u64,
  lastFileOffset: u64,
});
/** In a zero descriptor the trailing bytes mean nothing, and what a data descriptor has as leading bytes is the length. */
export const LogDescriptor = struct('vhdx_log_descriptor', {
  signature: bytes(4),
  trailing: u32,
  leadingOrLength: u64,
  fileOffset: u64,
  sequence: u64,
});
export const LOG_SECTOR_BYTES = 4096;

export const Id = {
  bat: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  virtualDiskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  logicalSectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
} as const;

/** States of a block in the BAT; all others read as zeros. */
export const BLOCK_FULLY_PRESENT = 6;
export const BLOCK_PARTIALLY_PRESENT = 7;

/** A GUID as text: its first three parts are little-endian. */
export function formatGuid(id: Uint8Array): string {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  const digits = order.map(i => (id[i] as number).toString(16).padStart(2, '0')).join('');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const latin = new TextDecoder('latin1');
export const signatureOf = (field: Uint8Array): string => latin.decode(field);
