import assert from 'node:assert/strict';
import { test } from 'node:test';
import { P2m, TLB_BYTES, TLB_WRITE_OFFSET } from '../vcpu/layout.ts';
import { A, createTestMachine, D, GLOBAL, NX, P, U, W } from './test-machine.ts';

const VA = 0x4000_0000n;
const PF = 14;

interface Situation {
  user: boolean;
  writable: boolean;
  nx: boolean;
  cpl: 0 | 3;
  wp: boolean;
  smep: boolean;
  smap: boolean;
  ac: boolean;
  access: 'read' | 'write' | 'fetch';
}

/** SDM vol. 3, 4.6.1 and 4.7, written down once more: null when the access is allowed. */
function expectedError(s: Situation): number | null {
  const code = 1 | (s.access === 'write' ? 2 : 0) | (s.cpl === 3 ? 4 : 0) | (s.access === 'fetch' ? 16 : 0);
  if (s.cpl === 3) {
    if (!s.user) return code;
    if (s.access === 'write' && !s.writable) return code;
    if (s.access === 'fetch' && s.nx) return code;
    return null;
  }
  if (s.access === 'fetch') return (s.user && s.smep) || s.nx ? code : null;
  if (s.user && s.smap && !s.ac) return code;
  if (s.access === 'write' && !s.writable && s.wp) return code;
  return null;
}

test('permission matrix: every combination gives the manual’s error code', () => {
  const machine = createTestMachine();
  const { vcpu, cpu, runtime } = machine;
  const both = [false, true];
  let checked = 0;
  for (const user of both)
    for (const writable of both)
      for (const nx of both)
        for (const cpl of [0, 3] as const)
          for (const wp of both)
            for (const smep of both)
              for (const smap of both)
                for (const ac of both)
                  for (const access of ['read', 'write', 'fetch'] as const) {
                    const s: Situation = { user, writable, nx, cpl, wp, smep, smap, ac, access };
                    vcpu.cr0 = wp ? 0x1_0000n : 0n;
                    vcpu.cr4 = (smep ? 1n << 20n : 0n) | (smap ? 1n << 21n : 0n);
                    vcpu.flagSys = 2 | (ac ? 1 << 18 : 0);
                    machine.enterLongMode(cpl);
                    machine.map(VA, 0x1000, (user ? U : 0n) | (writable ? W : 0n) | (nx ? NX : 0n));
                    runtime.tlbFlushAll(cpu);
                    // Twice: by the walk, and by the TLB when it was filled.
                    for (let pass = 0; pass < 2; pass++) {
                      let ok: boolean;
                      if (access === 'read') ok = runtime.readSlow(cpu, VA, 8) !== 0;
                      else if (access === 'write') ok = runtime.writeSlow(cpu, VA, 8) !== 0;
                      else ok = runtime.fetchAddress(cpu, VA) !== 0;
                      const expected = expectedError(s);
                      assert.equal(ok, expected === null, JSON.stringify(s));
                      if (!ok)
                        assert.deepEqual(
                          machine.fault(),
                          { vector: PF, error: expected, cr2: VA },
                          JSON.stringify(s),
                        );
                    }
                    checked++;
                  }
  assert.equal(checked, 768);
});

test('not present, reserved bits, non-canonical', () => {
  const machine = createTestMachine();
  const { runtime, cpu } = machine;
  machine.enterLongMode(3);
  assert.equal(runtime.readSlow(cpu, VA + 5n, 4), 0);
  assert.deepEqual(machine.fault(), { vector: PF, error: 4, cr2: VA + 5n });
  machine.map(VA, 1 << 30, U | W | (1n << 45n));
  assert.equal(runtime.writeSlow(cpu, VA, 4), 0);
  assert.deepEqual(machine.fault(), { vector: PF, error: 0b1111, cr2: VA });
  assert.equal(runtime.readSlow(cpu, 0x0000_8000_0000_0000n, 4), 0);
  assert.deepEqual(machine.fault(), { vector: 13, error: 0, cr2: null });
  assert.equal(runtime.readSlow(cpu, 0x0000_7fff_ffff_fffcn, 8 | 0x100), 0);
  assert.deepEqual(machine.fault(), { vector: 12, error: 0, cr2: null });
});

