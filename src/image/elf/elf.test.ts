import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomusError } from '../../base/errors.ts';
import { buildPvhDomain } from '../../hypervisor/builder/domain-builder.ts';
import { readElf } from './elf.ts';
import { readElfKernel } from './kernel.ts';
import { note, PADDR, TEXT, tinyElf64, u32, u64, VADDR } from './sample.fixture.ts';
import { Elf32Header, Elf32ProgramHeader, Elf64ProgramHeader, Elf64SectionHeader } from './structures.ts';
import { readElfSymbols } from './symbols.ts';
import { readXenNotes } from './xen-notes.ts';

const code = (e: string) => (error: unknown) => {
  assert.ok(error instanceof DomusError, String(error));
  assert.equal(error.code, e);
  assert.notEqual(error.remedy, '');
  return true;
};

function tinyElf32(): Uint8Array {
  const notes = note(18, u32(PADDR));
  const file = new Uint8Array(0x300);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  Object.assign(Elf32Header.at(view, 0), {
    type: 2,
    machine: 3,
    entry: PADDR,
    phoff: 0x34,
    phentsize: 32,
    phnum: 2,
  });
  Object.assign(Elf32ProgramHeader.at(view, 0x34), {
    type: 1,
    offset: 0x200,
    paddr: PADDR,
    filesz: 4,
    memsz: 8,
  });
  Object.assign(Elf32ProgramHeader.at(view, 0x54), { type: 4, offset: 0x240, filesz: notes.length });
  file.set(TEXT, 0x200);
  file.set(notes, 0x240);
  return file;
}

test('a 64-bit kernel: segments, notes, entry, symbols', () => {
  const elf = readElf(tinyElf64());
  assert.equal(elf.bits, 64);
  assert.equal(elf.entry, VADDR);
  assert.equal(elf.loadSegments.length, 1);
  assert.equal(elf.loadSegments[0]!.paddr, PADDR);
  assert.equal(elf.loadSegments[0]!.memorySize, 0x3000);
  assert.deepEqual(elf.loadSegments[0]!.contents, TEXT);
  const notes = readXenNotes(elf);
  assert.equal(notes.phys32Entry, PADDR + 1);
  assert.equal(notes.guestOs, 'linux');
  assert.equal(notes.virtBase, 0xffffffff80000000n);
  assert.equal(notes.suspendCancel, true);
  assert.equal(notes.supportedFeatures, 0x8801);
  const symbols = readElfSymbols(elf)!;
  assert.equal(symbols.count, 2);
  assert.deepEqual(symbols.symbolAt(VADDR + 0xffn), { name: 'start', offset: 0xff });
  assert.deepEqual(symbols.symbolAt(VADDR + 0x100n), { name: 'later', offset: 0 });
  assert.equal(symbols.symbolAt(VADDR - 1n), undefined);
  assert.equal(symbols.symbolAt(VADDR + (1n << 30n)), undefined);
  assert.equal(symbols.addressOf('later'), VADDR + 0x100n);
});

test('a 32-bit kernel, and one whose entry note has 64 bits', () => {
  const kernel = readElfKernel(tinyElf32());
  assert.equal(kernel.entry, PADDR);
  assert.equal(kernel.segments[0]!.memorySize, 8);
  assert.equal(kernel.symbols, undefined);
  assert.equal(readElfKernel(tinyElf64(note(18, u64(BigInt(PADDR))))).entry, PADDR);
});

test('notes in sections serve when no segment has any', () => {
  const file = tinyElf64();
  const view = new DataView(file.buffer);
  Elf64ProgramHeader.at(view, 0x40 + 56).type = 0;
  const { offset, filesz } = Elf64ProgramHeader.at(view, 0x40 + 56);
  Object.assign(Elf64SectionHeader.at(view, 0x400), { type: 7, offset, size: filesz, addralign: 4 });
  assert.equal(readElfKernel(file).entry, PADDR + 1);
});

test('files that are no PVH kernels say so', () => {
  assert.throws(() => readElf(new Uint8Array(0)), code('E_KERNEL_NOT_ELF'));
  assert.throws(() => readElf(new TextEncoder().encode('#!/bin/sh\n')), code('E_KERNEL_NOT_ELF'));
  assert.throws(() => readElf(tinyElf64().subarray(0, 20)), code('E_KERNEL_TRUNCATED'));
  assert.throws(() => readElf(tinyElf64().subarray(0, 60)), code('E_KERNEL_TRUNCATED'));
  assert.throws(() => readElf(tinyElf64().subarray(0, 0x202)), code('E_KERNEL_TRUNCATED'));
  const arm = tinyElf64();
  arm[18] = 183;
  assert.throws(() => readElf(arm), code('E_KERNEL_MACHINE'));
  assert.throws(() => readElfKernel(tinyElf64(note(99, u32(0)))), code('E_KERNEL_NO_PVH_NOTE'));
  assert.throws(() => readElfKernel(tinyElf64(note(18, u32(0x7000)))), code('E_KERNEL_MALFORMED'));
  const huge = tinyElf64();
  Elf64ProgramHeader.at(new DataView(huge.buffer), 0x40).offset = 2 ** 60;
  assert.throws(() => readElf(huge), code('E_KERNEL_TRUNCATED'));
});

/** xorshift32: the same mutations in every run. */
function random(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

test('fuzz: mutated files give a kernel or a DomusError, in bounded work', () => {
  const next = random(0x5eed);
  const boundary = [0, 1, 0x7f, 0x80, 0xff];
  let loaded = 0;
  for (let round = 0; round < 20_000; round++) {
    let file = round % 4 === 0 ? tinyElf32() : tinyElf64();
    for (let i = 1 + (next() % 4); i > 0; i--) {
      // Mostly headers and notes: the rest is not looked at.
      const at = next() % (next() % 2 ? 0xb0 : file.length);
      const value = next() % 2 ? boundary[next() % boundary.length]! : next() & 0xff;
      const span = next() % 3 === 0 ? 1 + (next() % 8) : 1;
      file.fill(value, at, at + span);
    }
    if (next() % 8 === 0) file = file.subarray(0, next() % file.length);
    try {
      const kernel = readElfKernel(file);
      loaded++;
      const fileBytes = kernel.segments.reduce((n, s) => n + s.contents.length, 0);
      assert.ok(fileBytes <= file.length * kernel.segments.length);
      let end = 0;
      for (const s of kernel.segments) {
        assert.ok(s.address >= end && s.contents.length <= s.memorySize);
        end = s.address + s.memorySize;
      }
      buildPvhDomain(
        {
          populate: (first, count) => assert.ok(first + count <= 0xff000),
          write: (address, bytes) => assert.ok(address + bytes.length <= 0xff000000),
          fill: () => assert.fail('all is in memory'),
        },
        { memoryBytes: 64 << 20, vcpus: 1, kernel, commandLine: '' },
      );
    } catch (error) {
      if (!(error instanceof DomusError)) throw error;
      assert.match(error.code, /^E_KERNEL_/);
    }
  }
  assert.ok(loaded > 1000 && loaded < 19_000, `${loaded} loaded`);
});
