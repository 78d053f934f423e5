/**
 * What guests with nothing to do cost: clones of a booted guest, left alone; processor time of the thread that runs them all.
 * `node bench/idle.ts [COUNT [SECONDS]]`
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Host } from '../src/toolstack/index.ts';

const COUNT = Number(process.argv[2] ?? 100);
const SECONDS = Number(process.argv[3] ?? 20);
/** They are told who they are, and their kernels come to rest. */
const SETTLE_MS = 5000;

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

await using host = await Host.open();
const parent = await host.create({ memory: '512M' });
await parent.exec('true');
const { clones } = await host.clone(parent, { count: COUNT });
await sleep(SETTLE_MS);
const executed = (): number => clones.reduce((sum, clone) => sum + clone.instructions(), 0);
const [instructions, cpu, start] = [executed(), cpuMs(), performance.now()];
await sleep(SECONDS * 1000);
const elapsedMs = performance.now() - start;
const share = ((cpuMs() - cpu) / elapsedMs) * 100;
const each = ((executed() - instructions) / COUNT / elapsedMs) * 1000;
console.log(`${COUNT} idle guests: ${share.toFixed(1)} % of a processor`);
console.log(`each: ${Math.round(each)} instructions a second`);
for (const guest of [...clones, parent]) await guest.destroy();
