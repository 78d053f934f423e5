/** What the documentation lists is what the code has. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EXIT_CODES } from '../src/cli/exit-codes.ts';
import { spelling } from '../src/cli/options.ts';
import { VERBS } from '../src/cli/verbs/index.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file: string) => readFileSync(`${root}/${file}`, 'utf8');

test('docs/errors.md explains every error code of the sources', () => {
  const documented = new Set(read('docs/errors.md').match(/E_[A-Z_]+/g));
  const missing: string[] = [];
  for (const file of globSync('src/**/*.ts', { cwd: root })) {
    if (/\.(?:test|fixture)\.ts$/.test(file)) continue;
    for (const [, code] of read(file).matchAll(/'(E_[A-Z_]+)'/g)) {
      if (code !== undefined && !documented.has(code)) missing.push(`${code} (${file})`);
    }
  }
  assert.deepEqual([...new Set(missing)], []);
});

test('docs/errors.md lists the exit codes as --help exit-codes does', () => {
  const text = read('docs/errors.md');
  for (const [code, meaning] of EXIT_CODES)
    assert.ok(text.includes(`| ${code} | ${meaning} |`), `exit code ${code}`);
});

test('docs/cli.md names every verb and every option', () => {
  const text = read('docs/cli.md');
  for (const verb of VERBS) {
    assert.ok(text.includes(`## domus ${verb.name}`), verb.name);
    for (const spec of Object.values(verb.options))
      assert.ok(text.includes(spelling(spec)), `${verb.name} ${spelling(spec)}`);
  }
});

test('docs/dependencies.md has a line for every dependency', () => {
  const text = read('docs/dependencies.md');
  const { dependencies, devDependencies, optionalDependencies } = JSON.parse(read('package.json'));
  for (const name of Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })) {
    assert.ok(text.includes(`\`${name}\``), name);
  }
});
