/** Finds out by its first bytes how data are packed, and unpacks them. */
import { DomusError } from '../../base/errors.ts';
import { gunzip, isInputShort, isOutputLimit, unzstd } from '../../platform/node/native-codecs.ts';
import { corrupt, tooLarge, truncated } from './errors.ts';
import { decodeLz4, LZ4_FRAME_MAGIC, LZ4_LEGACY_MAGIC } from './lz4.ts';
import { decodeLzmaAlone, looksLikeLzma } from './lzma-alone.ts';
import { type ByteSource, wholeSource } from './source.ts';
import { decodeXz, isXz, openXz } from './xz.ts';

export type Compression = 'none' | 'gzip' | 'zstd' | 'lz4' | 'xz' | 'lzma' | 'bzip2' | 'lzo';

const startsWith = (bytes: Uint8Array, ...prefix: number[]): boolean =>
  prefix.every((byte, i) => bytes[i] === byte);

/** How `bytes` are packed. `none` is also the answer for data that no format claims. */
export function detectCompression(bytes: Uint8Array): Compression {
  if (startsWith(bytes, 0x1f, 0x8b)) return 'gzip';
  if (startsWith(bytes, 0x28, 0xb5, 0x2f, 0xfd)) return 'zstd';
  if (isXz(bytes)) return 'xz';
  if (startsWith(bytes, 0x42, 0x5a, 0x68)) return 'bzip2';
  if (startsWith(bytes, 0x89, 0x4c, 0x5a, 0x4f)) return 'lzo';
  if (bytes.length >= 4) {
    const magic = (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24)) >>> 0;
    if (magic === LZ4_LEGACY_MAGIC || magic === LZ4_FRAME_MAGIC) return 'lz4';
  }
  return looksLikeLzma(bytes) ? 'lzma' : 'none';
}

export interface DecompressOptions {
  /** Never unpack to more than this. */
  readonly limitBytes: number;
  /** The size it should have, if known: saves growing the output. */
  readonly expectedBytes?: number;
}

/** Unpack `input` as `compression` says; all of it. */
export function decompress(
  input: Uint8Array,
  compression: Compression,
  options: DecompressOptions,
): Uint8Array {
  const { limitBytes } = options;
  // A stated size is a hint only as far as the limit, and as far as the best packers get.
  const expectedBytes =
    options.expectedBytes === undefined
      ? undefined
      : Math.min(options.expectedBytes, limitBytes, input.length * 64);
  switch (compression) {
    case 'none':
      return input;
    case 'gzip':
      return native('gzip data', limitBytes, () => gunzip(input, limitBytes));
    case 'zstd':
      return native('zstd data', limitBytes, () => unzstd(input, limitBytes));
    case 'lz4':
      return decodeLz4(input, limitBytes, expectedBytes);
    case 'xz':
      return decodeXz(input, limitBytes, expectedBytes);
    case 'lzma':
      return decodeLzmaAlone(input, limitBytes, options.expectedBytes);
    default:
      throw new DomusError(
        'E_IMAGE_UNSUPPORTED',
        `packed with ${compression}, which is not read here`,
        'Use an image packed with gzip, LZ4, XZ, LZMA or zstd.',
      );
  }
}

/** Unpack on demand where the format allows it (XZ), at once otherwise. */
export function openCompressed(input: Uint8Array, options: DecompressOptions): ByteSource {
  const compression = detectCompression(input);
  if (compression === 'xz') return openXz(input, options.limitBytes, options.expectedBytes);
  return wholeSource(decompress(input, compression, options));
}

function native(what: string, limitBytes: number, unpack: () => Uint8Array): Uint8Array {
  try {
    return unpack();
  } catch (error) {
    if (isOutputLimit(error)) throw tooLarge(what, limitBytes);
    if (isInputShort(error)) throw truncated(what);
    throw corrupt(what, error instanceof Error ? error.message : String(error));
  }
}
