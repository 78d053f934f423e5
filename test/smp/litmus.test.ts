/** What processors that run at the same time see of each other: test/smp/litmus.c on two threads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildKernel, missingTools } from '../system/harness.ts';
import { runOnPcpus } from './harness.ts';

const isFull = process.env.DOMUS_TEST_FULL === '1';

test('litmus tests on two pCPUs', { skip: missingTools() ?? false }, async t => {
  const kernel = buildKernel({
    sources: ['entry64.S', 'kernel.c', 'trampoline.S', '../smp/litmus.c'],
    cases: 'litmus()',
    defines: [`-DROUNDS=${isFull ? 2000 : 200}`],
  });
  try {
    const result = await runOnPcpus(kernel.path, 4, 2, 300_000);
    const outcomes = result.lines.filter(line => line.includes('forbidden='));
    assert.deepEqual(
      outcomes.filter(line => !line.endsWith('forbidden=0')),
      [],
    );
    assert.equal(result.problem, undefined, `${result.problem}, after ${result.lines.at(-1)}`);
    assert.equal(outcomes.length, 14);
    for (const line of result.lines) if (/seen=|busy/.test(line)) t.diagnostic(line);
  } finally {
    kernel.remove();
  }
});

test('the same on one pCPU, in turns', { skip: missingTools() ?? false }, async () => {
  const kernel = buildKernel({
    sources: ['entry64.S', 'kernel.c', 'trampoline.S', '../smp/litmus.c'],
    cases: 'litmus_in_turns()',
    defines: ['-DROUNDS=20'],
  });
  try {
    const result = await runOnPcpus(kernel.path, 4, 1, 300_000);
    assert.equal(result.problem, undefined, `${result.problem}, after ${result.lines.at(-1)}`);
    assert.equal(result.lines.filter(line => line.endsWith('forbidden=0')).length, 5);
  } finally {
    kernel.remove();
  }
});
