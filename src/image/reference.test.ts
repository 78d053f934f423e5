import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from './fuzz.fixture.ts';
import { checkName, looksLikeImage, parseReference } from './reference.ts';

test('names of images', () => {
  const hash = 'a'.repeat(64);
  for (const [text, expected] of [
    ['debian:12', { kind: 'debian', suite: '12' }],
    ['oci:./a/b', { kind: 'oci', path: './a/b', tag: undefined }],
    ['oci:a:1.0', { kind: 'oci', path: 'a', tag: '1.0' }],
    ['oci:a:b/c', { kind: 'oci', path: 'a:b/c', tag: undefined }],
    ['docker-archive:x.tar:app:1', { kind: 'docker-archive', path: 'x.tar', tag: 'app:1' }],
    ['dir:/srv/root', { kind: 'dir', path: '/srv/root' }],
    ['localhost/a:b', { kind: 'registry', host: 'localhost', repository: 'a', reference: 'b' }],
    [
      'r.example:5000/t/app:2',
      { kind: 'registry', host: 'r.example:5000', repository: 't/app', reference: '2' },
    ],
    [
      `r.example/app@sha256:${hash}`,
      { kind: 'registry', host: 'r.example', repository: 'app', reference: `sha256:${hash}` },
    ],
    ['box:1', { kind: 'stored', name: 'box:1' }],
    ['team/box', { kind: 'stored', name: 'team/box:latest' }],
  ] as const) {
    assert.deepEqual(parseReference(text), expected, text);
  }
  assert.deepEqual(['uname', 'ls', './a.out', 'debian:12', 'box:1'].map(looksLikeImage), [
    false,
    false,
    false,
    true,
    true,
  ]);
});

test('what names no image', () => {
  for (const text of [
    'debian:',
    'debian:../x',
    'dir:',
    'oci:',
    'UPPER:1',
    'a:b c',
    'r.example/UP:1',
    'r.example/a@md5:1',
    'r.example/a:',
    'a..b.example:99999999/x:1',
    '../x:1',
  ]) {
    assert.throws(() => parseReference(text), hasCode('E_IMAGE_REFERENCE'), text);
  }
  assert.equal(checkName('box'), 'box:latest');
  for (const text of ['debian', 'dir:x', 'Box', '']) {
    assert.throws(() => checkName(text), hasCode('E_IMAGE_REFERENCE'), text);
  }
});
