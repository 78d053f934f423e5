/**
 * The log of a VHDX file that was not closed: changes that were on their way. They are not written, because the image is only
 * read, but lie over the file from then on.
 *
 * The log is a ring of entries; the active sequence is the one with the highest number that is unbroken from its tail to its head.
 * Source: MS-VHDX, 2.3.
 */
import type { BlockFile } from '../../platform/block-files.ts';
import { corrupt } from '../errors.ts';
import { crc32c } from './crc32c.ts';
import { LOG_SECTOR_BYTES, LogDescriptor, LogEntry, signatureOf } from './layout.ts';

/** Reads the file as it would be after the log. */
export type ReadFile = (position: number, into: Uint8Array) => Promise<number>;

const LOG_MAX_BYTES = 16 << 20;
/** Entries may claim to lie over one another: looking at all of them is bounded. */
const CHECKED_MAX = 4;

interface Entry {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly tail: number;
  readonly sequence: bigint;
  readonly nrDescriptors: number;
}

export interface LogPlace {
  readonly guid: Uint8Array;
  readonly offset: number;
  readonly length: number;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The entry at `offset` of the log, which is a ring; undefined if there is none that is whole. */
function entryAt(
  log: Uint8Array,
  offset: number,
  guid: Uint8Array,
  budget: { bytes: number },
): Entry | undefined {
  const head = LogEntry.at(viewOf(log), offset);
  const { length, nrDescriptors } = head;
  if (signatureOf(head.signature) !== 'loge' || length === 0 || length % LOG_SECTOR_BYTES !== 0)
    return undefined;
  if (length > log.length || LogEntry.size + nrDescriptors * LogDescriptor.size > length) return undefined;
  if (head.logGuid.some((byte, i) => byte !== guid[i])) return undefined;
  budget.bytes -= length;
  if (budget.bytes < 0) return undefined;
  const bytes = new Uint8Array(length);
  const first = Math.min(length, log.length - offset);
  bytes.set(log.subarray(offset, offset + first));
  bytes.set(log.subarray(0, length - first), first);
  if (crc32c(bytes, LogEntry.offsets.checksum) !== head.checksum) return undefined;
  return { offset, bytes, length, tail: head.tail, sequence: head.sequence, nrDescriptors };
}

/** Entries that are to be replayed, the oldest first. */
function activeSequence(log: Uint8Array, guid: Uint8Array): Entry[] {
  const budget = { bytes: CHECKED_MAX * log.length };
  const entries = new Map<number, Entry>();
  for (let offset = 0; offset < log.length; offset += LOG_SECTOR_BYTES) {
    const entry = entryAt(log, offset, guid, budget);
    if (entry) entries.set(offset, entry);
  }
  const heads = [...entries.values()].sort((a, b) => (a.sequence < b.sequence ? 1 : -1));
  for (const head of heads) {
    const sequence: Entry[] = [];
    for (let at = head.tail; sequence.length <= entries.size; ) {
      const entry = entries.get(at);
      const before = sequence.at(-1);
      if (!entry || (before && entry.sequence !== before.sequence + 1n)) break;
      sequence.push(entry);
      if (entry === head) return sequence;
      at = (at + entry.length) % log.length;
    }
  }
  return [];
}

class Overlay {
  /** Pages of 4 KiB by their number. */
  readonly pages = new Map<number, Uint8Array>();
  readonly #zeros: { start: number; end: number }[] = [];

  zero(start: number, length: number): void {
    this.#zeros.push({ start, end: start + length });
    for (const page of this.pages.keys()) {
      const at = page * LOG_SECTOR_BYTES;
      if (at >= start && at < start + length) this.pages.delete(page);
    }
  }

  apply(position: number, into: Uint8Array): void {
    const end = position + into.length;
    for (const zeros of this.#zeros) {
      const from = Math.max(position, zeros.start);
      const to = Math.min(end, zeros.end);
      if (from < to) into.fill(0, from - position, to - position);
    }
    if (this.pages.size === 0) return;
    for (let page = Math.floor(position / LOG_SECTOR_BYTES); page * LOG_SECTOR_BYTES < end; page++) {
      const bytes = this.pages.get(page);
      if (!bytes) continue;
      const at = page * LOG_SECTOR_BYTES;
      const from = Math.max(position, at);
      const to = Math.min(end, at + LOG_SECTOR_BYTES);
      into.set(bytes.subarray(from - at, to - at), from - position);
    }
  }
}

function replay(path: string, entry: Entry, overlay: Overlay): void {
  const view = viewOf(entry.bytes);
  const headBytes = LogEntry.size + entry.nrDescriptors * LogDescriptor.size;
  let data = Math.ceil(headBytes / LOG_SECTOR_BYTES) * LOG_SECTOR_BYTES;
  for (let i = 0; i < entry.nrDescriptors; i++) {
    const descriptor = LogDescriptor.at(view, LogEntry.size + i * LogDescriptor.size);
    const fileOffset = Number(descriptor.fileOffset);
    if (!Number.isSafeInteger(fileOffset) || fileOffset % LOG_SECTOR_BYTES !== 0)
      throw corrupt(path, 'its log is damaged');
    if (signatureOf(descriptor.signature) === 'zero') {
      const length = Number(descriptor.leadingOrLength);
      if (!Number.isSafeInteger(fileOffset + length)) throw corrupt(path, 'its log is damaged');
      overlay.zero(fileOffset, length);
      continue;
    }
    const sector = entry.bytes.subarray(data, data + LOG_SECTOR_BYTES);
    if (sector.length < LOG_SECTOR_BYTES || signatureOf(sector.subarray(0, 4)) !== 'data') {
      throw corrupt(path, 'its log is damaged');
    }
    data += LOG_SECTOR_BYTES;
    // The log has its own marks where the first eight and the last four bytes belong.
    const page = sector.slice();
    const out = viewOf(page);
    out.setBigUint64(0, descriptor.leadingOrLength, true);
    out.setUint32(LOG_SECTOR_BYTES - 4, descriptor.trailing, true);
    overlay.pages.set(fileOffset / LOG_SECTOR_BYTES, page);
  }
}

/** @throws DomusError E_DISK_CORRUPT */
export async function readThroughLog(file: BlockFile, place: LogPlace | undefined): Promise<ReadFile> {
  const plain: ReadFile = async (position, into) => file.read(position, into);
  if (!place) return plain;
  const { offset, length, guid } = place;
  if (length > LOG_MAX_BYTES || length % LOG_SECTOR_BYTES !== 0 || offset + length > (await file.size())) {
    throw corrupt(file.path, 'its log lies beyond the end of the file');
  }
  const log = new Uint8Array(length);
  await file.read(offset, log);
  const entries = activeSequence(log, guid);
  if (entries.length === 0) throw corrupt(file.path, 'it was not closed, and its log cannot be read');
  const overlay = new Overlay();
  for (const entry of entries) replay(file.path, entry, overlay);
  return async (position, into) => {
    const count = await file.read(position, into);
    into.fill(0, count);
    overlay.apply(position, into);
    return into.length;
  };
}
