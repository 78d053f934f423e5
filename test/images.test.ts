/**
 * Guests with an image for a root, end to end: Debian's cloud kernel mounts what our ext4 writer made and runs commands as the
 * image says.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { openImageCache } from '../src/image/cache.ts';
import { obtainBusybox } from '../src/image/debian.ts';
import { sampleImage, writeLayout } from '../src/image/oci/sample.fixture.ts';
import { Host, type RunOptions } from '../src/toolstack/index.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';

const TIMEOUT_MS = 600_000;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const folder = mkdtempSync(join(tmpdir(), 'domus-images-test-'));

let host: Host;
let busybox = new Uint8Array();
let unavailable: string | undefined;
before(async () => {
  host = await Host.open();
  try {
    busybox = (await obtainBusybox({ cache: openImageCache() })).contents.slice();
    await host.run({ command: ['true'], timeoutMs: TIMEOUT_MS });
  } catch (error) {
    if (error instanceof DomusError && !/^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code)) throw error;
    unavailable = `no Debian packages: ${(error as Error).message}`;
  }
});
const built: string[] = [];
after(async () => {
  for (const name of built) await host.images.store.remove(name);
  await host.images.store.collectGarbage();
  await host[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const guest = (name: string, run: () => Promise<void>) =>
  test(name, { timeout: TIMEOUT_MS }, async t => {
    if (unavailable !== undefined) t.skip(unavailable);
    else await run();
  });
const run = (options: RunOptions) => host.run({ network: 'none', timeoutMs: TIMEOUT_MS, ...options });

guest('an OCI image: owners, devices, attributes, user, entry point; each run begins anew', async () => {
  const layout = join(folder, 'layout');
  writeLayout(
    layout,
    sampleImage(
      [
        [
          { name: 'bin/busybox', data: busybox, mode: 0o755 },
          { name: 'bin/sh', type: '2', link: 'busybox' },
          { name: 'etc/passwd', data: 'root:x:0:0::/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n' },
          { name: 'etc/group', data: 'web:x:102:\nlog:x:103:web\n' },
          { name: 'bin/su', data: 'x', mode: 0o4755, uid: 70_000, gid: 7 },
          { name: 'dev-null', type: '3', major: 1, minor: 3, mode: 0o666 },
          { name: 'secret', data: 'x', mode: 0o600 },
        ],
        [
          { name: 'srv/', type: '5', mode: 0o755, uid: 101, gid: 102 },
          { name: 'bin/cat', type: '1', link: 'bin/busybox' },
          { name: 'bin/entry', data: '#!/bin/sh\necho "entry $*"\nexec "$@"\n', mode: 0o755 },
        ],
      ],
      {
        Env: ['PATH=/bin', 'WHO=image'],
        Entrypoint: ['entry'],
        Cmd: ['sh', '-c', 'echo usual'],
        User: 'web',
        WorkingDir: '/srv',
      },
    ),
  );
  const image = `oci:${layout}`;
  built.push(image);
  const usual = await run({ image });
  assert.equal(text(usual.stdout), 'entry sh -c echo usual\nusual\n', text(usual.stderr));
  const script = [
    'echo "$WHO $(pwd) $(busybox id -u) $(busybox id -G)"',
    'busybox stat -c "%a %u %g %F" /bin/su /dev-null',
    'busybox stat -c %h /bin/cat',
    'echo new >/srv/file && cat /srv/file',
    'echo gone >/dev-null',
    'cat /secret 2>/dev/null || echo denied',
    "busybox df -k / | busybox tail -1 | busybox awk '{print $1, ($2 > 15000000)}'",
  ].join('; ');
  for (let i = 0; i < 2; i++) {
    const { stdout, stderr, exitCode } = await run({
      image,
      command: ['sh', '-c', `ls /srv 2>/dev/null; ${script}`],
    });
    assert.equal(exitCode, 0, text(stderr));
    assert.deepEqual(text(stdout).split('\n').slice(1), [
      'image /srv 101 102 103',
      '4755 70000 7 regular file',
      '666 0 0 character special file',
      '2',
      'new',
      'denied',
      '/dev/xvda 1',
      '',
    ]);
  }
});

guest(
  'an image is booted once: later runs go on from there, each with a disk that is as it was',
  async () => {
    const layout = join(folder, 'prepared');
    writeLayout(
      layout,
      sampleImage(
        [
          [
            { name: 'bin/busybox', data: busybox, mode: 0o755 },
            { name: 'bin/sh', type: '2', link: 'busybox' },
            { name: 'file', data: 'old' },
          ],
        ],
        { Env: ['PATH=/bin', 'WHO=image'] },
      ),
    );
    const name = 'domus-test-prepared:latest';
    built.push(name);
    await host.images.obtain({ reference: `oci:${layout}`, name });
    const phases: string[] = [];
    const command = [
      'sh',
      '-c',
      'busybox cat /file; echo new >/file; echo " $WHO $(busybox cat /file)"; busybox sync',
    ];
    for (let i = 0; i < 3; i++) {
      const onPhase = (phase: { name: string }) => phases.push(phase.name);
      const { stdout } = await run({ image: name, command, isPrepared: true, memory: '200M', onPhase });
      assert.equal(text(stdout), 'old image new\n');
    }
    assert.deepEqual(
      phases.filter(phase => ['kernel', 'prepare', 'restore'].includes(phase)),
      ['kernel', 'prepare', 'restore', 'restore'],
    );
  },
);

guest('what is saved of an image needs neither the guest nor what was saved before', async () => {
  const layout = join(folder, 'saved');
  writeLayout(
    layout,
    sampleImage(
      [
        [
          { name: 'bin/busybox', data: busybox, mode: 0o755 },
          { name: 'bin/sh', type: '2', link: 'busybox' },
        ],
      ],
      { Env: ['PATH=/bin'] },
    ),
  );
  const image = `oci:${layout}`;
  built.push(image);
  const write = (name: string) => `echo ${name} >/${name}; busybox sync`;
  const listing = async (vm: VirtualMachine) =>
    text((await vm.exec('busybox ls / | busybox grep file')).stdout);
  const vm = await host.create({ image, network: 'none', memory: '128M' });
  const first = join(folder, 'first.sav');
  const second = join(folder, 'second.sav');
  // What a thread of the kernel's reads ahead is read again in each copy.
  const mounts = text((await vm.exec("busybox grep ' / ' /proc/mounts")).stdout);
  assert.match(mounts, /ext4 \S*\bno_prefetch_block_bitmaps\b/);
  await vm.exec(write('file1'));
  await vm.save(first, { isDurable: false });
  await vm.exec(write('file2'));
  const { clones } = await host.clone(vm);
  const [clone] = clones as [VirtualMachine];
  await clone.exec(write('file3'));
  // The next one has nothing to write that its parent could have written.
  const dirty = 'busybox awk \'/^Dirty:/ { print ($2 < 1024) ? "clean" : $0 }\' /proc/meminfo';
  await clone.exec('busybox dd if=/dev/zero of=/written bs=1M count=4 2>/dev/null');
  const [grandchild] = (await host.clone(clone)).clones as [VirtualMachine];
  await vm.destroy();
  await clone.destroy();
  assert.equal(text((await grandchild.exec(dirty)).stdout), 'clean\n');
  await grandchild.save(second, { isDurable: false });
  await grandchild.exec(write('file4'));
  assert.equal(await listing(grandchild), 'file1\nfile2\nfile3\nfile4\n');
  await grandchild.destroy();
  await using again = await host.restore(second);
  rmSync(second);
  assert.equal(await listing(again), 'file1\nfile2\nfile3\n');
  await using old = await host.restore(first);
  assert.equal(await listing(old), 'file1\n');
});

guest(
  'the shell of an image is called before its first command, and one without a shell does without',
  async () => {
    const noting = '#!/bin/busybox sh\necho "$*" >>/noted\n';
    const shells = [{ name: 'bin/sh', data: noting, mode: 0o755 }];
    for (const files of [shells, []]) {
      const layout = join(folder, `shells-${files.length}`);
      writeLayout(layout, sampleImage([[{ name: 'bin/busybox', data: busybox, mode: 0o755 }, ...files]]));
      const image = `oci:${layout}`;
      built.push(image);
      const { stdout, exitCode } = await run({ image, command: ['/bin/busybox', 'cat', '/noted'] });
      assert.equal(text(stdout), files.length > 0 ? '-c :\n' : '');
      assert.equal(exitCode, files.length > 0 ? 0 : 1);
    }
  },
);

guest('an init of the image’s own: no command runs in the RAM disk that it began in', async () => {
  const layout = join(folder, 'init');
  const init = '#!/bin/sh\nwhile :; do busybox sleep 1000; done\n';
  writeLayout(
    layout,
    sampleImage([
      [
        { name: 'bin/busybox', data: busybox, mode: 0o755 },
        { name: 'bin/sh', type: '2', link: 'busybox' },
        { name: 'sbin/init', data: init, mode: 0o755 },
      ],
    ]),
  );
  const image = `oci:${layout}`;
  built.push(image);
  await using vm = await host.create({ image, boot: true, network: 'none' });
  const ask = async (script: string) => text((await vm.exec(['/bin/busybox', 'sh', '-c', script])).stdout);
  const first = await ask('echo kept >/early; grep -c " / ext4 " /proc/mounts; cat /proc/1/comm');
  assert.equal(first, '1\ninit\n');
  assert.equal(await ask('cat /early'), 'kept\n');
});

guest('a folder: its own disk beside others, and exit codes', async () => {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'bin'), { recursive: true });
  writeFileSync(join(root, 'bin/busybox'), busybox, { mode: 0o755 });
  symlinkSync('busybox', join(root, 'bin/sh'));
  copyFileSync(join(root, 'bin/busybox'), join(root, 'bin/ls'));
  const image = `dir:${root}`;
  built.push(image);
  assert.equal((await run({ image, command: ['sh', '-c', 'exit 7'] })).exitCode, 7);
  assert.equal((await run({ image, command: ['missing'] })).exitCode, 127);
  const { stdout } = await run({ image, command: ['ls', '-d', '/etc/hosts', '/run/domus', '/lost+found'] });
  assert.equal(text(stdout), '/etc/hosts\n/lost+found\n/run/domus\n');
});

guest('Debian, if this machine has made it already', async () => {
  if (!process.env.DOMUS_TEST_FULL && !(await host.images.store.find('debian:12'))) return;
  const command = [
    'sh',
    '-c',
    'dpkg --audit; dpkg -l | grep -c ^ii; dpkg -l | grep -c ^[^i].; . /etc/os-release; ' +
      'echo $VERSION_ID $(id -un) $(readlink /bin); stat -c "%a %U %G" /usr/bin/passwd /etc/shadow',
  ];
  const { stdout, stderr } = await run({ image: 'debian:12', command });
  assert.match(text(stdout), /^\d+\n5\n12 root usr\/bin\n4755 root root\n640 root shadow\n$/, text(stderr));
});
