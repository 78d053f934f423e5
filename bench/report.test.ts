import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mixedLoop } from './mixed-loop.ts';
import { comparison, report } from './report.ts';
import { FORMAT, parseResult, type Result } from './result.ts';
import { figure, geometricMean, summarize } from './statistics.ts';

const result = (mips: readonly number[]): Result => ({
  format: FORMAT,
  date: '2026-01-01T00:00:00Z',
  commit: 'abc',
  host: { processor: 'p', count: 2, system: 's', node: 'v26', v8: '14', qemu: 'none', gcc: 'gcc' },
  runs: mips.length,
  rounds: 6,
  scale: 1,
  metrics: [
    { name: 'loops/alu/domus/mips', unit: 'M/s', better: 'higher', summary: summarize(mips) },
    { name: 'loops/alu/domus/ms', unit: 'ms', better: 'lower', summary: summarize([50]) },
    { name: 'loops/alu/qemu/ms', unit: 'ms', better: 'lower', summary: summarize([25]) },
  ],
  skipped: ['one thing'],
});

test('medians, means and figures', () => {
  assert.deepEqual(summarize([3, 1, 2]), { median: 2, min: 1, max: 3, samples: 3 });
  assert.equal(summarize([4, 1]).median, 2.5);
  assert.throws(() => summarize([]));
  assert.ok(Math.abs(geometricMean([2, 8]) - 4) < 1e-9);
  assert.deepEqual([0.01234, 1.5, 123.4, 41_800].map(figure), ['0.0123', '1.50', '123', '41,800']);
});

test('the table has a ratio to QEMU and says what is missing', () => {
  const text = report(result([100, 120, 110]));
  assert.match(text, /alu\s+110\s+100\.\.120\s+-\s+50\.0\s+25\.0\s+-\s+2\.00x\s+-/);
  assert.match(text, /skipped: one thing/);
});

test('a change counts only when the spreads do not overlap', () => {
  assert.match(comparison(result([100, 110]), result([105, 115])), /mips .*noise/);
  assert.match(comparison(result([200, 210]), result([100, 110])), /mips .*better/);
  assert.match(comparison(result([100, 110]), result([200, 210])), /mips .*worse/);
  assert.match(comparison({ ...result([1]), scale: 1 / 8 }, result([1])), /Not compared/);
});

test('a result file is read back, another file is refused', () => {
  assert.equal(parseResult(JSON.stringify(result([1]))).commit, 'abc');
  assert.throws(() => parseResult('{"format":"other"}'), /not a result file/);
});

test('the mixed loop is the same every time and has its size', () => {
  const text = mixedLoop(500);
  assert.equal(text, mixedLoop(500));
  assert.ok(text.split('\n').length > 500);
});
