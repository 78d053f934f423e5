/**
 * Symbols of a kernel, for backtraces and breakpoints by name.
 *
 * `SymbolTable` is what users of symbols see; an ELF symbol table is one source of it (Debian's kernels are stripped,
 * so the guest's own kallsyms will be another).
 */
import type { ElfFile } from './elf.ts';
import { Elf32Symbol, Elf64Symbol, SectionType, SymbolType } from './structures.ts';

export interface SymbolAt {
  readonly name: string;
  /** Distance of the address from the symbol. */
  readonly offset: number;
}

export interface SymbolTable {
  readonly count: number;
  /** The symbol an address belongs to: the closest one at or below it. */
  symbolAt(address: bigint): SymbolAt | undefined;
  addressOf(name: string): bigint | undefined;
}

/** No function is this long: an address further from its closest symbol belongs to none. */
const REACH_BYTES = 16n << 20n;
const SYMBOLS_MAX = 2_000_000;
const NAME_BYTES_MAX = 512;

/** Build a table from (address, name) pairs in any order. */
export function symbolTable(entries: Iterable<readonly [address: bigint, name: string]>): SymbolTable {
  const sorted = [...entries].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  const addresses = BigUint64Array.from(sorted, e => e[0]);
  let byName: Map<string, bigint> | undefined;
  return {
    count: sorted.length,
    symbolAt(address) {
      let low = 0;
      let high = addresses.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (addresses[middle]! <= address) low = middle + 1;
        else high = middle;
      }
      const entry = sorted[low - 1];
      if (!entry || address - entry[0] > REACH_BYTES) return undefined;
      return { name: entry[1], offset: Number(address - entry[0]) };
    },
    addressOf(name) {
      byName ??= new Map(sorted.map(([address, symbol]) => [symbol, address]));
      return byName.get(name);
    },
  };
}

/** The symbol table of an ELF file, undefined when it is stripped. Entries that make no sense are passed over. */
export function readElfSymbols(elf: ElfFile): SymbolTable | undefined {
  const section = elf.sections.find(s => s.type === SectionType.symtab);
  const strings = section && elf.sections[section.link];
  if (!section || !strings || strings.type !== SectionType.strtab) return undefined;
  const SymbolEntry = elf.bits === 64 ? Elf64Symbol : Elf32Symbol;
  const { contents } = section;
  const view = new DataView(contents.buffer, contents.byteOffset, contents.byteLength);
  const count = Math.min(Math.floor(contents.length / SymbolEntry.size), SYMBOLS_MAX);
  const decoder = new TextDecoder('latin1');
  const entries: [bigint, string][] = [];
  for (let i = 0; i < count; i++) {
    const symbol = SymbolEntry.at(view, i * SymbolEntry.size);
    const kind = symbol.info & 0xf;
    if (kind !== SymbolType.func && kind !== SymbolType.noType && kind !== SymbolType.object) continue;
    if (symbol.shndx === 0 || symbol.name === 0) continue;
    const limit = strings.contents.subarray(symbol.name, symbol.name + NAME_BYTES_MAX);
    const end = limit.indexOf(0);
    if (end > 0) entries.push([BigInt(symbol.value), decoder.decode(limit.subarray(0, end))]);
  }
  return symbolTable(entries);
}
