/** Domus as a dependency of another project: below node_modules, where Node strips no types. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stripSources, toJavaScript } from '../scripts/strip.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

test('relative paths to sources become paths to JavaScript', () => {
  const source = [
    "import { a } from './a.ts';",
    "import type { T } from '../t.ts';",
    "const b = await import('./b.ts');",
    "const worker = new URL('./worker.ts', import.meta.url);",
    "const text: string = 'notes.ts';",
  ].join('\n');
  const lines = toJavaScript(source).split('\n');
  assert.equal(lines[0], "import { a } from './a.js';");
  assert.equal(lines[1]?.trim(), '');
  assert.equal(lines[2], "const b = await import('./b.js');");
  assert.equal(lines[3], "const worker = new URL('./worker.js', import.meta.url);");
  assert.match(lines[4] ?? '', /const text {8} = 'notes\.ts';/);
});

test('installed below node_modules, the command and the library work', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'domus-strip-'));
  try {
    const installed = join(scratch, 'node_modules', 'domus');
    mkdirSync(installed, { recursive: true });
    for (const name of ['bin', 'src', 'package.json'])
      cpSync(join(root, name), join(installed, name), { recursive: true });
    assert.ok(stripSources(installed) > 10);
    const run = (...args: string[]) =>
      execFileSync(process.execPath, args, { cwd: scratch, encoding: 'utf8' });
    assert.match(run(join(installed, 'bin', 'domus.js'), '--version'), /^domus \d/);
    writeFileSync(
      join(scratch, 'use.mjs'),
      "import { Host } from './node_modules/domus/dist/toolstack/index.js'; console.log(typeof Host.open);",
    );
    assert.equal(run('use.mjs').trim(), 'function');
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
