/**
 * Raw images: the disk's bytes as they are, of any size. Holes of the file are the host's business: what has never been
 * written takes no room there.
 */
import type { BlockFile } from '../platform/block-files.ts';
import { NO_OWNER, SECTOR_BYTES, type WritableLayer } from './layer.ts';

export function rawLayer(file: BlockFile, fileBytes: number): WritableLayer {
  let sizeBytes = Math.ceil(fileBytes / SECTOR_BYTES) * SECTOR_BYTES;
  const read = (offset: number, into: Uint8Array): void | Promise<void> => {
    const count = file.read(offset, into);
    if (typeof count !== 'number')
      return count.then(known => void (known < into.length && into.fill(0, known)));
    if (count < into.length) into.fill(0, count);
  };
  return {
    format: 'raw',
    path: file.path,
    unitBytes: 2 << 20,
    get sizeBytes() {
      return sizeBytes;
    },
    claim(_firstSector, owners, id) {
      for (let i = 0; i < owners.length; i++) if (owners[i] === NO_OWNER) owners[i] = id;
      return 0;
    },
    read,
    readHeld: read,
    write: (offset, from) => file.write(offset, from),
    discard: () => {},
    flush: () => file.flush(),
    async resize(size) {
      await file.resize(size);
      await file.flush();
      sizeBytes = size;
    },
    close: () => file.close(),
  };
}