test('NX without EFER.NXE is a reserved bit', () => {
  const machine = createTestMachine();
  machine.enterLongMode();
  machine.vcpu.efer = 0x501n;
  machine.map(VA, 0x1000, NX);
  assert.equal(machine.runtime.readSlow(machine.cpu, VA, 1), 0);
  assert.equal(machine.fault().error, 9);
});

test('accessed and dirty bits', () => {
  const machine = createTestMachine();
  const { runtime, cpu } = machine;
  machine.enterLongMode();
  machine.map(VA, 0x1000, W);
  const entry = machine.entryAddress(VA);
  const bits = () => machine.read64(entry) & (A | D);
  assert.notEqual(runtime.translate(cpu, VA, 1, 1), 0);
  assert.equal(bits(), 0n, 'looking leaves no trace');
  assert.equal(runtime.readSlow(cpu, VA + 8n, 8), machine.guest(0x1008));
  assert.equal(bits(), A);
  assert.equal(machine.read64(machine.entryAddress(VA, 3)) & A, A);
  assert.equal(runtime.writeSlow(cpu, VA + 8n, 8), machine.guest(0x1008));
  assert.equal(bits(), A | D);
});

test('large pages of 2 MiB and 1 GiB, and INVLPG of them', () => {
  const machine = createTestMachine();
  const { runtime, cpu } = machine;
  machine.enterLongMode();
  machine.map(VA, 0x20_0000, W, 1);
  assert.equal(runtime.readSlow(cpu, VA + 0x1_2345n, 1), machine.guest(0x21_2345));
  assert.equal(runtime.writeSlow(cpu, VA + 0x1_2345n, 1), machine.guest(0x21_2345));
  machine.map(0x80_0000_0000n, 0, W, 2);
  assert.equal(runtime.readSlow(cpu, 0x80_0010_0000n, 1), machine.guest(0x10_0000));
  // The address given need not be the one that was used.
  machine.write64(machine.entryAddress(VA, 1), 0n);
  machine.write64(machine.entryAddress(0x80_0000_0000n, 2), 0n);
  assert.notEqual(runtime.readSlow(cpu, VA + 0x1_2345n, 1), 0, 'still in the TLB');
  runtime.tlbInvalidate(cpu, VA);
  assert.equal(machine.runtime.checkRead(cpu, VA + 0x1_2345n, 1), 1);
  assert.equal(machine.runtime.checkRead(cpu, 0x80_0010_0000n, 1), 0, 'another large page stays');
  runtime.tlbInvalidate(cpu, 0x80_2000_0000n);
  assert.equal(machine.runtime.checkRead(cpu, 0x80_0010_0000n, 1), 1);
  // Reserved address bits of a large entry.
  machine.map(VA, 0x20_2000, W, 1);
  assert.equal(runtime.readSlow(cpu, VA, 1), 0);
  assert.equal(machine.fault().error, 9);
});

test('INVLPG finds large pages, global or not, after a CR3 load too', () => {
  const machine = createTestMachine();
  const { runtime, cpu, vcpu } = machine;
  vcpu.cr4 = 0x80n;
  machine.enterLongMode();
  for (const rights of [W, W | GLOBAL]) {
    machine.map(VA, 0x20_0000, rights, 1);
    runtime.tlbFlushAll(cpu);
    runtime.readSlow(cpu, VA + 0x5000n, 1);
    runtime.writeCr3(cpu, vcpu.cr3);
    runtime.readSlow(cpu, VA + 0x6000n, 1);
    machine.write64(machine.entryAddress(VA, 1), 0n);
    runtime.tlbInvalidate(cpu, VA + 0x7000n);
    assert.equal(runtime.checkRead(cpu, VA + 0x5000n, 1), 1);
    assert.equal(runtime.checkRead(cpu, VA + 0x6000n, 1), 1);
  }
});

test('a CR3 load keeps global entries only, with and without an overflowing journal', () => {
  for (const pages of [1, 3000]) {
    const machine = createTestMachine();
    const { runtime, cpu, vcpu } = machine;
    vcpu.cr4 = 0x80n;
    machine.enterLongMode();
    machine.map(VA, 0x1000, W | GLOBAL);
    machine.map(VA + 0x1000n, 0x1000, W);
    for (let i = 0; i < pages; i++) {
      runtime.readSlow(cpu, VA + 0x1000n, 1);
      runtime.tlbInvalidate(cpu, VA + 0x1000n);
    }
    runtime.readSlow(cpu, VA, 1);
    runtime.readSlow(cpu, VA + 0x1000n, 1);
    machine.write64(machine.entryAddress(VA), 0n);
    machine.write64(machine.entryAddress(VA + 0x1000n), 0n);
    assert.equal(runtime.checkRead(cpu, VA + 0x1000n, 1), 0);
    assert.equal(runtime.writeCr3(cpu, vcpu.cr3), 0);
    assert.equal(runtime.checkRead(cpu, VA, 1), 0);
    assert.equal(runtime.checkRead(cpu, VA + 0x1000n, 1), 1);
    runtime.tlbFlushAll(cpu);
    assert.equal(runtime.checkRead(cpu, VA, 1), 1);
  }
});

