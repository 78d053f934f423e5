/** A host for disks in memory, and a seeded generator. */
import { SimulatedFiles } from '../platform/sim/block-files.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import type { Disk } from './disk.ts';
import type { DiskHost } from './host.ts';

export interface Chance {
  /** 0 to n - 1. */
  below(n: number): number;
  bytes(count: number): Uint8Array;
}

export function chance(seed: number): Chance {
  const entropy = createSeededEntropy(seed);
  const four = new Uint8Array(4);
  const view = new DataView(four.buffer);
  return {
    below(n) {
      entropy.fill(four);
      return Math.floor((view.getUint32(0) / 2 ** 32) * n);
    },
    bytes(count) {
      const bytes = new Uint8Array(count);
      entropy.fill(bytes);
      return bytes;
    },
  };
}

export function simulatedHost(seed = 1, files = new SimulatedFiles()): DiskHost & { files: SimulatedFiles } {
  return { files, clock: { wallNs: () => 1_767_225_600_000_000_000n }, entropy: createSeededEntropy(seed) };
}

/** The bytes as pieces that do not lie behind one another: the first sector, and the rest. */
function inPieces(bytes: Uint8Array): Uint8Array[] {
  return [bytes.slice(0, 512), bytes.slice(512)].filter(piece => piece.length > 0);
}

/** Read as a backend does: at once if that can be. Returns whether it could. */
export async function readAsBackend(disk: Disk, offset: number, into: Uint8Array): Promise<boolean> {
  const pieces = inPieces(into);
  const isDone = disk.readNow(offset, pieces, into.length);
  if (!isDone) await disk.read(offset, into);
  else for (const [i, piece] of pieces.entries()) into.set(piece, 512 * i);
  return isDone;
}

/** Write as a backend does: at once if that can be. Returns whether it could. */
export async function writeAsBackend(disk: Disk, offset: number, bytes: Uint8Array): Promise<boolean> {
  const isDone = disk.writeNow(offset, inPieces(bytes), bytes.length);
  if (!isDone) await disk.write(offset, bytes);
  return isDone;
}
