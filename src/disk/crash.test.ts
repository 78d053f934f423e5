/**
 * The power goes at every write: what was flushed is there, every sector holds something that was written to it, and
 * the chain opens.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PowerCut } from '../platform/sim/block-files.ts';
import { coalesce } from './coalesce.ts';
import { createImage } from './create.ts';
import type { Disk } from './disk.ts';
import { openDisk } from './open.ts';
import { resizeDisk } from './resize.ts';
import { cloneDisk, snapshotDisk } from './snapshot.ts';
import { chance, simulatedHost, writeAsBackend } from './testing.fixture.ts';

const SIZE = 256 * 1024;
const BLOCK = 16 * 1024;
const SECTORS = SIZE / 512;

/** Each sector as a number: what was written last, and what may be there after a cut. */
class Model {
  readonly durable = new Uint32Array(SECTORS);
  readonly now = new Uint32Array(SECTORS);
  readonly possible = Array.from({ length: SECTORS }, () => new Set([0]));

  write(first: number, count: number, value: number): void {
    for (let i = first; i < first + count; i++) {
      this.now[i] = value;
      this.possible[i]?.add(value);
    }
  }
  flushed(state: Uint32Array): void {
    for (let i = 0; i < SECTORS; i++) {
      this.possible[i] = new Set([state[i] as number, this.now[i] as number]);
    }
  }
}

function sectorsOf(first: number, count: number, value: number): Uint8Array {
  const bytes = new Uint8Array(count * 512);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    for (let at = 0; at < 512; at += 8) {
      if (value === 0) continue;
      view.setUint32(i * 512 + at, value);
      view.setUint32(i * 512 + at + 4, first + i);
    }
  }
  return bytes;
}

async function readValues(disk: Disk): Promise<number[]> {
  const bytes = new Uint8Array(SIZE);
  await disk.read(0, bytes);
  const view = new DataView(bytes.buffer);
  return Array.from({ length: SECTORS }, (_, sector) => {
    const value = view.getUint32(sector * 512);
    assert.deepEqual(
      bytes.subarray(sector * 512, (sector + 1) * 512),
      sectorsOf(sector, 1, value),
      `sector ${sector} is torn`,
    );
    return value;
  });
}

async function workload(seed: number, failAt: number | undefined, steps: number) {
  const { below } = chance(seed);
  const host = simulatedHost(seed);
  const { files } = host;
  const model = new Model();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  let value = 0;
  try {
    files.failAt = failAt === undefined ? undefined : files.nrWrites + failAt;
    let disk = await openDisk(host, '/d/disk.vhd');
    // Odd seeds write, discard and flush in a single file.
    const hasSnapshots = seed % 2 === 0;
    for (let step = 0; step < steps; step++) {
      let what = below(20);
      if (!hasSnapshots && (what === 15 || what === 16)) what = 18;
      if (what < 12) {
        const count = 1 + below(below(4) === 0 ? 40 : 6);
        const first = below(SECTORS - count);
        const filled = below(8) === 0 ? 0 : ++value;
        // It may reach the file before the call that is cut returns.
        model.write(first, count, filled);
        const bytes = sectorsOf(first, count, filled);
        await (step % 2 === 0 ? disk.write(first * 512, bytes) : writeAsBackend(disk, first * 512, bytes));
      } else if (what < 15) {
        const before = model.now.slice();
        await disk.flush();
        model.flushed(before);
      } else if (what === 15) {
        await snapshotDisk(host, disk, `/d/snap-${step}.vhd`);
        model.flushed(model.now.slice());
      } else if (what === 16 && step % 3 === 0) {
        await cloneDisk(host, disk, `/d/clone-${step}.vhd`);
        model.flushed(model.now.slice());
      } else if (what === 17) {
        const before = model.now.slice();
        await disk.close();
        model.flushed(before);
        disk = await openDisk(host, '/d/disk.vhd');
      } else if (what === 18 && disk.layers.length === 1) {
        const block = below(SIZE / BLOCK);
        for (let i = 0; i < BLOCK / 512; i++) model.possible[(block * BLOCK) / 512 + i]?.add(0);
        await disk.discard(block * BLOCK, BLOCK);
        for (let i = 0; i < BLOCK / 512; i++) model.now[(block * BLOCK) / 512 + i] = 0;
      } else if (what === 18 && disk.layers.length > 2) {
        await coalesce(host, disk, 1 + below(disk.layers.length - 2)).catch(error => {
          if ((error as { code?: string }).code !== 'E_DISK_SHARED') throw error;
        });
      } else if (what === 19 && step % 4 === 0) {
        // Room for more than the BAT has; the test looks at the old part only.
        const before = model.now.slice();
        await resizeDisk(disk, disk.sizeBytes + 140 * BLOCK);
        model.flushed(before);
      } else {
        const got = await readValues(disk);
        assert.deepEqual(got, [...model.now], `step ${step}`);
      }
    }
    await disk.close();
    model.flushed(model.now.slice());
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
  }
  return { files, model };
}

async function verify(seed: number, failAt: number, cutSeed: number): Promise<void> {
  const { files, model } = await workload(seed, failAt, 60);
  const { below } = chance(cutSeed);
  const after = files.cut(below);
  const host = simulatedHost(seed + 1, after);
  const disk = await openDisk(host, '/d/disk.vhd');
  const unfinished = after.names().filter(name => name.includes('.tmp-'));
  assert.deepEqual(unfinished, [], `seed ${seed}, cut at ${failAt}`);
  const got = await readValues(disk);
  for (const [sector, value] of got.entries()) {
    assert.ok(
      model.possible[sector]?.has(value),
      `seed ${seed}, cut at ${failAt}/${cutSeed}: sector ${sector} is ${value}, not of ${[...(model.possible[sector] ?? [])]}`,
    );
  }
  const kept = after.names().filter(name => /\/(snap-|disk-.*\.base)/.test(name));
  const contentsOf = async (name: string) => {
    const snapshot = await openDisk(host, name, { isReadOnly: true });
    const values = await readValues(snapshot);
    await snapshot.close();
    return values;
  };
  const before = await Promise.all(kept.map(contentsOf));
  // And it can be written on: new blocks show nothing of what was lost, and snapshots nothing of what is new.
  for (let sector = 5; sector < SECTORS; sector += BLOCK / 512) {
    await disk.write(sector * 512, sectorsOf(sector, 1, 99_999));
    got[sector] = 99_999;
  }
  assert.deepEqual(await readValues(disk), got);
  assert.deepEqual(await Promise.all(kept.map(contentsOf)), before, `seed ${seed}, cut at ${failAt}`);
  await disk.close();
  // Nor can they be written themselves.
  for (const name of kept) {
    const snapshot = await openDisk(host, name);
    assert.equal(snapshot.whyReadOnly, 'other disks build on it', `${name}, seed ${seed}, cut at ${failAt}`);
    await snapshot.close();
  }
  const again = await openDisk(host, '/d/disk.vhd');
  assert.deepEqual(await readValues(again), got);
  await again.close();
}

test('a workload without a cut reads what was written', async () => {
  for (let seed = 1; seed <= 20; seed++) await workload(seed, undefined, 200);
});

test('a cut at every write loses nothing that was flushed', async () => {
  const seeds = process.env.DOMUS_TEST_FULL ? 40 : 4;
  let nrCuts = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const { files } = await workload(seed, undefined, 60);
    for (let failAt = 1; failAt <= files.nrWrites; failAt++) {
      await verify(seed, failAt, failAt * 31 + seed);
      nrCuts += 1;
    }
  }
  assert.ok(nrCuts > 300, `${nrCuts} cuts`);
});
