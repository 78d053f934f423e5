import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { integer, name, nameString, packageOf, scope } from './aml.ts';
import { Fadt, RSDP_V1_BYTES, Rsdp, TableHeader } from './structures.ts';
import { buildAcpiTables } from './tables.ts';

const BASE = 0xfc000000;
const processors = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ acpiId: i, apicId: 2 * i, enabled: true }));

const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => (a + b) & 0xff, 0);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Follow the tables as a guest does: RSDP, XSDT, then each table; FACS and DSDT through the FADT. */
function walk(image: Uint8Array, rsdp: number): Map<string, Uint8Array> {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const table = (address: number) => {
    const at = address - BASE;
    return image.subarray(at, at + view.getUint32(at + 4, true));
  };
  const found = new Map<string, Uint8Array>();
  const root = Rsdp.at(view, rsdp - BASE);
  const xsdt = table(root.xsdtAddress);
  found.set('XSDT', xsdt);
  for (let at = TableHeader.size; at < xsdt.length; at += 8) {
    const entry = table(view.getUint32(xsdt.byteOffset - image.byteOffset + at, true));
    found.set(text(entry.subarray(0, 4)), entry);
  }
  const facp = found.get('FACP')!;
  const fadt = Fadt.at(new DataView(facp.buffer, facp.byteOffset, facp.byteLength), 0);
  found.set('FACS', table(fadt.firmwareCtrl));
  found.set('DSDT', table(fadt.xDsdt));
  assert.equal(fadt.dsdt, fadt.xDsdt);
  return found;
}

test('structure sizes are those of the specification', () => {
  assert.equal(Rsdp.size, 36);
  assert.equal(TableHeader.size, 36);
  assert.equal(Fadt.size, 268);
  assert.deepEqual(
    [Fadt.offsets.iapcBootArch, Fadt.offsets.flags, Fadt.offsets.xFirmwareCtrl, Fadt.offsets.xPm1aEvtBlk],
    [109, 112, 132, 148],
  );
});

test('every table is reachable and its checksum holds', () => {
  for (const count of [1, 2, 64, 128]) {
    const { image, rsdp } = buildAcpiTables(BASE, processors(count));
    const root = image.subarray(rsdp - BASE);
    assert.equal(text(root.subarray(0, 8)), 'RSD PTR ');
    assert.equal(sum(root.subarray(0, RSDP_V1_BYTES)), 0);
    assert.equal(sum(root.subarray(0, Rsdp.size)), 0);
    const tables = walk(image, rsdp);
    assert.deepEqual([...tables.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'FACS', 'XSDT']);
    for (const [signature, bytes] of tables) {
      assert.equal(text(bytes.subarray(0, 4)), signature);
      if (signature !== 'FACS') assert.equal(sum(bytes), 0, signature);
    }
    const madt = tables.get('APIC')!;
    assert.equal(madt.length, 44 + 8 * count);
    for (let i = 0; i < count; i++) {
      assert.deepEqual([...madt.subarray(44 + 8 * i, 52 + 8 * i)], [0, 8, i, 2 * i, 1, 0, 0, 0]);
    }
  }
});

test('a processor whose APIC id needs more than eight bits becomes an x2APIC entry', () => {
  const { image, rsdp } = buildAcpiTables(BASE, [{ acpiId: 200, apicId: 400, enabled: true }]);
  const madt = walk(image, rsdp).get('APIC')!;
  assert.deepEqual([...madt.subarray(44)], [9, 16, 0, 0, 0x90, 1, 0, 0, 1, 0, 0, 0, 200, 0, 0, 0]);
});

test('AML names, integers and package lengths', () => {
  assert.deepEqual([...nameString('\\_SB')], [0x5c, 0x5f, 0x53, 0x42, 0x5f]);
  assert.deepEqual([...nameString('A.B')], [0x2e, 0x41, 0x5f, 0x5f, 0x5f, 0x42, 0x5f, 0x5f, 0x5f]);
  assert.deepEqual([...integer(0)], [0]);
  assert.deepEqual([...integer(0x1234)], [0x0b, 0x34, 0x12]);
  assert.deepEqual([...integer(2 ** 32)], [0x0e, 0, 0, 0, 0, 1, 0, 0, 0]);
  assert.deepEqual([...packageOf(integer(5))], [0x12, 4, 1, 0x0a, 5]);
  // 59 bytes of content and the name: 63 still fits one length byte, one more does not.
  const term = (n: number) => scope('X', new Uint8Array(n));
  assert.deepEqual([...term(58).subarray(0, 2)], [0x10, 63]);
  assert.deepEqual([...term(59).subarray(0, 3)], [0x10, 0x41, 4]);
  assert.deepEqual([...term(5000).subarray(0, 4)], [0x10, 0x80 | (5007 & 15), (5007 >> 4) & 255, 5007 >> 12]);
  assert.throws(() => name('toolong', integer(1)), /AML name/);
});

test('iasl takes the tables apart without complaint', t => {
  if (spawnSync('iasl', ['-v']).error) return t.skip('iasl (package acpica-tools) is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'domus-acpi-'));
  try {
    const { image, rsdp } = buildAcpiTables(BASE, processors(33));
    for (const [signature, bytes] of walk(image, rsdp)) {
      const file = join(folder, `${signature}.aml`);
      writeFileSync(file, bytes);
      const run = spawnSync('iasl', ['-d', file], { encoding: 'utf8', timeout: 20_000 });
      const source = readFileSync(join(folder, `${signature}.dsl`), 'utf8');
      assert.equal(run.status, 0, run.stderr);
      const remark = /Incorrect checksum|Invalid|Error|Unknown|Corrupt|Warning/i;
      assert.doesNotMatch(run.stderr.replace(/.*Warnings?,.*\n/g, ''), remark);
      if (signature === 'DSDT') {
        assert.match(source, /Processor \(P020, 0x20, 0x00000000, 0x00\)/);
        assert.equal(source.match(/"ACPI0007"/g)?.length, 33);
        // Compile what was disassembled: it must be valid source again.
        const compile = spawnSync('iasl', ['-vw', '3168', join(folder, 'DSDT.dsl')], { encoding: 'utf8' });
        assert.equal(compile.status, 0, compile.stdout);
      }
      if (signature === 'APIC') assert.equal(source.match(/Processor Enabled : 1/g)?.length, 33);
      if (signature === 'FACP') assert.match(source, /Hardware Reduced \(V5\) : 0/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
