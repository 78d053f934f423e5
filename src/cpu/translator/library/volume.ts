/**
 * A volume of the library: a module of regions, with their images, as one file.
 *
 *     VolumeHeader | keys, u32 each | images | module | V8's code of the module, if any
 *     -------------- catalogue -------------- | ---------------- code -----------------
 *
 * The catalogue says what fits where, and is read long before the code, which is a hundred times its size and often not wanted.
 * Each has a digest of its own. Who can write the file can run code as the user who reads it, as with every program in the
 * user's folders; the digests are against damage.
 */
import { bytes, struct, u32 } from '../../../base/struct.ts';
import { sha256 } from '../../../platform/node/native-codecs.ts';
import { RECORD_BYTES } from '../../decode/record.ts';
import { ByteWriter } from '../../wasm/bytes.ts';
import { type Instruction, readInstruction, writeInstruction } from '../instruction.ts';
import { PAGE } from '../region.ts';
import type { RegionImage } from '../region-image.ts';

/** "DOMR", and the version of what follows. */
const MAGIC = 0x524d4f44;
const FORMAT = 3;
const DIGEST_BYTES = 32;

export const VolumeHeader = struct('volume_header', {
  magic: u32,
  format: u32,
  nrRegions: u32,
  imageBytes: u32,
  moduleBytes: u32,
  nativeBytes: u32,
  nrOptimised: u32,
  pad: u32,
  /** Of keys and images. */
  catalogueDigest: bytes(DIGEST_BYTES),
  /** Of module and V8's code. */
  codeDigest: bytes(DIGEST_BYTES),
});

/** A region as a volume has it. */
export interface StoredRegion {
  /** Of the place where it was found. */
  readonly key: number;
  /** Export of the module. */
  readonly number: number;
  readonly image: RegionImage;
  /** The bytes of its runs. */
  readonly code: Uint8Array;
}
/** Of a volume: the module, and what V8 made of it. */
export interface VolumeCode {
  readonly module: Uint8Array;
  /** Of use for the same V8 on the same kind of processor only, as V8 finds out. */
  readonly native: Uint8Array | undefined;
  /** Functions that V8's second compiler had got to. */
  readonly nrOptimised: number;
}
export interface VolumeParts extends VolumeCode {
  readonly regions: readonly StoredRegion[];
}

/** Enough of a file for its header and as many keys as a volume can have; most catalogues are no longer. */
export const HEAD_BYTES = 4096;
const REGIONS_MAX = (HEAD_BYTES - VolumeHeader.size) / 4;

export function writeVolume({ regions, module, native, nrOptimised }: VolumeParts): Uint8Array {
  const images = new ByteWriter();
  for (const region of regions) writeRegion(images, region);
  const size = VolumeHeader.size + regions.length * 4 + images.length + module.length;
  const out = new Uint8Array(size + (native?.length ?? 0));
  const view = new DataView(out.buffer);
  const header = VolumeHeader.at(view, 0);
  header.magic = MAGIC;
  header.format = FORMAT;
  header.nrRegions = regions.length;
  header.imageBytes = images.length;
  header.moduleBytes = module.length;
  header.nativeBytes = native?.length ?? 0;
  header.nrOptimised = nrOptimised;
  let at = VolumeHeader.size;
  for (const { key } of regions) {
    view.setUint32(at, key, true);
    at += 4;
  }
  for (const part of [images.view(), module, native ?? new Uint8Array()]) {
    out.set(part, at);
    at += part.length;
  }
  const codeAt = catalogueBytesOf(header);
  out.set(sha256(out.subarray(VolumeHeader.size, codeAt)), VolumeHeader.offsets.catalogueDigest);
  out.set(sha256(out.subarray(codeAt)), VolumeHeader.offsets.codeDigest);
  return out;
}

type Header = ReturnType<typeof VolumeHeader.at>;
const catalogueBytesOf = ({ nrRegions, imageBytes }: Pick<Header, 'nrRegions' | 'imageBytes'>): number =>
  VolumeHeader.size + nrRegions * 4 + imageBytes;
const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
/** Undefined when these bytes do not begin as a volume does. */
function headerOf(head: Uint8Array): Header | undefined {
  if (head.length < VolumeHeader.size) return undefined;
  const header = VolumeHeader.at(viewOf(head), 0);
  const { magic, format, nrRegions } = header;
  const isOurs = magic === MAGIC && format === FORMAT && nrRegions > 0 && nrRegions <= REGIONS_MAX;
  return isOurs ? header : undefined;
}
function isUndamaged(part: Uint8Array, file: Uint8Array, digestAt: number): boolean {
  const digest = file.subarray(digestAt, digestAt + DIGEST_BYTES);
  return sha256(part).every((byte, i) => byte === digest[i]);
}

/** The keys of a volume by the first `HEAD_BYTES` of its file; none if it is no volume. */
export function keysOf(head: Uint8Array): number[] {
  const header = headerOf(head);
  if (!header || head.length < VolumeHeader.size + header.nrRegions * 4) return [];
  const view = viewOf(head);
  return Array.from({ length: header.nrRegions }, (_, i) => view.getUint32(VolumeHeader.size + i * 4, true));
}

