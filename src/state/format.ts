/**
 * The file of a saved machine: a header, records, and the pages of its memory.
 *
 *     0       SavedHeader
 *     64      records: RecordHeader, payload, filled up to a multiple of 8
 *     pages   at the next multiple of 4096: page 1, page 2, ... as they are, so that each can be read alone
 *
 * Header and records have a CRC-32 of their own, pages have theirs in the record `pages`. What a record's payload is belongs to its
 * type and version (layout.ts). The file's version goes up when an old reader would misunderstand it; a reader knows all versions
 * up to its own. Numbers are little-endian.
 */
import { PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import { bytes, struct, u32, u64n } from '../base/struct.ts';
import { crc32 } from '../platform/node/checksum.ts';

export const SavedHeader = struct('saved_machine', {
  magic: bytes(8),
  version: u32,
  nrRecords: u32,
  /** From the end of this header to the end of the last record. */
  recordBytes: u64n,
  nrPages: u64n,
  /** Of the bytes before it. */
  crc: u32,
  pad: bytes(28),
});
export const RecordHeader = struct('record', {
  type: u32,
  version: u32,
  length: u64n,
  /** Of the payload. */
  crc: u32,
  pad: u32,
});

const MAGIC = new TextEncoder().encode('DomusVM\x1a');
const VERSION = 1;
const RECORD_ALIGN = 8;
/** Records of the largest machine there can be are far smaller. */
const RECORD_BYTES_MAX = 256 << 20;
const PAGES_MAX = 2 ** 20;

export const RecordType = {
  /** JSON text: what the toolstack has to know. */
  machine: 1,
  domain: 2,
  /** One for each vCPU, in order. */
  vcpu: 3,
  channels: 4,
  sharedInfo: 5,
  grants: 6,
  /** What lies where in guest-physical memory. */
  map: 7,
  /** CRC-32 of each page. */
  pages: 8,
  /** Frames that the hypervisor uses and the guest has no number for any more: page numbers. */
  loose: 9,
  /** What XENMEM_memory_map answers. */
  memoryMap: 10,
  /** See xenstore/snapshot.ts. */
  xenstore: 11,
  /** See image/guest-agent/agent-state.ts. */
  agent: 12,
  /** State of seeded chance, of a deterministic machine. */
  chance: 13,
} as const;
const VERSIONS: Readonly<Record<number, number>> = {
  ...Object.fromEntries(Object.values(RecordType).map(type => [type, 1])),
  // 2: disks and networks, without which a guest that has them cannot go on.
  [RecordType.machine]: 2,
};
const NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(RecordType).map(([name, type]) => [type, name]),
);

export interface SavedRecord {
  readonly type: number;
  readonly payload: Uint8Array;
}

const alignUp = (size: number, to: number): number => Math.ceil(size / to) * to;
/** Where the pages begin behind so many bytes of records. */
export const pagesAt = (recordBytes: number): number => alignUp(SavedHeader.size + recordBytes, PAGE_SIZE);

const REMEDY = 'take another copy of it, or save the machine again';
export const damaged = (what: string): DomusError =>
  new DomusError('E_SAVE_DAMAGED', `the saved machine is damaged: ${what}`, REMEDY);
export const truncated = (what: string): DomusError =>
  new DomusError('E_SAVE_TRUNCATED', `the saved machine is cut short: ${what}`, REMEDY);
const newer = (what: string): DomusError =>
  new DomusError(
    'E_SAVE_VERSION',
    `the saved machine was made by a later version of Domus: ${what}`,
    'restore it with that version',
  );

