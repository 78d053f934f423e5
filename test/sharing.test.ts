/** Page sharing with a real kernel: guests that work all the time while their pages are shared as soon as nobody looks. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Host } from '../src/toolstack/index.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { realHost } from './real-host.fixture.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const ROUNDS = isFull ? 40 : 1;
/** What is not looked at for a moment is taken, and a pass follows the other. */
const real = realHost({ sharing: { cpuPercent: 30, idleMs: 20 } });
const { guest } = real;

const said = async (vm: VirtualMachine, command: string): Promise<string> => {
  const { stdout, stderr } = await vm.exec(command);
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
};
/** Files with checksums of their own, changed over and over; some hold the same in all guests, and some zeros. */
const LOAD = `mkdir -p /tmp/w; cd /tmp/w
  check() { md5sum -c sums >/dev/null 2>&1 || echo "broken in round $1" >>/tmp/broken; }
  (i=0; while :; do i=$((i+1))
    head -c 200000 /dev/urandom >own; seq $i 40000 >counted; head -c 300000 /dev/zero >zeros; head -c 500000 /bin/busybox >same
    md5sum own counted zeros same >sums; sync; check $i; usleep 300000; check $i; echo $i >/tmp/rounds
  done) & while [ ! -s /tmp/rounds ]; do usleep 10000; done`;
const roundsOf = async (vm: VirtualMachine) => Number(await said(vm, 'cat /tmp/rounds'));
const broken = (vm: VirtualMachine) => said(vm, 'cat /tmp/broken 2>/dev/null');

guest('guests under load, on one thread and on several, never see a page that is not theirs', async () => {
  await using one = await real.host.create({ memory: '96M' });
  await using two = await real.host.create({ memory: '96M' });
  await using several = await real.host.create({ memory: '96M', vcpus: 2, pcpus: 2 });
  const all = [one, two, several];
  for (const vm of all) await said(vm, LOAD);
  let shared = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const before = await Promise.all(all.map(roundsOf));
    await sleep(500);
    for (const vm of all) shared = Math.max(shared, vm.sharing?.shared ?? 0);
    const clones = round % 2 === 0 ? (await real.host.clone(one)).clones : [];
    for (const vm of [...all, ...clones]) assert.equal(await broken(vm), '');
    for (const clone of clones) await clone.destroy();
    for (const [i, vm] of all.entries()) {
      for (let tries = 0; (await roundsOf(vm)) === before[i] && tries < 3000; tries++) await sleep(100);
      assert.notEqual(await roundsOf(vm), before[i], 'it goes on');
    }
  }
  assert.ok(shared > 1000, `${shared} pages were shared at most`);
});

guest(
  'idle guests share most of what they have, and what a guest has left is the next one to be used',
  async () => {
    await using one = await real.host.create({ memory: '96M' });
    await using two = await real.host.create({ memory: '96M' });
    for (const vm of [one, two]) await said(vm, 'cat /bin/busybox >/dev/null');
    const share = () => [one, two].map(({ sharing }) => sharing?.shared ?? 0);
    for (let tries = 0; Math.min(...share()) < 5000 && tries < 3000; tries++) await sleep(100);
    assert.ok(Math.min(...share()) >= 5000, `${share()} pages are shared`);
    const { own = 0, zero = 0, saved = 0 } = one.sharing ?? {};
    assert.ok(zero > 500 && saved > 2500 && own < 20_000);
    assert.ok(real.host.sharing.storeBytes > 0 && real.host.sharing.processorTimeNs > 0);
    // A guest that is alone again has all of it to itself.
    await two.destroy();
    assert.equal(await said(one, 'seq 1 5'), '1\n2\n3\n4\n5\n');
    assert.equal(two.sharing, undefined);
  },
);

guest(
  "a guest that takes the last of the host's memory is held, and goes on when there is more",
  async () => {
    const held: string[] = [];
    let limit = Number.POSITIVE_INFINITY;
    let vm: VirtualMachine | undefined;
    await using host = await Host.open({
      memory: { reserveBytes: 80 << 20, availableBytes: () => limit - (vm?.touchedBytes ?? 0) },
      onPhase: ({ name }) => {
        if (name === 'held' || name === 'resumed') held.push(name);
      },
    });
    vm = await host.create({ memory: '256M' });
    await said(vm, 'true');
    // What it wants is more than the 20 MiB that are left above the reserve.
    limit = vm.touchedBytes + (100 << 20);
    const writing = said(
      vm,
      `much() { for i in $(seq 30); do echo $i; head -c 2000000 /bin/busybox; done; }
     much >/tmp/big; md5sum </tmp/big; much | md5sum`,
    );
    const untilHeld = async () => {
      while (held.length === 0) await sleep(20);
      return 'held';
    };
    assert.equal(await Promise.race([writing, untilHeld()]), 'held');
    await sleep(200);
    const { touchedBytes } = vm;
    await sleep(300);
    assert.equal(vm.touchedBytes, touchedBytes, 'it takes nothing more');
    assert.ok(touchedBytes < limit, 'it was held before there was none');
    await assert.rejects(host.create({ memory: '64M' }), { code: 'E_HOST_MEMORY' });
    limit = Number.POSITIVE_INFINITY;
    const [stored, wanted] = (await writing).split('\n');
    assert.ok(wanted && stored === wanted, `${stored}, not ${wanted}`);
    assert.deepEqual([held[0], held.at(-1)], ['held', 'resumed']);
  },
);
