/**
 * Codecs and checksums that the runtime brings itself: gzip, zstd, CRC-32, SHA-256.
 *
 * Errors of the runtime's library come out as they are; who calls knows what was being read.
 */
import { createHash } from 'node:crypto';
import { gunzipSync, inflateRawSync, crc32 as zlibCrc32, zstdDecompressSync } from 'node:zlib';

/** Node's Buffer looks like a Uint8Array but its `slice` shares memory: it must not get out of here. */
const plain = (buffer: Buffer): Uint8Array =>
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);

/** Unpack gzip data to at most `limitBytes`. Bytes after the last member are ignored, as gzip's own tool does. */
export const gunzip = (data: Uint8Array, limitBytes: number): Uint8Array =>
  plain(gunzipSync(data, { maxOutputLength: limitBytes }));

/** Unpack a bare deflate stream to at most `limitBytes`. What lies behind its end is ignored. */
export const inflateRaw = (data: Uint8Array, limitBytes: number): Uint8Array =>
  plain(inflateRawSync(data, { maxOutputLength: limitBytes }));

/** Unpack zstd data to at most `limitBytes`. */
export const unzstd = (data: Uint8Array, limitBytes: number): Uint8Array =>
  plain(zstdDecompressSync(data, { maxOutputLength: limitBytes }));

/** Whether an error of `gunzip` or `unzstd` means that `limitBytes` was exceeded. */
export const isOutputLimit = (error: unknown): boolean =>
  (error as { code?: string } | undefined)?.code === 'ERR_BUFFER_TOO_LARGE';

/** Whether an error of `gunzip` or `unzstd` means that the input ended too early. */
export const isInputShort = (error: unknown): boolean => {
  const code = (error as { code?: string } | undefined)?.code;
  return code === 'Z_BUF_ERROR' || code === 'ZSTD_error_srcSize_wrong';
};

export const crc32 = (data: Uint8Array): number => zlibCrc32(data);

export const sha256 = (data: Uint8Array): Uint8Array => plain(createHash('sha256').update(data).digest());

export const sha256Hex = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
