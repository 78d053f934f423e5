/**
 * Reads qcow2 images, versions 2 and 3, with clusters packed by zlib or zstd. Images that build on another are refused.
 *
 * The L1 table is kept, of L2 tables and unpacked clusters a bounded number. Every offset is compared with the file before it is
 * used.
 * Source: QEMU, docs/interop/qcow2.txt.
 */

import type { BlockFile } from '../../platform/block-files.ts';
import { inflateRaw, unzstd } from '../../platform/node/native-codecs.ts';
import { corrupt } from '../errors.ts';
import { type Layer, NO_OWNER, SECTOR_BYTES } from '../layer.ts';
import { Lru } from '../lru.ts';
import { readHeader } from './header.ts';
import { zstdFrameLength } from './zstd-frame.ts';

const TABLES_BYTES = 16 << 20;
const UNPACKED_BYTES = 8 << 20;

/** Where a cluster's bytes are. */
type Cluster =
  | { readonly kind: 'zero' }
  | { readonly kind: 'plain'; readonly position: number }
  | { readonly kind: 'packed'; readonly position: number; readonly sizeBytes: number };

const ZERO: Cluster = { kind: 'zero' };

export async function openQcow2(file: BlockFile): Promise<Layer> {
  const header = await readHeader(file);
  const { path } = file;
  const { sizeBytes, clusterBits, compression, hasZeroFlag } = header;
  const clusterBytes = 2 ** clusterBits;
  const entriesATable = clusterBytes / 8;
  const l1 = new DataView(new ArrayBuffer(header.l1Entries * 8));
  await file.read(header.l1Offset, new Uint8Array(l1.buffer));
  const fileBytes = await file.size();
  const tables = new Lru<number, DataView>(TABLES_BYTES / clusterBytes);
  const unpacked = new Lru<number, Uint8Array>(UNPACKED_BYTES / clusterBytes);

  /** Bits 9 to 55 of an entry. */
  const offsetIn = (high: number, low: number): number =>
    (high & 0x00ff_ffff) * 2 ** 32 + ((low & ~0x1ff) >>> 0);

  async function tableAt(index: number): Promise<DataView | undefined> {
    const position = offsetIn(l1.getUint32(index * 8), l1.getUint32(index * 8 + 4));
    if (position === 0) return undefined;
    const known = tables.get(index);
    if (known) return known;
    const bytes = new Uint8Array(clusterBytes);
    if (position % clusterBytes !== 0 || (await file.read(position, bytes)) < clusterBytes) {
      throw corrupt(path, `L2 table ${index} lies beyond the end of the file`);
    }
    const table = new DataView(bytes.buffer);
    tables.set(index, table);
    return table;
  }

  async function find(cluster: number): Promise<Cluster> {
    const table = await tableAt(Math.floor(cluster / entriesATable));
    if (!table) return ZERO;
    const at = (cluster % entriesATable) * 8;
    const high = table.getUint32(at);
    const low = table.getUint32(at + 4);
    if ((high & 0x4000_0000) !== 0) return packedAt(high, low);
    if (hasZeroFlag && (low & 1) !== 0) return ZERO;
    const position = offsetIn(high, low);
    if (position === 0) return ZERO;
    if (position % clusterBytes !== 0 || position >= fileBytes) {
      throw corrupt(path, `cluster ${cluster} lies beyond the end of the file`);
    }
    return { kind: 'plain', position };
  }

  function packedAt(high: number, low: number): Cluster {
    const entry = ((BigInt(high) << 32n) | BigInt(low >>> 0)) & ((1n << 62n) - 1n);
    const offsetBits = BigInt(62 - (clusterBits - 8));
    const position = Number(entry & ((1n << offsetBits) - 1n));
    const sectors = Number(entry >> offsetBits) + 1;
    if (position >= fileBytes) throw corrupt(path, 'a packed cluster lies beyond the end of the file');
    return { kind: 'packed', position, sizeBytes: sectors * SECTOR_BYTES - (position % SECTOR_BYTES) };
  }

  async function unpack(cluster: number, position: number, packedBytes: number): Promise<Uint8Array> {
    const known = unpacked.get(cluster);
    if (known) return known;
    const buffer = new Uint8Array(Math.min(packedBytes, fileBytes - position));
    const packed = buffer.subarray(0, await file.read(position, buffer));
    let bytes: Uint8Array;
    try {
      bytes =
        compression === 'zstd'
          ? unzstd(packed.subarray(0, zstdFrameLength(packed)), clusterBytes)
          : inflateRaw(packed, clusterBytes);
    } catch {
      throw corrupt(path, `packed cluster ${cluster} cannot be unpacked`);
    }
    if (bytes.length < clusterBytes) throw corrupt(path, `packed cluster ${cluster} is too short`);
    unpacked.set(cluster, bytes);
    return bytes;
  }

  async function readCluster(cluster: number, inside: number, into: Uint8Array): Promise<void> {
    const found = await find(cluster);
    if (found.kind === 'zero') into.fill(0);
    else if (found.kind === 'plain') {
      const count = await file.read(found.position + inside, into);
      if (count < into.length) into.fill(0, count);
    } else {
      const bytes = await unpack(cluster, found.position, found.sizeBytes);
      into.set(bytes.subarray(inside, inside + into.length));
    }
  }

  async function read(offset: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const cluster = Math.floor((offset + done) / clusterBytes);
      const inside = offset + done - cluster * clusterBytes;
      const part = Math.min(into.length - done, clusterBytes - inside);
      await readCluster(cluster, inside, into.subarray(done, done + part));
      done += part;
    }
  }

  return {
    format: 'qcow2',
    path,
    sizeBytes,
    unitBytes: Math.max(clusterBytes, 1 << 20),
    async claim(firstSector, owners, id) {
      let left = 0;
      const sectorsACluster = clusterBytes / SECTOR_BYTES;
      for (let i = 0; i < owners.length; ) {
        const cluster = Math.floor((firstSector + i) / sectorsACluster);
        const end = Math.min(owners.length, (cluster + 1) * sectorsACluster - firstSector);
        const isZero = (await find(cluster)).kind === 'zero';
        for (; i < end; i++) {
          if (owners[i] !== NO_OWNER) continue;
          if (isZero) left += 1;
          else owners[i] = id;
        }
      }
      return left;
    },
    read,
    readHeld: read,
    close: () => file.close(),
  };
}
