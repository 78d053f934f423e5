/** Clones of running guests, as their owners see them: through the library and the command line, with a real kernel. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, mock } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DomusError } from '../src/base/errors.ts';
import { createImage } from '../src/disk/create.ts';
import { nodeDiskHost } from '../src/toolstack/disk-host.ts';
import { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { realHost } from './real-host.fixture.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const folder = mkdtempSync(join(tmpdir(), 'domus-clone-'));
const file = (name: string) => join(folder, name);

// So that clones are on other threads, however many processors this machine has.
const real = realHost({ processors: 3 });
const { guest } = real;
after(() => rmSync(folder, { recursive: true }));
const said = async (vm: VirtualMachine, command: string): Promise<string> => {
  const { stdout, stderr } = await vm.exec(command);
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
};

/** Writes files and blocks of the disk over and over, with a checksum for each of sixteen blocks, and the one before it. */
const LOAD = `(i=0; while :; do i=$((i+1)); k=$((i%16))
  [ -e /tmp/sum$k ] && cp /tmp/sum$k /tmp/old; head -c 65536 /dev/urandom >/tmp/data; md5sum </tmp/data >/tmp/sum$k
  dd if=/tmp/data of=/dev/xvda bs=64k seek=$k conv=notrunc oflag=direct 2>/dev/null; echo $k >/tmp/at
done) & echo $! >/tmp/pid; while [ ! -s /tmp/at ]; do :; done`;
/** Stopped wherever it is, when what it has begun is done: at most one block is not written yet. */
const CHECK = `kill -STOP $(cat /tmp/pid); while cat /proc/[0-9]*/stat 2>/dev/null | grep -q ") [RSD] $(cat /tmp/pid) "; do usleep 10000; done
  late=0; for sum in /tmp/sum*; do
    now=$(dd if=/dev/xvda bs=64k skip=\${sum#/tmp/sum} count=1 iflag=direct 2>/dev/null | md5sum)
    [ "$now" = "$(cat $sum)" ] && continue
    late=$((late+1)); [ ! -e /tmp/old ] || [ "$now" = "$(cat /tmp/old)" ] || echo "$sum is not what was written"
  done; [ $late -le 1 ] || echo "$late blocks are not what was written"
  echo checked; kill -CONT $(cat /tmp/pid)`;

guest('a guest that works is cloned again and again; all go on, and clones of clones', async () => {
  await createImage(nodeDiskHost(), file('data.vhd'), { format: 'vhd', sizeBytes: 8 << 20 });
  await using vm = await real.host.create({ disks: [file('data.vhd')], memory: '96M' });
  await said(vm, LOAD);
  for (let round = 0; round < (isFull ? 30 : 1); round++) {
    const { clones } = await real.host.clone(vm, { count: 2 });
    const [first] = clones as [VirtualMachine];
    const [grandchild] = (await real.host.clone(first)).clones as [VirtualMachine];
    // What it builds on is open for all clones of its call, and is opened with it when its backend begins anew.
    for (const each of [first, grandchild]) await each.disks.get('xvda')!.restart();
    for (const each of [vm, ...clones, grandchild]) assert.equal(await said(each, CHECK), 'checked\n');
    // Whoever others were made of goes first.
    for (const each of [...clones, grandchild]) {
      await each.destroy();
      assert.equal(await said(grandchild.hasStopped ? vm : grandchild, 'echo on'), 'on\n');
    }
  }
});

guest('a clone has the state of that moment, and a name, address and random numbers of its own', async () => {
  await using vm = await real.host.create({ network: 'nat', memory: '128M', vcpus: 2 });
  await said(vm, 'echo before >/tmp/file; hostname parent');
  const options = { count: 3, hostname: (i: number) => (i < 2 ? `c${i}` : undefined) };
  const { clones, heldMs } = await real.host.clone(vm, options);
  assert.ok(heldMs > 0);
  // As where the agent was saved by an earlier version, which cannot be told.
  const identify = mock.method(VirtualMachine.prototype, 'identify', async () => false);
  const told = await real.host
    .clone(vm, { hostname: () => 'told' })
    .then(({ clones: [clone] }) => clone as VirtualMachine)
    .finally(() => identify.mock.restore());
  await said(vm, 'echo after >/tmp/file');
  const seen = new Set<string>();
  for (const [i, each] of [...clones, vm, told].entries()) {
    const [content, name, route, mac, chance] = (
      await said(
        each,
        'cat /tmp/file; hostname; ip route | head -1; cat /sys/class/net/eth0/address; head -c 16 /dev/urandom | md5sum',
      )
    ).split('\n');
    assert.equal(content, each === vm ? 'after' : 'before');
    assert.equal(name, each === told ? 'told' : i < 2 ? `c${i}` : 'parent');
    assert.match(String(route), /^default via 10\.0\.2\.2 /);
    assert.equal(mac, each.network?.macText);
    seen.add(String(mac)).add(String(chance));
  }
  assert.equal(seen.size, 10);
  for (const each of [...clones, told]) await each.destroy();
});

