import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { hypercallDocument, hypercallName } from './describe.ts';

const FILE = new URL('../../../docs/hypercalls.md', import.meta.url);

test('docs/hypercalls.md is what the tables say', () => {
  const text = hypercallDocument();
  if (process.env.DOMUS_WRITE_DOCS) writeFileSync(FILE, text);
  assert.equal(readFileSync(FILE, 'utf8'), text);
});

test('hypercalls have names for traces', () => {
  assert.equal(hypercallName(32, 4n), 'event_channel_op.send');
  assert.equal(hypercallName(12, BigInt(6 + (9 << 6))), 'memory_op.populate_physmap');
  assert.equal(hypercallName(24, 77n), 'vcpu_op.77');
  assert.equal(hypercallName(13, 0n), 'multicall');
  assert.equal(hypercallName(63, 0n), 'hypercall 63');
});
