/**
 * Assembles a WebAssembly module (core specification 5.5): imports, functions, one table, exports. The same input
 * always gives the same bytes, so that V8 recognises a module it has compiled before.
 */
import { invariant } from '../../base/errors.ts';
import { ByteWriter } from './bytes.ts';
import type { BranchHint, Callee, Code } from './code.ts';
import { END, I32_CONST, type Type, ValueType } from './opcodes.ts';

interface FunctionEntry {
  typeIndex: number;
  body?: ByteWriter;
  hints?: readonly BranchHint[];
}
/** Room for what comes before the code of a small module. */
const HEAD_BYTES = 1024;
const FUNCTION_TYPE = 0x60;
const FUNCREF = 0x70;

export class ModuleBuilder {
  readonly #types: { key: string; bytes: ByteWriter }[] = [];
  readonly #imports: { module: string; name: string; typeIndex: number }[] = [];
  readonly #functions: FunctionEntry[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  #table: { readonly length: number; readonly name: string | undefined } | undefined;
  #importedTable: { module: string; name: string } | undefined;
  #elements: { readonly first: number; readonly callees: readonly Callee[] } | undefined;
  readonly #custom: { name: string; content: Uint8Array }[] = [];
  readonly #memoryPages: number;

  /** @param memoryPages maximum size of the imported shared memory, in 64 KiB pages */
  constructor(memoryPages = 65536) {
    this.#memoryPages = memoryPages;
  }

  /** Index of a function type, shared by all functions that have it. */
  type(params: readonly Type[], result?: Type): number {
    const key = `${params.join(',')}:${result ?? ''}`;
    const known = this.#types.findIndex(type => type.key === key);
    if (known >= 0) return known;
    const bytes = new ByteWriter();
    bytes.byte(FUNCTION_TYPE);
    bytes.unsigned(params.length);
    for (const param of params) bytes.byte(ValueType[param]);
    bytes.unsigned(result ? 1 : 0);
    if (result) bytes.byte(ValueType[result]);
    return this.#types.push({ key, bytes }) - 1;
  }

  importFunction(module: string, name: string, params: readonly Type[], result?: Type): Callee {
    invariant(this.#functions.length === 0, 'imports come before functions');
    const index = this.#imports.push({ module, name, typeIndex: this.type(params, result) }) - 1;
    return { index, params, result };
  }

  /** Declare a function whose body comes later, so that it can be called before. */
  declare(params: readonly Type[], result?: Type): Callee {
    const index = this.#imports.length + this.#functions.push({ typeIndex: this.type(params, result) }) - 1;
    return { index, params, result };
  }
  define(callee: Callee, code: Code): void {
    const entry = this.#functions[callee.index - this.#imports.length];
    invariant(entry && !entry.body, 'function defined twice');
    entry.body = code.finish();
    entry.hints = code.hints;
  }
  export(name: string, callee: Callee): void {
    this.#exports.push({ name, index: callee.index });
  }
  /** The functions that call_indirect reaches, by position, in a table that may grow where it is exported. */
  table(callees: readonly Callee[], exportName?: string): void {
    this.#table = { length: callees.length, name: exportName };
    this.elements(0, callees);
  }
  /** Use another module's table. */
  importTable(module: string, name: string): void {
    this.#importedTable = { module, name };
  }
  /** What is put into the module's table, or the imported one, from a position on when the module is instantiated. */
  elements(first: number, callees: readonly Callee[]): void {
    this.#elements = { first, callees };
  }

  /** A section that engines ignore; `WebAssembly.Module.customSections` gives it back. */
  customSection(name: string, content: Uint8Array): void {
    this.#custom.push({ name, content });
  }

  build(): Uint8Array {
    const codeBytes = this.#functions.reduce((sum, { body }) => sum + (body?.length ?? 0) + 5, 0);
    const out = new ByteWriter(codeBytes + HEAD_BYTES);
    out.bytes([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    const section = (id: number, write: (w: ByteWriter) => void, capacity = HEAD_BYTES) => {
      const content = new ByteWriter(capacity);
      write(content);
      out.byte(id);
      out.sized(content);
    };
    section(1, w => {
      w.unsigned(this.#types.length);
      for (const type of this.#types) w.bytes(type.bytes.view());
    });
    section(2, w => {
      w.unsigned(this.#imports.length + (this.#importedTable ? 2 : 1));
      for (const entry of this.#imports) {
        w.name(entry.module);
        w.name(entry.name);
        w.byte(0);
        w.unsigned(entry.typeIndex);
      }
      w.name('env');
      w.name('memory');
      w.bytes([2, 3]);
      w.unsigned(0);
      w.unsigned(this.#memoryPages);
      if (this.#importedTable) {
        w.name(this.#importedTable.module);
        w.name(this.#importedTable.name);
        w.bytes([1, FUNCREF, 0, 0]);
      }
    });
    section(3, w => {
      w.unsigned(this.#functions.length);
      for (const entry of this.#functions) w.unsigned(entry.typeIndex);
    });
    const table = this.#table;
    if (table) {
      section(4, w => {
        w.bytes([1, FUNCREF, 0]);
        w.unsigned(table.length);
      });
    }
    section(7, w => {
      w.unsigned(this.#exports.length + (table?.name ? 1 : 0));
      for (const entry of this.#exports) {
        w.name(entry.name);
        w.byte(0);
        w.unsigned(entry.index);
      }
      if (table?.name) {
        w.name(table.name);
        w.bytes([1, 0]);
      }
    });
    const elements = this.#elements;
    if (elements) {
      section(9, w => {
        w.bytes([1, 0, I32_CONST]);
        w.signed(elements.first);
        w.byte(END);
        w.unsigned(elements.callees.length);
        for (const { index } of elements.callees) w.unsigned(index);
      });
    }
    this.#branchHints(section);
    section(
      10,
      w => {
        w.unsigned(this.#functions.length);
        for (const entry of this.#functions) {
          invariant(entry.body, 'a declared function has no body');
          w.sized(entry.body);
        }
      },
      codeBytes,
    );
    for (const { name, content } of this.#custom) {
      section(0, w => {
        w.name(name);
        w.bytes(content);
      });
    }
    return out.view().slice();
  }

  /** Which way branches usually go (WebAssembly branch hinting, section "Branch hint section"): must come before the code. */
  #branchHints(section: (id: number, write: (w: ByteWriter) => void) => void): void {
    const hinted = this.#functions.flatMap(({ hints = [] }, position) =>
      hints.length > 0 ? [{ index: this.#imports.length + position, hints }] : [],
    );
    if (hinted.length === 0) return;
    section(0, w => {
      w.name('metadata.code.branch_hint');
      w.unsigned(hinted.length);
      for (const { index, hints } of hinted) {
        w.unsigned(index);
        w.unsigned(hints.length);
        for (const { offset, isLikely } of hints) {
          w.unsigned(offset);
          w.bytes([1, isLikely ? 1 : 0]);
        }
      }
    });
  }
}
