import assert from 'node:assert/strict';
import { test } from 'node:test';
import { comparisonTable } from './comparison.ts';
import { cpuBetween } from './cpu-time.ts';
import { fullReport, replaceBetweenMarks } from './documents.ts';
import { judge } from './judge.ts';
import { LineReader, readCommand } from './lines.ts';
import { mixedLoop } from './mixed-loop.ts';
import { parseOptions } from './options.ts';
import { plot, plotRows } from './plot.ts';
import { aboutProgram, PROGRAMS, SUITES } from './program-list.ts';
import { REAL_PROGRAMS, words } from './real-programs.ts';
import { problemLines, suiteRatios, suiteTable } from './report.ts';
import { FORMAT, type Measurement, parseResult, type Result } from './result.ts';
import { RIVALS } from './rivals.ts';
import { SMP_PROGRAMS } from './smp.ts';
import { chanceOfNoChange, figure, geometricMean, summarize } from './statistics.ts';
import { textTable } from './table.ts';

const sample = (program: string, engine: string, ...samples: number[]): Measurement => ({
  suite: 'integer',
  program,
  engine,
  unit: 'ms',
  better: 'lower',
  samples,
});
const result = (...measurements: Measurement[]): Result => ({
  format: FORMAT,
  date: '2026-01-01T00:00:00Z',
  commit: 'abc',
  host: { processor: 'p', count: 2, system: 's', node: 'v26', v8: '14', qemu: 'none', gcc: 'gcc' },
  scale: 1,
  repeat: 3,
  clock: 'wall',
  measurements,
  problems: [
    { suite: 'integer', program: 'lz', engine: 'v86', why: 'no 64 bits', isFailure: false },
    { suite: 'integer', program: 'sieve', engine: 'v86', why: 'no 64 bits', isFailure: false },
  ],
});

test('medians, means and figures', () => {
  assert.deepEqual(summarize([3, 1, 2]), { median: 2, min: 1, max: 3, samples: 3 });
  assert.equal(summarize([4, 1]).median, 2.5);
  assert.throws(() => summarize([]));
  assert.ok(Math.abs(geometricMean([2, 8]) - 4) < 1e-9);
  assert.deepEqual([0.01234, 1.5, 123.4, 41_800].map(figure), ['0.0123', '1.50', '123', '41,800']);
});

test('the exact rank test: known values', () => {
  assert.ok(Math.abs(chanceOfNoChange([1, 2, 3], [4, 5, 6]) - 0.1) < 1e-9);
  assert.ok(Math.abs(chanceOfNoChange([1, 2, 3, 4], [5, 6, 7, 8]) - 2 / 70) < 1e-9);
  assert.equal(chanceOfNoChange([1, 4], [2, 3]), 1);
  assert.equal(chanceOfNoChange([5, 5], [5, 5]), 1);
});

test('ratios are above 1 where Domus is faster, and the mean covers what both ran', () => {
  const two = result(
    sample('sieve', 'interpreter', 10, 20, 30),
    sample('sieve', 'qemu', 40),
    sample('lz', 'interpreter', 8),
    sample('lz', 'qemu', 4),
    sample('json', 'interpreter', 1),
  );
  assert.deepEqual(suiteRatios(two), [
    { suite: 'integer', engine: 'interpreter', against: 'qemu', mean: 1, programs: 2 },
  ]);
  const text = textTable(suiteTable(two, 'integer'));
  assert.match(text, /sieve\s+20\.0\s+40\.0\s+cannot\s+2\.00\s+-/);
  assert.match(text, /geometric mean\s+1\.00/);
  assert.deepEqual(problemLines(two), ['left out on v86: no 64 bits (integer/lz, integer/sieve)']);
  assert.deepEqual(problemLines(result(sample('lz', 'qemu', 1))), ['left out on v86: no 64 bits (integer)']);
});

test('a change counts only when the samples are told apart', () => {
  const verdict = (before: number[], now: number[]) =>
    comparisonTable(
      result(sample('sieve', 'interpreter', ...now)),
      result(sample('sieve', 'interpreter', ...before)),
    ).rows[0]!.at(-1);
  assert.equal(verdict([10, 11, 12], [11, 12, 13]), 'noise');
  assert.equal(verdict([10, 11, 12], [20, 21, 22]), 'slower');
  assert.equal(verdict([20, 21, 22], [10, 11, 12]), 'faster');
  assert.throws(() => comparisonTable({ ...result(), scale: 1 / 8 }, result()), /other work/);
});

test('a result file is read back, another file is refused', () => {
  assert.equal(parseResult(JSON.stringify(result())).commit, 'abc');
  assert.throws(() => parseResult('{"format":"other"}'), /not a result file/);
});

test('lines come whole however the pieces are cut', () => {
  const lines: string[] = [];
  const reader = new LineReader(({ text }) => lines.push(text));
  for (const piece of ['@be', 'gin\r\nhel', 'lo\n@end', '\n']) reader.push(piece, 0);
  assert.deepEqual(lines, ['@begin', 'hello', '@end']);
});

