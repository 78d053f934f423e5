import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePcpus } from './guest-change.ts';

test('sets of pCPUs as xl writes them', () => {
  assert.deepEqual(parsePcpus('0-2,4', 8), [0, 1, 2, 4]);
  assert.deepEqual(parsePcpus('all,^1', 3), [0, 2]);
  assert.equal(parsePcpus('all', 3), undefined);
  assert.deepEqual(parsePcpus('^0', 3), []);
  for (const text of ['', '1-', '3-1', 'x', '1;2', '99999'])
    assert.throws(() => parsePcpus(text, 4), { code: 'E_PCPU_COUNT' }, text);
});
