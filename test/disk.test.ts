/**
 * Disks of a real guest, end to end: Debian's cloud kernel with its own block driver and ext4, over images that e2fsprogs made
 * and examine afterwards.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DomusError, InvariantError } from '../src/base/errors.ts';
import { checkImage } from '../src/disk/check.ts';
import { createImage } from '../src/disk/create.ts';
import { Disk } from '../src/disk/disk.ts';
import { openDisk } from '../src/disk/open.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import type { GuestDisk } from '../src/toolstack/guest-disk.ts';
import { Host, type MachineOptions, type RunOptions } from '../src/toolstack/index.ts';
import { examine } from './examine.fixture.ts';
import { formattedDisk } from './formatted-disk.fixture.ts';

const DOMUS = fileURLToPath(new URL('../bin/domus.js', import.meta.url));
const TIMEOUT_MS = 300_000;
const MIB = 2 ** 20;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const folder = mkdtempSync(join(tmpdir(), 'domus-disk-test-'));
const path = (name: string) => join(folder, name);
const disks = nodeDiskHost();

let host: Host;
let unavailable: string | undefined;
before(async () => {
  host = await Host.open();
  try {
    execFileSync('mke2fs', ['-V'], { stdio: 'ignore' });
    await createImage(disks, path('probe.vhd'), { format: 'vhd', sizeBytes: MIB });
    await host.run({ command: ['true'], disks: [path('probe.vhd')], timeoutMs: TIMEOUT_MS });
  } catch (error) {
    if (error instanceof DomusError && !/^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code)) throw error;
    unavailable = `no Debian kernel or no e2fsprogs: ${(error as Error).message}`;
  }
});
after(async () => {
  await host[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const guest = (name: string, run: (t: TestContext) => Promise<void>) =>
  test(name, async t => {
    if (unavailable !== undefined) t.skip(unavailable);
    else await run(t);
  });
const run = (command: string, options: RunOptions = {}) =>
  host.run({ command, timeoutMs: TIMEOUT_MS, ...options });

const formatted = (name: string, sizeBytes: number) => formattedDisk(path(name), sizeBytes);

guest('a guest mounts, writes, flushes, reads; the image is sound and its file system clean', async () => {
  const image = await formatted('one.vhd', 64 * MIB);
  const written = await run(
    'mkdir /mnt && mount -t ext4 /dev/xvda /mnt && seq 1 200000 >/mnt/numbers && mkdir /mnt/d && ' +
      'dd if=/dev/urandom of=/mnt/d/random bs=64k count=200 2>/dev/null && sync && md5sum /mnt/numbers /mnt/d/random && umount /mnt',
    { disks: [image], vcpus: 2 },
  );
  assert.equal(written.exitCode, 0);
  const read = await run(
    'mkdir /mnt && mount -t ext4 -o ro /dev/xvdb /mnt && md5sum /mnt/numbers /mnt/d/random',
    {
      disks: [{ path: image, isReadOnly: true, device: 'xvdb' }],
    },
  );
  assert.equal(text(read.stdout), text(written.stdout));
  await examine(image);
  // A disk that may only be read cannot be mounted for writing.
  const refused = await run('mkdir /mnt; mount -t ext4 -o rw /dev/xvda /mnt && touch /mnt/x', {
    disks: [`${image},ro`],
  });
  assert.notEqual(refused.exitCode, 0);
});

guest('what a command has written is on the disk when it has ended, without a sync of its own', async () => {
  const image = await formatted('unsynced.vhd', 32 * MIB);
  const { exitCode } = await run('mkdir /mnt && mount -t ext4 /dev/xvda /mnt && seq 1 100000 >/mnt/numbers', {
    disks: [image],
  });
  assert.equal(exitCode, 0);
  const flat = await examine(image, true);
  const numbers = execFileSync('debugfs', ['-R', 'cat /numbers', flat], { encoding: 'utf8', stdio: 'pipe' });
  assert.equal(numbers.length, 588_895);
  assert.match(numbers, /\n100000\n$/);
});

guest('kept and cloned while the guest writes, grown, merged, taken away', async () => {
  const image = await formatted('live.vhd', 48 * MIB);
  await using vm = await host.create({ disks: [image] });
  const exec = async (command: string) => {
    const result = await vm.exec(command);
    assert.equal(result.exitCode, 0, text(result.stderr));
    return text(result.stdout);
  };
  // The driver makes large requests, as the command line tells it to.
  assert.equal(await exec('cat /sys/block/xvda/queue/max_segments'), '256\n');
  await exec('mkdir /mnt && mount -t ext4 /dev/xvda /mnt && echo first >/mnt/file && sync');
  const disk = vm.disks.get('xvda');
  assert.ok(disk);
  await disk.snapshot(path('first.vhd'));
  await exec('echo second >/mnt/file; seq 1 100000 >/mnt/more; sync');
  await disk.snapshot(path('second.vhd'));
  await disk.clone(path('clone.vhd'));
  assert.equal(disk.files.length, 4 - 1);
  await Promise.all([
    exec('for i in $(seq 1 30); do seq 1 1000 >/mnt/f$i; done; sync'),
    // The clone builds on this file: it must stay.
    assert.rejects(disk.coalesce(path('second.vhd')), { code: 'E_DISK_SHARED' }),
  ]);
  rmSync(path('clone.vhd'));
  await Promise.all([
    exec('for i in $(seq 1 30); do seq 1 1000 >/mnt/g$i; done; sync'),
    disk.coalesce(path('second.vhd')),
  ]);
  assert.equal(disk.files.length, 2);
  await disk.resize('64M');
  const sectors = (64 * MIB) / 512;
  await exec(`until [ $(cat /sys/block/xvda/size) = ${sectors} ]; do usleep 10000; done`);
  assert.equal(await exec('cat /mnt/file'), 'second\n');

  await createImage(disks, path('hot.vhd'), { format: 'vhd', sizeBytes: 16 * MIB });
  const hot = await vm.attachDisk(path('hot.vhd'));
  assert.equal(hot.name, 'xvdb');
  await exec(
    'until [ -b /dev/xvdb ]; do usleep 10000; done; echo hello | dd of=/dev/xvdb conv=fsync,sync 2>/dev/null',
  );
  await vm.detachDisk('xvdb');
  await exec('until [ ! -b /dev/xvdb ]; do usleep 10000; done');
  const closed = await openDisk(disks, path('hot.vhd'));
  const sector = new Uint8Array(512);
  await closed.read(0, sector);
  assert.equal(text(sector.subarray(0, 5)), 'hello');
  await closed.close();

  await exec('umount /mnt');
  await vm.destroy();
  const flat = await examine(image);
  assert.equal(
    execFileSync('debugfs', ['-R', 'cat /file', flat], { encoding: 'utf8', stdio: 'pipe' }),
    'second\n',
  );
  assert.match(
    execFileSync('debugfs', ['-R', 'ls -p /', flat], { encoding: 'utf8', stdio: 'pipe' }),
    /\/g30\//,
  );
});

guest('two deterministic runs with a disk are identical', async () => {
  const results = [];
  for (let i = 0; i < 2; i++) {
    const image = path('twin.vhd');
    rmSync(image, { force: true });
    await createImage(disks, image, { format: 'vhd', sizeBytes: 8 * MIB });
    const result = await run(
      'dd if=/dev/urandom of=/dev/xvda bs=4k count=300 conv=fsync 2>/dev/null; md5sum </dev/xvda',
      { disks: [image], deterministic: { seed: 4 } },
    );
    results.push({ hash: result.stateHash, stdout: text(result.stdout), instructions: result.instructions });
  }
  assert.deepEqual(results[0], results[1]);
});

guest('the host is killed while a guest writes: what it was told is durable is there', async () => {
  const rounds = process.env.DOMUS_TEST_FULL ? 20 : 2;
  for (let round = 0; round < rounds; round++) {
    const image = await formatted(`killed-${round}.vhd`, 32 * MIB);
    const script =
      'mkdir /mnt && mount -t ext4 /dev/xvda /mnt && i=0; while true; do i=$((i+1)); ' +
      'echo content $i >/mnt/$i; dd if=/dev/zero of=/mnt/big$((i%7)) bs=16k count=20 2>/dev/null; sync; echo $i; done';
    const child = spawn(process.execPath, [DOMUS, 'run', '-q', '--disk', image, '--', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let told = '';
    const enough = 3 + round * 4;
    await new Promise<void>(resolve => {
      child.stdout.on('data', chunk => {
        told += chunk;
        // In the middle of whatever comes next.
        if (told.split('\n').length > enough) setTimeout(() => child.kill('SIGKILL'), (round * 37) % 200);
      });
      child.on('close', () => resolve());
    });
    const last = Number(told.split('\n').at(-2));
    assert.ok(last >= 1, told);
    const flat = await examine(image, true);
    for (let i = 1; i <= last; i++) {
      const found = execFileSync('debugfs', ['-R', `cat /${i}`, flat], { encoding: 'utf8', stdio: 'pipe' });
      assert.equal(found, `content ${i}\n`);
    }
  }
  assert.ok(readFileSync(path('killed-0.vhd')).length > 0);
});

/** Numbered files, each told when it is durable: the last number stands in /tmp/told. */
const WRITER =
  'mkdir -p /mnt && mount -t ext4 /dev/xvda /mnt && echo 0 >/tmp/told && { ( i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); ' +
  'dd if=/dev/urandom of=/mnt/big$((i%7)) bs=64k count=8 2>/dev/null; echo content $i | dd of=/mnt/$i conv=fsync 2>/dev/null && echo $i >/tmp/told || break; done; ' +
  'echo over >/tmp/over ) >/dev/null 2>&1 & }';

