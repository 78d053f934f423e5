/**
 * What disk images cost: random reads through one file and through a chain of thirty, writes with flushes, snapshots
 * and clones of a small disk and of the largest one. `node bench/disk.ts`
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createImage } from '../src/disk/create.ts';
import type { Disk } from '../src/disk/disk.ts';
import { openDisk } from '../src/disk/open.ts';
import { cloneDisk, snapshotDisk } from '../src/disk/snapshot.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';

const MIB = 2 ** 20;
const host = nodeDiskHost();
const folder = mkdtempSync(join(tmpdir(), 'domus-disk-'));

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;

/** A small generator: the pattern of offsets must be the same for all. */
function offsets(sizeBytes: number, blockBytes: number, count: number): number[] {
  let state = 12345;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * (sizeBytes / blockBytes)) * blockBytes;
  });
}

async function usPerRead(disk: Disk, at: readonly number[]): Promise<number> {
  const buffer = new Uint8Array(4096);
  const start = performance.now();
  for (const offset of at) await disk.read(offset, buffer);
  return ((performance.now() - start) * 1000) / at.length;
}

async function fill(disk: Disk, step = 1): Promise<void> {
  const buffer = new Uint8Array(MIB).fill(7);
  for (let at = 0; at + MIB <= disk.sizeBytes; at += MIB * step) await disk.write(at, buffer);
}

async function main(): Promise<void> {
  const sizeBytes = 256 * MIB;
  const path = (name: string) => join(folder, name);
  await createImage(host, path('one.vhd'), { format: 'vhd', sizeBytes });
  const one = await openDisk(host, path('one.vhd'));
  await fill(one);
  await createImage(host, path('chain.vhd'), { format: 'vhd', sizeBytes });
  const chain = await openDisk(host, path('chain.vhd'));
  await fill(chain);
  const at = offsets(sizeBytes, 4096, 20_000);
  for (let i = 1; i < 30; i++) {
    await snapshotDisk(host, chain, path(`chain-${i}.vhd`));
    const buffer = new Uint8Array(65_536).fill(i);
    for (const offset of offsets(sizeBytes, 65_536, 100 * i).slice(-100)) await chain.write(offset, buffer);
  }
  const single: number[] = [];
  const chained: number[] = [];
  for (let round = 0; round < 15; round++) {
    single.push(await usPerRead(one, at));
    chained.push(await usPerRead(chain, at));
  }
  const [a, b] = [Math.min(...single), Math.min(...chained)];
  console.log(`4 KiB random read, one file     ${a.toFixed(2)} us`);
  console.log(
    `4 KiB random read, chain of ${chain.layers.length}  ${b.toFixed(2)} us, ${(b / a).toFixed(2)} times`,
  );

  const buffer = new Uint8Array(4096).fill(1);
  let start = performance.now();
  for (const offset of at) await one.write(offset, buffer);
  console.log(
    `4 KiB random write              ${(((performance.now() - start) * 1000) / at.length).toFixed(2)} us`,
  );
  start = performance.now();
  for (let i = 0; i < 50; i++) {
    await one.write(at[i] as number, buffer);
    await one.flush();
  }
  console.log(`4 KiB write and flush           ${(((performance.now() - start) * 1000) / 50).toFixed(0)} us`);
  await one.close();
  await chain.close();

  for (const [name, size] of [
    ['1 GiB', 2 ** 30],
    ['2040 GiB', 2040 * 2 ** 30],
  ] as const) {
    const file = path(`${name.replace(' ', '')}.vhd`);
    await createImage(host, file, { format: 'vhd', sizeBytes: size });
    const disk = await openDisk(host, file);
    await disk.write(0, buffer);
    const snapshots: number[] = [];
    const clones: number[] = [];
    const written: number[] = [];
    for (let i = 0; i < 7; i++) {
      start = performance.now();
      await snapshotDisk(host, disk, `${file}.snapshot-${i}.vhd`);
      snapshots.push(performance.now() - start);
      start = performance.now();
      await cloneDisk(host, disk, `${file}.clone-${i}.vhd`);
      clones.push(performance.now() - start);
      await disk.write(i * MIB, buffer);
      start = performance.now();
      await cloneDisk(host, disk, `${file}.written-${i}.vhd`);
      written.push(performance.now() - start);
      await disk.write(i * MIB, buffer);
    }
    const times = Object.entries({ snapshot: snapshots, clone: clones, 'clone after writes': written });
    const text = times.map(
      ([what, ms]) => `${what} ${median(ms).toFixed(1)} ms (${Math.min(...ms).toFixed(1)} at best)`,
    );
    console.log(`${name}: ${text.join(', ')}`);
    await disk.close();
  }
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true });
}
