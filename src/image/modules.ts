/**
 * Kernel modules for a guest's initial RAM disk: those that are wanted and those that they need, out of the kernel's
 * package, in the order in which they can be loaded.
 *
 * A package has no modules.dep, which is made when it is installed. What a module depends on stands in the module itself,
 * in its `.modinfo`. What is built into the kernel needs no module; `modules.builtin` names it.
 */
import { DomusError } from '../base/errors.ts';
import { readCpio, writeCpio } from './archive/cpio.ts';
import { readDeb } from './archive/deb.ts';
import { decompress, detectCompression } from './compress/decompress.ts';
import { isElf } from './elf/elf.ts';
import { ELF_CLASS_64, Elf64Header, Elf64SectionHeader } from './elf/structures.ts';

export interface KernelModule {
  /** As in /proc/modules: with underscores. */
  readonly name: string;
  readonly contents: Uint8Array;
}

/** The largest module of a Debian kernel is about 10 MiB. */
const MODULE_LIMIT_BYTES = 64 << 20;
const ROUNDS_MAX = 8;
const MODINFO = '.modinfo';

/** File names have hyphens where the kernel has underscores. */
const moduleName = (text: string): string => text.replaceAll('-', '_');
const nameOfFile = (path: string): string | undefined => {
  const match = /(?:^|\/)lib\/modules\/[^/]+\/kernel\/(?:.*\/)?([^/]+)\.ko(?:\.[a-z]+)?$/.exec(path);
  return match ? moduleName(match[1]!) : undefined;
};

/** The `.modinfo` of a module: entries `name=value`. None of a file that is no 64-bit ELF file or not whole. */
function moduleInfo(file: Uint8Array): string[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < Elf64Header.size || !isElf(file) || file[4] !== ELF_CLASS_64) return [];
  const header = Elf64Header.at(view, 0);
  const sectionAt = (index: number) => {
    const at = header.shoff + index * Elf64SectionHeader.size;
    if (index >= header.shnum || at + Elf64SectionHeader.size > file.length) return undefined;
    const { name, offset, size } = Elf64SectionHeader.at(view, at);
    return { name, contents: file.subarray(offset, offset + size) };
  };
  const names = sectionAt(header.shstrndx)?.contents;
  if (!names) return [];
  const decoder = new TextDecoder('latin1');
  for (let index = 0; index < header.shnum; index++) {
    const section = sectionAt(index);
    if (!section || section.name >= names.length) continue;
    const name = decoder.decode(names.subarray(section.name, section.name + MODINFO.length));
    if (name === MODINFO) return decoder.decode(section.contents).split('\0');
  }
  return [];
}

/** The names that a module says it depends on. */
export function moduleDependencies(contents: Uint8Array): string[] {
  const depends = moduleInfo(contents).find(entry => entry.startsWith('depends='));
  return (depends ?? '')
    .slice('depends='.length)
    .split(',')
    .filter(name => name !== '')
    .map(moduleName);
}

/**
 * The modules `wanted` of a kernel package by their names as asked, each with those it needs, in load order; of `others` those that the
 * kernel has. What is built in has an empty list.
 * @throws DomusError E_MODULE_MISSING when the kernel has one of `wanted`, or one that it needs, neither as a module nor built in
 */
export function modulesFromDeb(
  deb: Uint8Array,
  wanted: readonly string[],
  others: readonly string[] = [],
): ReadonlyMap<string, KernelModule[]> {
  const found = new Map<string, Uint8Array>();
  const known = new Set<string>();
  const builtIn = new Set<string>();
  let missing = new Set([...wanted, ...others].map(moduleName));
  // A package is read from its beginning: once, and again for dependencies that lie before what needs them.
  for (let round = 0; missing.size > 0 && round < ROUNDS_MAX; round++) {
    for (const entry of readDeb(deb)) {
      if (entry.type !== 'file') continue;
      const name = nameOfFile(entry.name);
      if (name !== undefined) known.add(name);
      if (name !== undefined && missing.has(name)) {
        const packed = entry.read();
        const contents = decompress(packed, detectCompression(packed), { limitBytes: MODULE_LIMIT_BYTES });
        found.set(name, contents);
      } else if (round === 0 && entry.name.endsWith('/modules.builtin')) {
        const list = new TextDecoder().decode(entry.read());
        for (const line of list.split('\n')) {
          const each = /([^/]+)\.ko$/.exec(line);
          if (each) builtIn.add(moduleName(each[1]!));
        }
      }
    }
    const needed = [...missing, ...[...found.values()].flatMap(moduleDependencies)];
    missing = new Set(needed.filter(name => known.has(name) && !found.has(name)));
  }
  const result = new Map<string, KernelModule[]>();
  for (const name of [...wanted, ...others]) {
    const needed = inLoadOrder(moduleName(name), found);
    const absent = needed.filter(each => !found.has(each) && !builtIn.has(each));
    if (absent.length === 0) {
      result.set(
        name,
        needed.flatMap(each => {
          const contents = found.get(each);
          return contents ? [{ name: each, contents }] : [];
        }),
      );
    } else if (wanted.includes(name)) {
      throw new DomusError(
        'E_MODULE_MISSING',
        `the kernel has no ${absent.join(', ')}`,
        "use Debian's cloud kernel, or a kernel with the Xen drivers built in",
      );
    }
  }
  return result;
}

/** A module behind all that it needs. */
function inLoadOrder(wanted: string, found: ReadonlyMap<string, Uint8Array>): string[] {
  const ordered: string[] = [];
  const seen = new Set<string>();
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const contents = found.get(name);
    for (const dependency of contents ? moduleDependencies(contents) : []) visit(dependency);
    ordered.push(name);
  };
  visit(wanted);
  return ordered;
}

/** Modules as one file, for the cache. */
export const packModules = (modules: readonly KernelModule[]): Uint8Array =>
  writeCpio(modules.map(({ name, contents }) => ({ type: 'file', name, mode: 0o644, data: contents })));

export function unpackModules(archive: Uint8Array): KernelModule[] {
  const modules: KernelModule[] = [];
  for (const entry of readCpio(archive)) {
    if (entry.type === 'file') modules.push({ name: entry.name, contents: entry.data });
  }
  return modules;
}
