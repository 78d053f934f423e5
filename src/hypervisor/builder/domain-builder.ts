/**
 * Builds a PVH domain in guest memory the way libxl does: kernel where it was linked to lie, behind it the initrd, behind
 * that start info with module list, memory map and command line; ACPI tables and special pages below 4 GiB.
 *
 * Guest memory is taken to be all zero. Nothing is written before everything is known to fit.
 */

import { type AcpiProcessor, buildAcpiTables } from '../../abi/acpi/tables.ts';
import {
  HvmMemmapTableEntry,
  HvmModlistEntry,
  HvmStartInfo,
  MemoryType,
  XEN_HVM_START_MAGIC_VALUE,
} from '../../abi/xen/hvm.ts';
import { type Gfn, gfn, PAGE_SIZE } from '../../base/brand.ts';
import { DomusError } from '../../base/errors.ts';
import {
  ACPI_BASE,
  ACPI_TABLES_BASE,
  apicIdOf,
  COMMAND_LINE_BYTES_MAX,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  SPECIAL_COUNT,
  SPECIAL_FIRST,
  VCPUS_MAX,
} from './layout.ts';

/** Guest memory as the builder needs it; the domain's p2m implements it. */
export interface GuestPhysicalMemory {
  /** Give frames `first` .. `first + count - 1` memory, all zero. They have none yet. */
  populate(first: Gfn, count: number): void;
  /** Copy into populated memory. */
  write(address: number, bytes: Uint8Array): void;
  /** The same with bytes that are elsewhere. */
  fill(address: number, bytes: StoredBytes): void;
}

/** Bytes that are not in memory yet, and are read once, to where they belong. */
export interface StoredBytes {
  readonly length: number;
  /** Read as many as `target` holds, from `from` on. `target` may be shared memory. */
  readInto(target: Uint8Array, from: number): void;
}

/** A kernel taken out of its file: see image/elf. */
export interface KernelImage {
  /** Physical address of the 32-bit entry point. */
  readonly entry: number;
  /** By ascending address, without overlap. */
  readonly segments: readonly KernelSegment[];
}

export interface KernelSegment {
  readonly address: number;
  /** What the file has; the rest up to `memorySize` stays zero. */
  readonly contents: Uint8Array | StoredBytes;
  readonly memorySize: number;
}

export interface DomainDescription {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly kernel: KernelImage;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine: string;
  /** SIF_* bits, for a privileged domain. */
  readonly startFlags?: number;
}

export interface MemoryRegion {
  readonly address: number;
  readonly size: number;
  /** MemoryType. */
  readonly type: number;
}

export interface BuiltDomain {
  /** Where vCPU 0 starts, and what its ebx holds. */
  readonly entry: number;
  readonly startInfo: number;
  /** Also the answer to XENMEM_memory_map. */
  readonly memoryMap: readonly MemoryRegion[];
  readonly kernelEnd: number;
  readonly initrd: { readonly address: number; readonly size: number } | undefined;
  readonly rsdp: number;
}

/** The version of start info that has a memory map. */
const START_INFO_VERSION = 1;

const pageUp = (address: number) => Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;
const mebibytes = (size: number) => `${Math.ceil(size / 2 ** 20)} MiB`;

function checkLimits({ memoryBytes, vcpus }: DomainDescription, commandLine: Uint8Array): void {
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > VCPUS_MAX) {
    throw new DomusError(
      'E_TOO_MANY_VCPUS',
      `a domain cannot have ${vcpus} vCPUs`,
      `give it between 1 and ${VCPUS_MAX}`,
    );
  }
  if (!(memoryBytes >= MEMORY_BYTES_MIN)) {
    throw new DomusError(
      'E_MEMORY_TOO_SMALL',
      `${mebibytes(memoryBytes)} of memory are too little for a domain`,
      `give it at least ${mebibytes(MEMORY_BYTES_MIN)}; Debian's kernels want 128 MiB and more`,
    );
  }
  if (memoryBytes > MEMORY_BYTES_MAX) {
    throw new DomusError(
      'E_MEMORY_TOO_LARGE',
      `${mebibytes(memoryBytes)} of memory are more than a domain can have`,
      `give it at most ${mebibytes(MEMORY_BYTES_MAX)}`,
    );
  }
  if (commandLine.length > COMMAND_LINE_BYTES_MAX) {
    throw new DomusError(
      'E_COMMAND_LINE_TOO_LONG',
      `the kernel command line has ${commandLine.length - 1} bytes`,
      `shorten it to ${COMMAND_LINE_BYTES_MAX - 1} bytes; Linux itself reads only the first 2047`,
    );
  }
  if (commandLine.subarray(0, -1).includes(0)) {
    throw new DomusError('E_COMMAND_LINE_NUL', 'the kernel command line contains a NUL byte', 'remove it');
  }
}

/**
 * @throws DomusError E_TOO_MANY_VCPUS, E_MEMORY_TOO_SMALL, E_MEMORY_TOO_LARGE, E_COMMAND_LINE_TOO_LONG,
 *   E_COMMAND_LINE_NUL, E_KERNEL_TOO_LARGE, E_INITRD_TOO_LARGE
 */
