/** From a kernel's ELF file to what the domain builder loads. */
import type { KernelImage } from '../../hypervisor/builder/domain-builder.ts';
import { readElf } from './elf.ts';
import { readElfSymbols, type SymbolTable } from './symbols.ts';
import { pvhEntry, readXenNotes, type XenNotes } from './xen-notes.ts';

export interface ElfKernel extends KernelImage {
  readonly notes: XenNotes;
  /** Undefined for stripped kernels. */
  readonly symbols: SymbolTable | undefined;
}

/**
 * Take a PVH kernel out of an ELF file (a vmlinux, or what a bzImage held). The result refers to `file`'s bytes.
 * @throws DomusError E_KERNEL_NOT_ELF, E_KERNEL_MACHINE, E_KERNEL_TRUNCATED, E_KERNEL_MALFORMED, E_KERNEL_NO_PVH_NOTE
 */
export function readElfKernel(file: Uint8Array): ElfKernel {
  const elf = readElf(file);
  const notes = readXenNotes(elf);
  return {
    entry: pvhEntry(elf, notes),
    segments: elf.loadSegments.map(s => ({
      address: s.paddr,
      contents: s.contents,
      memorySize: s.memorySize,
    })),
    notes,
    symbols: readElfSymbols(elf),
  };
}
