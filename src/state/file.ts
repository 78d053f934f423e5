/** Saved machines as files: written as a whole, read record by record, their pages one by one and only when they are needed. */
import { PAGE_SIZE } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import type { SharedPages } from '../hypervisor/memory-image.ts';
import type { PageFile } from '../hypervisor/page-file.ts';
import type { PagesMemory } from '../hypervisor/page-source.ts';
import { crc32 } from '../platform/node/checksum.ts';
import {
  closeRandom,
  identityOf,
  openRandom,
  type RandomFile,
  readFully,
  writeWhole,
} from '../platform/node/random-files.ts';
import {
  damaged,
  decodeHeader,
  decodeRecords,
  encodeRecords,
  pagesAt,
  RecordType,
  SavedHeader,
  type SavedRecord,
  truncated,
} from './format.ts';
import type { Records } from './restore-domain.ts';
import { recordOf } from './restore-domain.ts';
import type { SavedPages } from './save-map.ts';

/** Pages that one write takes, and pieces of memory that they may lie in. */
const BATCH_PAGES = 256;

/** @throws DomusError E_SAVE_FILE */
export function writeSaved(
  path: string,
  records: readonly SavedRecord[],
  pages: SavedPages,
  isDurable: boolean,
): void {
  try {
    writeWhole(
      path,
      append => {
        append([encodeRecords(records, pages.count)]);
        for (let first = 0; first < pages.count; first += BATCH_PAGES)
          append(piecesOf(pages, first, Math.min(BATCH_PAGES, pages.count - first)));
      },
      isDurable,
    );
  } catch (cause) {
    throw fileError(`cannot write ${path}`, cause);
  }
}

/** Where so many pages lie, in as few pieces as can be: frames that lie one after the other are one. */
function piecesOf(pages: SavedPages, first: number, count: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let i = first; i < first + count; i++) {
    const page = pages.get(i);
    const last = pieces.at(-1);
    if (!pages.isInMemory(i)) pieces.push(page.slice());
    else if (last && last.buffer === page.buffer && last.byteOffset + last.length === page.byteOffset)
      pieces[pieces.length - 1] = new Uint8Array(page.buffer, last.byteOffset, last.length + PAGE_SIZE);
    else pieces.push(page);
  }
  return pieces;
}

const fileError = (what: string, cause: unknown): DomusError => {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new DomusError(
    'E_SAVE_FILE',
    `${what}: ${text}`,
    'check its name, its rights and the room on its disk',
    {
      cause,
    },
  );
};

/** A machine to go on from. Whoever retains it closes it, too; after the last time no page can be read any more. */
export interface SavedState extends SharedPages {
  readonly records: Records;
  readonly nrPages: number;
  readonly pages: PagesMemory;
}

export interface SavedFile extends SavedState {
  readonly pages: PageFile;
  readonly sizeBytes: number;
  /** What no other saved machine has; undefined where the file system does not know enough. */
  identity(): SavedIdentity | undefined;
}

export interface SavedIdentity {
  /** Which file it is (random-files.ts). Whoever has written it could not choose that. */
  readonly file: string;
  readonly sizeBytes: number;
  /** CRC-32 of header and records, which have the checks of all pages: another one should somebody write to the file in place. */
  readonly crc: number;
}

/**
 * Open a saved machine. Header and records are checked now, pages when they are read.
 * @throws DomusError E_SAVE_FILE, E_SAVE_FOREIGN, E_SAVE_VERSION, E_SAVE_TRUNCATED, E_SAVE_DAMAGED
 */
export function openSaved(path: string): SavedFile {
  let file: RandomFile;
  try {
    file = openRandom(path);
  } catch (cause) {
    throw fileError(`cannot read ${path}`, cause);
  }
  try {
    const { fd, sizeBytes } = file;
    const header = new Uint8Array(Math.min(SavedHeader.size, sizeBytes));
    readFully(fd, header, 0);
    const { recordBytes, nrRecords, nrPages } = decodeHeader(header, sizeBytes);
    const bytes = new Uint8Array(recordBytes);
    if (!readFully(fd, bytes, SavedHeader.size)) throw truncated('its records');
    const records = decodeRecords(bytes, nrRecords);
    const payload = recordOf(records, RecordType.pages, 'page checks');
    if (payload.length !== 4 * nrPages) throw damaged('the checks of its pages');
    // Shared, so that every thread that runs vCPUs has them.
    const checks = new Uint32Array(new SharedArrayBuffer(4 * nrPages));
    new Uint8Array(checks.buffer).set(payload);
    let nrUsers = 1;
    return {
      identity() {
        const which = identityOf(file);
        return which === undefined ? undefined : { file: which, sizeBytes, crc: crc32(bytes, crc32(header)) };
      },
      records,
      nrPages,
      sizeBytes,
      pages: { fd, offset: pagesAt(recordBytes), checks },
      retain() {
        nrUsers += 1;
      },
      close() {
        nrUsers -= 1;
        if (nrUsers === 0) closeRandom(file);
      },
    };
  } catch (error) {
    closeRandom(file);
    throw error;
  }
}
