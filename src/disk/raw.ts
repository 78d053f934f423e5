/**
 * Raw images: the disk's bytes as they are, of any size. Holes of the file are the host's business: what has never been
 * written takes no room there.
 */
import type { BlockFile } from '../platform/block-files.ts';
import { corrupt } from './errors.ts';
import { NO_OWNER, SECTOR_BYTES, type WritableLayer } from './layer.ts';

export function rawLayer(file: BlockFile, fileBytes: number): WritableLayer {
  let sizeBytes = Math.ceil(fileBytes / SECTOR_BYTES) * SECTOR_BYTES;
  /** What the file has by our account: the rest of its last sector is zero, and nothing else may be missing. */
  let endBytes = fileBytes;
  const finish = (offset: number, into: Uint8Array, count: number): void => {
    if (count < Math.min(into.length, endBytes - offset)) {
      throw corrupt(file.path, `it has become shorter: ${offset + count} of ${endBytes} bytes are left`);
    }
    if (count < into.length) into.fill(0, count);
  };
  const read = (offset: number, into: Uint8Array): void | Promise<void> => {
    const count = file.read(offset, into);
    if (typeof count !== 'number') return count.then(known => finish(offset, into, known));
    finish(offset, into, count);
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
    holdsNow: () => true,
    readHeldNow: (offset, pieces, sizeBytes) => file.readNow(offset, pieces, sizeBytes),
    writeNow: (offset, pieces, sizeBytes) =>
      offset + sizeBytes <= endBytes && file.writeNow(offset, pieces, sizeBytes),
    write: (offset, from) => {
      const written = file.write(offset, from);
      const grow = () => {
        endBytes = Math.max(endBytes, offset + from.length);
      };
      if (written instanceof Promise) return written.then(grow);
      grow();
    },
    discard: () => {},
    flush: () => file.flush(),
    async resize(size) {
      await file.resize(size);
      await file.flush();
      sizeBytes = size;
      endBytes = size;
    },
    close: () => file.close(),
  };
}
