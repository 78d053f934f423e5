import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldCopier } from './copy-fields.ts';
import { array, bytes, i32, struct, u8, u16, u32, u64 } from './struct.ts';

const Inner = struct('inner', { a: u8, b: u32 });
const Layout = struct('layout', {
  first: u16,
  inner: Inner,
  list: array(u64, 3),
  inners: array(Inner, 2),
  raw: bytes(5),
  last: i32,
});

/** A structure at an address that is not zero, every byte of it another. */
function filled<T>(type: { size: number; at(view: DataView, address: number): T }, seed: number): T {
  const raw = Uint8Array.from({ length: type.size + 24 }, (_, i) => (i * 7 + seed) & 0xff);
  return type.at(new DataView(raw.buffer, 8), 8);
}

test('fields go to the same names in another layout, and nothing else changes', () => {
  const WiderInner = struct('inner', { pad: u64, b: u32, own: u16, a: u8 });
  const Wider = struct('wider', {
    last: i32,
    own: u32,
    raw: bytes(5),
    inners: array(WiderInner, 4),
    list: array(u64, 2),
    inner: WiderInner,
    first: u16,
  });
  const from = filled(Layout, 1);
  const to = filled(Wider, 100);
  const before = filled(Wider, 100);
  fieldCopier(Layout, Wider as never, Layout)(to, from);
  assert.deepEqual(
    [to.first, to.last, to.inner.a, to.inner.b],
    [from.first, from.last, from.inner.a, from.inner.b],
  );
  assert.deepEqual([to.list.get(0), to.list.get(1)], [from.list.get(0), from.list.get(1)]);
  for (const i of [0, 1]) {
    assert.deepEqual([to.inners.get(i).a, to.inners.get(i).b], [from.inners.get(i).a, from.inners.get(i).b]);
    assert.equal(to.inners.get(i).own, before.inners.get(i).own);
  }
  assert.deepEqual(to.raw, from.raw);
  for (const i of [2, 3]) {
    assert.deepEqual(
      [to.inners.get(i).a, to.inners.get(i).b],
      [before.inners.get(i).a, before.inners.get(i).b],
    );
  }
  assert.deepEqual([to.own, to.inner.pad, to.inner.own], [before.own, before.inner.pad, before.inner.own]);

  const back = filled(Layout, 50);
  fieldCopier(Layout, Layout, Wider as never)(back, to);
  assert.equal(back.list.get(2), filled(Layout, 50).list.get(2));
  assert.deepEqual(
    [back.first, back.last, back.inners.get(1).b],
    [from.first, from.last, from.inners.get(1).b],
  );
});

test('a name that one of them lacks, and another size, are mistakes that show at once', () => {
  const Less = struct('less', { first: u16 });
  assert.throws(() => fieldCopier(Layout, Less as never, Layout), /inner is not a field of both/);
  const Short = struct('short', { a: u8 });
  const Long = struct('long', { a: u32 });
  assert.throws(() => fieldCopier(Short, Long, Short), /1 bytes does not go into 4/);
});
