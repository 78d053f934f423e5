import assert from 'node:assert/strict';
import { test } from 'node:test';
import { array, bytes, i32, struct, u8, u16, u32, u64, u64n } from '../src/base/struct.ts';

const Inner = struct('inner', { a: u8, b: u32 });
const Outer = struct('outer', {
  tag: u8,
  wide: u64,
  inner: Inner,
  list: array(u16, 3),
  raw: bytes(3),
  signed: i32,
  n: u64n,
});

test('a structure lies as C lays it out', () => {
  assert.deepEqual(Inner.offsets, { a: 0, b: 4 });
  assert.equal(Inner.size, 8);
  assert.deepEqual(Outer.offsets, { tag: 0, wide: 8, inner: 16, list: 24, raw: 30, signed: 36, n: 40 });
  assert.equal(Outer.size, 48);
});

test('accessors read and write through to memory', () => {
  const view = new DataView(new ArrayBuffer(64));
  const outer = Outer.at(view, 8);
  outer.wide = 0x1122334455667788n;
  outer.inner.b = 0xdeadbeef;
  outer.list.set(2, 0xabcd);
  outer.signed = -2;
  outer.n = 2 ** 40 + 5;
  assert.equal(view.getUint8(8 + 8), 0x88);
  assert.equal(Outer.at(view, 8).inner.b, 0xdeadbeef);
  assert.equal(Outer.at(view, 8).list.get(2), 0xabcd);
  assert.equal(Outer.at(view, 8).signed, -2);
  assert.equal(Outer.at(view, 8).n, 2 ** 40 + 5);
  assert.throws(() => {
    outer.inner = Inner.at(view, 0);
  }, /aggregate/);
});
