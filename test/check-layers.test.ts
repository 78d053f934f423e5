import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokenLinks, checkSource } from '../scripts/check-layers.ts';

const HEADER = '/** Owns something. */\n';
const texts = (file: string, body: string) =>
  checkSource(file, HEADER + body).map(({ line, text }) => `${line}: ${text}`);

test('imports point to lower layers only', () => {
  assert.deepEqual(texts('cpu/a.ts', "import { x } from '../base/brand.ts';"), []);
  assert.deepEqual(texts('cpu/isa/a.ts', "import type { X } from '../decode/mode.ts';"), []);
  assert.deepEqual(texts('cpu/a.ts', "import {\n  x,\n} from '../hypervisor/x.ts';"), [
    '4: cpu may not import hypervisor: ../hypervisor/x.ts',
  ]);
  assert.deepEqual(texts('platform/a.ts', "import { x } from '../abi/x.ts';"), [
    '2: platform may not import abi: ../abi/x.ts',
  ]);
  assert.deepEqual(texts('backend/a.ts', "export * from '../xenstore/x.ts';"), []);
  assert.deepEqual(texts('xenstore/a.ts', "export * from '../backend/x.ts';").length, 1);
  assert.deepEqual(texts('machine/a.ts', "const x = await import('../cli/main.ts');").length, 1);
  assert.deepEqual(texts('cli/a.ts', "import { x } from '../toolstack/x';").length, 1);
  assert.deepEqual(texts('cli/a.ts', "import { x } from '../toolstack/x.fixture.ts';").length, 1);
  assert.deepEqual(texts('cli/a.ts', "import { x } from '../../scripts/x.ts';").length, 1);
  assert.deepEqual(texts('elsewhere/a.ts', '').length, 1);
});

test('only the platform names what Node or a browser provides', () => {
  const bodies = [
    "import { readFileSync } from 'node:fs';",
    'const x = process.env;',
    'const x = Buffer.from([]);',
    'setTimeout(() => {}, 1);',
    'setImmediate(f);',
    'const t = performance.now();',
    'const t = Date.now();',
    'const r = Math.random();',
    'const r = crypto.getRandomValues(x);',
    "await fetch('x');",
  ];
  for (const body of bodies) {
    assert.equal(texts('cli/a.ts', body).length, 1, body);
    assert.deepEqual(texts('platform/node/a.ts', body), [], body);
    assert.deepEqual(texts('cli/a.test.ts', body), [], body);
  }
});

test('words in comments and messages are no code', () => {
  const body = [
    '// process.exit() and Math.random() are for others',
    "const text = 'use process.env or setTimeout(x)';",
    '/* fetch(x) */',
    'const prefetch = subprocess.run;',
    'state.fetchNext();',
  ].join('\n');
  assert.deepEqual(texts('cli/a.ts', body), []);
});

test('a file has a header and a bounded length', () => {
  assert.match(
    checkSource('cli/a.ts', 'export const x = 1;\n')[0]?.text ?? '',
    /comment that says what it owns/,
  );
  assert.match(texts('cli/a.ts', '\n'.repeat(1000))[0] ?? '', /1001 lines; 1000 are allowed/);
});

test('links of the documentation lead somewhere', () => {
  const text =
    'see [a](a.md), [b](b.md#part), [c](https://example.org), [d](#here)\n`[e](e.md)` and [f](f.md)';
  assert.deepEqual(
    brokenLinks(text, path => path === 'a.md'),
    [
      { line: 1, link: 'b.md#part' },
      { line: 2, link: 'f.md' },
    ],
  );
});
