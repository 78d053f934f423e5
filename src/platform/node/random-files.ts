/** Files that are read here and there while guest code waits, and written as a whole. */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
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

/** A multiple of all units that files are made of, and little enough to stay in the processor's caches. */
const PIECE_BYTES = 64 << 10;

/**
 * Show what a file has from `position` on, piece by piece, each in the same memory: for what is checked and then copied to where it is needed.
 * Reading it to there at once, and checking it then, takes longer where memory is new: it is touched twice, the first time by the system.
 * @returns false when the file ends before
 */
export function readPieces(
  fd: number,
  position: number,
  sizeBytes: number,
  show: (piece: Uint8Array, from: number) => void,
): boolean {
  const scratch = new Uint8Array(Math.min(PIECE_BYTES, sizeBytes));
  for (let from = 0; from < sizeBytes; from += PIECE_BYTES) {
    const piece = scratch.subarray(0, Math.min(PIECE_BYTES, sizeBytes - from));
    if (!readFully(fd, piece, position + from)) return false;
    show(piece, from);
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
