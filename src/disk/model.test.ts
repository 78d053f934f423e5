/** Random operations on a disk against a plain buffer; and what chains cost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkImage } from './check.ts';
import { coalesce, coalesceFile } from './coalesce.ts';
import { compactDisk } from './compact.ts';
import { convertDisk } from './convert.ts';
import { createImage } from './create.ts';
import type { Disk } from './disk.ts';
import type { DiskHost } from './host.ts';
import { openDisk } from './open.ts';
import { resizeDisk } from './resize.ts';
import { cloneDisk, snapshotDisk } from './snapshot.ts';
import { type Chance, chance, readAsBackend, simulatedHost, writeAsBackend } from './testing.fixture.ts';

const SIZE = 512 * 1024;
const BLOCK = 16 * 1024;

async function contents(disk: Disk): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.sizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

function randomRange({ below }: Chance, sizeBytes: number): [offset: number, length: number] {
  const length = 512 * (1 + below(below(5) === 0 ? 100 : 8));
  return [512 * below((sizeBytes - length) / 512 + 1), length];
}

async function operate(
  seed: number,
  steps: number,
): Promise<{ longest: number; merges: number; atOnce: number }> {
  const rng = chance(seed);
  const { below } = rng;
  const host = simulatedHost(seed);
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  let disk = await openDisk(host, '/d/disk.vhd');
  let model = new Uint8Array(SIZE);
  /** What every snapshot and clone must hold. */
  const kept = new Map<string, Uint8Array>();
  let longest = 1;
  let merges = 0;
  /** Transfers that needed no waiting. */
  let atOnce = 0;
  for (let step = 0; step < steps; step++) {
    const what = below(100);
    if (what < 55) {
      const [offset, length] = randomRange(rng, model.length);
      const bytes = below(6) === 0 ? new Uint8Array(length) : rng.bytes(length);
      model.set(bytes, offset);
      if (step % 2 === 0) await disk.write(offset, bytes);
      else if (await writeAsBackend(disk, offset, bytes)) atOnce += 1;
    } else if (what < 85) {
      const [offset, length] = randomRange(rng, model.length);
      const bytes = rng.bytes(length);
      if (step % 2 === 0) await disk.read(offset, bytes);
      else if (await readAsBackend(disk, offset, bytes)) atOnce += 1;
      assert.deepEqual(bytes, model.subarray(offset, offset + length), `seed ${seed}, step ${step}`);
    } else if (what < 90) {
      await disk.flush();
    } else if (what < 92) {
      if (disk.layers.length > 1) continue;
      const block = below(Math.floor(model.length / BLOCK));
      await disk.discard(block * BLOCK, BLOCK);
      model.fill(0, block * BLOCK, (block + 1) * BLOCK);
    } else if (what < 94) {
      await snapshotDisk(host, disk, `/d/s${step}.vhd`);
      kept.set(`/d/s${step}.vhd`, model.slice());
    } else if (what === 94) {
      await cloneDisk(host, disk, `/d/c${step}.vhd`);
      kept.set(`/d/c${step}.vhd`, model.slice());
    } else if (what === 95) {
      await disk.close();
      disk = await openDisk(host, '/d/disk.vhd');
    } else if (what === 96) {
      await compactDisk(disk);
    } else if (what === 97) {
      const grown = new Uint8Array(model.length + 512 * below(100));
      grown.set(model);
      if (grown.length < 2 * SIZE) {
        await resizeDisk(disk, grown.length);
        model = grown;
      }
    } else if (disk.layers.length > 2) {
      const index = 1 + below(disk.layers.length - 2);
      const gone = disk.layers[index]?.path as string;
      // While the merge runs, the guest goes on.
      const merging = coalesce(host, disk, index, { breathe: () => Promise.resolve() });
      const [offset, length] = randomRange(rng, model.length);
      const bytes = rng.bytes(length);
      try {
        await Promise.all([merging, disk.write(offset, bytes)]);
        kept.delete(gone);
        // What the parent was as a snapshot it is no more.
        kept.delete(disk.layers[index]?.path as string);
        merges += 1;
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'E_DISK_SHARED');
      }
      model.set(bytes, offset);
    }
    longest = Math.max(longest, disk.layers.length);
  }
  assert.deepEqual(await contents(disk), model, `seed ${seed}`);
  await disk.close();
  for (const [path, expected] of kept) {
    const old = await openDisk(host, path, { isReadOnly: true });
    assert.deepEqual((await contents(old)).subarray(0, expected.length), expected, path);
    await old.close();
  }
  for (const path of ['/d/disk.vhd', ...kept.keys()]) {
    const { findings } = await checkImage(host, path);
    assert.deepEqual(
      findings.filter(finding => finding.kind === 'damage'),
      [],
    );
  }
  return { longest, merges, atOnce };
}

