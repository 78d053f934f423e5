import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../../abi/xen/hvm.ts';
import { DomusError } from '../../base/errors.ts';
import { Mode } from '../../cpu/decode/mode.ts';
import { Seg, Vcpu } from '../../cpu/vcpu/layout.ts';
import { buildPvhDomain, type DomainDescription, type GuestPhysicalMemory } from './domain-builder.ts';
import { setPvhEntryState } from './entry-state.ts';

const MIB = 2 ** 20;

/** Sparse guest memory that insists on populated frames. */
function sparseMemory(): GuestPhysicalMemory & {
  read(address: number, size: number): Uint8Array;
  frames: number;
} {
  const ranges: [number, number][] = [];
  const writes: { address: number; bytes: Uint8Array }[] = [];
  return {
    frames: 0,
    populate(first, count) {
      ranges.push([first * 4096, (first + count) * 4096]);
      this.frames += count;
    },
    write(address, bytes) {
      assert.ok(
        ranges.some(([from, to]) => address >= from && address + bytes.length <= to),
        `write to unpopulated ${address.toString(16)}`,
      );
      writes.push({ address, bytes: bytes.slice() });
    },
    fill(address, bytes) {
      const whole = new Uint8Array(bytes.length);
      bytes.readInto(whole, 0);
      this.write(address, whole);
    },
    read(address, size) {
      const result = new Uint8Array(size);
      for (const w of writes) {
        const from = Math.max(address, w.address);
        const to = Math.min(address + size, w.address + w.bytes.length);
        if (from < to) result.set(w.bytes.subarray(from - w.address, to - w.address), from - address);
      }
      return result;
    },
  };
}

const kernel = {
  entry: 0x1000040,
  segments: [
    { address: 0x1000000, contents: Uint8Array.of(1, 2, 3), memorySize: 0x2345 },
    { address: 0x1400000, contents: Uint8Array.of(9), memorySize: 0x100001 },
  ],
};
const description = (changes: Partial<DomainDescription> = {}): DomainDescription => ({
  memoryBytes: 64 * MIB,
  vcpus: 2,
  kernel,
  commandLine: 'console=hvc0',
  ...changes,
});

test('start info, modules, memory map and command line are where the guest looks for them', () => {
  const memory = sparseMemory();
  const initrd = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);
  const built = buildPvhDomain(memory, description({ initrd }));
  const view = (address: number, size: number) => new DataView(memory.read(address, size).buffer);
  assert.equal(HvmStartInfo.size, 56);
  assert.equal(built.entry, 0x1000040);
  assert.equal(built.kernelEnd, 0x1501000);
  assert.deepEqual([...memory.read(0x1000000, 4)], [1, 2, 3, 0]);
  const info = HvmStartInfo.at(view(built.startInfo, 56), 0);
  assert.equal(info.magic, 0x336ec578);
  assert.equal(info.version, 1);
  assert.equal(info.flags, 0);
  assert.equal(info.nr_modules, 1);
  const module = HvmModlistEntry.at(view(info.modlist_paddr, 32), 0);
  assert.equal(module.paddr, 0x1501000);
  assert.equal(module.size, 5000);
  assert.deepEqual(memory.read(module.paddr, 5000), initrd);
  const line = memory.read(info.cmdline_paddr, 13);
  assert.equal(new TextDecoder().decode(line), 'console=hvc0\0');
  assert.equal(info.rsdp_paddr, built.rsdp);
  assert.equal(new TextDecoder().decode(memory.read(built.rsdp, 8)), 'RSD PTR ');
  const map = Array.from({ length: info.memmap_entries }, (_, i) => {
    const entry = HvmMemmapTableEntry.at(view(info.memmap_paddr + 24 * i, 24), 0);
    return { address: entry.addr, size: entry.size, type: entry.type };
  });
  assert.deepEqual(map, built.memoryMap);
  assert.deepEqual(map[0], { address: 0, size: 64 * MIB, type: 1 });
  assert.equal(map[1]!.address, 0xfc000000);
  assert.equal(map[1]!.type, 3);
  assert.ok(built.rsdp + 36 <= map[1]!.address + map[1]!.size);
  assert.deepEqual(map[2], { address: 0xfeff8000, size: 0x8000, type: 2 });
});

