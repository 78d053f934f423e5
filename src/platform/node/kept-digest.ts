/**
 * SHA-256 of texts that are asked for again and again. Loading `node:crypto` takes longer than restoring a machine, so a text is kept beside its
 * digest, and found by a checksum: what is found counts only if it is the same text.
 *
 *     FOLDER/<CRC-32 of the text, modulo the number of files>    digest, 64 hexadecimal digits | text
 */
import { join } from 'node:path';
import { crc32 } from './checksum.ts';
import { sha256Hex } from './native-codecs.ts';
import { readOwnFile, writeOwnFile } from './private-files.ts';

const FILES = 64;
const DIGEST_CHARS = 64;
const DIGEST = /^[0-9a-f]{64}/;

/** As hexadecimal digits. @param folder of the user's own, made when it is missing */
export function keptSha256Hex(folder: string, text: string): string {
  const bytes = new TextEncoder().encode(text);
  const path = join(folder, String(crc32(bytes) % FILES));
  const found = readOwnFile(path);
  const known = found && new TextDecoder().decode(found);
  if (known?.slice(DIGEST_CHARS) === text && DIGEST.test(known)) return known.slice(0, DIGEST_CHARS);
  const digest = sha256Hex(bytes);
  writeOwnFile(path, new TextEncoder().encode(digest + text));
  return digest;
}