interface Writing {
  readonly disk: GuestDisk;
  /** How many files the guest was told are durable. */
  told(): Promise<number>;
  untilTold(number: number): Promise<void>;
}

/** A guest that writes while its disk is disturbed: it notices nothing, and misses nothing. */
async function underWriter(
  name: string,
  options: Partial<MachineOptions>,
  disturb: (writing: Writing) => Promise<void>,
): Promise<void> {
  const image = await formatted(`${name}.vhd`, 32 * MIB);
  await using vm = await host.create({ disks: [image], ...options });
  const told = async () => Number(text((await vm.exec('cat /tmp/told')).stdout));
  const untilTold = async (number: number) => {
    for (let seen = await told(); seen < number; seen = await told());
  };
  assert.equal((await vm.exec(WRITER)).exitCode, 0);
  const disk = vm.disks.get('xvda');
  assert.ok(disk);
  await disturb({ disk, told, untilTold });
  await disk.snapshot(path(`${name}.kept.vhd`));
  await vm.exec('touch /tmp/stop; until [ -e /tmp/over ]; do usleep 10000; done');
  const last = await told();
  assert.equal(text((await vm.exec('dmesg | grep -i "i/o error\\|ext4-fs error"')).stdout), '');
  const bad = `i=0; while [ $i -lt ${last} ]; do i=$((i+1)); [ "$(cat /mnt/$i)" = "content $i" ] || echo $i; done`;
  assert.equal(text((await vm.exec(`umount /mnt; mount -t ext4 /dev/xvda /mnt; ${bad}`)).stdout), '');
  assert.equal((await vm.exec('umount /mnt')).exitCode, 0);
  await vm.destroy();
  await examine(image);
}

