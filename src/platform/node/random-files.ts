/** Files that are read here and there while guest code waits, and written as a whole. */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  read,
  readSync,
  renameSync,
  rmSync,
  writeSync,
  writevSync,
} from 'node:fs';

/** An open file, known by its number in all threads of the process. */
export interface RandomFile {
  readonly fd: number;
  readonly sizeBytes: number;
}

export const openRandom = (path: string): RandomFile => {
  const fd = openSync(path, 'r');
  return { fd, sizeBytes: fstatSync(fd).size };
};
/**
 * Which file it is, of all that the host ever had: where it lies, and when it was made. Undefined where the file system does not note the latter:
 * another file may have its number later.
 */
export function identityOf({ fd }: RandomFile): string | undefined {
  const { dev, ino, birthtimeMs } = fstatSync(fd);
  return birthtimeMs > 0 ? `${dev}-${ino}-${birthtimeMs}` : undefined;
}

export const closeRandom = ({ fd }: RandomFile): void => closeSync(fd);

/** Fill `into` from `position` on; false when the file ends before. */
export function readFully(fd: number, into: Uint8Array, position: number): boolean {
  for (let done = 0; done < into.length; ) {
    const count = readSync(fd, into, done, into.length - done, position + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}

/**
 * The same by a thread of Node's pool: where memory is new, touching it takes longer than reading, and this thread has something else to do. False
 * as well when the file cannot be read.
 */
export async function readInPool(fd: number, into: Uint8Array, position: number): Promise<boolean> {
  for (let done = 0; done < into.length; ) {
    const count = await new Promise<number>(resolve =>
      read(fd, into, done, into.length - done, position + done, (error, length) =>
        resolve(error ? 0 : length),
      ),
    );
    if (count === 0) return false;
    done += count;
  }
  return true;
}

function writeAll(fd: number, pieces: readonly Uint8Array[]): void {
  // All of them at once; what is left when the disk is nearly full, one by one.
  let left = writevSync(fd, pieces);
  for (const piece of pieces) {
    let done = Math.min(left, piece.length);
    left -= done;
    while (done < piece.length) done += writeSync(fd, piece, done, piece.length - done);
  }
}

/**
 * A file that is there as a whole or not at all: `write` gets what appends to it. With `isDurable` it is on its medium when this
 * returns.
 */
export function writeWhole(
  path: string,
  write: (append: (pieces: readonly Uint8Array[]) => void) => void,
  isDurable: boolean,
): void {
  // Named so that a later process can tell whose it was (cache-folder.ts, sweep).
  const temporary = `${path}.tmp-${process.pid}-0`;
  const fd = openSync(temporary, 'w', 0o600);
  try {
    write(pieces => writeAll(fd, pieces));
    if (isDurable) fsyncSync(fd);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}
