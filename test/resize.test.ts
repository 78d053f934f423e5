/**
 * A real guest whose memory and vCPUs change while it runs. Kernel and userland come from the machine's package client or the cache;
 * without either the test is skipped.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomusError } from '../src/base/errors.ts';
import { Host } from '../src/toolstack/host.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';

const MIB = 2 ** 20;

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await isSo()) return;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  assert.fail(`never: ${what}`);
}

async function lines(vm: VirtualMachine, command: string): Promise<string> {
  return new TextDecoder().decode((await vm.exec(command)).stdout).trim();
}

test('memory and vCPUs of a running guest go down and up', async t => {
  await using host = await Host.open();
  let vm: VirtualMachine;
  try {
    vm = await host.create({ memory: 192 * MIB, maxMemory: 384 * MIB, vcpus: 1, maxVcpus: 3 });
  } catch (error) {
    if (!(error instanceof DomusError) || !/^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code)) throw error;
    t.skip(`no Debian kernel to be had: ${error.message}`);
    return;
  }
  const has = () => Math.round(vm.domain.memoryBytes / MIB);
  const online = () => vm.domain.vcpus.filter(({ isOnline }) => isOnline).length;
  await vm.ready();
  await until('it has what it was started with', () => has() === 192 && online() === 1);
  assert.equal(await lines(vm, 'cat /sys/devices/system/cpu/online'), '0');
  assert.ok(Number(await lines(vm, "free -m | awk '/Mem/ { print $2 }'")) < 192);

  vm.setMemoryTarget(320 * MIB);
  vm.setVcpusOnline(3);
  await until('it has more', () => has() === 320 && online() === 3);
  await until(
    'Linux uses them',
    async () => (await lines(vm, 'cat /sys/devices/system/cpu/online')) === '0-2',
  );
  // All of it can be used.
  const write = 'mount -t tmpfs -o size=250M none /mnt && dd if=/dev/zero of=/mnt/a bs=1048576 count=200';
  assert.equal(await lines(vm, `mkdir -p /mnt; ${write} && stat -c %s /mnt/a`), String(200 * MIB));
  await vm.exec('umount /mnt');

  vm.setMemoryTarget(160 * MIB);
  vm.setVcpusOnline(2);
  await until('it has less', () => has() === 160 && online() === 2);
  assert.throws(() => vm.setMemoryTarget(400 * MIB), { code: 'E_MEMORY_SIZE' });
  assert.throws(() => vm.setVcpusOnline(4), { code: 'E_VCPU_COUNT' });
  vm.setMemoryMax(200 * MIB);
  assert.throws(() => vm.setMemoryTarget(201 * MIB), { code: 'E_MEMORY_SIZE' });
  vm.requestShutdown();
  assert.equal((await vm.stopped)?.reason, 'poweroff');
});