test('accesses that cross a page', () => {
  const machine = createTestMachine();
  const { runtime, cpu, vcpu, memory } = machine;
  machine.enterLongMode();
  machine.map(VA, 0x3000, W);
  machine.map(VA + 0x1000n, 0x1000, W);
  const at = VA + 0xffdn;
  memory.u8.set([1, 2, 3], machine.guest(0x3ffd));
  memory.u8.set([4, 5, 6, 7, 8], machine.guest(0x1000));
  const scratch = vcpu.scratch;
  assert.equal(runtime.readSlow(cpu, at, 8), scratch.byteOffset);
  assert.deepEqual([...scratch.subarray(0, 8)], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(runtime.modifySlow(cpu, at, 8), scratch.byteOffset);
  assert.deepEqual([...scratch.subarray(0, 8)], [1, 2, 3, 4, 5, 6, 7, 8]);
  scratch.set([11, 12, 13, 14, 15, 16, 17, 18]);
  runtime.commit(cpu);
  assert.deepEqual([...memory.u8.subarray(machine.guest(0x3ffd), machine.guest(0x4001))], [11, 12, 13, 0]);
  assert.deepEqual(
    [...memory.u8.subarray(machine.guest(0x1000), machine.guest(0x1006))],
    [14, 15, 16, 17, 18, 0],
  );
  // The second page faults: its own address is reported, and the first is not dirty by this.
  machine.map(VA + 0x1000n, 0x1000, 0n);
  vcpu.cr0 |= 0x1_0000n;
  runtime.tlbFlushAll(cpu);
  assert.equal(runtime.writeSlow(cpu, at, 8), 0);
  assert.deepEqual(machine.fault(), { vector: PF, error: 3, cr2: VA + 0x1000n });
});

test('devices, unmapped and read-only frames', () => {
  const calls: string[] = [];
  const machine = createTestMachine({
    mmioRead: (_cpu, address, size) => {
      calls.push(`read ${address.toString(16)} ${size}`);
      machine.vcpu.scratch.fill(size, 0, size);
    },
    mmioWrite: (_cpu, address, size) => {
      calls.push(`write ${address.toString(16)} ${size} ${machine.vcpu.scratch[0]}`);
    },
  });
  const { runtime, cpu, vcpu, memory } = machine;
  machine.enterLongMode();
  machine.map(VA, 0x5000, W);
  machine.map(VA + 0x1000n, 0x6000, W);
  machine.map(VA + 0x2000n, 0x3f_ffff_f000, W);
  machine.setP2m(5, 0, P2m.mmio);
  machine.setP2m(6, machine.mfnOf(0x1000), P2m.readOnly);
  assert.equal(runtime.readSlow(cpu, VA + 4n, 4), vcpu.scratch.byteOffset);
  assert.equal(vcpu.scratch[0], 4);
  assert.equal(runtime.writeSlow(cpu, VA + 4n, 2), vcpu.scratch.byteOffset);
  vcpu.scratch[0] = 99;
  runtime.commit(cpu);
  // Crossing from the device to memory: two bytes here, two there.
  memory.u8.set([21, 22], machine.guest(0x1000));
  runtime.readSlow(cpu, VA + 0xffen, 4);
  assert.deepEqual([...vcpu.scratch.subarray(0, 4)], [2, 2, 21, 22]);
  assert.deepEqual(calls, ['read 5004 4', 'write 5004 2 99', 'read 5ffe 2']);
  // An odd size comes in parts, in order.
  runtime.readSlow(cpu, VA + 0x10n, 11);
  assert.deepEqual([...vcpu.scratch.subarray(0, 11)], [8, 8, 8, 8, 8, 8, 8, 8, 2, 2, 1]);
  assert.deepEqual(calls.slice(3), ['read 5010 8', 'read 5018 2', 'read 501a 1']);
  assert.equal(runtime.readSlow(cpu, VA + 0x1000n, 4), machine.guest(0x1000));
  assert.equal(runtime.writeSlow(cpu, VA + 0x1000n, 4), vcpu.scratch.byteOffset);
  vcpu.scratch.fill(0);
  runtime.commit(cpu);
  assert.equal(memory.u8[machine.guest(0x1000)], 21, 'read-only');
  runtime.readSlow(cpu, VA + 0x2000n, 4);
  assert.deepEqual([...vcpu.scratch.subarray(0, 4)], [255, 255, 255, 255]);
  runtime.writeSlow(cpu, VA + 0x2000n, 4);
  runtime.commit(cpu);
});

test('a page with decoded code leaves the write tables of all vCPUs', () => {
  const machine = createTestMachine({}, 2);
  const { runtime, cpu, memory, vcpu } = machine;
  machine.enterLongMode();
  machine.map(VA, 0x3000, W);
  const other = machine.vcpus[1]!;
  for (const field of ['cr0', 'cr3', 'cr4', 'efer', 'mode', 'cpl'] as const)
    (other[field] as unknown) = vcpu[field];
  runtime.selectTlb(other.address);
  assert.equal(runtime.writeSlow(cpu, VA, 1), machine.guest(0x3000));
  assert.equal(runtime.writeSlow(other.address, VA, 1), machine.guest(0x3000));
  const tags = () =>
    machine.vcpus.map(({ address }) => {
      const table = address + TLB_WRITE_OFFSET + 2 * TLB_BYTES;
      return memory.view.getBigUint64(table + Number((VA >> 12n) & 1023n) * 16, true) === VA;
    });
  assert.deepEqual(tags(), [true, true]);
  runtime.markCode(machine.mfnOf(0x3000));
  assert.deepEqual(tags(), [false, false]);
  assert.equal(runtime.writeSlow(cpu, VA, 1), vcpu.scratch.byteOffset);
  assert.deepEqual(tags(), [false, false]);
});

test('two-level and PAE paging', () => {
  const machine = createTestMachine();
  const { runtime, cpu, vcpu, memory } = machine;
  const write32 = (address: number, value: number) =>
    memory.view.setUint32(machine.guest(address), value, true);
  const directory = machine.newTable();
  const table = machine.newTable();
  write32(directory + 0x100 * 4, table | 7);
  write32(table + 5 * 4, 0x3000 | 5);
  write32(directory + 0x101 * 4, 0x40_0000 | 0x83);
  vcpu.cr0 = 0x8001_0011n;
  vcpu.cr4 = 0x10n;
  vcpu.cr3 = BigInt(directory);
  machine.segment(1, 8, 0n, 0xffffffff, 0xc09b);
  runtime.updateMode(cpu);
  assert.equal(runtime.readSlow(cpu, 0x4000_5004n, 4), machine.guest(0x3004));
  assert.equal(runtime.readSlow(cpu, 0xffff_ffff_4000_5004n, 4), machine.guest(0x3004), '32-bit addresses');
  assert.equal(runtime.writeSlow(cpu, 0x4000_5004n, 4), 0);
  assert.deepEqual(machine.fault(), { vector: PF, error: 3, cr2: 0x4000_5004n });
  assert.equal(runtime.writeSlow(cpu, 0x4041_2345n, 1), machine.guest(0x41_2345));
  assert.equal(memory.view.getUint32(machine.guest(directory + 0x101 * 4), true) & 0x60, 0x60);

  const pdpt = machine.newTable();
  const pages = machine.newTable();
  machine.write64(pdpt + 8, BigInt(pages) | P);
  machine.write64(pages + 16, 0x20_0000n | P | W | 0x80n);
  vcpu.cr4 = 0x30n;
  vcpu.cr0 = 0x11n;
  vcpu.cr3 = BigInt(pdpt);
  assert.equal(runtime.writeCr0(cpu, 0x8000_0011n), 0);
  assert.equal(runtime.writeSlow(cpu, 0x4040_0010n, 4), machine.guest(0x20_0010));
  assert.equal(runtime.readSlow(cpu, 0x8040_0010n, 4), 0);
  assert.deepEqual(machine.fault(), { vector: PF, error: 0, cr2: 0x8040_0010n });
});
