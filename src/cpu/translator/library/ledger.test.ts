/** What is held in memory for the library is bounded; the library gets what is known to be right, and nothing else. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createMachineMemory } from '../../../machine/memory.ts';
import type { RuntimeExports } from '../../runtime/signatures.ts';
import { Code, i32 } from '../../wasm/code.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import { Ledger, type ModuleLimits } from './ledger.ts';
import { type Kept, Library, type Volume } from './library.ts';
import { createPlaceFilter } from './place-key.ts';
import { storedRegion } from './volume.fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-ledger-'));
after(() => rmSync(folder, { recursive: true }));
const memory = createMachineMemory(1 << 20);
const LIMITS: ModuleLimits = { most: 40, atRest: 10 };
let nrFolders = 0;

/** An empty library and a machine's ledger, and how to read what the library has got. */
function begin() {
  const path = join(folder, String(nrFolders++));
  const read = (openBytesMax?: number) => new Library(path, createPlaceFilter(), openBytesMax);
  const parts = { library: read(), memory, runtime: {} as RuntimeExports };
  return { read, ledger: new Ledger(parts, LIMITS) };
}
/** A module like no other, with nothing in it that is for the library yet. */
function newModule(number: number): Kept {
  const code = new Code([]);
  code.return(i32(number));
  code.unreachable();
  const builder = new ModuleBuilder();
  const callee = builder.declare([], 'i32');
  builder.define(callee, code);
  builder.export('0', callee);
  const bytes = builder.build();
  const module = new WebAssembly.Module(bytes as BufferSource);
  return { module, bytes, regions: new Set(), stored: { nrRegions: 0, nrOptimised: 0 } };
}
/** A region of its own module at each of the slots; its key is the slot. */
function enter(ledger: Ledger, slots: readonly number[], delivery?: number): Kept[] {
  return slots.map(slot => {
    const kept = newModule(slot);
    ledger.enter(slot, { kept, region: storedRegion(slot, 0) }, delivery);
    return kept;
  });
}
const from = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
/** With its module, which can be read. */
function keptAt(library: Library, slot: number): Kept | undefined {
  const found = library.find(slot);
  assert.ok(found.length <= 1);
  return found[0] && library.open(found[0].volume);
}
const has = (library: Library, slot: number): boolean => keptAt(library, slot) !== undefined;
const handOnAll = (ledger: Ledger): number => {
  let count = 0;
  while (ledger.handOn()) count += 1;
  return count;
};

test('what is too much is handed on and forgotten, what is out of use first, then the oldest', () => {
  const { ledger, read } = begin();
  const slots = from(0, LIMITS.atRest + 20);
  enter(ledger, slots, 1);
  ledger.confirm(1);
  const outOfUse = slots.slice(8, 13);
  for (const slot of outOfUse) ledger.leave(slot);
  assert.equal(handOnAll(ledger), 20);
  assert.equal(ledger.size, LIMITS.atRest);
  const library = read();
  const expected = new Set([...outOfUse, ...slots.filter(slot => !outOfUse.includes(slot)).slice(0, 15)]);
  for (const slot of slots) assert.equal(has(library, slot), expected.has(slot), `slot ${slot}`);
  ledger.close();
  assert.equal(ledger.size, 0);
  const whole = read();
  for (const slot of slots) assert.ok(has(whole, slot), `slot ${slot} at the end`);
});

test('what may not have been opened is not handed on, neither when there is too much nor at the end', () => {
  const { ledger, read } = begin();
  const count = LIMITS.atRest + 2;
  enter(ledger, from(0, count), 1);
  assert.equal(handOnAll(ledger), 0);
  enter(ledger, from(count, 3), 2);
  ledger.confirm(1);
  // Its region was over before it was known whether it had been opened; that of slot 0 later.
  ledger.leave(count);
  ledger.leave(0);
  ledger.close();
  const library = read();
  assert.ok(has(library, 0) && has(library, count - 1));
  for (const slot of from(count, 3)) assert.ok(!has(library, slot), `slot ${slot}`);
});

test('a region that something better has replaced is not for the library, nor its module if it has no other', () => {
  const { ledger, read } = begin();
  const [kept] = enter(ledger, [1], 1);
  ledger.enter(2, { kept: kept as Kept, region: storedRegion(2, 1) }, 1);
  enter(ledger, [3], 1);
  ledger.confirm(1);
  ledger.replace(1);
  ledger.replace(3);
  assert.equal(ledger.size, 1);
  ledger.close();
  const library = read();
  assert.deepEqual(
    [1, 2, 3].map(slot => has(library, slot)),
    [false, true, false],
  );
});

test('a guest that makes new code for ever leaves a bounded number of modules, in memory and in the library', () => {
  const { ledger, read } = begin();
  const count = 2 * LIMITS.most;
  for (const slot of from(0, count)) {
    enter(ledger, [slot], slot);
    ledger.confirm(slot);
    if (slot >= 5) ledger.leave(slot - 5);
    handOnAll(ledger);
    assert.ok(ledger.size <= LIMITS.atRest);
  }
  ledger.close();
  const library = read();
  const found = from(0, count).filter(slot => has(library, slot));
  assert.equal(found.length, LIMITS.most);
});

test('of the volumes that were read a part is held, those that were asked for last', () => {
  const { ledger, read } = begin();
  const slots = from(0, 20);
  enter(ledger, slots, 1);
  ledger.confirm(1);
  ledger.close();
  const one = read();
  assert.ok(has(one, 0));
  const sizeBytes = one.openBytes;
  const library = read(8 * sizeBytes);
  const first = keptAt(library, 0);
  for (const slot of slots) {
    assert.ok(has(library, slot));
    assert.ok(library.openBytes <= 8 * sizeBytes);
    assert.equal(keptAt(library, 0), first, 'it was asked for all the time');
  }
  assert.ok(has(library, 5), 'what is not held any more is read again');
});

test('what may begin at a place is found without its module; of a damaged one nothing is left', () => {
  const { ledger, read } = begin();
  enter(ledger, [1, 2], 1);
  ledger.confirm(1);
  ledger.close();
  const library = read();
  const [one, two] = [1, 2].map(slot => library.find(slot)[0]?.volume as Volume);
  assert.equal(library.openBytes, 0);
  const path = join(folder, String(nrFolders - 1), (one as Volume).name);
  const file = readFileSync(path);
  file.writeUInt8(file.readUInt8(file.length - 1) ^ 1, file.length - 1);
  writeFileSync(path, file);
  assert.equal(library.open(one as Volume), undefined);
  assert.deepEqual(library.find(1), []);
  assert.ok(!existsSync(path), 'it is made again');
  assert.notEqual(library.open(two as Volume), undefined);
});
