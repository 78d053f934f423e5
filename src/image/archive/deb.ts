/**
 * Reads Debian packages: an ar archive of `debian-binary`, `control.tar.*` and `data.tar.*`. Source: deb(5).
 */
import { openCompressed } from '../compress/decompress.ts';
import { corrupt, unsupported } from '../compress/errors.ts';
import { readAr } from './ar.ts';
import { readTar, type TarEntry } from './tar.ts';

const WHAT = 'Debian package';
/** What a package may unpack to. A kernel with its modules is about 400 MiB. */
const PACKAGE_LIMIT_BYTES = 2 ** 31;

export type DebPart = 'control' | 'data';

/** The entries of a package's file system part, or of what is said about it, unpacked only as far as visited. */
export function* readDeb(file: Uint8Array, part: DebPart = 'data'): Generator<TarEntry> {
  let first = true;
  for (const { name, data } of readAr(file)) {
    if (first) {
      if (name !== 'debian-binary') throw corrupt(WHAT, 'it does not start with debian-binary');
      if (data[0] !== 0x32 || data[1] !== 0x2e) throw unsupported(WHAT, 'its format is not version 2');
      first = false;
    } else if (name === `${part}.tar` || name.startsWith(`${part}.tar.`)) {
      yield* readTar(openCompressed(data, { limitBytes: PACKAGE_LIMIT_BYTES }));
      return;
    }
  }
  throw corrupt(WHAT, `it has no ${part} part`);
}

/** The first file of a package whose name `matches`; undefined if there is none. */
export function fileFromDeb(
  file: Uint8Array,
  matches: (name: string) => boolean,
): { name: string; data: Uint8Array } | undefined {
  for (const entry of readDeb(file)) {
    if (entry.type === 'file' && matches(entry.name)) return { name: entry.name, data: entry.read() };
  }
  return undefined;
}
