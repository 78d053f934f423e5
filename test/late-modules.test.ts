/** Functions that stand in the bundle for those of modules that are loaded when they are needed. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LATE, standIn } from '../scripts/build/late-modules.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const modules = Object.values(LATE).flat();

test('nobody asks whether something is of a class that has a stand-in, or makes another of it', async () => {
  const classes: string[] = [];
  for (const module of modules) {
    const exports = (await import(join(root, 'src', `${module}.ts`))) as Record<string, unknown>;
    for (const [name, value] of Object.entries(exports))
      if (typeof value === 'function' && /^class\b/.test(String(value))) classes.push(name);
  }
  assert.ok(classes.length > 0);
  const question = new RegExp(`\\b(?:instanceof|extends) (?:${classes.join('|')})\\b(?! *[?&])`);
  for (const file of globSync('src/**/*.ts', { cwd: root }))
    assert.doesNotMatch(readFileSync(join(root, file), 'utf8'), question, file);
});

test('a stand-in calls what it stands for, makes what that would, and is a constant where that is one', () => {
  class Pair {
    readonly sum: number;
    constructor(a: number, b: number) {
      this.sum = a + b;
    }
  }
  let nrLoaded = 0;
  const part = { lib_twice$twice: (a: number) => 2 * a, lib_twice$Pair: Pair, lib_twice$LIMIT: 7 };
  const text = Object.entries({ twice: part.lib_twice$twice, Pair, LIMIT: 7 })
    .map(([name, value]) => standIn('lib', 'lib/twice', name, value))
    .join('\n')
    .replaceAll(/__now\(import\("part:lib"\)\)/g, '__part()')
    .replaceAll('export ', '');
  const make = new Function('__part', `${text}\nreturn { twice, Pair, LIMIT };`);
  const {
    twice,
    Pair: Other,
    LIMIT,
  } = make(() => {
    nrLoaded += 1;
    return part;
  }) as { twice: (a: number) => number; Pair: typeof Pair; LIMIT: number };
  assert.equal(LIMIT, 7);
  assert.equal(nrLoaded, 0);
  assert.equal(twice(4), 8);
  assert.equal(twice(5), 10);
  assert.equal(nrLoaded, 1);
  const pair = new Other(1, 2);
  assert.equal(pair.sum, 3);
  assert.ok(pair instanceof Pair);
});

test('what cannot be stood in for is refused', () => {
  const Open = Object.assign(class Open {}, { open: () => new Open() });
  assert.throws(() => standIn('lib', 'lib/open', 'Open', Open), /lib\/open: Open has open/);
  assert.throws(() => standIn('lib', 'lib/open', 'TABLE', { a: 1 }), /TABLE cannot be stood in for/);
});
