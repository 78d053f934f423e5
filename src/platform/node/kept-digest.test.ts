import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { keptSha256Hex } from './kept-digest.ts';
import { sha256Hex } from './native-codecs.ts';

const parent = mkdtempSync(join(tmpdir(), 'domus-digest-'));
const folder = join(parent, 'digests');
after(() => rmSync(parent, { recursive: true }));
const ofText = (text: string) => sha256Hex(new TextEncoder().encode(text));

test('the digest of a text is the same whether it is kept or not', () => {
  // More than there are files for.
  const texts = Array.from({ length: 200 }, (_, i) => `text ${i} ä ${'x'.repeat(i)}`);
  for (const text of [...texts, ...texts.reverse(), ''])
    assert.equal(keptSha256Hex(folder, text), ofText(text));
  assert.ok(readdirSync(folder).length <= 64);
});

test('what is found is used only for the same text, and as long as it is a digest', () => {
  assert.equal(keptSha256Hex(folder, 'a'), ofText('a'));
  const [name] = readdirSync(folder).filter(
    each => readFileSync(join(folder, each), 'utf8').slice(64) === 'a',
  );
  assert.ok(name);
  const kept = '0'.repeat(64);
  writeFileSync(join(folder, name), `${kept}a`);
  assert.equal(keptSha256Hex(folder, 'a'), kept, 'it is not computed again');
  for (const other of [`${kept}b`, `${'x'.repeat(64)}a`, 'a', '']) {
    writeFileSync(join(folder, name), other);
    assert.equal(keptSha256Hex(folder, 'a'), ofText('a'), other);
  }
});