export function buildPvhDomain(memory: GuestPhysicalMemory, description: DomainDescription): BuiltDomain {
  const { kernel, initrd, vcpus } = description;
  const commandLine = new TextEncoder().encode(`${description.commandLine}\0`);
  checkLimits(description, commandLine);
  const ramBytes = Math.floor(description.memoryBytes / PAGE_SIZE) * PAGE_SIZE;

  const kernelEnd = pageUp(kernel.segments.reduce((end, s) => Math.max(end, s.address + s.memorySize), 0));
  const initrdAddress = kernelEnd;
  const startInfo = pageUp(initrdAddress + (initrd?.length ?? 0));
  const processors: AcpiProcessor[] = Array.from({ length: vcpus }, (_, id) => ({
    acpiId: id,
    apicId: apicIdOf(id),
    enabled: true,
  }));
  const acpi = buildAcpiTables(ACPI_TABLES_BASE, processors);
  const acpiEnd = ACPI_TABLES_BASE + acpi.image.length;
  const memoryMap: MemoryRegion[] = [
    { address: 0, size: ramBytes, type: MemoryType.ram },
    { address: ACPI_BASE, size: acpiEnd - ACPI_BASE, type: MemoryType.acpi },
    { address: SPECIAL_FIRST * PAGE_SIZE, size: SPECIAL_COUNT * PAGE_SIZE, type: MemoryType.reserved },
  ];
  const initrdModule = initrd && { address: initrdAddress, size: initrd.length };
  const startBlock = encodeStartInfo(startInfo, {
    flags: description.startFlags ?? 0,
    modules: initrdModule ? [initrdModule] : [],
    memoryMap,
    commandLine,
    rsdp: acpi.rsdp,
  });

  const end = startInfo + startBlock.length;
  if (kernelEnd > ramBytes) {
    throw new DomusError(
      'E_KERNEL_TOO_LARGE',
      `the kernel does not fit into ${mebibytes(ramBytes)} of memory: it reaches up to ${mebibytes(kernelEnd)}`,
      `give the guest at least ${mebibytes(end)} of memory, better twice that`,
    );
  }
  if (end > ramBytes) {
    throw new DomusError(
      initrd ? 'E_INITRD_TOO_LARGE' : 'E_KERNEL_TOO_LARGE',
      initrd
        ? `kernel and initrd (${mebibytes(initrd.length)}) do not fit into ${mebibytes(ramBytes)} of memory`
        : `the kernel leaves no room in ${mebibytes(ramBytes)} of memory`,
      `give the guest at least ${mebibytes(end)} of memory, better twice that`,
    );
  }

  memory.populate(gfn(0), ramBytes / PAGE_SIZE);
  memory.populate(gfn(ACPI_BASE / PAGE_SIZE), pageUp(acpiEnd - ACPI_BASE) / PAGE_SIZE);
  memory.populate(SPECIAL_FIRST, SPECIAL_COUNT);
  for (const { address, contents } of kernel.segments) {
    if (contents instanceof Uint8Array) memory.write(address, contents);
    else memory.fill(address, contents);
  }
  if (initrd) memory.write(initrdAddress, initrd);
  memory.write(startInfo, startBlock);
  memory.write(ACPI_TABLES_BASE, acpi.image);
  return {
    entry: kernel.entry,
    startInfo,
    memoryMap,
    kernelEnd,
    initrd: initrdModule,
    rsdp: acpi.rsdp,
  };
}

interface StartInfoContents {
  readonly flags: number;
  readonly modules: readonly { readonly address: number; readonly size: number }[];
  readonly memoryMap: readonly MemoryRegion[];
  readonly commandLine: Uint8Array;
  readonly rsdp: number;
}

/** Start info and what it points to, as one block of bytes for address `base`. */
function encodeStartInfo(base: number, contents: StartInfoContents): Uint8Array {
  const { modules, memoryMap, commandLine } = contents;
  const modlistAt = HvmStartInfo.size;
  const memmapAt = modlistAt + modules.length * HvmModlistEntry.size;
  const cmdlineAt = memmapAt + memoryMap.length * HvmMemmapTableEntry.size;
  const block = new Uint8Array(cmdlineAt + commandLine.length);
  const view = new DataView(block.buffer);
  const info = HvmStartInfo.at(view, 0);
  info.magic = XEN_HVM_START_MAGIC_VALUE;
  info.version = START_INFO_VERSION;
  info.flags = contents.flags;
  info.nr_modules = modules.length;
  info.modlist_paddr = modules.length > 0 ? base + modlistAt : 0;
  info.cmdline_paddr = base + cmdlineAt;
  info.rsdp_paddr = contents.rsdp;
  info.memmap_paddr = base + memmapAt;
  info.memmap_entries = memoryMap.length;
  modules.forEach((module, i) => {
    const entry = HvmModlistEntry.at(view, modlistAt + i * HvmModlistEntry.size);
    entry.paddr = module.address;
    entry.size = module.size;
  });
  memoryMap.forEach((region, i) => {
    const entry = HvmMemmapTableEntry.at(view, memmapAt + i * HvmMemmapTableEntry.size);
    entry.addr = region.address;
    entry.size = region.size;
    entry.type = region.type;
  });
  block.set(commandLine, cmdlineAt);
  return block;
}
