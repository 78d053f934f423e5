/** The bundle: Domus as a dependency of another project, below node_modules, where Node strips no types; and in a clone. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bundleSources } from '../scripts/build/bundle.ts';

const BEGINNING = '(function (require, __load, __moduleUrl) {"use strict";';
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
  for (const name of ['program.cjs', 'program-host.cjs', 'index.js', 'thread.js', 'pcpu-thread.js'])
    assert.ok(outputs.includes(`dist/${name}`));
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

test('what V8 made of the program is kept for each verb and part, and is of no consequence when it is damaged', () => {
  const cache = join(scratch, 'cache');
  const program = join(cache, 'program');
  // Of guests there are none.
  const list = (...options: string[]) =>
    execFileSync(process.execPath, [join(installed(), 'bin', 'domus.js'), 'list', ...options], {
      encoding: 'utf8',
      env: { ...process.env, DOMUS_CACHE: cache, DOMUS_STATE: join(scratch, 'state') },
    });
  mkdirSync(cache);
  const expected = list();
  const names = readdirSync(program);
  // No guest: neither the part that runs one is loaded, nor those that come after it.
  for (const name of names) assert.match(name, /^\w+-list-(?:program|common|verbs|shared)$/);
  const path = join(program, names.find(name => name.endsWith('-verbs')) ?? '');
  const code = readFileSync(path);
  assert.ok(code.length > 10_000);
  // The first few runs make it anew, later ones do not. What the first two called is in the second's, not in the third's.
  list('-o', 'json');
  const sizeOfAll = () => names.reduce((sum, name) => sum + statSync(join(program, name)).size, 0);
  const ofBoth = sizeOfAll();
  assert.equal(list(), expected);
  // It calls 2 KB less, of which V8 makes some bytes more or less each time.
  assert.ok(sizeOfAll() < ofBoth - 1000);
  for (let i = 0; i < 2; i++) assert.equal(list(), expected);
  const { mtimeMs } = statSync(path);
  assert.equal(list(), expected);
  assert.equal(statSync(path).mtimeMs, mtimeMs);
  for (const bad of [
    code.subarray(0, 3),
    code.subarray(0, 5000),
    Buffer.from(code).fill(0x55, 9000, 9001),
    code.toReversed(),
  ]) {
    writeFileSync(path, bad);
    assert.equal(list(), expected);
    assert.ok(readFileSync(path).length > 10_000);
  }
  // What others can write is not read.
  writeFileSync(path, 'of others');
  chmodSync(path, 0o666);
  assert.equal(list(), expected);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('parts of different builds are not run together', () => {
  const part = join(installed(), 'dist', 'program-verbs.cjs');
  const text = readFileSync(part, 'utf8');
  writeFileSync(part, text.replace(/^\/\/ \w{8}/, '// 01234567'));
  assert.throws(
    () => run(join(installed(), 'bin', 'domus.js'), 'list'),
    /domus: .*program-verbs\.cjs is of another build than what runs; start domus again/,
  );
  writeFileSync(part, text);
});

test('a process that has loaded all parts does without their files', () => {
  const dist = join(installed(), 'dist');
  const bundle = join(dist, 'program.cjs');
  const begin = `const { loadProgram } = require(${JSON.stringify(join(installed(), 'bin', 'program.js'))});
    const { main, loadRest } = loadProgram(${JSON.stringify(bundle)}, 'list');`;
  const away = `require('node:fs').renameSync(${JSON.stringify(dist)}, ${JSON.stringify(`${dist}-away`)});`;
  const back = () => renameSync(`${dist}-away`, dist);
  const help = "main(['help', 'list']).then(code => process.exit(code));";
  try {
    assert.match(run('-e', `${begin} loadRest(); ${away} ${help}`), /domus list/);
    back();
    assert.throws(() => run('-e', `${begin} ${away} ${help}`), /no such file.*program-verbs/);
  } finally {
    if (!existsSync(dist)) back();
  }
});

test('in a clone the bundle runs until a source changes', async () => {
  const clone = join(scratch, 'clone');
  mkdirSync(clone);
  for (const name of ['bin', 'src', 'package.json'])
    cpSync(join(root, name), join(clone, name), { recursive: true });
  const command = join(clone, 'bin', 'domus.js');
  await bundleSources(clone);
  const markBundle = () => {
    const bundle = join(clone, 'dist/program.cjs');
    const marked = readFileSync(bundle, 'utf8').replace(BEGINNING, "$&process.stdout.write('bundle ');");
    writeFileSync(bundle, marked);
  };
  const mark = (file: string, text: string) =>
    appendFileSync(join(clone, file), `\nprocess.stdout.write('${text} ');\n`);
  markBundle();
  assert.match(run(command, '--version'), /^bundle domus \d/);
  mark('src/cli/main.ts', 'source');
  assert.match(run(command, '--version'), /^source domus \d/);
  await bundleSources(clone);
  assert.match(run(command, '--version'), /^source domus \d/);
  writeFileSync(join(clone, 'src/cli/unused.ts'), '');
  markBundle();
  assert.match(run(command, '--version'), /^source domus \d/, 'a file that came');
});
