/** What the decoder makes of VEX prefixes: SDM vol. 2, 2.3, and the exception classes of 2.4. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder } from './decoder.ts';
import { Mode } from './mode.ts';

const decoder = new Decoder();
/** Name and length, or why not. */
function decode(hex: string, mode: number): string {
  const bytes = Uint8Array.from([
    ...Buffer.from(hex.replaceAll(' ', ''), 'hex'),
    ...new Array<number>(15).fill(0),
  ]);
  decoder.ripRelative = (mode & Mode.sizeMask) === Mode.code64;
  const failure = decoder.decode(bytes, 0, bytes.length, mode);
  return failure ?? `${decoder.result.definition.name} ${decoder.result.length}`;
}
const { code16, code32, code64, real } = Mode;

test('both lengths of the prefix name the operands', () => {
  assert.equal(decode('c4 e2 78 f2 c3', code64), 'andn 5');
  assert.equal(decoder.result.vvvv, 0);
  assert.equal(decode('c4 42 88 f2 d1', code64), 'andn 5');
  const { reg, rm, vvvv, size } = decoder.result;
  assert.deepEqual({ reg, rm, vvvv, size }, { reg: 10, rm: 9, vvvv: 14, size: 8 });
});

test('outside 64-bit mode there are eight registers, and W does not widen', () => {
  assert.equal(decode('c4 c2 38 f2 c3', code32), 'andn 5');
  const { reg, rm, vvvv } = decoder.result;
  assert.deepEqual({ reg, rm, vvvv }, { reg: 0, rm: 3, vvvv: 0 });
  assert.equal(decode('c4 e2 f8 f2 c3', code32), 'andn 5');
  assert.equal(decoder.result.size, 4);
});

test('LES and LDS stay what they were', () => {
  for (const mode of [code32, code16]) {
    assert.equal(decode('c4 07', mode), 'les 2');
    assert.equal(decode('c5 07', mode), 'lds 2');
  }
  // In real and virtual-8086 mode with a register: no instruction at all.
  for (const mode of [code16 | real, code32 | real]) {
    assert.equal(decode('c4 e2 78 f2 c3', mode), 'undefined');
    assert.equal(decode('c4 07', mode), 'les 2');
  }
});

test('prefixes that are part of VEX must not come before it', () => {
  for (const prefix of ['66', 'f2', 'f3', 'f0', '48', '40']) {
    assert.equal(decode(`${prefix} c4 e2 78 f2 c3`, code64), 'undefined', prefix);
  }
  for (const prefix of ['2e', '64', '65', '67']) {
    assert.equal(decode(`${prefix} c4 e2 78 f2 c3`, code64), 'andn 6', prefix);
  }
  // A REX prefix that is not the last one is none.
  assert.equal(decode('48 64 c4 e2 78 f2 c3', code64), 'andn 7');
});

test('L, vvvv and the map are looked at', () => {
  assert.equal(decode('c4 e2 7c f2 c3', code64), 'undefined', 'ANDN with L');
  assert.equal(decode('c4 e3 7b f0 c3 07', code64), 'rorx 6');
  assert.equal(decode('c4 e3 73 f0 c3 07', code64), 'undefined', 'RORX has no second source');
  assert.equal(
    decode('c4 c3 3b f0 c3 07', code32),
    'undefined',
    'nor has it where its highest bit names nothing',
  );
  assert.equal(decode('c4 e4 78 f2 c3', code64), 'undefined', 'map 4');
  assert.equal(decode('c4 e0 78 f2 c3', code64), 'undefined', 'map 0');
});

test('too long comes before undefined', () => {
  const segments = '2e'.repeat(11);
  assert.equal(decode(`${segments} c4 e2 78 f2`, code64), 'too-long');
  assert.equal(decode(`${'2e'.repeat(10)} c4 e2 78 f2 c3`, code64), 'andn 15');
});
