import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { sourcesDigest } from './files.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-files-'));
after(() => rmSync(folder, { recursive: true }));

test('a digest of sources is of what they hold and of their names, in the folders that are asked for', () => {
  mkdirSync(join(folder, 'src/a/deep'), { recursive: true });
  mkdirSync(join(folder, 'src/b'));
  const file = (name: string) => join(folder, 'src', name);
  const digest = () => sourcesDigest(pathToFileURL(`${folder}/`), ['a']);
  for (const name of ['a/one.ts', 'a/deep/two.ts', 'b/three.ts']) writeFileSync(file(name), name);
  const first = digest();
  assert.match(first, /^[0-9a-f]{64}$/);
  writeFileSync(file('b/three.ts'), 'other');
  utimesSync(file('a/one.ts'), 1, 1);
  assert.equal(digest(), first, 'what lies elsewhere, and when it was written');
  renameSync(file('a/one.ts'), file('a/four.ts'));
  const renamed = digest();
  assert.notEqual(renamed, first);
  writeFileSync(file('a/deep/two.ts'), 'other');
  assert.notEqual(digest(), renamed);
});
