/**
 * Kernel files: finds the ELF image in what a user or a package calls "the kernel".
 *
 * A bzImage is a real-mode setup part and a protected-mode part that holds the packed ELF image; the setup header says
 * where. An ELF file (vmlinux) is taken as it is, also when the whole file is packed.
 * Source: Linux, Documentation/arch/x86/boot.rst (boot protocol 2.08 and later).
 */
import { DomusError } from '../base/errors.ts';
import { type Compression, decompress, detectCompression } from './compress/decompress.ts';

const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const VERSION = 0x206;
const KERNEL_VERSION = 0x20e;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HDRS = 0x5372_6448;
const SECTOR_BYTES = 512;

/** A kernel unpacks to some tens of MiB; with all debug information to some hundreds. */
export const KERNEL_LIMIT_BYTES = 1 << 30;

export interface KernelImage {
  /** The ELF image. */
  readonly elf: Uint8Array;
  readonly format: 'elf' | 'bzImage';
  readonly compression: Compression;
  /** What a bzImage says of its version, such as `6.1.0-56-cloud-amd64 (debian-kernel@…) #1 SMP …`; else empty. */
  readonly version: string;
}

const isElf = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

const notKernel = (detail: string): DomusError =>
  new DomusError(
    'E_IMAGE_NOT_KERNEL',
    `not a kernel: ${detail}`,
    'Give a bzImage (vmlinuz) or an ELF image (vmlinux) for x86-64.',
  );

const cutShort = (): DomusError =>
  new DomusError('E_IMAGE_TRUNCATED', 'the kernel file is cut short', 'Get the file again.');

/** The ELF image in a kernel file, whichever way it is packed. */
export function readKernel(file: Uint8Array, limitBytes = KERNEL_LIMIT_BYTES): KernelImage {
  if (file.length === 0) throw notKernel('the file is empty');
  if (isElf(file)) return { elf: file, format: 'elf', compression: 'none', version: '' };
  if (isBzImage(file)) return readBzImage(file, limitBytes);
  const compression = detectCompression(file);
  if (compression === 'none') throw notKernel('neither an ELF image nor a bzImage');
  const elf = decompress(file, compression, { limitBytes });
  if (!isElf(elf)) throw notKernel(`${compression} data without an ELF image in it`);
  return { elf, format: 'elf', compression, version: '' };
}

function isBzImage(file: Uint8Array): boolean {
  if (file.length < HEADER_MAGIC + 4) return false;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  return view.getUint16(BOOT_FLAG, true) === 0xaa55 && view.getUint32(HEADER_MAGIC, true) === HDRS;
}

function readBzImage(file: Uint8Array, limitBytes: number): KernelImage {
  if (file.length < PAYLOAD_LENGTH + 4) throw cutShort();
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const protocol = view.getUint16(VERSION, true);
  if (protocol < 0x208) {
    throw notKernel(`its boot protocol ${protocol >>> 8}.${protocol & 0xff} is older than 2.8`);
  }
  const setupBytes = ((view.getUint8(SETUP_SECTS) || 4) + 1) * SECTOR_BYTES;
  const start = setupBytes + view.getUint32(PAYLOAD_OFFSET, true);
  const length = view.getUint32(PAYLOAD_LENGTH, true);
  if (length < 8) throw notKernel('its header names no payload');
  if (start + length > file.length) throw cutShort();
  const payload = file.subarray(start, start + length);
  const version = versionText(file, view.getUint16(KERNEL_VERSION, true) + SECTOR_BYTES);
  if (isElf(payload)) return { elf: payload, format: 'bzImage', compression: 'none', version };

  const compression = detectCompression(payload);
  if (compression === 'none') {
    throw new DomusError(
      'E_IMAGE_UNSUPPORTED',
      'the kernel is packed in an unknown way',
      'Use a kernel packed with gzip, LZ4, XZ, LZMA or zstd.',
    );
  }
  // The build appends the unpacked size as a word. In gzip's case that word is part of the format.
  const expectedBytes = view.getUint32(start + length - 4, true);
  const packed = compression === 'gzip' ? payload : payload.subarray(0, length - 4);
  const elf = decompress(packed, compression, { limitBytes, expectedBytes });
  if (elf.length !== expectedBytes) {
    throw new DomusError(
      'E_IMAGE_CORRUPT',
      'the kernel does not unpack to its stated size',
      'Get the file again.',
    );
  }
  if (!isElf(elf)) throw notKernel('its payload is no ELF image');
  return { elf, format: 'bzImage', compression, version };
}

function versionText(file: Uint8Array, start: number): string {
  let end = start;
  while (end < file.length && end < start + 256 && file[end] !== 0) end++;
  return start === SECTOR_BYTES ? '' : String.fromCharCode(...file.subarray(start, end));
}
