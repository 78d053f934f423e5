/** The programs compile without warnings, finish, and compute the same each time and as 32-bit code. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { compileKernels, compileKernels32, compileProcesses, hasProgram } from './compiler.ts';
import { PROGRAMS, SUITES } from './program-list.ts';

const canRun = process.platform === 'linux' && process.arch === 'x64' && hasProgram('gcc');

test('programs compile, finish and repeat themselves', {
  skip: !canRun && 'needs gcc and x86-64',
}, async t => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-bench-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  await compileProcesses(PROGRAMS, folder);
  for (const { name } of PROGRAMS) {
    const run = () => execFileSync(join(folder, name), ['2'], { encoding: 'latin1', timeout: 20_000 });
    const said = run();
    assert.match(said, /^@begin\n@end\n@check [0-9a-f]{16}\n$/, name);
    assert.equal(run(), said, name);
  }
});

test('programs become kernels', { skip: !canRun && 'needs gcc and x86-64' }, async t => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-bench-test-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const isBare = (name: string) => SUITES.some(suite => suite.name === name && !suite.isLinux);
  // One of each suite is enough: the start-up code is the same.
  const bare = PROGRAMS.filter(({ suite }, i) => isBare(suite) && PROGRAMS[i - 1]?.suite !== suite);
  await compileKernels(bare, folder);
  assert.deepEqual([...(await compileKernels32(bare, folder)).keys()].sort(), ['alu', 'bignum']);
});
