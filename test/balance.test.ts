/** Memory that goes by need, with real kernels: two guests share a budget, and the one that needs it has it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { realHost } from './real-host.fixture.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const MIB = 2 ** 20;
/** Frames that a domain has besides its memory, on the way of a balloon. */
const FEW = MIB;
const SIZE = { memory: '192M', maxMemory: '384M', minMemory: '96M' };
/** What the host promises depends on what it has left, which is another test's business (src/toolstack/balance). */
const real = realHost({ memory: { availableBytes: () => 2 ** 34 } });
const { guest } = real;

const said = async (vm: VirtualMachine, command: string): Promise<string> => {
  const { stdout, stderr } = await vm.exec(command);
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
};
async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    assert.ok(tries < 2400, `never: ${what}`);
    await sleep(50);
  }
}
const has = (vm: VirtualMachine) => Math.round(vm.balloon.actualBytes / MIB);
const kills = (vm: VirtualMachine) => said(vm, 'awk \'$1 == "oom_kill" { print $2 }\' /proc/vmstat');

guest(
  'a guest that needs more has it from one that does not, and gives it back; nothing is ended',
  async () => {
    await using busy = await real.host.create(SIZE);
    await using idle = await real.host.create(SIZE);
    const both = [busy, idle];
    for (const vm of both) await said(vm, 'true');
    const seen: string[] = [];
    let isWatching = true;
    const watching = (async () => {
      while (isWatching) {
        const [a, b] = both.map(has) as [number, number];
        const { boundBytes, budgetBytes } = real.host.balance;
        if (boundBytes > budgetBytes + FEW || Math.min(a, b) < 96 || Math.max(a, b) > 384)
          seen.push(`${a} and ${b} MiB, ${boundBytes} of ${budgetBytes} bytes`);
        await sleep(5);
      }
    })();
    await until('its agent has been asked', () =>
      both.every(vm => real.host.memoryBalance(vm)?.source === 'agent'),
    );
    // More than its kernel has of 192 MiB.
    const write =
      'mkdir -p /big; mount -t tmpfs -o size=300M none /big; dd if=/dev/urandom of=/big/a bs=1048576 count=8';
    const grow =
      'for i in $(seq 20); do cat /big/a; done >/big/b; cmp -n 8388608 /big/a /big/b; stat -c %s /big/b';
    assert.match(await said(busy, `${write} 2>/dev/null; ${grow}`), new RegExp(`^${160 * MIB}$`, 'm'));
    await until('it has what it uses', () => has(busy) > 240);
    assert.ok(has(idle) < 150, `the other one has ${has(idle)} MiB`);
    const needed = (real.host.memoryBalance(busy)?.neededBytes ?? 0) / MIB;
    assert.ok(needed > 180 && needed <= has(busy), `it needs ${needed} MiB`);
    await said(busy, 'umount /big');
    await until('both have what they had', () => both.every(vm => has(vm) === 192));
    if (isFull) {
      // The other way round, with memory of a program's own.
      const hoard = `BEGIN { for (i = 0; i < 1000000; i++) word[i] = "some words that are kept, number " i; print length(word) }`;
      assert.equal(await said(idle, `awk '${hoard}'`), '1000000\n');
    }
    isWatching = false;
    await watching;
    assert.deepEqual(seen, []);
    for (const vm of both) assert.equal(await kills(vm), '0\n');
    // What is asked for by hand is what it usually has from then on.
    real.host.setMemoryTarget(busy, 128 * MIB);
    real.host.balanceMemory(idle, undefined);
    await until('both have what they are to have', () => has(busy) === 128 && has(idle) === 192);
    assert.equal(real.host.balance.budgetBytes, 128 * MIB);
  },
);

guest('a page cache that is too small is made larger, although the guest seems to have memory', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'domus-balance-'));
  const path = join(folder, 'data.img');
  try {
    await writeFile(path, randomBytes(112 * MIB));
    await using vm = await real.host.create({
      ...{ memory: '128M', maxMemory: '384M', minMemory: '96M' },
      disks: [{ path, isReadOnly: true }],
    });
    real.host.setMemoryBudget(384 * MIB);
    await said(vm, 'true');
    // Held open: a device that nobody has open has no cache.
    await said(vm, '(exec 3</dev/xvda; while :; do cat /dev/xvda >/dev/null; done) >/dev/null 2>&1 &');
    await until('the file fits', () => has(vm) > 190);
    const { neededBytes = 0 } = real.host.memoryBalance(vm) ?? {};
    assert.ok(neededBytes < 128 * MIB, `programs need ${neededBytes} bytes only`);
    assert.equal(await kills(vm), '0\n');
  } finally {
    real.host.setMemoryBudget(undefined);
    await rm(folder, { recursive: true });
  }
});
