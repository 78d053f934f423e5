/** Pages of a saved machine in an open file, read one by one when the guest first looks at them. */
import { PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import { crc32 } from '../platform/node/checksum.ts';
import { readFully } from '../platform/node/random-files.ts';
import type { MachinePages } from './page-source.ts';

/** In a form that other threads can be given. */
export interface PageFile {
  readonly fd: number;
  /** Where page 1 begins. */
  readonly offset: number;
  /** CRC-32 of each page, in shared memory. */
  readonly checks: Uint32Array;
}

const REMEDY =
  'leave the files of saved machines alone while guests run from them; restore from another copy';

export function pageSource(memory: PageFile): MachinePages {
  const { fd, offset, checks } = memory;
  // Read and checked before it is shared with anybody.
  const copy = new Uint8Array(PAGE_SIZE);
  return {
    memory,
    read(page, into) {
      const index = page - 1;
      if (!readFully(fd, copy, offset + index * PAGE_SIZE))
        throw new DomusError('E_SAVE_TRUNCATED', `the saved machine has lost its page ${page}`, REMEDY);
      if (crc32(copy) !== checks[index])
        throw new DomusError('E_SAVE_DAMAGED', `page ${page} of the saved machine is damaged`, REMEDY);
      into.set(copy);
    },
  };
}
