/**
 * A Debian with systemd on a disk of its own: from the image to a login prompt, a reboot, and a clean end. It takes minutes: only in
 * `npm run test:full`.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { exportRootDisk } from '../src/image/rootfs/make-root.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import { Host, type VirtualMachine } from '../src/toolstack/index.ts';
import { examine } from './examine.fixture.ts';

const TIMEOUT_MS = 1_800_000;
const IMAGE = 'domus-test-systemd:latest';
const folder = mkdtempSync(join(tmpdir(), 'domus-systemd-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The console as a person at a terminal has it. */
function terminal(vm: VirtualMachine) {
  let text = '';
  vm.onConsole(chunk => {
    text += new TextDecoder('latin1').decode(chunk);
  });
  return {
    /** What is on it up to something that matches, which is gone then. @throws when the guest has stopped without */
    async until(wanted: RegExp): Promise<string> {
      for (;;) {
        const found = wanted.exec(text);
        if (found) {
          const end = found.index + found[0].length;
          const before = text.slice(0, end);
          text = text.slice(end);
          return before;
        }
        if (vm.hasStopped) assert.fail(`${wanted} never came: ${text.slice(-2000)}`);
        await sleep(50);
      }
    },
    type: (line: string) => vm.writeConsole(new TextEncoder().encode(`${line}\n`)),
  };
}

async function ask(vm: VirtualMachine, command: string): Promise<string> {
  const { stdout, stderr } = await vm.exec(command);
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

test('systemd: a login prompt, a session, a reboot, a clean end', {
  timeout: TIMEOUT_MS,
  skip: !process.env.DOMUS_TEST_FULL && 'only in npm run test:full',
}, async () => {
  await using host = await Host.open();
  const image = await host.images.obtain({
    reference: 'debian:12',
    include: ['systemd-sysv', 'udev', 'dbus'],
    name: IMAGE,
    refresh: true,
  });
  const disk = join(folder, 'box.vhd');
  await exportRootDisk(nodeDiskHost(), host.images.store.rootPath(image.root), disk, {});
  {
    await using vm = await host.create({ boot: true, disks: [disk], memory: '1G' });
    const { until, type } = terminal(vm);
    await until(/ login: $/);
    assert.equal(await ask(vm, 'systemctl is-system-running --wait'), 'running\n');
    assert.match(
      await ask(vm, 'systemctl --failed; cat /proc/1/comm; findmnt -n -o SOURCE /'),
      /^[\s\S]*\n0 loaded[\s\S]*systemd\n\/dev\/xvda\n$/,
    );
    await ask(vm, 'echo root:secret | chpasswd');
    await type('root');
    await until(/Password: $/);
    await type('secret');
    await until(/# $/);
    await type('tty; touch /root/kept; systemctl reboot');
    assert.match(await until(/reboot: Restarting system/), /\/dev\/hvc0[\s\S]*All filesystems unmounted/);
    assert.doesNotMatch(await until(/ login: $/), /recover|not clean|orphan/);
    assert.equal(await ask(vm, 'systemctl is-system-running --wait'), 'running\n');
    assert.equal(await ask(vm, 'ls /root; journalctl -q --list-boots | wc -l'), 'kept\n2\n');
    await ask(vm, 'systemctl poweroff');
    assert.equal((await vm.stopped)?.reason, 'poweroff');
  }
  await examine(disk);
});
