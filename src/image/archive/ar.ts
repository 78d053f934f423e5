/**
 * Reads `ar` archives in their common form, which is what a .deb is. Source: deb(5); the ar header as every Unix has it: 60
 * bytes of text, members on even offsets.
 */
import { corrupt, truncated } from '../compress/errors.ts';

const WHAT = 'archive';
const MAGIC = '!<arch>\n';
const HEADER_BYTES = 60;

export interface ArMember {
  readonly name: string;
  readonly data: Uint8Array;
}

const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** The members of an archive, in order. Data are views of `archive`. */
export function* readAr(archive: Uint8Array): Generator<ArMember> {
  if (archive.length < MAGIC.length) throw truncated(WHAT);
  if (text(archive.subarray(0, MAGIC.length)) !== MAGIC) throw corrupt(WHAT, 'it is no ar archive');
  let at = MAGIC.length;
  while (at < archive.length) {
    if (archive.length - at < HEADER_BYTES) throw truncated(WHAT);
    const header = text(archive.subarray(at, at + HEADER_BYTES));
    if (header.slice(58) !== '`\n') throw corrupt(WHAT, 'bad member header');
    const sizeText = header.slice(48, 58).trim();
    if (!/^\d+$/.test(sizeText)) throw corrupt(WHAT, 'bad member size');
    const size = Number(sizeText);
    at += HEADER_BYTES;
    if (size > archive.length - at) throw truncated(WHAT);
    yield { name: header.slice(0, 16).trim().replace(/\/$/, ''), data: archive.subarray(at, at + size) };
    at += size + (size & 1);
  }
}
