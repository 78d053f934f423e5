/**
 * Memory that goes by need: how soon a guest that needs more has it, how little it had left meanwhile, and what being asked costs guests
 * that do nothing and guests that compute. `node bench/balance.ts [ROUNDS]`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Host } from '../src/toolstack/index.ts';
import type { VirtualMachine } from '../src/toolstack/virtual-machine.ts';
import { median } from './statistics.ts';

const rounds = Number(process.argv[2] ?? 3);
const MIB = 2 ** 20;
const SIZE = { memory: '192M', maxMemory: '384M' };
const MIN = 96 * MIB;
const IDLE_S = 20;
const FILL_MIB = 170;
const COMPUTE = "awk 'BEGIN { for (i = 0; i < 3000000; i++) sum += i % 7; print sum }'";

const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
/** Instructions and processor time: the first do not depend on what else the machine does. */
const spent = (vm: VirtualMachine) => ({
  instructions: vm.instructions(),
  ns: vm.threadTimeNs ?? Number.NaN,
});

await using host = await Host.open();
const [busy, other] = [await host.create(SIZE), await host.create(SIZE)];
const both = [busy, other];
for (const vm of both) await vm.exec('true');

interface Cost {
  readonly millionInstructions: number;
  readonly ms: number;
}
async function costOf(vm: VirtualMachine, work: () => Promise<unknown>): Promise<Cost> {
  const before = spent(vm);
  await work();
  const after = spent(vm);
  return {
    millionInstructions: (after.instructions - before.instructions) / 1e6,
    ms: (after.ns - before.ns) / 1e6,
  };
}
const idleCost = () => costOf(other, () => sleep(1000 * IDLE_S));
const computeCost = () => costOf(busy, () => busy.exec(COMPUTE));
const balance = (isOn: boolean): void => {
  for (const vm of both) host.balanceMemory(vm, isOn ? MIN : undefined);
};

const costs: Record<'idle' | 'compute', [Cost[], Cost[]]> = { idle: [[], []], compute: [[], []] };
await computeCost();
for (let round = 0; round < rounds; round++) {
  for (const isOn of [false, true]) {
    balance(isOn);
    costs.idle[isOn ? 1 : 0].push(await idleCost());
    costs.compute[isOn ? 1 : 0].push(await computeCost());
  }
}
for (const [what, [off, on]] of Object.entries(costs)) {
  const of = (all: readonly Cost[], key: keyof Cost) => median(all.map(each => each[key])).toFixed(1);
  console.log(
    `${what === 'idle' ? `a guest that does nothing for ${IDLE_S} s` : 'a guest that computes'}: million instructions ` +
      `${of(off, 'millionInstructions')} without, ${of(on, 'millionInstructions')} with; ms of processor time ${of(off, 'ms')}, ${of(on, 'ms')}`,
  );
}

balance(true);
await busy.exec('mkdir -p /big && mount -t tmpfs -o size=320M none /big');
for (let round = 0; round < rounds; round++) {
  let least = Number.POSITIVE_INFINITY;
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      const { neededBytes } = host.memoryBalance(busy) ?? {};
      if (neededBytes !== undefined) least = Math.min(least, busy.balloon.actualBytes - neededBytes);
      await sleep(5);
    }
  })();
  const start = performance.now();
  const { exitCode } = await busy.exec(`dd if=/dev/zero of=/big/a bs=1048576 count=${FILL_MIB}`);
  const ms = performance.now() - start;
  isOver = true;
  await watching;
  const has = both.map(vm => mib(vm.balloon.actualBytes)).join(' and ');
  await busy.exec('rm /big/a');
  const freed = performance.now();
  while (both.some(vm => vm.balloon.actualBytes !== 192 * MIB)) await sleep(20);
  console.log(
    `${FILL_MIB} MiB written in ${ms.toFixed(0)} ms (exit code ${exitCode}); then they had ${has} MiB; at least ${mib(least)} were left when asked; ` +
      `back after ${((performance.now() - freed) / 1000).toFixed(1)} s`,
  );
}
const kills = await busy.exec('awk \'$1 == "oom_kill" { print $2 }\' /proc/vmstat');
console.log(`programs ended for want of memory: ${new TextDecoder().decode(kills.stdout).trim()}`);
