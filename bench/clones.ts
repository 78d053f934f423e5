/**
 * Clones of a running guest: how long it is held, what each costs until it is made and until a command has run in it, and what memory it
 * takes. `node bench/clones.ts [COUNT [ROUNDS [IMAGE]]]`; without an image the guest has Debian's kernel and busybox, no disk and no network.
 */
import { garbageCollector } from '../src/platform/node/garbage.ts';
import { Host } from '../src/toolstack/index.ts';
import { VirtualMachine } from '../src/toolstack/virtual-machine.ts';

const COUNT = Number(process.argv[2] ?? 100);
const ROUNDS = Number(process.argv[3] ?? 3);
const IMAGE = process.argv[4];
const IDLE_MS = 2000;
const IDLE_COUNT = Math.min(COUNT, 10);

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};
const collectGarbage = garbageCollector();
/** Without what earlier clones have left to be collected. */
function residentMiB(): number {
  collectGarbage();
  return process.memoryUsage.rss() / 2 ** 20;
}
const show = (what: string, value: number, unit: string): void =>
  console.log(`${what.padEnd(48)} ${value.toFixed(1).padStart(8)} ${unit}`);

await using host = await Host.open();
const parent = await host.create({ memory: '512M', ...(IMAGE && { image: IMAGE }) });
await parent.exec('echo before >/tmp/file');
/** Processor time for making clones that are not started before all of them are made. */
async function makingMs(count: number): Promise<number> {
  const { start } = VirtualMachine.prototype;
  const made: VirtualMachine[] = [];
  const before = cpuMs();
  let ms = 0;
  VirtualMachine.prototype.start = function () {
    if (made.push(this) < count) return;
    ms = cpuMs() - before;
    for (const vm of made) start.call(vm);
  };
  try {
    const { clones } = await host.clone(parent, { count });
    for (const clone of clones) await clone.destroy();
    return ms;
  } finally {
    VirtualMachine.prototype.start = start;
  }
}

// Code that runs for the first time, and threads on which clones run: both stay.
await new Promise(resolve => setTimeout(resolve, IDLE_MS));
const beforeFirst = residentMiB();
const first = await host.clone(parent);
show('the parent was held for the first time', first.heldMs, 'ms');
await new Promise(resolve => setTimeout(resolve, IDLE_MS));
show('memory of the first clone, with its thread', residentMiB() - beforeFirst, 'MiB');
for (const clone of first.clones) await clone.destroy();
/** A function, so that clones of one round are garbage in the next. */
async function round(): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, IDLE_MS));
  const before = residentMiB();
  const { clones: idle, heldMs: heldForIdle } = await host.clone(parent, { count: IDLE_COUNT });
  show('the parent was held', heldForIdle, 'ms');
  await new Promise(resolve => setTimeout(resolve, IDLE_MS));
  show('memory of an idle clone', (residentMiB() - before) / idle.length, 'MiB');
  for (const clone of idle) await clone.destroy();
  show('a clone is made in', (await makingMs(COUNT)) / COUNT, 'ms of processor time');
  await new Promise(resolve => setTimeout(resolve, IDLE_MS));
  const [memory, cpu, wall] = [residentMiB(), cpuMs(), performance.now()];
  const { clones, heldMs } = await host.clone(parent, { count: COUNT });
  show('the parent was held', heldMs, 'ms');
  const results = await Promise.all(clones.map(clone => clone.exec('cat /tmp/file')));
  if (results.some(({ stdout }) => new TextDecoder().decode(stdout) !== 'before\n'))
    throw new Error('a clone has another file');
  show(`${COUNT} clones have run a command after`, performance.now() - wall, 'ms');
  show('processor time of each until then', (cpuMs() - cpu) / COUNT, 'ms');
  show('memory of each then', (residentMiB() - memory) / COUNT, 'MiB');
  for (const clone of clones) await clone.destroy();
}
for (let i = 0; i < ROUNDS; i++) await round();
await parent.destroy();
