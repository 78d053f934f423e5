/** Page sharing with a real kernel: guests that work all the time while their pages are shared as soon as nobody looks. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { realHost } from './real-host.fixture.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const ROUNDS = isFull ? 40 : 2;
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
    head -c 200000 /dev/urandom >own; seq $i 40000 >counted; head -c 300000 /dev/zero >zeros; cat /bin/busybox >same
    md5sum own counted zeros same >sums; sync; check $i; usleep 100000; check $i; echo $i >/tmp/rounds
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
      for (let tries = 0; (await roundsOf(vm)) === before[i] && tries < 200; tries++) await sleep(50);
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
    for (let tries = 0; Math.min(...share()) < 5000 && tries < 100; tries++) await sleep(100);
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
