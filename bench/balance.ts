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
const spentNs = (vm: VirtualMachine): number => vm.threadTimeNs ?? Number.NaN;

await using host = await Host.open();
const [busy, other] = [await host.create(SIZE), await host.create(SIZE)];
const both = [busy, other];
for (const vm of both) await vm.exec('true');

async function idlePercent(): Promise<number> {
  const before = both.reduce((sum, vm) => sum + spentNs(vm), 0);
  const start = performance.now();
  await sleep(1000 * IDLE_S);
  const used = both.reduce((sum, vm) => sum + spentNs(vm), 0) - before;
  return used / 1e4 / (performance.now() - start) / both.length;
}
async function computeMs(): Promise<number> {
  const before = spentNs(busy);
  await busy.exec(COMPUTE);
  return (spentNs(busy) - before) / 1e6;
}
const balance = (isOn: boolean): void => {
  for (const vm of both) host.balanceMemory(vm, isOn ? MIN : undefined);
};

const idle: [number[], number[]] = [[], []];
const compute: [number[], number[]] = [[], []];
await computeMs();
for (let round = 0; round < rounds; round++) {
  for (const isOn of [false, true]) {
    balance(isOn);
    idle[isOn ? 1 : 0].push(await idlePercent());
    compute[isOn ? 1 : 0].push(await computeMs());
  }
}
const pair = ([off, on]: [number[], number[]], digits: number) =>
  `${median(off).toFixed(digits)} without, ${median(on).toFixed(digits)} with`;
console.log(`an idle guest, percent of a processor: ${pair(idle, 2)}`);
console.log(`a guest that computes, ms of processor time: ${pair(compute, 0)}`);

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