for (const [name, options] of [
  ['one thread', {}],
  ['two threads', { vcpus: 2, pcpus: 2 }],
] as const) {
  guest(
    `the backend is restarted under a guest that writes, ${name}: it waits, and misses nothing`,
    async () => {
      const file = `again-${'pcpus' in options}`;
      await underWriter(file, options, async ({ disk, told, untilTold }) => {
        const rounds = process.env.DOMUS_TEST_FULL ? 40 : 4;
        for (let round = 0; round < rounds; round++) {
          await untilTold((await told()) + 1);
          await disk.restart();
        }
        // The image is out of reach for a while.
        const image = path(`${file}.vhd`);
        renameSync(image, `${image}.away`);
        await assert.rejects(disk.restart(), { code: 'E_DISK_NOT_FOUND' });
        const before = await told();
        renameSync(`${image}.away`, image);
        await disk.restart();
        await untilTold(before + 2);
      });
    },
  );

  guest(
    `the backend dies of its requests under a guest that writes, ${name}: another one does them`,
    async t => {
      await underWriter(`dying-${'pcpus' in options}`, options, async ({ disk, told, untilTold }) => {
        for (const method of ['writeNow', 'flush', 'writeNow'] as const) {
          const { deaths } = disk;
          const before = deaths.length;
          t.mock.method(
            Disk.prototype,
            method,
            () => {
              throw new InvariantError(`a defect of ${method}`);
            },
            { times: 1 },
          );
          await untilTold((await told()) + 2);
          assert.deepEqual(
            deaths.slice(before).map(error => (error as Error).message),
            [`a defect of ${method}`],
          );
          t.mock.restoreAll();
        }
      });
    },
  );
}

