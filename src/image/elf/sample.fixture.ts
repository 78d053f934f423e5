/** A small kernel file for tests. */
import { Elf64Header, Elf64ProgramHeader, Elf64SectionHeader, Elf64Symbol, ElfNote } from './structures.ts';

export function note(type: number, descriptor: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ElfNote.size + 4 + Math.ceil(descriptor.length / 4) * 4);
  const header = ElfNote.at(new DataView(bytes.buffer), 0);
  header.namesz = 4;
  header.descsz = descriptor.length;
  header.type = type;
  bytes.set(new TextEncoder().encode('Xen'), ElfNote.size);
  bytes.set(descriptor, ElfNote.size + 4);
  return bytes;
}

export const u32 = (n: number) => new Uint8Array(Uint32Array.of(n).buffer);
export const u64 = (n: bigint) => new Uint8Array(BigUint64Array.of(n).buffer);
const join = (parts: Uint8Array[]) => Uint8Array.from(parts.flatMap(p => [...p]));

export const PADDR = 0x100000;
export const VADDR = 0xffffffff81000000n;
export const TEXT = Uint8Array.of(0xf4, 0xeb, 0xfd, 0x90);
const NOTES = [
  note(6, new TextEncoder().encode('linux\0')),
  note(3, u64(0xffffffff80000000n)),
  note(14, u32(1)),
  note(17, u32(0x8801)),
];

/** A kernel with one segment (`text` in the file, at most 16 bytes, 0x3000 in memory), notes, and a symbol table. */
export function tinyElf64(entryNote = note(18, u32(PADDR + 1)), text = TEXT): Uint8Array {
  const notes = join([...NOTES, entryNote]);
  const strings = new TextEncoder().encode('\0start\0later\0');
  const file = new Uint8Array(0x600);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const header = Elf64Header.at(view, 0);
  Object.assign(header, {
    type: 2,
    machine: 62,
    version: 1,
    entry: VADDR,
    phoff: 0x40,
    phentsize: 56,
    phnum: 2,
  });
  Object.assign(header, { shoff: 0x400, shentsize: 64, shnum: 3, ehsize: 64 });
  const load = Elf64ProgramHeader.at(view, 0x40);
  Object.assign(load, {
    type: 1,
    offset: 0x200,
    vaddr: VADDR,
    paddr: PADDR,
    filesz: text.length,
    memsz: 0x3000,
  });
  const notesHeader = Elf64ProgramHeader.at(view, 0x40 + 56);
  Object.assign(notesHeader, { type: 4, offset: 0x210, filesz: notes.length, align: 4 });
  file.set(text, 0x200);
  file.set(notes, 0x210);
  Object.assign(Elf64SectionHeader.at(view, 0x440), {
    type: 2,
    offset: 0x300,
    size: 72,
    link: 2,
    entsize: 24,
  });
  Object.assign(Elf64SectionHeader.at(view, 0x480), { type: 3, offset: 0x380, size: strings.length });
  Object.assign(Elf64Symbol.at(view, 0x318), { name: 7, info: 0x12, shndx: 1, value: VADDR + 0x100n });
  Object.assign(Elf64Symbol.at(view, 0x330), { name: 1, info: 0x12, shndx: 1, value: VADDR });
  file.set(strings, 0x380);
  return file;
}