/** Bytes at a file's beginning that are its header and its catalogue, by as many of them as the header has; 0 if it is no volume. */
export function catalogueBytes(head: Uint8Array): number {
  const header = headerOf(head);
  return header ? catalogueBytesOf(header) : 0;
}

/**
 * @param head the file's beginning, `catalogueBytes` at least
 * @returns undefined when it is damaged, or none of ours
 */
export function readCatalogue(head: Uint8Array): StoredRegion[] | undefined {
  const keys = keysOf(head);
  const end = catalogueBytes(head);
  if (keys.length === 0 || head.length < end) return undefined;
  const catalogue = head.subarray(VolumeHeader.size, end);
  if (!isUndamaged(catalogue, head, VolumeHeader.offsets.catalogueDigest)) return undefined;
  const images = new Reader(catalogue.subarray(keys.length * 4));
  try {
    return keys.map(key => readRegion(images, key));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Undefined when the file is damaged, or none of ours. */
export function readCode(file: Uint8Array): VolumeCode | undefined {
  const header = headerOf(file);
  if (!header) return undefined;
  const { moduleBytes, nativeBytes, nrOptimised } = header;
  const code = file.subarray(catalogueBytesOf(header));
  if (code.length !== moduleBytes + nativeBytes) return undefined;
  if (!isUndamaged(code, file, VolumeHeader.offsets.codeDigest)) return undefined;
  const native = nativeBytes > 0 ? code.subarray(moduleBytes) : undefined;
  return { module: code.subarray(0, moduleBytes), native, nrOptimised };
}

function writeRegion(out: ByteWriter, { number, image, code }: StoredRegion): void {
  out.unsigned(number);
  out.unsigned(image.mode);
  out.unsigned(image.grows ? 1 : 0);
  out.unsigned(image.pages.length);
  for (const page of image.pages) out.signed(page);
  out.unsigned(image.entries.length);
  for (const { number, place, instruction } of image.entries) {
    out.unsigned(number);
    out.signed(place.page);
    out.unsigned(place.offset);
    out.bytes(recordOf(instruction));
  }
  out.unsigned(image.called.length);
  for (const instruction of image.called) out.bytes(recordOf(instruction));
  out.unsigned(image.counted.length);
  for (const { page, offset } of image.counted) {
    for (const part of [page, offset]) out.unsigned(part);
  }
  out.unsigned(image.runs.length);
  for (const { page, from, to } of image.runs) {
    for (const part of [page, from, to]) out.unsigned(part);
  }
  out.unsigned(code.length);
  out.bytes(code);
}
function readRegion(from: Reader, key: number): StoredRegion {
  const list = <T>(read: () => T): T[] => Array.from({ length: from.unsigned() }, read);
  const number = from.unsigned();
  const mode = from.unsigned();
  const grows = from.unsigned() === 1;
  const pages = list(() => from.signed());
  const entries = list(() => ({
    number: from.unsigned(),
    place: { page: from.signed(), offset: from.unsigned() },
    instruction: instructionOf(from.bytes(RECORD_BYTES)),
  }));
  const called = list(() => instructionOf(from.bytes(RECORD_BYTES)));
  const counted = list(() => ({ page: from.unsigned(), offset: from.unsigned() }));
  const runs = list(() => ({ page: from.unsigned(), from: from.unsigned(), to: from.unsigned() }));
  const code = from.bytes(from.unsigned()).slice();
  const isSound =
    entries.length > 0 &&
    entries.every(({ place }) => pages.includes(place.page) && place.offset < PAGE) &&
    counted.every(({ page, offset }) => page < pages.length && offset < PAGE) &&
    runs.every(({ page, from, to }) => page < pages.length && from < to && to <= PAGE) &&
    runs.reduce((sum, { from, to }) => sum + to - from, 0) === code.length;
  if (!isSound) throw new RangeError('parts that do not fit together');
  return { key, number, image: { mode, pages, entries, called, counted, runs, grows }, code };
}

const scratch = new Uint8Array(RECORD_BYTES);
const scratchMemory = {
  u8: scratch,
  u16: new Uint16Array(scratch.buffer),
  view: new DataView(scratch.buffer),
};
function recordOf(instruction: Instruction): Uint8Array {
  writeInstruction(scratchMemory.view, 0, instruction);
  return scratch;
}
function instructionOf(record: Uint8Array): Instruction {
  scratch.set(record);
  const instruction = readInstruction(scratchMemory, 0);
  if (!instruction) throw new RangeError('no such instruction');
  return instruction;
}

/** @throws RangeError at the end */
class Reader {
  readonly #from: Uint8Array;
  #at = 0;

  constructor(from: Uint8Array) {
    this.#from = from;
  }
  #byte(): number {
    const byte = this.#from[this.#at++];
    if (byte === undefined) throw new RangeError('it ends too early');
    return byte;
  }
  unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      if (scale > 2 ** 42) throw new RangeError('too large a number');
    }
  }
  signed(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) return byte & 64 ? value - scale * 128 : value;
      if (scale > 2 ** 42) throw new RangeError('too large a number');
    }
  }
  bytes(length: number): Uint8Array {
    if (this.#at + length > this.#from.length) throw new RangeError('it ends too early');
    this.#at += length;
    return this.#from.subarray(this.#at - length, this.#at);
  }
}
