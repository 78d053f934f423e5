/**
 * Reader for ELF executables of both classes, made for hostile files: every offset and count is checked against the
 * file before it is used, work is bounded by fixed limits, and all complaints are DomusErrors.
 *
 * Nothing is copied: segments and sections are views of the file's bytes.
 */
import { DomusError } from '../../base/errors.ts';
import {
  ELF_CLASS_32,
  ELF_CLASS_64,
  ELF_DATA_LITTLE,
  ELF_MACHINE_386,
  ELF_MACHINE_X86_64,
  Elf32Header,
  Elf32ProgramHeader,
  Elf32SectionHeader,
  Elf64Header,
  Elf64ProgramHeader,
  Elf64SectionHeader,
  ProgramType,
  SectionType,
} from './structures.ts';

/** More than any kernel has; a file beyond these is refused rather than worked through. */
const PROGRAM_HEADERS_MAX = 256;
const SECTIONS_MAX = 16384;

export interface ElfProgramHeader {
  readonly type: number;
  readonly flags: number;
  readonly vaddr: bigint;
  readonly paddr: number;
  /** Size in memory; what `contents` does not cover is zero. */
  readonly memorySize: number;
  readonly align: number;
  readonly contents: Uint8Array;
}

export interface ElfSection {
  readonly type: number;
  readonly link: number;
  readonly entrySize: number;
  readonly align: number;
  readonly contents: Uint8Array;
}

export interface ElfFile {
  readonly bits: 32 | 64;
  readonly machine: number;
  readonly entry: bigint;
  readonly programHeaders: readonly ElfProgramHeader[];
  /** PT_LOAD headers with a size, by ascending physical address. They do not overlap. */
  readonly loadSegments: readonly ElfProgramHeader[];
  /** Sections, empty when the file has no section table or it is not whole (a stripped or cut file still loads). */
  readonly sections: readonly ElfSection[];
}

const KERNEL_REMEDY =
  'give the kernel of a Debian linux-image package, or an x86-64 vmlinux with a PVH entry';

/** The error for a file that ends too early or points outside itself. */
export function truncated(what: string): DomusError {
  return new DomusError(
    'E_KERNEL_TRUNCATED',
    `the kernel image is cut short or damaged: ${what} lies outside the file`,
    'copy or download the file again',
  );
}

/** The error for a file that contradicts itself. */
export function malformed(what: string): DomusError {
  return new DomusError('E_KERNEL_MALFORMED', `the kernel image is damaged: ${what}`, KERNEL_REMEDY);
}

/** `size` bytes at `offset`, checked. Sizes and offsets may be anything a 64-bit field can hold. */
function slice(file: Uint8Array, offset: number, size: number, what: string): Uint8Array {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(size)) throw truncated(what);
  if (offset + size > file.length) throw truncated(what);
  return file.subarray(offset, offset + size);
}

export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/**
 * @throws DomusError E_KERNEL_NOT_ELF, E_KERNEL_MACHINE, E_KERNEL_TRUNCATED, E_KERNEL_MALFORMED
 */
export function readElf(file: Uint8Array): ElfFile {
  if (!isElf(file)) {
    throw new DomusError(
      'E_KERNEL_NOT_ELF',
      file.length === 0 ? 'the kernel image is empty' : 'the kernel image is not an ELF file',
      KERNEL_REMEDY,
    );
  }
  if (file.length < Elf32Header.size) throw truncated('the ELF header');
  const bits = file[4] === ELF_CLASS_64 ? 64 : 32;
  const Header = bits === 64 ? Elf64Header : Elf32Header;
  if (file.length < Header.size) throw truncated('the ELF header');
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const header = Header.at(view, 0);
  if (
    (file[4] !== ELF_CLASS_32 && file[4] !== ELF_CLASS_64) ||
    file[5] !== ELF_DATA_LITTLE ||
    (header.machine !== ELF_MACHINE_X86_64 && header.machine !== ELF_MACHINE_386)
  ) {
    throw new DomusError(
      'E_KERNEL_MACHINE',
      `the kernel image is for another processor (ELF class ${file[4]}, machine ${header.machine})`,
      'use a kernel built for x86-64 (amd64)',
    );
  }
  const programHeaders = readProgramHeaders(file, view, header, bits);
  return {
    bits,
    machine: header.machine,
    entry: BigInt(header.entry),
    programHeaders,
    loadSegments: loadSegmentsOf(programHeaders),
    sections: readSections(file, view, header, bits),
  };
}

