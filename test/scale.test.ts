/** Many guests in one process, and many vCPUs in one guest, with a real kernel. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { realHost } from './real-host.fixture.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const GUESTS = isFull ? 64 : 4;
const VCPUS = isFull ? 16 : 4;
const MIB = 2 ** 20;

const real = realHost();
const { guest } = real;
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const residentMib = (): number => process.memoryUsage.rss() / MIB;

async function say(vm: VirtualMachine, command: string): Promise<string> {
  const { stdout, stderr, exitCode } = await vm.exec(command);
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(exitCode, 0, `${command}: ${text}`);
  return text;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    if (await isSo()) return;
    await sleep(100);
  }
  assert.fail(`never: ${what}`);
}

/** What it took, for whoever reads the test's output. */
function report(
  t: TestContext,
  what: string,
  since: { ms: number; cpuMs: number; mib: number },
  parts: number,
): void {
  const [seconds, cpu] = [(performance.now() - since.ms) / 1000, (cpuMs() - since.cpuMs) / 1000];
  const each = (residentMib() - since.mib) / parts;
  t.diagnostic(
    `${what}: ${seconds.toFixed(1)} s, ${cpu.toFixed(1)} s of processor time, ${each.toFixed(1)} MiB each`,
  );
}
const now = () => ({ ms: performance.now(), cpuMs: cpuMs(), mib: residentMib() });

guest(`${GUESTS} guests in one process, each on its own`, async t => {
  const begin = now();
  const vms = await Promise.all(Array.from({ length: GUESTS }, () => real.host.create({ memory: 96 * MIB })));
  await Promise.all(vms.map((vm, i) => say(vm, `echo ${i} >/tmp/number`)));
  report(t, `${GUESTS} guests booted`, begin, GUESTS);
  // All of them work at once, and none has what another one wrote.
  const working = now();
  const work = 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i; done | md5sum; cat /tmp/number';
  const said = await Promise.all(vms.map(vm => say(vm, work)));
  report(t, 'all of them have worked', working, GUESTS);
  const [sum] = said[0]?.split('\n') ?? [];
  assert.deepEqual(
    said,
    vms.map((_, i) => `${sum}\n${i}\n`),
  );
  const idle = now();
  await sleep(isFull ? 20_000 : 1000);
  report(t, 'all of them are idle', idle, GUESTS);
  // Half of them end; the others do not notice.
  await Promise.all(vms.filter((_, i) => i % 2 === 0).map(vm => vm.destroy()));
  const others = vms.filter((_, i) => i % 2 === 1);
  assert.deepEqual(
    await Promise.all(others.map(vm => say(vm, 'cat /tmp/number'))),
    others.map((_, i) => `${2 * i + 1}\n`),
  );
  await Promise.all(others.map(vm => vm.destroy()));
});

/** A process on each of the first processors that may run there alone; the numbers of those that it has run on. */
const onEach = (count: number): string =>
  `for c in $(seq 0 ${count - 1}); do taskset $(printf %x $((1 << c))) sh -c 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); done
  read -r line </proc/self/stat; set -- \${line##*) }; echo \${37}' & done | sort -n | tr '\\n' ' '`;

for (const pcpus of [1, 2])
  guest(`${VCPUS} vCPUs in one guest on ${pcpus} pCPUs, and their number goes down and up`, async t => {
    const begin = now();
    await using vm = await real.host.create({ memory: 256 * MIB, vcpus: VCPUS, pcpus });
    assert.equal(await say(vm, 'nproc'), `${VCPUS}\n`);
    report(t, `a guest with ${VCPUS} vCPUs booted`, begin, 1);
    const usesAll = async (count: number) =>
      assert.equal(await say(vm, onEach(count)), Array.from({ length: count }, (_, i) => `${i} `).join(''));
    await usesAll(VCPUS);
    const online = () => say(vm, 'cat /sys/devices/system/cpu/online');
    // Something runs on each of them while they come and go.
    const busy = vm.exec(
      'for c in $(seq 1 20); do (while [ ! -e /tmp/over ]; do md5sum /bin/busybox; done) & done; wait',
      {
        stdout: 'ignore',
      },
    );
    for (const count of [1, VCPUS, VCPUS / 2, VCPUS]) {
      const change = now();
      vm.setVcpusOnline(count);
      const wanted = count === 1 ? '0\n' : `0-${count - 1}\n`;
      await until(`${count} vCPUs`, async () => (await online()) === wanted);
      const isOnline = () => vm.domain.vcpus.filter(each => each.isOnline).length;
      await until(`${count} for the hypervisor`, async () => isOnline() === count);
      report(t, `${count} vCPUs online`, change, 1);
    }
    await say(vm, 'touch /tmp/over');
    await busy;
    await usesAll(VCPUS);
    const log = await say(vm, 'dmesg');
    assert.doesNotMatch(log, /BUG: (?!soft lockup)|Oops|WARNING/);
    // Their clocks agree, and none has counted loops to know how fast it is.
    assert.doesNotMatch(log, /TSC unstable|TSC warp|calibrate_delay/);
  });