guest('a guest whose vCPUs run on threads is cloned while it works, and saved at the same time', async () => {
  if (!isFull) return;
  await using vm = await real.host.create({ vcpus: 2, pcpus: 2, memory: '96M' });
  await said(vm, 'echo before >/tmp/file; for i in 1 2; do (while :; do date >/tmp/$i; done) & done');
  for (let round = 0; round < 3; round++) {
    const [{ clones }] = await Promise.all([
      real.host.clone(vm, { count: 2 }),
      vm.save(file('threads.sav'), { isDurable: false }),
    ]);
    for (const each of [...clones, vm]) assert.equal(await said(each, 'cat /tmp/file; nproc'), 'before\n2\n');
    for (const each of clones) await each.destroy();
  }
  await using restored = await real.host.restore(file('threads.sav'), { pcpus: 2 });
  assert.equal(await said(restored, 'cat /tmp/file; nproc'), 'before\n2\n');
});

guest('on whatever processor a clone is, it is paused, saved, given another share, and ended', async () => {
  await using vm = await real.host.create({ memory: '96M' });
  await said(vm, 'echo before >/tmp/file');
  const { clones } = await real.host.clone(vm, { count: 5 });
  const elsewhere = clones.filter(({ runsHere }) => !runsHere);
  assert.ok(elsewhere.length >= 3 && elsewhere.length < clones.length);
  for (const each of clones) {
    await each.pause();
    each.resume();
    each.setShare({ weight: 512, cap: 50 });
    assert.deepEqual(each.share, { weight: 512, cap: 50 });
    assert.equal(await said(each, 'cat /tmp/file; echo $((6 * 7))'), 'before\n42\n');
    assert.ok(each.domain.cpuTimeNs > 0);
  }
  const [saved] = elsewhere as [VirtualMachine];
  await said(saved, 'echo after >/tmp/file');
  await saved.save(file('elsewhere.sav'), { isDurable: false });
  await using restored = await real.host.restore(file('elsewhere.sav'));
  for (const each of [saved, restored]) assert.equal(await said(each, 'cat /tmp/file'), 'after\n');
  // One after the other, while the rest goes on.
  for (const [i, each] of clones.entries()) {
    await each.destroy();
    const next = clones[i + 1];
    if (next) assert.match(await said(next, 'cat /tmp/file'), /before|after/);
  }
});

guest('memory of clones that are gone goes back to the host, while others stay', async () => {
  await using vm = await real.host.create({ memory: '96M' });
  await said(vm, 'true');
  const before = process.memoryUsage.rss();
  /** Nothing else may refer to those that end. @returns one that stays, and what all had taken */
  const workAndEnd = async (): Promise<[VirtualMachine, number]> => {
    const { clones } = await real.host.clone(vm, { count: 12 });
    for (const each of clones) await said(each, 'ls -R /bin | sort | md5sum');
    const taken = process.memoryUsage.rss() - before;
    for (const each of clones.slice(1)) await each.destroy();
    return [clones[0] as VirtualMachine, taken];
  };
  const [left, taken] = await workAndEnd();
  const isBack = () => process.memoryUsage.rss() - before < taken / 2;
  for (let i = 0; i < 300 && !isBack(); i++) await sleep(100);
  assert.ok(isBack());
  assert.equal(await said(left, 'echo on'), 'on\n');
  await left.destroy();
});

guest('clones that cannot be are refused, and the guest goes on', async () => {
  await using vm = await real.host.create({ memory: '96M' });
  await said(vm, 'true');
  const isCode = (code: string) => (error: unknown) => error instanceof DomusError && error.code === code;
  await assert.rejects(() => real.host.clone(vm, { count: 0 }), isCode('E_CLONE_COUNT'));
  await assert.rejects(() => real.host.clone(vm, { hostname: () => 'a b; reboot' }), isCode('E_HOSTNAME'));
  assert.equal(await said(vm, 'echo on'), 'on\n');
  await vm.destroy();
  await assert.rejects(() => real.host.clone(vm), isCode('E_DESTROYED'));
});

guest('clone, as it is typed', async () => {
  const entry = fileURLToPath(new URL('../bin/domus.js', import.meta.url));
  const env = { ...process.env, DOMUS_STATE: mkdtempSync(join(folder, 'state-')) };
  const domus = (...args: string[]) =>
    spawnSync(process.execPath, [entry, ...args], { env, encoding: 'utf8' });
  const ok = (...args: string[]): string => {
    const { stdout, stderr, status } = domus(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  try {
    ok('run', '-d', '-q', '-m', '128M', '--name', 'web', '--', 'sh', '-c', 'echo hi >/tmp/x; sleep 100000');
    assert.equal(ok('clone', 'web', '--count', '2', '--hostname', 'node'), 'web-1\nweb-2\n');
    assert.equal(ok('exec', 'web-2', 'sh', '-c', 'cat /tmp/x; hostname'), 'hi\nnode-2\n');
    const { guests, heldMs } = JSON.parse(ok('clone', 'web-1', '--name', 'copy', '-o', 'json')) as {
      guests: { name: string; parent: string; state: string }[];
      heldMs: number;
    };
    assert.deepEqual(
      guests.map(({ name, parent, state }) => ({ name, parent, state })),
      [{ name: 'copy', parent: 'web-1', state: 'running' }],
    );
    assert.ok(heldMs > 0);
    assert.match(domus('clone', 'web', '--name', 'copy').stderr, /there is a guest named copy already/);
    assert.match(domus('clone', 'nobody').stderr, /there is no guest/);
    ok('destroy', 'web', 'web-1');
    assert.equal(ok('exec', 'copy', 'cat', '/tmp/x'), 'hi\n');
  } finally {
    ok('destroy', '--all');
  }
});
