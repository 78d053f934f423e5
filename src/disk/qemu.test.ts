/** Images on the host's disk, read and written in turns with qemu-img and qemu-io. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DomusError } from '../base/errors.ts';
import { nodeBlockFiles } from '../platform/node/block-files.ts';
import { checkImage } from './check.ts';
import { convertDisk } from './convert.ts';
import { createImage } from './create.ts';
import type { DiskHost } from './host.ts';
import { openDisk } from './open.ts';
import { resizeDisk } from './resize.ts';
import { cloneDisk, snapshotDisk } from './snapshot.ts';
import { chance, simulatedHost } from './testing.fixture.ts';
import { crc32c } from './vhdx/crc32c.ts';

const MIB = 2 ** 20;

function missing(): string | false {
  try {
    execFileSync('qemu-img', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'qemu-utils is not installed';
  }
}
const skip = missing();

function setUp(): { folder: string; host: DiskHost; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'domus-disk-'));
  const rng = chance(42);
  const host: DiskHost = {
    files: nodeBlockFiles,
    clock: { wallNs: () => 1_767_225_600_000_000_000n },
    entropy: { fill: bytes => bytes.set(rng.bytes(bytes.length)) },
  };
  return { folder, host, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
}

const qemuImg = (...args: string[]): string =>
  execFileSync('qemu-img', args, { encoding: 'utf8', stdio: 'pipe' });
const isSame = (a: string, aFormat: string, b: string, bFormat: string): void => {
  assert.match(qemuImg('compare', '-f', aFormat, '-F', bFormat, a, b), /identical/);
};

test('10,000 random operations: qemu-img reads what we wrote, and we what qemu-io wrote', {
  skip,
}, async () => {
  using world = setUp();
  const { folder, host } = world;
  const path = join(folder, 'disk.vhd');
  const sizeBytes = 48 * MIB;
  await createImage(host, path, { format: 'vhd', sizeBytes });
  const model = new Uint8Array(sizeBytes);
  const rng = chance(1);
  let disk = await openDisk(host, path);
  const range = (max: number): [number, number] => {
    const length = 512 * (1 + rng.below(max));
    return [512 * rng.below((sizeBytes - length) / 512 + 1), length];
  };
  for (let step = 0; step < 10_000; step++) {
    const what = rng.below(100);
    const [offset, length] = range(what < 3 ? 4096 : 64);
    if (what < 60) {
      const bytes = new Uint8Array(length).fill(rng.below(256));
      model.set(bytes, offset);
      await disk.write(offset, bytes);
    } else if (what < 95) {
      const bytes = new Uint8Array(length);
      await disk.read(offset, bytes);
      assert.ok(Buffer.compare(bytes, model.subarray(offset, offset + length)) === 0, `step ${step}`);
    } else if (what < 97) await disk.flush();
    else if (what === 97) {
      const start = Math.ceil(offset / (2 * MIB)) * 2 * MIB;
      const end = Math.min(sizeBytes, start + 2 * MIB);
      if (start < end) {
        await disk.discard(start, end - start);
        model.fill(0, start, end);
      }
    }
    if (step % 2500 !== 2499) continue;
    await disk.close();
    writeFileSync(join(folder, 'model.raw'), model);
    isSame(path, 'vpc', join(folder, 'model.raw'), 'raw');
    assert.deepEqual(
      (await checkImage(host, path)).findings.filter(finding => finding.kind === 'damage'),
      [],
    );
    const commands: string[] = [];
    for (let i = 0; i < 40; i++) {
      const [at, count] = range(256);
      const pattern = rng.below(256);
      model.fill(pattern, at, at + count);
      commands.push('-c', `write -P ${pattern} ${at} ${count}`);
    }
    execFileSync('qemu-io', ['-f', 'vpc', ...commands, path], { stdio: 'pipe' });
    disk = await openDisk(host, path);
    const all = new Uint8Array(sizeBytes);
    await disk.read(0, all);
    assert.ok(Buffer.compare(all, model) === 0, `what qemu-io wrote, step ${step}`);
  }
  await disk.close();
  // qemu-img check knows only some formats; a copy in one of them shows that what it reads is sound.
  qemuImg('convert', '-f', 'vpc', '-O', 'qcow2', path, join(folder, 'copy.qcow2'));
  assert.match(qemuImg('check', join(folder, 'copy.qcow2')), /No errors/);
});

test('images that qemu-img made are written and read here, fixed and dynamic', { skip }, async () => {
  using world = setUp();
  const { folder, host } = world;
  for (const subformat of ['dynamic', 'fixed']) {
    const path = join(folder, `${subformat}.vhd`);
    qemuImg('create', '-f', 'vpc', '-o', `subformat=${subformat},force_size=on`, path, String(30 * MIB));
    const disk = await openDisk(host, path);
    assert.equal(disk.sizeBytes, 30 * MIB);
    const rng = chance(2);
    const model = new Uint8Array(30 * MIB);
    for (let i = 0; i < 100; i++) {
      const bytes = rng.bytes(512 * (1 + rng.below(200)));
      const at = 512 * rng.below((model.length - bytes.length) / 512);
      model.set(bytes, at);
      await disk.write(at, bytes);
    }
    await disk.close();
    writeFileSync(join(folder, 'model.raw'), model);
    isSame(path, 'vpc', join(folder, 'model.raw'), 'raw');
    const again = await openDisk(host, path);
    await resizeDisk(again, 64 * MIB);
    await again.close();
    assert.match(qemuImg('info', '-f', 'vpc', path), /virtual size: 64 MiB/);
  }
});

test('a chain converted is what the chain is', { skip }, async () => {
  using world = setUp();
  const { folder, host } = world;
  const path = join(folder, 'disk.vhd');
  await createImage(host, path, { format: 'vhd', sizeBytes: 20 * MIB });
  const disk = await openDisk(host, path);
  const model = new Uint8Array(20 * MIB);
  for (let i = 0; i < 6; i++) {
    const bytes = new Uint8Array(3 * MIB).fill(i + 1);
    model.set(bytes, i * 2 * MIB);
    await disk.write(i * 2 * MIB, bytes);
    await snapshotDisk(host, disk, join(folder, `s${i}.vhd`));
  }
  await cloneDisk(host, disk, join(folder, 'clone.vhd'));
  await convertDisk(host, disk, join(folder, 'flat.vhd'), { format: 'vhd' });
  await disk.close();
  writeFileSync(join(folder, 'model.raw'), model);
  isSame(join(folder, 'flat.vhd'), 'vpc', join(folder, 'model.raw'), 'raw');
});

test('an image is used by one process that writes, or by many that read', async () => {
  using world = setUp();
  const { folder, host } = world;
  const path = join(folder, 'disk.vhd');
  await createImage(host, path, { format: 'vhd', sizeBytes: MIB });
  const writer = await openDisk(host, path);
  symlinkSync(path, join(folder, 'link.vhd'));
  for (const name of [path, join(folder, 'link.vhd')]) {
    await assert.rejects(openDisk(host, name), { code: 'E_DISK_IN_USE' });
    await assert.rejects(openDisk(host, name, { isReadOnly: true }), { code: 'E_DISK_IN_USE' });
  }
  await writer.close();
  const readers = [
    await openDisk(host, path, { isReadOnly: true }),
    await openDisk(host, path, { isReadOnly: true }),
  ];
  await assert.rejects(openDisk(host, path), { code: 'E_DISK_IN_USE', remedy: /lock/ });
  for (const reader of readers) await reader.close();
  // What a process left that is dead is taken away.
  const dead = execFileSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).trim();
  const { hostname } = await import('node:os');
  writeFileSync(`${path}.lock`, `${dead} ${hostname()}\n`);
  // Also of what an image beside it builds on, which nobody may ever open for writing again.
  writeFileSync(join(folder, `base.vhd.lock-${dead}-1`), `${dead} ${hostname()}\n`);
  // Its number may be another process's by now, and one may have been killed before it had written it.
  if (process.platform === 'linux') {
    writeFileSync(join(folder, `base.vhd.lock-${process.pid}-2`), `${process.pid} ${hostname()} 1\n`);
  }
  const empty = join(folder, 'base.vhd.lock-1-3');
  writeFileSync(empty, '');
  await (await openDisk(host, path)).close();
  assert.deepEqual(readdirSync(folder).sort(), ['base.vhd.lock-1-3', 'disk.vhd', 'link.vhd']);
  utimesSync(empty, 1, 1);
  await (await openDisk(host, path)).close();
  assert.deepEqual(readdirSync(folder).sort(), ['disk.vhd', 'link.vhd']);
});

test('what the host refuses has a name', async () => {
  using world = setUp();
  const { folder, host } = world;
  await assert.rejects(openDisk(host, join(folder, 'none.vhd')), { code: 'E_DISK_NOT_FOUND' });
  await assert.rejects(openDisk(host, folder, { format: 'raw' }), { code: 'E_DISK_ACCESS' });
  await createImage(host, join(folder, 'a.vhd'), { format: 'vhd', sizeBytes: MIB });
  await assert.rejects(createImage(host, join(folder, 'a.vhd'), { format: 'vhd', sizeBytes: MIB }), {
    code: 'E_DISK_EXISTS',
  });
});

test('qcow2 images are read: versions 2 and 3, packed by zlib and zstd, small and large clusters', {
  skip,
}, async () => {
  using world = setUp();
  const { folder, host } = world;
  const rng = chance(5);
  const model = new Uint8Array(12 * MIB);
  for (let i = 0; i < 60; i++) {
    const bytes = rng.below(2) === 0 ? rng.bytes(40_000) : new Uint8Array(40_000).fill(rng.below(256));
    model.set(bytes, rng.below(model.length - bytes.length));
  }
  const raw = join(folder, 'model.raw');
  writeFileSync(raw, model);
  for (const [options, packed] of [
    ['compat=0.10', false],
    ['compat=1.1', false],
    ['compat=1.1,cluster_size=512', false],
    ['compat=1.1,cluster_size=2M', false],
    ['compat=0.10', true],
    ['compat=1.1,cluster_size=4k', true],
    ['compat=1.1,compression_type=zstd', true],
  ] as const) {
    const path = join(folder, 'image.qcow2');
    rmSync(path, { force: true });
    qemuImg('convert', ...(packed ? ['-c'] : []), '-f', 'raw', '-O', 'qcow2', '-o', options, raw, path);
    const disk = await openDisk(host, path);
    assert.equal(disk.format, 'qcow2');
    assert.match(disk.whyReadOnly ?? '', /only read/);
    const bytes = new Uint8Array(disk.sizeBytes);
    await disk.read(0, bytes);
    assert.ok(Buffer.compare(bytes, model) === 0, options);
    for (let i = 0; i < 200; i++) {
      const at = 512 * rng.below(model.length / 512 - 40);
      const piece = new Uint8Array(512 * (1 + rng.below(39)));
      await disk.read(at, piece);
      assert.ok(Buffer.compare(piece, model.subarray(at, at + piece.length)) === 0, options);
    }
    await disk.close();
  }
  const disk = await openDisk(host, join(folder, 'image.qcow2'));
  await convertDisk(host, disk, join(folder, 'copy.vhd'), { format: 'vhd' });
  await disk.close();
  isSame(join(folder, 'copy.vhd'), 'vpc', raw, 'raw');
  qemuImg('create', '-f', 'qcow2', '-b', raw, '-F', 'raw', join(folder, 'child.qcow2'));
  await assert.rejects(openDisk(host, join(folder, 'child.qcow2')), {
    code: 'E_DISK_UNSUPPORTED',
    message: /backing/,
  });
});

test('damaged qcow2 images are refused or read, within bounds', { skip }, async () => {
  using world = setUp();
  const { folder, host } = world;
  const raw = join(folder, 'model.raw');
  writeFileSync(raw, chance(3).bytes(MIB));
  const path = join(folder, 'good.qcow2');
  qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', raw, path);
  const good = new Uint8Array(readFileSync(path));
  let refused = 0;
  for (let seed = 1; seed <= 1500; seed++) {
    const rng = chance(seed);
    const simulated = simulatedHost(seed);
    const bytes = good.slice(0, rng.below(10) === 0 ? rng.below(good.length) : good.length);
    for (let i = 1 + rng.below(4); i > 0; i--) {
      const at = rng.below(3) === 0 ? rng.below(bytes.length) : rng.below(Math.min(112, bytes.length));
      bytes[at] = rng.below(256);
    }
    simulated.files.put('/d/image.qcow2', bytes);
    try {
      const disk = await openDisk(simulated, '/d/image.qcow2', { format: 'qcow2' });
      await disk.read(0, new Uint8Array(Math.min(disk.sizeBytes, MIB)));
      await disk.read(disk.sizeBytes - 512, new Uint8Array(512));
      await disk.close();
    } catch (error) {
      assert.ok(error instanceof DomusError, `seed ${seed}: ${(error as Error).stack}`);
      refused += 1;
    }
  }
  assert.ok(refused > 200 && refused < 1500, `${refused} refused`);
  assert.ok(host.files);
});

test('VHDX images are read, also those that were not closed', { skip }, async () => {
  using world = setUp();
  const { folder, host } = world;
  const rng = chance(6);
  const model = new Uint8Array(40 * MIB);
  for (let i = 0; i < 60; i++) {
    const bytes = rng.bytes(40_000);
    model.set(bytes, rng.below(model.length - bytes.length));
  }
  const raw = join(folder, 'model.raw');
  writeFileSync(raw, model);
  const compare = async (path: string, what: string) => {
    const disk = await openDisk(host, path);
    assert.equal(disk.format, 'vhdx');
    const bytes = new Uint8Array(disk.sizeBytes);
    await disk.read(0, bytes);
    assert.ok(Buffer.compare(bytes, model) === 0, what);
    await disk.close();
  };
  for (const options of [
    'subformat=dynamic',
    'subformat=fixed',
    'subformat=dynamic,block_size=1M,log_size=2M',
  ]) {
    const path = join(folder, 'image.vhdx');
    rmSync(path, { force: true });
    qemuImg('convert', '-f', 'raw', '-O', 'vhdx', '-o', options, raw, path);
    await compare(path, options);
  }
  // New blocks, and then the writer dies: the BAT's changes may be in the log alone.
  const path = join(folder, 'cut.vhdx');
  qemuImg('create', '-f', 'vhdx', '-o', 'block_size=1M', path, String(40 * MIB));
  model.fill(0);
  const commands: string[] = [];
  for (let i = 0; i < 30; i++) {
    const at = 512 * rng.below((38 * MIB) / 512);
    const count = 512 * (1 + rng.below(2000));
    model.fill(i + 1, at, at + count);
    commands.push('-c', `write -P ${i + 1} ${at} ${count}`);
  }
  try {
    execFileSync('qemu-io', ['-f', 'vhdx', ...commands, '-c', 'abort', path], { stdio: 'pipe' });
  } catch {
    // As was asked for.
  }
  await compare(path, 'not closed');
});

test('what only the log of a VHDX image has is read', { skip }, async () => {
  using world = setUp();
  const { folder, host } = world;
  const path = join(folder, 'cut.vhdx');
  qemuImg('create', '-f', 'vhdx', '-o', 'block_size=1M,log_size=1M', path, String(4 * MIB));
  try {
    execFileSync('qemu-io', ['-f', 'vhdx', '-c', 'write -P 3 0 2M', '-c', 'abort', path], { stdio: 'pipe' });
  } catch {
    // As was asked for.
  }
  const bytes = new Uint8Array(readFileSync(path));
  const view = new DataView(bytes.buffer);
  // QEMU empties the log when it has flushed: put it in force again, and wipe what it has changed.
  let wiped = 0;
  for (let at = 0x10_0000; at < 0x20_0000; at += 4096) {
    if (view.getUint32(at, true) !== 0x6567_6f6c) continue;
    for (const header of [0x1_0000, 0x2_0000]) {
      bytes.copyWithin(header + 48, at + 32, at + 48);
      view.setUint32(header + 4, crc32c(bytes.subarray(header, header + 4096), 4), true);
    }
    for (let i = 0; i < view.getUint32(at + 24, true); i++) {
      const target = Number(view.getBigUint64(at + 64 + i * 32 + 16, true));
      bytes.fill(0, target, target + 4096);
      wiped += 1;
    }
  }
  assert.ok(wiped > 0);
  writeFileSync(path, bytes);
  const disk = await openDisk(host, path);
  const got = new Uint8Array(4 * MIB);
  await disk.read(0, got);
  assert.equal(
    got.findIndex(byte => byte !== 3),
    2 * MIB,
  );
  assert.ok(got.subarray(2 * MIB).every(byte => byte === 0));
  await disk.close();
});

test('damaged VHDX images are refused or read, within bounds', { skip }, async () => {
  using world = setUp();
  const path = join(world.folder, 'good.vhdx');
  qemuImg('create', '-f', 'vhdx', '-o', 'block_size=1M,log_size=1M', path, String(4 * MIB));
  try {
    const commands = ['-c', 'write -P 3 0 2M', '-c', 'abort'];
    execFileSync('qemu-io', ['-f', 'vhdx', ...commands, path], { stdio: 'pipe' });
  } catch {
    // As was asked for.
  }
  const good = new Uint8Array(readFileSync(path));
  const interesting = [0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x10_0000, 0x20_0000, 0x21_0000, 0x30_0000];
  let refused = 0;
  for (let seed = 1; seed <= 250; seed++) {
    const rng = chance(seed);
    const simulated = simulatedHost(seed);
    const bytes = good.slice(0, rng.below(10) === 0 ? rng.below(good.length) : good.length);
    for (let i = 1 + rng.below(6); i > 0; i--) {
      const at = (interesting[rng.below(interesting.length)] as number) + rng.below(200);
      if (at < bytes.length) bytes[at] = rng.below(256);
    }
    const view = new DataView(bytes.buffer);
    const logGuid = 0x10_2000 + 32;
    if (rng.below(2) === 0 && bytes.length > logGuid + 16) {
      for (const header of [0x1_0000, 0x2_0000]) bytes.copyWithin(header + 48, logGuid, logGuid + 16);
    }
    // Half of the time the checksums are right again.
    if (rng.below(2) === 0) {
      for (const [start, length] of [
        [0x1_0000, 4096],
        [0x2_0000, 4096],
        [0x3_0000, 0x1_0000],
        [0x4_0000, 0x1_0000],
      ] as const) {
        if (start + length > bytes.length) continue;
        view.setUint32(start + 4, crc32c(bytes.subarray(start, start + length), 4), true);
      }
    }
    simulated.files.put('/d/image.vhdx', bytes);
    try {
      const disk = await openDisk(simulated, '/d/image.vhdx', { format: 'vhdx' });
      await disk.read(0, new Uint8Array(Math.min(disk.sizeBytes, MIB)));
      await disk.read(disk.sizeBytes - 512, new Uint8Array(512));
      await disk.close();
    } catch (error) {
      assert.ok(error instanceof DomusError, `seed ${seed}: ${(error as Error).stack}`);
      refused += 1;
    }
  }
  assert.ok(refused > 50 && refused < 250, `${refused} refused`);
});
