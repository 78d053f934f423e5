/** What processors that run at the same time see of each other: test/smp/litmus.c on two threads; and how these are stopped. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { DomusError } from '../../src/base/errors.ts';
import { translatorState } from '../../src/cpu/translator/layout.ts';
import { pauseDomain, unpauseDomain } from '../../src/hypervisor/life.ts';
import { PageScan } from '../../src/hypervisor/sharing/page-scan.ts';
import { buildKernel, missingTools, type TestKernel } from '../system/harness.ts';
import { runToEnd, startOnPcpus } from './harness.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';
const skip = missingTools() ?? false;

function litmusKernel(cases: string, rounds: number): TestKernel {
  const sources = ['entry64.S', 'kernel.c', 'trampoline.S', '../smp/litmus.c'];
  return buildKernel({ sources, cases, defines: [`-DROUNDS=${rounds}`] });
}
let kernel: TestKernel;
let few: TestKernel;
before(() => {
  if (skip) return;
  kernel = litmusKernel('litmus()', isFull ? 2000 : 200);
  few = litmusKernel('litmus_in_turns()', 20);
});
after(() => {
  kernel?.remove();
  few?.remove();
});
const forbidden = (lines: readonly string[]) => lines.filter(line => line.includes('forbidden='));

for (const translates of [false, true]) {
  const how = translates ? 'translated' : 'interpreted';
  test(`litmus tests on two pCPUs, ${how}`, { skip }, async t => {
    const run = await startOnPcpus(kernel.path, 4, 2, { translates, ...(translates && { hotJumps: 100 }) });
    const { lines, problem } = await runToEnd(run);
    const { nrRegions } = translatorState(run.memory);
    const outcomes = forbidden(lines);
    assert.deepEqual(
      outcomes.filter(line => !line.endsWith('forbidden=0')),
      [],
    );
    assert.equal(problem, undefined, `${problem}, after ${lines.at(-1)}`);
    assert.equal(outcomes.length, 15);
    assert.equal(nrRegions > 0, translates);
    for (const line of lines) if (/seen=|busy/.test(line)) t.diagnostic(line);
  });
}

test('the same on one pCPU, in turns', { skip }, async () => {
  const { lines, problem } = await runToEnd(await startOnPcpus(few.path, 4, 1));
  assert.equal(problem, undefined, `${problem}, after ${lines.at(-1)}`);
  assert.equal(forbidden(lines).filter(line => line.endsWith('forbidden=0')).length, 6);
});

test('a pause stops all vCPUs, wherever they are, and they go on as if nothing had been', {
  skip,
}, async () => {
  const run = await startOnPcpus(kernel.path, 4, 2);
  let pauses = 0;
  const retired = () => run.domain.vcpus.map(vcpu => vcpu.block.retired);
  const { lines, problem } = await runToEnd(run, () => {
    if (pauses === 40) return;
    pauses += 1;
    run.locked(() => pauseDomain(run.domain));
    run.threads.awaitStopped(run.domain);
    for (const vcpu of run.domain.vcpus) {
      assert.equal(vcpu.block.engaged, 0);
      assert.equal(vcpu.state.runningOn, 0);
    }
    const before = retired();
    for (let i = 0; i < 100; i++) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0.01);
    assert.deepEqual(retired(), before);
    run.locked(() => unpauseDomain(run.domain));
  });
  assert.equal(problem, undefined, `${problem}, after ${lines.at(-1)}`);
  assert.ok(pauses > 0);
  assert.deepEqual(
    forbidden(lines).filter(line => !line.endsWith('forbidden=0')),
    [],
  );
});

test('pages are shared while vCPUs run on two pCPUs, again and again, and nobody sees anything of it', {
  skip,
}, async () => {
  const scan = new PageScan();
  const run = await startOnPcpus(kernel.path, 4, 2, { hotJumps: 100, store: scan.store });
  const scanned = scan.join(run.domain);
  let given = 0;
  let passes = 0;
  const { lines, problem } = await runToEnd(run, () => {
    // Each stops all processors and makes them look up all their pages again: where others want the host's they get nowhere else.
    if (passes === 100) return;
    passes += 1;
    const { shared, zero } = scanned.facts;
    given = Math.max(given, shared + zero);
    scanned.mark();
    scanned.compare(() => false);
    scan.sweep();
  });
  assert.equal(problem, undefined, `${problem}, after ${lines.at(-1)}`);
  assert.deepEqual(
    forbidden(lines).filter(line => !line.endsWith('forbidden=0')),
    [],
  );
  assert.ok(given > 0, 'nothing was shared');
});

test('a thread that fails is reported, and all are ended', { skip }, async () => {
  const nothing = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  const run = await startOnPcpus(few.path, 2, 2, { pcpuModules: { runtime: nothing, interpreter: nothing } });
  const failure = run.failure() as DomusError;
  await run.stop();
  assert.match(String(failure.message), /dist\/ was built from other sources/);
});