test('10,000 random operations agree with a plain buffer, snapshots and clones with what was then', async () => {
  let longest = 0;
  let merges = 0;
  let atOnce = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const result = await operate(seed, 500);
    longest = Math.max(longest, result.longest);
    merges += result.merges;
    atOnce += result.atOnce;
  }
  assert.ok(longest >= 8, `chains of up to ${longest}`);
  assert.ok(merges >= 10, `${merges} merges`);
  assert.ok(atOnce >= 100, `${atOnce} transfers at once`);
});

async function chainOf(
  host: DiskHost,
  files: number,
  rng: Chance,
): Promise<{ disk: Disk; model: Uint8Array }> {
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  const model = rng.bytes(SIZE);
  await disk.write(0, model);
  for (let i = 1; i < files; i++) {
    await snapshotDisk(host, disk, `/d/${i}.vhd`);
    const [offset, length] = randomRange(rng, SIZE);
    const bytes = rng.bytes(length);
    model.set(bytes, offset);
    await disk.write(offset, bytes);
  }
  return { disk, model };
}

test('a chain of 30 files reads with one transfer where a single file does', async () => {
  const host = simulatedHost();
  const rng = chance(7);
  const { disk, model } = await chainOf(host, 30, rng);
  assert.equal(disk.layers.length, 30);
  assert.deepEqual(await contents(disk), model);
  const before = host.files.nrReads;
  for (let i = 0; i < 500; i++) await disk.read(512 * rng.below(SIZE / 512), new Uint8Array(512));
  assert.equal(host.files.nrReads - before, 500);
  await disk.close();
});

test("a chain is merged file by file until two are left, then the top takes the base's place", async () => {
  const host = simulatedHost();
  const { disk, model } = await chainOf(host, 6, chance(3));
  await disk.close();
  for (let i = 5; i >= 1; i--) await coalesceFile(host, i === 1 ? '/d/disk.vhd' : `/d/${i}.vhd`);
  assert.deepEqual(host.files.names(), ['/d/disk.vhd']);
  const alone = await openDisk(host, '/d/disk.vhd');
  assert.equal(alone.layers.length, 1);
  assert.deepEqual(await contents(alone), model);
  await alone.write(0, new Uint8Array(512));
  await alone.close();
});

test('a file that others build on is neither written nor merged into', async () => {
  const host = simulatedHost();
  const { disk } = await chainOf(host, 2, chance(4));
  await cloneDisk(host, disk, '/d/clone.vhd');
  await disk.close();
  const parent = await openDisk(host, '/d/1.vhd');
  assert.match(parent.whyReadOnly ?? '', /other disks build on it/);
  assert.throws(() => parent.write(0, new Uint8Array(512)), { code: 'E_DISK_READ_ONLY' });
  await parent.close();
  await assert.rejects(coalesceFile(host, '/d/disk.vhd'), { code: 'E_DISK_SHARED' });
});

test('a clone of a clone, and a thousand of one disk, share one base', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  await disk.write(0, new Uint8Array(SIZE).fill(5));
  for (let i = 0; i < 1000; i++) await cloneDisk(host, disk, `/d/clone-${i}.vhd`);
  assert.equal(host.files.names().length, 1002);
  assert.equal(disk.layers.length, 2);
  await disk.write(0, new Uint8Array(SIZE).fill(6));
  const clone = await openDisk(host, '/d/clone-500.vhd');
  assert.ok((await contents(clone)).every(byte => byte === 5));
  await clone.close();
  await disk.close();
});

