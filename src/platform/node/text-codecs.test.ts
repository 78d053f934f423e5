import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromHex, toHex } from './text-codecs.ts';

test('hexadecimal comes back as it went, and what is none is refused wherever that is', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual(fromHex(toHex(bytes)), bytes);
  assert.deepEqual(fromHex('aBCdeF'), Uint8Array.of(0xab, 0xcd, 0xef));
  assert.deepEqual(fromHex(''), new Uint8Array());
  for (const text of ['0', '001', 'zz', '00zz', 'zz00', '0g', '00 11', '0x11', '00é1'])
    assert.throws(() => fromHex(text), SyntaxError, text);
});
