/**
 * What a second vCPU costs the first: `node test/smp/scaling.ts`, on Linux.
 *
 * A kernel whose processors are busy, each with memory of its own, runs with one and with two of them. Processor time is counted
 * for each thread, so the figure is the same on a machine that has other things to do: two vCPUs do twice the work of one when an
 * instruction takes as much processor time as before.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildKernel } from '../system/harness.ts';
import { startOnPcpus } from './harness.ts';

const WARM_UP_MS = 1500;
const MEASURE_MS = 4000;
const PASSES = 3;

/** Nanoseconds of processor time of all threads of this process. */
const processorNs = (): number =>
  readdirSync('/proc/self/task')
    .map(thread => Number(readFileSync(`/proc/self/task/${thread}/schedstat`, 'utf8').split(' ')[0]))
    .reduce((sum, ns) => sum + ns, 0);

async function nsPerInstruction(vcpus: number, translates: boolean): Promise<number> {
  const kernel = buildKernel({
    sources: ['entry64.S', 'kernel.c', 'trampoline.S', '../smp/litmus.c'],
    cases: 'litmus_busy()',
    defines: [`-DPROCESSORS=${vcpus}`],
  });
  const run = await startOnPcpus(kernel.path, vcpus, vcpus, { translates });
  const retired = () => run.domain.vcpus.reduce((sum, vcpu) => sum + Number(vcpu.block.retired), 0);
  try {
    await sleep(WARM_UP_MS);
    const [instructions, ns] = [retired(), processorNs()];
    await sleep(MEASURE_MS);
    return (processorNs() - ns) / (retired() - instructions);
  } finally {
    await run.stop();
    kernel.remove();
  }
}

for (const translates of [false, true]) {
  const best = [1, 2].map(() => Number.POSITIVE_INFINITY);
  for (let pass = 0; pass < PASSES; pass++) {
    for (const vcpus of [1, 2]) {
      best[vcpus - 1] = Math.min(best[vcpus - 1]!, await nsPerInstruction(vcpus, translates));
    }
  }
  const [one, two] = best as [number, number];
  console.log(translates ? 'translated' : 'interpreted');
  console.log(`  one vCPU: ${one.toFixed(2)} ns an instruction; two: ${two.toFixed(2)} ns of processor time`);
  console.log(`  two vCPUs on two cores do ${((2 * one) / two).toFixed(2)} times the work of one`);
}