test('without an initrd there is no module', () => {
  const memory = sparseMemory();
  const built = buildPvhDomain(memory, description());
  const info = HvmStartInfo.at(new DataView(memory.read(built.startInfo, 56).buffer), 0);
  assert.equal(info.nr_modules, 0);
  assert.equal(info.modlist_paddr, 0);
  assert.equal(built.initrd, undefined);
});

test('what does not fit is refused before memory is touched', () => {
  const cases: [string, Partial<DomainDescription>][] = [
    ['E_TOO_MANY_VCPUS', { vcpus: 10_000 }],
    ['E_TOO_MANY_VCPUS', { vcpus: 0 }],
    ['E_TOO_MANY_VCPUS', { vcpus: 1.5 }],
    ['E_MEMORY_TOO_SMALL', { memoryBytes: MIB }],
    ['E_MEMORY_TOO_SMALL', { memoryBytes: Number.NaN }],
    ['E_MEMORY_TOO_LARGE', { memoryBytes: 4096 * MIB }],
    ['E_KERNEL_TOO_LARGE', { memoryBytes: 16 * MIB }],
    ['E_KERNEL_TOO_LARGE', { memoryBytes: 0x1501000 }],
    ['E_INITRD_TOO_LARGE', { initrd: new Uint8Array(50 * MIB) }],
    ['E_COMMAND_LINE_TOO_LONG', { commandLine: 'x'.repeat(4096) }],
    ['E_COMMAND_LINE_NUL', { commandLine: 'a\0b' }],
  ];
  for (const [code, changes] of cases) {
    const memory = sparseMemory();
    assert.throws(
      () => buildPvhDomain(memory, description(changes)),
      (error: unknown) => error instanceof DomusError && error.code === code && error.remedy !== '',
      code,
    );
    assert.equal(memory.frames, 0);
  }
  // The memory that the remedy of a failed build names is enough.
  const initrd = new Uint8Array(50 * MIB);
  try {
    buildPvhDomain(sparseMemory(), description({ initrd }));
    assert.fail('it does not fit');
  } catch (error) {
    const wanted = Number(/at least (\d+) MiB/.exec((error as DomusError).remedy)![1]);
    buildPvhDomain(sparseMemory(), description({ initrd, memoryBytes: wanted * MIB }));
  }
});

test('the largest domain and the longest command line are accepted', () => {
  const memory = sparseMemory();
  buildPvhDomain(memory, description({ memoryBytes: 0xf0000000, vcpus: 128, commandLine: 'x'.repeat(4095) }));
  assert.ok(memory.frames > 0xf0000);
});

test('entry state of the first vCPU', () => {
  const view = new DataView(new ArrayBuffer(Vcpu.size));
  const vcpu = Vcpu.at(view, 0);
  vcpu.gpr.set(0, 5n);
  vcpu.cr4 = 0x20n;
  vcpu.mode = Mode.real;
  setPvhEntryState(vcpu, 0x1000040, 0x2000000);
  assert.equal(vcpu.rip, 0x1000040n);
  assert.equal(vcpu.gpr.get(0), 0n);
  assert.equal(vcpu.gpr.get(3), 0x2000000n);
  assert.equal(vcpu.cr0 & 0x80000001n, 1n);
  assert.equal(vcpu.cr4, 0n);
  assert.equal(vcpu.flagSys, 2);
  assert.equal(vcpu.segment.get(Seg.cs).attributes, 0xc09b);
  assert.equal(vcpu.segment.get(Seg.cs).limit, 0xffffffff);
  assert.equal(vcpu.segment.get(Seg.ss).attributes, 0xc093);
  assert.equal(vcpu.segment.get(Seg.tr).limit, 0x67);
  assert.equal(vcpu.mode & (Mode.sizeMask | Mode.real), Mode.code32);
});
