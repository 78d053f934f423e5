/** The bundle: Domus as a dependency of another project, below node_modules, where Node strips no types; and in a clone. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bundleSources } from '../scripts/build/bundle.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
let scratch = '';
let outputs: string[] = [];
const installed = () => join(scratch, 'node_modules', 'domus');
const run = (...args: string[]) => execFileSync(process.execPath, args, { cwd: scratch, encoding: 'utf8' });

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'domus-bundle-'));
  mkdirSync(installed(), { recursive: true });
  for (const name of ['bin', 'src', 'package.json'])
    cpSync(join(root, name), join(installed(), name), { recursive: true });
  outputs = await bundleSources(installed());
});
after(() => rmSync(scratch, { recursive: true, force: true }));

test('threads find the modules that they begin with', () => {
  for (const name of ['main', 'index', 'thread', 'pcpu-thread'])
    assert.ok(outputs.includes(`dist/${name}.js`));
  assert.ok(
    outputs.every(output => !output.slice('dist/'.length).includes('/')),
    'all lie in one folder',
  );
});

test('installed below node_modules, the command and the library work', () => {
  rmSync(join(installed(), 'src'), { recursive: true });
  assert.match(run(join(installed(), 'bin', 'domus.js'), '--version'), /^domus \d/);
  const program = "import { Host } from 'domus'; console.log(typeof Host.open);";
  writeFileSync(join(scratch, 'use.mjs'), program);
  assert.equal(run('use.mjs').trim(), 'function');
});

test('in a clone the bundle runs until a source changes', async () => {
  const clone = join(scratch, 'clone');
  mkdirSync(clone);
  for (const name of ['bin', 'src', 'package.json'])
    cpSync(join(root, name), join(clone, name), { recursive: true });
  const command = join(clone, 'bin', 'domus.js');
  await bundleSources(clone);
  const mark = (file: string, text: string) =>
    appendFileSync(join(clone, file), `\nprocess.stdout.write('${text} ');\n`);
  mark('dist/main.js', 'bundle');
  assert.match(run(command, '--version'), /^bundle domus \d/);
  mark('src/cli/main.ts', 'source');
  assert.match(run(command, '--version'), /^source domus \d/);
  await bundleSources(clone);
  assert.match(run(command, '--version'), /^source domus \d/);
  writeFileSync(join(clone, 'src/cli/unused.ts'), '');
  mark('dist/main.js', 'bundle');
  assert.match(run(command, '--version'), /^source domus \d/, 'a file that came');
});
