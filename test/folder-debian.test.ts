/**
 * A whole Debian in a folder of the host, over 9p, for a user without privileges: packages are installed in it, and systemd boots it, reboots and
 * powers off. Root runs the commands as another user. It takes long: only in `npm run test:full`.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { defaultCacheFolder } from '../src/platform/node/cache-folder.ts';
import { DISK_MODULES } from '../src/toolstack/guest-disk.ts';
import { FOLDER_MODULES } from '../src/toolstack/guest-folder.ts';
import { Host } from '../src/toolstack/index.ts';
import { NETWORK_MODULES } from '../src/toolstack/network.ts';
import { ROOT_MODULES } from '../src/toolstack/root-disk.ts';
import { copyCache } from './cache-copy.fixture.ts';
import { commandLine } from './command-line.fixture.ts';

const TIMEOUT_MS = 3_600_000;
const IMAGE = 'domus-test-folder:latest';
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;
const user = isRoot ? NOBODY : undefined;
const folder = fs.mkdtempSync(join(tmpdir(), 'domus-folder-debian-'));
const path = (name: string) => join(folder, name);
const { ok, start } = commandLine(folder, path('state'), { user, env: { DOMUS_CACHE: path('cache') } });
const isSkipped = process.env.DOMUS_TEST_FULL === '1' ? false : 'only in npm run test:full';

before(
  async () => {
    if (isSkipped) return;
    fs.mkdirSync(path('root'));
    await using host = await Host.open();
    const include = ['systemd-sysv', 'udev', 'dbus'];
    const image = await host.images.obtain({ reference: 'debian:13', include, name: IMAGE });
    await copyCache(path('cache'), [...FOLDER_MODULES, ...NETWORK_MODULES, ...DISK_MODULES, ...ROOT_MODULES]);
    for (const name of ['images', join('roots', `${image.root}.vhd`)])
      fs.cpSync(join(defaultCacheFolder(), name), path(join('cache', name)), { recursive: true });
    if (isRoot) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, folder]);
  },
  { timeout: TIMEOUT_MS },
);
after(async () => {
  if (!isSkipped) await start('destroy', '--all').end;
  fs.rmSync(folder, { recursive: true, force: true });
});

/** What a guest with the folder as its root says. @throws AssertionError when its script fails */
const inGuest = (script: string, ...options: string[]): Promise<string> =>
  ok('run', '-q', ...options, '-v', './root:/', '--', 'sh', '-e', '-c', script);

test('packages are installed in it, and what programs expect of owners and rights is so', {
  timeout: TIMEOUT_MS,
  skip: isSkipped,
}, async () => {
  const copy = 'tar -C / --one-file-system -c . | tar -C /mnt -x';
  await ok('run', '-q', '-v', './root:/mnt', IMAGE, '--', 'sh', '-c', copy);
  const said = await inGuest(
    `stat -c '%U:%G %a' /etc/shadow /usr/bin/su /usr/bin/chage /var/mail
     su nobody -s /bin/sh -c 'id -un; cat /etc/shadow >/dev/null 2>&1 || echo closed; touch /etc/x 2>/dev/null || echo closed'
     apt-get update >/dev/null 2>&1
     DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends hello cron >/dev/null 2>&1
     hello
     dpkg --audit
     dpkg --verify hello cron dpkg
     stat -c '%U:%G %a' /usr/bin/crontab /var/spool/cron/crontabs
     adduser --disabled-password --gecos '' kim >/dev/null
     su kim -c 'umask 077; echo private >~/note; stat -c "%U %a" ~/note ~'`,
    ...['--net', 'nat'],
  );
  assert.equal(
    said,
    `root:shadow 640
root:root 4755
root:shadow 2755
root:mail 2775
nobody
closed
closed
Hello, world!
root:crontab 2755
root:crontab 1730
kim 600
kim 700
`,
  );
  // Another guest finds it as it was left; on the host everything is the user's own, and nothing has rights of another.
  assert.equal(
    await inGuest(`hello; stat -c '%U %a' /home/kim/note; dpkg --verify cron`),
    'Hello, world!\nkim 600\n',
  );
  const own = isRoot ? NOBODY : process.getuid?.();
  const others = ['-not', '-uid', String(own), '-o', '-perm', '/7000'];
  assert.equal(execFileSync('find', [path('root'), ...others], { encoding: 'utf8' }), '');
});

test('systemd boots it, without a unit that fails; it reboots, and powers off', {
  timeout: TIMEOUT_MS,
  skip: isSkipped,
}, async () => {
  const boot = ['-d', '--name', 'box', '--boot', '-m', '1G', '-v', './root:/'];
  await ok('run', '-q', ...boot);
  const ask = (script: string) => ok('exec', 'box', '--', 'sh', '-c', script);
  const settled = `until s=$(systemctl is-system-running --wait 2>/dev/null) || [ "$s" = degraded ]; do sleep 1; done; echo $s`;
  assert.equal(
    await ask(`${settled}; systemctl --failed --no-legend --plain; cat /proc/1/comm; findmnt -n -o FSTYPE /`),
    'running\nsystemd\n9p\n',
  );
  // Services, users, sockets, the journal and timers of its own.
  assert.equal(
    await ask(`systemd-run -q --wait --pipe -p User=kim -p PrivateTmp=yes sh -c 'id -un; cat ~/note; ls -A /tmp'
      systemctl is-active cron dbus systemd-journald systemd-logind
      logger -t folder kept; journalctl --sync; journalctl -q -t folder -o cat`),
    'kim\nprivate\nactive\nactive\nactive\nactive\nkept\n',
  );
  const before = await ask('cat /proc/sys/kernel/random/boot_id');
  await start('exec', 'box', '--', 'systemctl', 'reboot').end;
  // Until the next one answers.
  let after = before;
  while (after === before || after === '')
    after = (await start('exec', 'box', '--', 'cat', '/proc/sys/kernel/random/boot_id').end).stdout;
  assert.equal(await ask(`${settled}; journalctl -q --list-boots | wc -l`), 'running\n2\n');
  assert.equal(await ask(`journalctl -q -b -1 -t folder -o cat`), 'kept\n');
  await start('exec', 'box', '--', 'systemctl', 'poweroff').end;
  assert.equal(await ok('wait', 'box'), 'exited\n');
  await ok('destroy', 'box');
  assert.equal(await inGuest('cat /home/kim/note'), 'private\n');
});
