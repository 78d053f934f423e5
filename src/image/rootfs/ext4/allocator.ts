/** Hands out the blocks of a new file system, from its beginning to its end. */
import { DomusError } from '../../../base/errors.ts';
import { type Geometry, INODES_PER_GROUP, type Run } from './geometry.ts';
import { BLOCK_BYTES, EXTENT_LENGTH_MAX } from './structures.ts';

export class Allocator {
  readonly #geometry: Geometry;
  #next = 0;
  #nextReserved = 0;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
  }

  /** @throws DomusError E_IMAGE_TOO_LARGE when the disk is full */
  take(nrBlocks: number): Run[] {
    const runs: Run[] = [];
    for (let left = nrBlocks; left > 0; ) {
      const reserved = this.#geometry.reserved[this.#nextReserved];
      if (reserved && this.#next >= reserved.start) {
        this.#next = reserved.start + reserved.count;
        this.#nextReserved += 1;
        continue;
      }
      const end = reserved?.start ?? this.#geometry.nrBlocks;
      const count = Math.min(left, end - this.#next, EXTENT_LENGTH_MAX);
      if (count <= 0) throw full(this.#geometry);
      runs.push({ start: this.#next, count });
      this.#next += count;
      left -= count;
    }
    return runs;
  }

  takeOne(): number {
    return this.take(1)[0]!.start;
  }
}

const full = ({ nrBlocks }: Geometry): DomusError =>
  new DomusError(
    'E_IMAGE_TOO_LARGE',
    `the image does not fit on a disk of ${(nrBlocks * BLOCK_BYTES) / 2 ** 20} MiB`,
    'choose a larger disk with --size',
  );

export const tooManyFiles = ({ groups }: Geometry): DomusError =>
  new DomusError(
    'E_IMAGE_TOO_LARGE',
    `the image has more files than a disk of this size can hold, ${groups.length * INODES_PER_GROUP}`,
    'choose a larger disk with --size',
  );
