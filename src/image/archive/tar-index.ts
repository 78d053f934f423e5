/** Where the files of a tar archive lie, found by its headers alone. */
import type { BlockFile } from '../../platform/block-files.ts';
import { truncated } from '../compress/errors.ts';
import { BLOCK_BYTES, paddedSize, TarHeaders, WHAT } from './tar-headers.ts';

export interface TarPlace {
  readonly start: number;
  readonly size: number;
}

const ENTRIES_MAX = 100_000;

/** By their names; of two with one name the later. Links lead to the place of what they name. @throws DomusError E_IMAGE_* */
export async function indexTar(file: BlockFile): Promise<Map<string, TarPlace>> {
  const headers = new TarHeaders();
  const places = new Map<string, TarPlace>();
  const total = await file.size();
  const read = async (start: number, size: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(size);
    if ((await file.read(start, bytes)) < size) throw truncated(WHAT);
    return bytes;
  };
  for (let at = 0; at < total && places.size < ENTRIES_MAX; ) {
    const step = headers.next(await read(at, BLOCK_BYTES));
    const start = at + BLOCK_BYTES;
    if (step.kind === 'end') break;
    if (step.kind === 'extension') {
      headers.extension(await read(start, step.size));
      at = start + paddedSize(step.size);
      continue;
    }
    const { type, name, link, size } = step.header;
    if (type === 'file') places.set(name, { start, size });
    // Older archives have a layer once and symbolic links to it, relative to the link's folder.
    const target = type === 'hardlink' ? link : type === 'symlink' ? beside(name, link) : undefined;
    const place = target === undefined ? undefined : places.get(target);
    if (place) places.set(name, place);
    at = start + paddedSize(size);
    if (start + size > total) throw truncated(WHAT);
  }
  return places;
}

function beside(name: string, link: string): string {
  const parts = name.split('/').slice(0, -1);
  for (const part of link.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}