guest(
  'a disk that is taken away while it is mounted: errors in the guest, and nothing that was flushed is lost',
  async () => {
    const image = await formatted('torn.vhd', 32 * MIB);
    await using vm = await host.create({ disks: [image] });
    assert.equal((await vm.exec(WRITER)).exitCode, 0);
    await vm.exec('until [ $(cat /tmp/told) -ge 3 ]; do usleep 10000; done');
    await vm.detachDisk('xvda');
    await vm.exec('until [ -e /tmp/over ]; do usleep 10000; done');
    const last = Number(text((await vm.exec('cat /tmp/told')).stdout));
    assert.ok(last >= 3);
    await vm.attachDisk(`${image},dev=xvdb`);
    const bad = `i=0; while [ $i -lt ${last} ]; do i=$((i+1)); [ "$(cat /new/$i)" = "content $i" ] || echo $i; done`;
    const script = `until [ -b /dev/xvdb ]; do usleep 10000; done; mkdir /new && mount -t ext4 /dev/xvdb /new && ${bad}; umount /new`;
    const { stdout, stderr } = await vm.exec(script);
    assert.deepEqual([text(stdout), text(stderr)], ['', '']);
    await vm.detachDisk('xvdb');
    await examine(image);
  },
);

guest(
  'a disk that is taken away from many writers at once, again and again: each of them has its error',
  async () => {
    const image = path('crowd.raw');
    writeFileSync(image, Buffer.alloc(32 * MIB, 1));
    await using vm = await host.create();
    const rounds = process.env.DOMUS_TEST_FULL ? 60 : 12;
    for (let round = 0; round < rounds; round++) {
      const { name } = await vm.attachDisk(image);
      const writers = Array.from({ length: 8 }, (_, i) => {
        const how = `bs=${['4k', '64k', '512k'][i % 3]} count=8 seek=${i} ${i & 1 ? 'oflag=direct' : 'conv=fsync'}`;
        return `( while [ -b /dev/${name} ] && dd if=/dev/zero of=/dev/${name} ${how} 2>/dev/null; do :; done ) &`;
      });
      await vm.exec(`until [ -b /dev/${name} ]; do usleep 10000; done; rm -f /tmp/over`);
      await vm.exec(`( ${writers.join(' ')} wait; echo >/tmp/over ) >/dev/null 2>&1 &`);
      await new Promise(resolve => setTimeout(resolve, 150 + ((round * 37) % 200)));
      await vm.detachDisk(name);
      // One whose request nobody answers waits for ever, and the kernel's thread for devices with it.
      const { exitCode } = await vm.exec(
        'i=0; until [ -e /tmp/over ] || [ $i -gt 6000 ]; do i=$((i+1)); usleep 10000; done; [ -e /tmp/over ]',
      );
      assert.equal(exitCode, 0, `round ${round}`);
    }
  },
);

