/**
 * The credit scheduler with real guests in one process: shares by weight, caps, a wake beside busy guests, and what idle guests cost.
 * Shares are of the processor time that the guests had together, and of the instructions that they retired.
 * `node bench/scheduler.ts [SECONDS] [IDLE-GUESTS]`
 */
import { join } from 'node:path';
import { Host, type VirtualMachine } from '../src/toolstack/index.ts';
import { scratchFolder } from './scratch.ts';

const SECONDS = Number(process.argv[2] ?? 20);
const IDLE_GUESTS = Number(process.argv[3] ?? 20);
const WARM_UP_MS = 10_000;
const BUSY = 'i=0; while :; do i=$((i + 1)); done';

const sleep = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));
const percent = (share: number) => `${(100 * share).toFixed(2).padStart(6)} %`;
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

interface Measured {
  readonly cpuNs: readonly number[];
  readonly instructions: readonly number[];
  readonly elapsedNs: number;
}

async function measure(vms: readonly VirtualMachine[]): Promise<Measured> {
  const look = () => ({
    cpuNs: vms.map(vm => vm.threadTimeNs ?? 0),
    instructions: vms.map(vm => vm.instructions()),
    atNs: performance.now() * 1e6,
  });
  const before = look();
  await sleep(SECONDS * 1000);
  const after = look();
  return {
    cpuNs: after.cpuNs.map((ns, i) => ns - before.cpuNs[i]!),
    instructions: after.instructions.map((count, i) => count - before.instructions[i]!),
    elapsedNs: after.atNs - before.atNs,
  };
}

const file = join(scratchFolder(), 'scheduler.sav');
await using host = await Host.open();
{
  await using first = await host.create({ memory: '128M' });
  await first.exec('true');
  await first.save(file, { isDurable: false });
}

async function busyGuests(shares: readonly { weight?: number; cap?: number }[]): Promise<VirtualMachine[]> {
  const vms: VirtualMachine[] = [];
  for (const share of shares) {
    const vm = await host.restore(file, share);
    vm.exec(BUSY).catch(() => {});
    vms.push(vm);
  }
  await sleep(WARM_UP_MS);
  return vms;
}

async function weights(wanted: readonly number[]): Promise<void> {
  const vms = await busyGuests(wanted.map(weight => ({ weight })));
  const { cpuNs, instructions } = await measure(vms);
  console.log(`weights ${wanted.join(':')}`);
  for (const [i, weight] of wanted.entries()) {
    const [fair, cpu] = [weight / sumOf(wanted), cpuNs[i]! / sumOf(cpuNs)];
    const work = percent(instructions[i]! / sumOf(instructions));
    const off = `${((100 * (cpu - fair)) / fair).toFixed(2)} %`;
    console.log(
      `  ${String(weight).padStart(5)}: ${percent(cpu)} of the time, ${work} of the work; fair ${percent(fair)}, off by ${off}`,
    );
  }
  await Promise.all(vms.map(vm => vm.destroy()));
}

async function cap(limit: number, nrOthers: number): Promise<void> {
  const vms = await busyGuests([{ cap: limit }, ...Array.from({ length: nrOthers }, () => ({}))]);
  const { cpuNs, elapsedNs } = await measure(vms);
  const all = percent(sumOf(cpuNs) / elapsedNs);
  console.log(
    `cap ${limit} beside ${nrOthers} others: ${percent(cpuNs[0]! / elapsedNs)} of a processor; all together ${all}`,
  );
  await Promise.all(vms.map(vm => vm.destroy()));
}

/** How long a command that does nothing takes, alone and beside busy guests. */
async function wake(): Promise<void> {
  const idle = await host.restore(file, {});
  const times = async () => {
    const all: number[] = [];
    for (let i = 0; i < 20; i++) {
      const start = performance.now();
      await idle.exec(['true']);
      all.push(performance.now() - start);
      await sleep(50);
    }
    return all.sort((a, b) => a - b)[10]!;
  };
  await times();
  const alone = await times();
  const vms = await busyGuests([{}, {}]);
  const beside = await times();
  console.log(
    `a command in an idle guest: ${alone.toFixed(1)} ms alone, ${beside.toFixed(1)} ms beside two busy ones`,
  );
  await Promise.all([idle, ...vms].map(vm => vm.destroy()));
}

async function idle(count: number): Promise<void> {
  const vms: VirtualMachine[] = [];
  for (let i = 0; i < count; i++) vms.push(await host.restore(file, {}));
  await sleep(WARM_UP_MS);
  const before = process.cpuUsage();
  const [start, guests] = [performance.now(), sumOf(vms.map(vm => vm.domain.cpuTimeNs))];
  await sleep(SECONDS * 1000);
  const { user, system } = process.cpuUsage(before);
  const elapsedMs = performance.now() - start;
  const own = (user + system) / 1000 / elapsedMs;
  const guestShare = (sumOf(vms.map(vm => vm.domain.cpuTimeNs)) - guests) / 1e6 / elapsedMs;
  const memory = Math.round(process.memoryUsage.rss() / 2 ** 20 / count);
  console.log(
    `${count} idle guests: ${percent(own)} of a processor, ${percent(guestShare)} in guests; ${memory} MiB each`,
  );
  await Promise.all(vms.map(vm => vm.destroy()));
}

await weights([256, 512, 1024]);
await cap(25, 0);
await cap(25, 2);
await wake();
if (IDLE_GUESTS > 0) await idle(IDLE_GUESTS);
process.exit(0);
