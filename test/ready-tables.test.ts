/** The instruction table as the bundle of the command has it is the one that the sources make. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { decoderTable, TABLE_FILE, tableEntries } from '../scripts/build/decoder-table.ts';
import { VEX_MAPS } from '../src/cpu/decode/entry.ts';
import * as made from '../src/cpu/decode/table-entries.ts';
import { TABLE } from '../src/cpu/isa/table.ts';

test('entries that are unpacked are those that were packed', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-tables-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const variant = pathToFileURL(fileURLToPath(new URL('../src/cpu/isa/variant.ts', import.meta.url))).href;
  const file = join(folder, 'entries.mjs');
  writeFileSync(file, tableEntries().replace('../isa/variant.ts', variant));
  writeFileSync(join(folder, TABLE_FILE), decoderTable());
  const ready = (await import(pathToFileURL(file).href)) as typeof made;
  assert.ok(TABLE.length > 1000);
  for (const number of TABLE.keys()) assert.deepEqual(ready.entryAt(number), made.entryAt(number));
  for (let at = 0; at < 2 * VEX_MAPS * 256; at++) {
    const [map, opcode] = [at >> 8, at & 255];
    assert.deepEqual(ready.numbersAt(map, opcode), made.numbersAt(map, opcode));
  }
  const damaged = decoderTable();
  damaged[9000] = (damaged[9000] as number) ^ 1;
  writeFileSync(join(folder, TABLE_FILE), damaged);
  const other = join(folder, 'others.mjs');
  copyFileSync(file, other);
  const others = (await import(pathToFileURL(other).href)) as typeof made;
  assert.throws(() => others.entryAt(0), /damaged/);
});
