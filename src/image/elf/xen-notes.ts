/**
 * The notes a Xen guest kernel carries about itself (owner "Xen"), and the one that matters for PVH: where to enter.
 *
 * They are looked for in PT_NOTE segments first and in note sections when no segment has any, as Xen's own loader does.
 * Source: xen/include/public/elfnote.h.
 */
import { DomusError } from '../../base/errors.ts';
import { type ElfFile, malformed } from './elf.ts';
import { ElfNote, ProgramType, SectionType, XenElfNote } from './structures.ts';

/** A kernel has some two dozen. */
const NOTES_MAX = 4096;

export interface XenNotes {
  /** Physical address of the 32-bit entry point for PVH, undefined when the kernel has none. */
  readonly phys32Entry: number | undefined;
  /** Free text such as "linux" and "2.6"; empty when absent. */
  readonly guestOs: string;
  readonly guestVersion: string;
  readonly xenVersion: string;
  readonly loader: string;
  readonly features: string;
  /** Virtual addresses for PV guests. */
  readonly entry: bigint | undefined;
  readonly virtBase: bigint | undefined;
  readonly hypercallPage: bigint | undefined;
  readonly supportedFeatures: number | undefined;
  readonly suspendCancel: boolean;
}

/** Descriptors by note type. The first of a kind counts. */
function collect(areas: Iterable<{ contents: Uint8Array; align: number }>): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let count = 0;
  for (const { contents, align } of areas) {
    const view = new DataView(contents.buffer, contents.byteOffset, contents.byteLength);
    const padding = align === 8 ? 8 : 4;
    const padded = (n: number) => Math.ceil(n / padding) * padding;
    let at = 0;
    while (at + ElfNote.size <= contents.length) {
      if (++count > NOTES_MAX) throw malformed(`it has more than ${NOTES_MAX} notes`);
      const { namesz, descsz, type } = ElfNote.at(view, at);
      const nameAt = at + ElfNote.size;
      const descAt = padded(nameAt + namesz);
      const end = descAt + descsz;
      if (end > contents.length) break;
      const isXen =
        namesz === 4 &&
        contents[nameAt] === 0x58 &&
        contents[nameAt + 1] === 0x65 &&
        contents[nameAt + 2] === 0x6e;
      if (isXen && !found.has(type)) found.set(type, contents.subarray(descAt, end));
      at = padded(end);
    }
  }
  return found;
}

function text(descriptor: Uint8Array | undefined): string {
  if (!descriptor) return '';
  const end = descriptor.indexOf(0);
  return new TextDecoder('latin1').decode(descriptor.subarray(0, end < 0 ? descriptor.length : end));
}

function number(descriptor: Uint8Array | undefined): bigint | undefined {
  if (!descriptor) return undefined;
  const view = new DataView(descriptor.buffer, descriptor.byteOffset, descriptor.byteLength);
  if (descriptor.length === 4) return BigInt(view.getUint32(0, true));
  if (descriptor.length === 8) return view.getBigUint64(0, true);
  return undefined;
}

export function readXenNotes(elf: ElfFile): XenNotes {
  let notes = collect(elf.programHeaders.filter(h => h.type === ProgramType.note));
  if (notes.size === 0) notes = collect(elf.sections.filter(s => s.type === SectionType.note));
  const phys32Entry = number(notes.get(XenElfNote.phys32Entry));
  const supported = number(notes.get(XenElfNote.supportedFeatures));
  return {
    phys32Entry: phys32Entry === undefined ? undefined : Number(phys32Entry),
    guestOs: text(notes.get(XenElfNote.guestOs)),
    guestVersion: text(notes.get(XenElfNote.guestVersion)),
    xenVersion: text(notes.get(XenElfNote.xenVersion)),
    loader: text(notes.get(XenElfNote.loader)),
    features: text(notes.get(XenElfNote.features)),
    entry: number(notes.get(XenElfNote.entry)),
    virtBase: number(notes.get(XenElfNote.virtBase)),
    hypercallPage: number(notes.get(XenElfNote.hypercallPage)),
    supportedFeatures: supported === undefined ? undefined : Number(supported & 0xffffffffn),
    suspendCancel: (number(notes.get(XenElfNote.suspendCancel)) ?? 0n) !== 0n,
  };
}

/**
 * Where a PVH guest starts.
 * @throws DomusError E_KERNEL_NO_PVH_NOTE, E_KERNEL_MALFORMED when it points outside the loaded segments
 */
export function pvhEntry(elf: ElfFile, notes: XenNotes = readXenNotes(elf)): number {
  const entry = notes.phys32Entry;
  if (entry === undefined) {
    throw new DomusError(
      'E_KERNEL_NO_PVH_NOTE',
      'the kernel has no PVH entry point (no Xen note PHYS32_ENTRY)',
      'use a kernel built with CONFIG_PVH=y or CONFIG_XEN_PVH=y, such as any Debian amd64 kernel since 4.19',
    );
  }
  if (!elf.loadSegments.some(s => entry >= s.paddr && entry < s.paddr + s.contents.length)) {
    throw malformed('its PVH entry point lies outside what is loaded');
  }
  return entry;
}