test('a raw disk is cloned by protecting it', async () => {
  const host = simulatedHost();
  host.files.put('/d/base.raw', new Uint8Array(SIZE).fill(9));
  const base = await openDisk(host, '/d/base.raw');
  await cloneDisk(host, base, '/d/clone.vhd');
  await base.close();
  const clone = await openDisk(host, '/d/clone.vhd');
  await clone.write(1024, new Uint8Array(512).fill(1));
  assert.deepEqual([...(await contents(clone)).subarray(1023, 1025)], [9, 1]);
  await clone.close();
  assert.match((await openDisk(host, '/d/base.raw')).whyReadOnly ?? '', /write-protected/);
});

test('a disk shrinks only by what is empty', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  await disk.write(SIZE / 2, new Uint8Array(512).fill(1));
  await assert.rejects(resizeDisk(disk, SIZE / 2), { code: 'E_DISK_SIZE' });
  await resizeDisk(disk, SIZE / 2 + 512);
  await resizeDisk(disk, SIZE);
  const bytes = await contents(disk);
  assert.equal(
    bytes.findIndex(byte => byte !== 0),
    SIZE / 2,
  );
  assert.equal(
    bytes.findLastIndex(byte => byte !== 0),
    SIZE / 2 + 511,
  );
  await disk.close();
});

test('a VHD ends at 2040 GiB, raw does not', async () => {
  const host = simulatedHost();
  const sizeBytes = 3 * 2 ** 40;
  await assert.rejects(createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes }), {
    code: 'E_DISK_SIZE',
    remedy: /raw/,
  });
  await createImage(host, '/d/disk.raw', { format: 'raw', sizeBytes });
  const disk = await openDisk(host, '/d/disk.raw');
  await disk.write(sizeBytes - 512, new Uint8Array(512).fill(1));
  await disk.close();
  await createImage(host, '/d/large.vhd', { format: 'vhd', sizeBytes: 2040 * 2 ** 30 });
  const large = await openDisk(host, '/d/large.vhd');
  await large.write(large.sizeBytes - 512, new Uint8Array(512).fill(1));
  await large.close();
});

test('names and contents must agree about the format', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE });
  // A guest has written the structures of a VHD into its raw disk.
  host.files.put('/d/disk.raw', host.files.bytes('/d/disk.vhd'));
  await assert.rejects(openDisk(host, '/d/disk.raw'), { code: 'E_DISK_FORMAT' });
  await (await openDisk(host, '/d/disk.raw', { format: 'raw' })).close();
  host.files.put('/d/disk', new Uint8Array(4096));
  await assert.rejects(openDisk(host, '/d/disk'), { code: 'E_DISK_FORMAT' });
});

test('a converted disk is the same, sparse or not', async () => {
  const host = simulatedHost();
  const { disk, model } = await chainOf(host, 4, chance(5));
  for (const [path, format, type] of [
    ['/d/a.vhd', 'vhd', 'dynamic'],
    ['/d/b.vhd', 'vhd', 'fixed'],
    ['/d/c.raw', 'raw', undefined],
  ] as const) {
    await convertDisk(host, disk, path, { format, type });
    const copy = await openDisk(host, path);
    assert.deepEqual(await contents(copy), model);
    await copy.close();
    assert.deepEqual((await checkImage(host, path)).findings, []);
  }
  const controller = new AbortController();
  controller.abort(new Error('enough'));
  await assert.rejects(
    convertDisk(host, disk, '/d/x.raw', { format: 'raw', signal: controller.signal }),
    /enough/,
  );
  assert.ok(!host.files.names().includes('/d/x.raw'));
  await disk.close();
});