test('what a program says becomes a time and a check value, or an error', () => {
  const lines = (...texts: string[]) => texts.map((text, i) => ({ text, atMs: i * 10 }));
  assert.deepEqual(readCommand(lines('@begin', 'noise', '@end', '@check 0f', '@retired 99', '@exit 0')), {
    ms: 20,
    check: '0f',
    retired: 99,
  });
  assert.throws(() => readCommand(lines('@begin', 'Segmentation fault', '@exit 139')), /139: Segmentation/);
  assert.throws(() => readCommand(lines('@begin', '@exit 0')), /did not finish/);
});

test('processor time is that of the threads that live at the end', () => {
  const times = (...entries: [number, number][]) => new Map(entries);
  assert.equal(cpuBetween(times([1, 10], [2, 500]), times([1, 30], [3, 5])), 25);
  assert.equal(cpuBetween(times(), times([1, 30])), undefined);
});

test('who differs from the most trusted rival is wrong', () => {
  const rival = (name: string) => RIVALS.find(each => each.name === name)!;
  const reasons = (checks: Record<string, string>) =>
    [...judge(new Map(Object.entries(checks).map(([name, check]) => [rival(name), check])))].map(
      ([{ name }, why]) => `${name}: ${why}`,
    );
  assert.deepEqual(reasons({ interpreter: 'a', qemu: 'a', native: 'a' }), []);
  assert.deepEqual(reasons({ interpreter: 'b', qemu: 'a', v86: 'c' }), [
    'interpreter: computed b, qemu a',
    'v86: computed c, qemu a',
  ]);
  assert.deepEqual(reasons({ interpreter: 'b', native: 'a' }), ['interpreter: computed b, native a']);
  assert.deepEqual(reasons({}), []);
});

test('programs have unique names, a suite, a source that says what it does', () => {
  const names = [...PROGRAMS, ...REAL_PROGRAMS].map(({ name }) => name);
  for (const name of SMP_PROGRAMS) assert.ok(names.includes(name), name);
  assert.equal(new Set(names).size, names.length);
  for (const program of PROGRAMS) {
    assert.ok(
      SUITES.some(({ name }) => name === program.suite),
      program.name,
    );
    assert.ok(aboutProgram(program).length > 5, program.name);
  }
});

test('options: unknown names and numbers are refused', () => {
  assert.equal(parseOptions(['--quick']).scale, 1 / 8);
  assert.deepEqual(
    parseOptions(['--engine', 'qemu,native']).rivals.map(({ name }) => name),
    ['qemu', 'native'],
  );
  assert.throws(() => parseOptions(['--suite', 'nosuch']), /there is no nosuch; there are integer/);
  assert.throws(() => parseOptions(['--repeat', '0']), /whole number/);
});

test('one program alone is that, not its parallel twin as well', () => {
  const { suites, programs } = parseOptions(['--program', 'sieve']);
  assert.deepEqual(programs, ['sieve']);
  assert.ok(suites.includes('integer') && !suites.includes('smp') && !suites.includes('boot'));
});

test('the text for real programs is the same every time', () => {
  const text = new TextDecoder().decode(words(2000));
  assert.equal(text, new TextDecoder().decode(words(2000)));
  assert.match(text, /^[a-z0-9 ,\n]+$/);
});

test('the picture has a dot for every program, says it in words, and is well-formed', () => {
  const both = result(
    sample('sieve', 'interpreter', 10),
    sample('sieve', 'qemu', 40),
    sample('lz', 'interpreter', 8),
    sample('lz', 'qemu', 4),
    sample('lz', 'native', 1),
  );
  const rows = plotRows(both);
  assert.deepEqual(rows[0]!.lines[0]!.points.map(({ ratio }) => ratio).sort(), [0.5, 4]);
  const picture = plot(rows, 'a < b & c');
  assert.equal(picture.match(/<circle/g)!.length, 2);
  assert.match(
    picture,
    /<desc id="desc">Geometric means by suite. Integer, interpreter: 1.41. a &#60; b &#38; c</,
  );
  // Every element that is opened is closed.
  const open: string[] = [];
  for (const [, end, name, empty] of picture.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
    if (end) assert.equal(open.pop(), name);
    else if (!empty) open.push(name!);
  }
  assert.deepEqual(open, []);
});

test('documents: what is between the marks is replaced, and the marks stay', () => {
  const text =
    'a\n  <!-- written by npm run bench -- --write -->\n  old\n  <!-- end of what it wrote -->\nb\n';
  const once = replaceBetweenMarks(text, 'new\n\nlines');
  assert.match(once, /^a\n {2}<!-- w.*-->\n {2}new\n\n {2}lines\n {2}<!-- end.*-->\nb\n$/);
  assert.equal(replaceBetweenMarks(once, 'new\n\nlines'), once);
  assert.throws(() => replaceBetweenMarks('nothing', 'x'));
  assert.match(fullReport(result(sample('sieve', 'interpreter', 1))), /\| sieve \| 1\.00 \| cannot \|/);
});

test('the mixed loop is the same every time and has its size', () => {
  const text = mixedLoop(500);
  assert.equal(text, mixedLoop(500));
  assert.ok(text.split('\n').length > 500);
});
