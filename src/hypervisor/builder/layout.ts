/**
 * Where things lie in the physical address space of a PVH guest. The places are libxl's, which guests and tools know.
 *
 *     0x0000_0000  RAM, from zero to the domain's size
 *     0xfc00_0000  ACPI tables
 *     0xfee0_0000  local APIC
 *     0xfeff_8000  special pages: rings and such, eight frames
 */
import { type Gfn, gfn } from '../../base/brand.ts';

export const ACPI_BASE = 0xfc000000;
/** libxl leaves the first page free and starts the tables on the second. */
export const ACPI_TABLES_BASE = ACPI_BASE + 0x1000;
export const LOCAL_APIC_BASE = 0xfee00000;

export const SPECIAL_FIRST = gfn(0xfeff8);
export const SPECIAL_COUNT = 8;
/** Frames of the special pages, in libxl's order. */
export const SpecialPage: Readonly<
  Record<'paging' | 'access' | 'sharing' | 'bufioreq' | 'xenstore' | 'ioreq' | 'identPt' | 'console', Gfn>
> = {
  paging: gfn(0xfeff8),
  access: gfn(0xfeff9),
  sharing: gfn(0xfeffa),
  bufioreq: gfn(0xfeffb),
  xenstore: gfn(0xfeffc),
  ioreq: gfn(0xfeffd),
  identPt: gfn(0xfeffe),
  console: gfn(0xfefff),
};

/** RAM ends below the hole for devices; memory above 4 GiB is not offered yet. */
export const MEMORY_BYTES_MAX = 0xf0000000;
export const MEMORY_BYTES_MIN = 2 << 20;
/** As many as Xen 4.0 allowed; APIC ids (twice the number) then still fit eight bits. */
export const VCPUS_MAX = 128;
/** Linux's own limit is 2048 (COMMAND_LINE_SIZE); other kernels take more, none more than this. */
export const COMMAND_LINE_BYTES_MAX = 4096;

/** A vCPU's APIC id: Xen leaves room for a second thread in each core. */
export const apicIdOf = (vcpuId: number): number => vcpuId * 2;