type ElfHeader = Pick<
  ReturnType<typeof Elf64Header.at>,
  'phoff' | 'phentsize' | 'phnum' | 'shoff' | 'shentsize' | 'shnum'
>;

function readProgramHeaders(
  file: Uint8Array,
  view: DataView,
  header: ElfHeader,
  bits: 32 | 64,
): ElfProgramHeader[] {
  const ProgramHeader = bits === 64 ? Elf64ProgramHeader : Elf32ProgramHeader;
  const { phoff, phnum, phentsize } = header;
  if (phnum === 0) throw malformed('it has no program headers');
  if (phnum > PROGRAM_HEADERS_MAX) throw malformed(`it claims ${phnum} program headers`);
  if (phentsize < ProgramHeader.size) throw malformed(`its program headers have ${phentsize} bytes`);
  slice(file, phoff, phnum * phentsize, 'the program header table');
  const result: ElfProgramHeader[] = [];
  for (let i = 0; i < phnum; i++) {
    const entry = ProgramHeader.at(view, phoff + i * phentsize);
    // The extent of other kinds (GNU_STACK and such) does not matter here.
    const relevant = entry.type === ProgramType.load || entry.type === ProgramType.note;
    result.push({
      type: entry.type,
      flags: entry.flags,
      vaddr: BigInt(entry.vaddr),
      paddr: entry.paddr,
      memorySize: entry.memsz,
      align: entry.align,
      contents: relevant ? slice(file, entry.offset, entry.filesz, `segment ${i}`) : file.subarray(0, 0),
    });
  }
  return result;
}

function loadSegmentsOf(headers: readonly ElfProgramHeader[]): ElfProgramHeader[] {
  const loads = headers.filter(h => h.type === ProgramType.load && h.memorySize > 0);
  if (loads.length === 0) throw malformed('nothing in it is to be loaded');
  loads.sort((a, b) => a.paddr - b.paddr);
  let end = 0;
  for (const segment of loads) {
    const segmentEnd = segment.paddr + segment.memorySize;
    if (!Number.isSafeInteger(segmentEnd)) throw malformed('a segment lies beyond any physical address');
    if (segment.contents.length > segment.memorySize) {
      throw malformed('a segment has more bytes in the file than in memory');
    }
    if (segment.paddr < end) throw malformed('segments overlap in physical memory');
    end = segmentEnd;
  }
  return loads;
}

/** Sections serve notes and symbols only, so a table that cannot be right counts as absent. */
function readSections(file: Uint8Array, view: DataView, header: ElfHeader, bits: 32 | 64): ElfSection[] {
  const SectionHeader = bits === 64 ? Elf64SectionHeader : Elf32SectionHeader;
  const { shoff, shnum, shentsize } = header;
  if (shnum === 0 || shnum > SECTIONS_MAX || shentsize < SectionHeader.size) return [];
  if (!Number.isSafeInteger(shoff) || shoff + shnum * shentsize > file.length) return [];
  const result: ElfSection[] = [];
  for (let i = 0; i < shnum; i++) {
    const entry = SectionHeader.at(view, shoff + i * shentsize);
    const inFile = entry.type !== SectionType.noBits && entry.offset + entry.size <= file.length;
    result.push({
      type: entry.type,
      link: entry.link,
      entrySize: entry.entsize,
      align: entry.addralign,
      contents: inFile ? file.subarray(entry.offset, entry.offset + entry.size) : file.subarray(0, 0),
    });
  }
  return result;
}
