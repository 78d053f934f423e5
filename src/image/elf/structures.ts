/**
 * ELF structures of both classes, little-endian, and the few numbers a kernel loader needs.
 *
 * Sources: System V gABI chapters 4 and 5, the AMD64 psABI, xen/include/public/elfnote.h.
 */
import { bytes, struct, u8, u16, u32, u64, u64n } from '../../base/struct.ts';

export const Elf32Header = struct('Elf32_Ehdr', {
  ident: bytes(16),
  type: u16,
  machine: u16,
  version: u32,
  entry: u32,
  phoff: u32,
  shoff: u32,
  flags: u32,
  ehsize: u16,
  phentsize: u16,
  phnum: u16,
  shentsize: u16,
  shnum: u16,
  shstrndx: u16,
});

export const Elf64Header = struct('Elf64_Ehdr', {
  ident: bytes(16),
  type: u16,
  machine: u16,
  version: u32,
  entry: u64,
  phoff: u64n,
  shoff: u64n,
  flags: u32,
  ehsize: u16,
  phentsize: u16,
  phnum: u16,
  shentsize: u16,
  shnum: u16,
  shstrndx: u16,
});

export const Elf32ProgramHeader = struct('Elf32_Phdr', {
  type: u32,
  offset: u32,
  vaddr: u32,
  paddr: u32,
  filesz: u32,
  memsz: u32,
  flags: u32,
  align: u32,
});

export const Elf64ProgramHeader = struct('Elf64_Phdr', {
  type: u32,
  flags: u32,
  offset: u64n,
  vaddr: u64,
  paddr: u64n,
  filesz: u64n,
  memsz: u64n,
  align: u64n,
});

export const Elf32SectionHeader = struct('Elf32_Shdr', {
  name: u32,
  type: u32,
  flags: u32,
  addr: u32,
  offset: u32,
  size: u32,
  link: u32,
  info: u32,
  addralign: u32,
  entsize: u32,
});

export const Elf64SectionHeader = struct('Elf64_Shdr', {
  name: u32,
  type: u32,
  flags: u64n,
  addr: u64,
  offset: u64n,
  size: u64n,
  link: u32,
  info: u32,
  addralign: u64n,
  entsize: u64n,
});

export const Elf32Symbol = struct('Elf32_Sym', {
  name: u32,
  value: u32,
  size: u32,
  info: u8,
  other: u8,
  shndx: u16,
});

export const Elf64Symbol = struct('Elf64_Sym', {
  name: u32,
  info: u8,
  other: u8,
  shndx: u16,
  value: u64,
  size: u64n,
});

/** Header of a note; name and descriptor follow, each padded to the note's alignment. */
export const ElfNote = struct('Elf_Nhdr', { namesz: u32, descsz: u32, type: u32 });

export const ELF_CLASS_32 = 1;
export const ELF_CLASS_64 = 2;
export const ELF_DATA_LITTLE = 1;
export const ELF_MACHINE_386 = 3;
export const ELF_MACHINE_X86_64 = 62;
export const ProgramType = { load: 1, note: 4 } as const;
export const SectionType = { symtab: 2, strtab: 3, note: 7, noBits: 8 } as const;
export const SymbolType = { noType: 0, object: 1, func: 2 } as const;

/** Note types under the name "Xen". */
export const XenElfNote = {
  info: 0,
  entry: 1,
  hypercallPage: 2,
  virtBase: 3,
  paddrOffset: 4,
  xenVersion: 5,
  guestOs: 6,
  guestVersion: 7,
  loader: 8,
  paeMode: 9,
  features: 10,
  hvStartLow: 12,
  l1MfnValid: 13,
  suspendCancel: 14,
  initP2m: 15,
  modStartPfn: 16,
  supportedFeatures: 17,
  phys32Entry: 18,
} as const;