guest(
  'a part of an image that cannot be read: an error for who reads it, the rest is there, and later all of it',
  async () => {
    const image = path('holed.raw');
    writeFileSync(image, Buffer.alloc(8 * MIB, 'x'));
    await using vm = await host.create({ disks: [image] });
    const read = async (mib: number) =>
      vm.exec(`dd if=/dev/xvda of=/tmp/read bs=1M skip=${mib} count=1 iflag=direct && md5sum </tmp/read`);
    const sound = text((await read(6)).stdout);
    // The end of the file is gone, as a bad sector's contents are.
    truncateSync(image, 4 * MIB);
    const failed = await read(6);
    assert.equal(failed.exitCode, 1);
    assert.match(text(failed.stderr), /error/);
    assert.equal(text((await read(1)).stdout), sound);
    writeFileSync(image, Buffer.alloc(8 * MIB, 'x'));
    assert.equal(text((await read(6)).stdout), sound);
  },
);

guest(
  'a full disk of the host: errors in the guest, nothing that was flushed is lost, and it goes on when there is room',
  async t => {
    const small = path('small');
    mkdirSync(small);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', small], { stdio: 'ignore' });
    } catch {
      t.skip('a small file system needs the right to mount one');
      return;
    }
    try {
      const image = join(small, 'full.vhd');
      await createImage(disks, image, { format: 'vhd', sizeBytes: 64 * MIB });
      const vm = await host.create({ disks: [image] });
      try {
        const write = 'dd if=/dev/urandom of=/dev/xvda bs=1M oflag=direct conv=fsync';
        const script = `mkdir -p /tmp; head -c 4194304 /dev/urandom >/tmp/kept; dd if=/tmp/kept of=/dev/xvda bs=1M oflag=direct conv=fsync 2>/dev/null; sha256sum </tmp/kept`;
        const kept = text((await vm.exec(script)).stdout);
        const full = await vm.exec(`${write} seek=4 count=56`);
        assert.notEqual(full.exitCode, 0);
        assert.match(text(full.stderr), /error writing '\/dev\/xvda'/);
        execFileSync('mount', ['-o', 'remount,size=96m', small]);
        assert.equal((await vm.exec(`${write} seek=4 count=56`)).exitCode, 0);
        const back = await vm.exec('dd if=/dev/xvda bs=1M count=4 iflag=direct 2>/dev/null | sha256sum');
        assert.equal(text(back.stdout), kept);
      } finally {
        await vm.destroy();
      }
      assert.deepEqual((await checkImage(disks, image)).findings, []);
    } finally {
      execFileSync('umount', [small]);
    }
  },
);

guest('a disk that cannot be used is refused before anything boots', async () => {
  const image = await formatted('busy.vhd', 8 * MIB);
  const holder = await openDisk(disks, image);
  await assert.rejects(run('true', { disks: [image] }), { code: 'E_DISK_IN_USE' });
  await holder.close();
  await assert.rejects(run('true', { disks: [path('none.vhd')] }), { code: 'E_DISK_NOT_FOUND' });
  await assert.rejects(run('true', { disks: [`${image},dev=xvdb`, `${image},dev=xvdb`] }), {
    code: 'E_USAGE',
  });
  await assert.rejects(run('true', { disks: [`${image},iops=10`], deterministic: { seed: 1 } }), {
    code: 'E_USAGE',
  });
});