/** Header and records, up to where the pages begin. */
export function encodeRecords(records: readonly SavedRecord[], nrPages: number): Uint8Array {
  const recordBytes = records.reduce(
    (sum, { payload }) => sum + RecordHeader.size + alignUp(payload.length, RECORD_ALIGN),
    0,
  );
  const file = new Uint8Array(pagesAt(recordBytes));
  const view = new DataView(file.buffer);
  const header = SavedHeader.at(view, 0);
  header.magic.set(MAGIC);
  header.version = VERSION;
  header.nrRecords = records.length;
  header.recordBytes = recordBytes;
  header.nrPages = nrPages;
  header.crc = crc32(file.subarray(0, SavedHeader.offsets.crc));
  let at = SavedHeader.size;
  for (const { type, payload } of records) {
    const record = RecordHeader.at(view, at);
    record.type = type;
    record.version = VERSIONS[type] ?? 0;
    record.length = payload.length;
    record.crc = crc32(payload);
    file.set(payload, at + RecordHeader.size);
    at += RecordHeader.size + alignUp(payload.length, RECORD_ALIGN);
  }
  return file;
}

export interface SavedFacts {
  readonly recordBytes: number;
  readonly nrRecords: number;
  readonly nrPages: number;
}

/**
 * What the header says of a file of so many bytes.
 * @throws DomusError E_SAVE_FOREIGN, E_SAVE_VERSION, E_SAVE_TRUNCATED, E_SAVE_DAMAGED
 */
export function decodeHeader(file: Uint8Array, fileBytes: number): SavedFacts {
  if (file.length < SavedHeader.size || MAGIC.some((byte, i) => file[i] !== byte)) {
    throw new DomusError(
      'E_SAVE_FOREIGN',
      'this is no saved machine of Domus',
      'name a file that "domus save" has written',
    );
  }
  const { version, nrRecords, recordBytes, nrPages, crc } = SavedHeader.at(
    new DataView(file.buffer, file.byteOffset, file.byteLength),
    0,
  );
  // First the version: a later one may have another header.
  if (version > VERSION) throw newer(`the file has version ${version}`);
  if (version < 1 || crc32(file.subarray(0, SavedHeader.offsets.crc)) !== crc) throw damaged('its header');
  if (recordBytes > RECORD_BYTES_MAX || nrPages > PAGES_MAX) throw damaged('its header');
  const wholeBytes = pagesAt(recordBytes) + nrPages * PAGE_SIZE;
  if (fileBytes < wholeBytes) throw truncated(`${fileBytes} bytes of ${wholeBytes}`);
  if (fileBytes > wholeBytes) throw damaged(`${fileBytes - wholeBytes} bytes too many`);
  return { recordBytes, nrRecords, nrPages };
}

/** Records as `decodeRecords` gives them. */
export function recordsByType(records: readonly SavedRecord[]): Map<number, Uint8Array[]> {
  const found = new Map<number, Uint8Array[]>();
  for (const { type, payload } of records) {
    const others = found.get(type);
    if (others) others.push(payload);
    else found.set(type, [payload]);
  }
  return found;
}

/** Records by type, in their order. `bytes` is what lies between header and pages. */
export function decodeRecords(bytes: Uint8Array, nrRecords: number): Map<number, Uint8Array[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records = new Map<number, Uint8Array[]>();
  let at = 0;
  for (let i = 0; i < nrRecords; i++) {
    if (bytes.length - at < RecordHeader.size) throw damaged(`record ${i} of ${nrRecords} is missing`);
    const { type, version, length, crc } = RecordHeader.at(view, at);
    at += RecordHeader.size;
    if (length > bytes.length - at) throw damaged(`record ${i} reaches beyond its end`);
    const payload = bytes.subarray(at, at + length);
    const name = NAMES[type];
    if (crc32(payload) !== crc) throw damaged(`record ${i} (${name ?? type}) is not what was written`);
    const known = VERSIONS[type];
    if (known === undefined) throw newer(`it has records of type ${type}`);
    if (version > known) throw newer(`its record ${name} has version ${version}`);
    records.set(type, [...(records.get(type) ?? []), payload]);
    at += alignUp(length, RECORD_ALIGN);
  }
  if (at !== bytes.length) throw damaged('there is something between its records');
  return records;
}
