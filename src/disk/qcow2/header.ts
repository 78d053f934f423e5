/**
 * The header of a qcow2 file, checked. All fields are big-endian.
 * Source: QEMU, docs/interop/qcow2.txt.
 */
import type { BlockFile } from '../../platform/block-files.ts';
import { corrupt, unsupported } from '../errors.ts';
import { SECTOR_BYTES } from '../layer.ts';

export interface Qcow2Header {
  readonly sizeBytes: number;
  readonly clusterBits: number;
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly compression: 'zlib' | 'zstd';
  /** From version 3 on an entry can say that its cluster holds zeros. */
  readonly hasZeroFlag: boolean;
}

const HEADER_BYTES = 112;
/** As QEMU has it. */
const L1_MAX_BYTES = 32 << 20;
const Incompatible = { dirty: 1n, corrupt: 2n, externalData: 4n, compression: 8n, extendedL2: 16n } as const;

export async function readHeader(file: BlockFile): Promise<Qcow2Header> {
  const { path } = file;
  const bytes = new Uint8Array(HEADER_BYTES);
  if ((await file.read(0, bytes)) < 72) throw corrupt(path, 'it is too short for a qcow2 image');
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0) !== 0x5146_49fb) throw corrupt(path, 'it is no qcow2 image');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) throw unsupported(path, `it is qcow of version ${version}`);
  if (view.getBigUint64(8) !== 0n) {
    throw unsupported(path, 'it builds on a backing file; "qemu-img convert" makes one file of both');
  }
  if (view.getUint32(32) !== 0) throw unsupported(path, 'it is encrypted');
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21)
    throw corrupt(path, `clusters of 2^${clusterBits} bytes cannot be`);
  const features = version === 3 ? view.getBigUint64(72) : 0n;
  if ((features & Incompatible.corrupt) !== 0n)
    throw corrupt(path, 'it is marked as corrupt by who wrote it');
  if ((features & Incompatible.externalData) !== 0n) throw unsupported(path, 'its data are in another file');
  if ((features & Incompatible.extendedL2) !== 0n) throw unsupported(path, 'it has subclusters');
  const known = Object.values(Incompatible).reduce((all, bit) => all | bit, 0n);
  if ((features & ~known) !== 0n) throw unsupported(path, 'it uses features that are not known here');
  const method = (features & Incompatible.compression) !== 0n ? view.getUint8(104) : 0;
  if (method > 1) throw unsupported(path, `it is compressed by method ${method}`);

  const size = view.getBigUint64(24);
  if (size > 2n ** 52n || size === 0n) throw corrupt(path, `its size of ${size} bytes cannot be`);
  const sizeBytes = Math.ceil(Number(size) / SECTOR_BYTES) * SECTOR_BYTES;
  const bytesAnEntry = 2 ** (2 * clusterBits - 3);
  const l1Entries = Math.ceil(sizeBytes / bytesAnEntry);
  if (l1Entries > view.getUint32(36)) throw corrupt(path, 'its L1 table is too short for its size');
  const l1Offset = view.getBigUint64(40);
  const fileBytes = await file.size();
  if (l1Entries * 8 > L1_MAX_BYTES || l1Offset > 2n ** 52n || Number(l1Offset) + l1Entries * 8 > fileBytes) {
    throw corrupt(path, 'its L1 table lies beyond the end of the file');
  }
  return {
    sizeBytes,
    clusterBits,
    l1Offset: Number(l1Offset),
    l1Entries,
    compression: method === 1 ? 'zstd' : 'zlib',
    hasZeroFlag: version === 3,
  };
}
