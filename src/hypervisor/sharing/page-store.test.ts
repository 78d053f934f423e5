import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_SIZE } from '../../base/brand.ts';
import { Offers } from './offers.ts';
import { PageStore } from './page-store.ts';
import { hashPage, isSamePage } from './page-words.ts';
import { StoredPages } from './stored-pages.ts';

const WORDS = PAGE_SIZE / 4;
/** Pages one behind the other, each filled with its number. */
const pages = (count: number): Uint32Array =>
  Uint32Array.from({ length: count * WORDS }, (_, i) => Math.floor(i / WORDS));

test('a page is found by its contents while somebody has it, and by other threads by its number', () => {
  const store = new PageStore();
  const words = pages(4);
  const hash = hashPage(words, PAGE_SIZE);
  const page = store.add(hash, words, PAGE_SIZE);
  store.retain(page);
  assert.equal(store.find(hash, words, PAGE_SIZE), page);
  // Other contents with the same hash, and the same contents by another hash.
  assert.equal(store.find(hash, words, 2 * PAGE_SIZE), 0);
  assert.equal(store.find(hash + 1, words, PAGE_SIZE), 0);
  const other = new StoredPages(store.memory);
  const copy = new Uint8Array(PAGE_SIZE);
  other.read(page, copy);
  assert.deepEqual(new Uint32Array(copy.buffer), words.subarray(WORDS, 2 * WORDS));
  store.sweep();
  assert.equal(store.find(hash, words, PAGE_SIZE), page);
  other.release(page);
  assert.throws(() => other.release(page), /more often/);
  assert.throws(() => other.read(page, copy), /nobody/);
});

test('what nobody has is forgotten, and its place used again', () => {
  const store = new PageStore(3);
  const words = pages(6);
  const add = (i: number) => store.add(hashPage(words, i * PAGE_SIZE), words, i * PAGE_SIZE);
  const added = [1, 2, 3].map(add);
  for (const page of added) store.retain(page);
  assert.equal(add(4), 0, 'there is no room');
  assert.equal(store.count, 3);
  store.release(added[1] as number);
  store.sweep();
  assert.equal(store.count, 2);
  assert.equal(store.find(hashPage(words, 2 * PAGE_SIZE), words, 2 * PAGE_SIZE), 0);
  const again = add(4);
  assert.equal(again, added[1]);
  for (const i of [1, 3, 4]) {
    assert.notEqual(store.find(hashPage(words, i * PAGE_SIZE), words, i * PAGE_SIZE), 0, `page ${i}`);
  }
  assert.equal(add(5), 0);
  assert.equal(store.heldBytes, 3 * PAGE_SIZE);
});

test('pages in one chain are told apart, and taken out of it one by one', () => {
  const store = new PageStore();
  const words = pages(20);
  const places = Array.from({ length: 19 }, (_, i) => (i + 1) * PAGE_SIZE);
  const added = places.map(at => store.add(77, words, at));
  for (const page of added) store.retain(page);
  for (let gone = 0; gone < added.length; gone += 2) store.release(added[gone] as number);
  store.sweep();
  assert.deepEqual(
    places.map(at => store.find(77, words, at)),
    added.map((page, i) => (i % 2 === 0 ? 0 : page)),
  );
});

test('zeros have the hash 0, and nothing else has; pages are the same or differ in one word', () => {
  const words = new Uint32Array(3 * WORDS);
  assert.equal(hashPage(words, PAGE_SIZE), 0);
  for (const at of [0, 1, 511, WORDS - 1]) {
    words[WORDS + at] = 0x8000_0000;
    assert.notEqual(hashPage(words, PAGE_SIZE), 0);
    assert.ok(!isSamePage(words, PAGE_SIZE, words, 0));
    words[WORDS + at] = 0;
  }
  assert.ok(isSamePage(words, PAGE_SIZE, words, 2 * PAGE_SIZE));
});

test('offers are found by their hash, however many there are, until they are swept away', () => {
  const offers = new Offers();
  const hashOf = (i: number) => Math.imul(i, 0x9e3779b1) & 0x7fff_ffff || 1;
  const isThere = (i: number) => offers.find(hashOf(i), (who, gfn) => who === i % 7 && gfn === i);
  for (let i = 1; i <= 20_000; i++) offers.add(hashOf(i), i % 7, i);
  const found = Array.from({ length: 20_000 }, (_, i) => isThere(i + 1)).filter(Boolean).length;
  assert.ok(found > 19_000, `${found} of 20,000`);
  offers.sweep(who => who !== 3);
  assert.ok(!isThere(3) && !isThere(10));
  assert.ok(isThere(4));
  assert.ok(!offers.find(hashOf(30_000), () => true));
});