test('check names damage and mends what can be mended', async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  const model = chance(9).bytes(SIZE);
  await disk.write(0, model);
  await disk.close();
  const good = host.files.bytes('/d/disk.vhd');
  const damage = (change: (bytes: Uint8Array) => void) => {
    const bytes = good.slice();
    change(bytes);
    host.files.put('/d/disk.vhd', bytes);
  };
  for (const change of [
    (bytes: Uint8Array) => bytes.fill(0, 0, 512),
    (bytes: Uint8Array) => bytes.fill(0, bytes.length - 512),
  ]) {
    damage(change);
    assert.equal((await checkImage(host, '/d/disk.vhd')).isSound, false);
    const { findings } = await checkImage(host, '/d/disk.vhd', { repair: true });
    assert.match(findings[0]?.repair ?? '', /footers/);
    assert.deepEqual((await checkImage(host, '/d/disk.vhd')).findings, []);
    const mended = await openDisk(host, '/d/disk.vhd');
    assert.deepEqual(await contents(mended), model);
    await mended.close();
  }
  // Block 3 points beyond the end, block 5 at block 4's place.
  damage(bytes => {
    const view = new DataView(bytes.buffer);
    view.setUint32(1536 + 12, 0x00ff_ffff);
    view.setUint32(1536 + 20, view.getUint32(1536 + 16));
  });
  await assert.rejects(openDisk(host, '/d/disk.vhd'), { code: 'E_DISK_CORRUPT' });
  const { findings } = await checkImage(host, '/d/disk.vhd', { repair: true });
  assert.match(findings.map(finding => finding.what).join('\n'), /block 3 .*beyond[\s\S]*block 5 .*over/);
  const mended = await openDisk(host, '/d/disk.vhd');
  const expected = model.slice();
  expected.fill(0, 3 * BLOCK, 4 * BLOCK);
  expected.fill(0, 5 * BLOCK, 6 * BLOCK);
  assert.deepEqual(await contents(mended), expected);
  await mended.close();
});

test("errors of the host's disk come out and leave the image usable", async () => {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
  const disk = await openDisk(host, '/d/disk.vhd');
  const rng = chance(11);
  const model = new Uint8Array(SIZE);
  for (let i = 0; i < 400; i++) {
    const [offset, length] = randomRange(rng, SIZE);
    const bytes = rng.bytes(length);
    const fails = rng.below(3) === 0;
    let countdown = rng.below(3);
    host.files.onTransfer = kind => {
      if (fails && kind !== 'read' && countdown-- === 0) throw new Error('EIO');
    };
    let wrote = true;
    try {
      await disk.write(offset, bytes);
    } catch {
      wrote = false;
    }
    try {
      if (rng.below(4) === 0) await disk.flush();
    } catch {
      // Asked again at the end.
    }
    host.files.onTransfer = undefined;
    if (!wrote) await disk.write(offset, bytes);
    model.set(bytes, offset);
  }
  assert.deepEqual(await contents(disk), model);
  await disk.close();
  const again = await openDisk(host, '/d/disk.vhd');
  assert.deepEqual(await contents(again), model);
  await again.close();
  assert.ok(disk.counters.errors > 20);
});

test('a snapshot or clone that fails leaves no file, and the disk as it was', async () => {
  for (const attempt of [snapshotDisk, cloneDisk]) {
    const host = simulatedHost();
    await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: BLOCK });
    const disk = await openDisk(host, '/d/disk.vhd');
    const names = host.files.names();
    const rng = chance(13);
    const model = new Uint8Array(SIZE);
    // Each transfer fails in its turn, up to the first attempt that needs no more of them before it counts.
    let failAt = 0;
    for (let hasFailed = true; hasFailed; failAt++) {
      const bytes = rng.bytes(BLOCK);
      const offset = (failAt * BLOCK) % SIZE;
      await disk.write(offset, bytes);
      model.set(bytes, offset);
      hasFailed = false;
      let count = 0;
      host.files.onTransfer = kind => {
        if (kind === 'read' || disk.layers.length > 1 || count++ !== failAt) return;
        hasFailed = true;
        throw new Error('EIO');
      };
      const outcome = await attempt(host, disk, '/d/other.vhd').then(
        () => 'done',
        error => (error as Error).message,
      );
      host.files.onTransfer = undefined;
      assert.equal(outcome, hasFailed ? 'EIO' : 'done');
      if (hasFailed) assert.deepEqual(host.files.names(), names, `failed at ${failAt}`);
      assert.deepEqual(await contents(disk), model);
    }
    assert.ok(failAt > 5, `${failAt} attempts`);
    await disk.close();
    const other = await openDisk(host, '/d/other.vhd', { isReadOnly: true });
    assert.deepEqual(await contents(other), model);
    await other.close();
  }
});
