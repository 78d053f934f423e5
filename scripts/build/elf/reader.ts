/** Reads a WebAssembly module as far as an ahead-of-time compiler needs it. Source: WebAssembly core specification, 5. */

export interface Signature {
  readonly nrParams: number;
  readonly nrResults: number;
}

export interface WasmFunction extends Signature {
  /** Locals beyond the parameters. */
  readonly nrLocals: number;
  /** Instructions, up to and with the last `end`. */
  readonly body: Uint8Array;
}

export interface WasmProgram {
  readonly types: readonly Signature[];
  /** `module.name` of each imported function; they come first in the index space. */
  readonly imports: readonly { readonly name: string; readonly signature: Signature }[];
  readonly functions: readonly WasmFunction[];
  /** Initial values. */
  readonly globals: readonly bigint[];
  readonly memoryPages: number;
  readonly exports: ReadonlyMap<string, number>;
  readonly data: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  readonly start: number | undefined;
}

export class Cursor {
  at = 0;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }
  byte(): number {
    return this.bytes[this.at++]!;
  }
  /** Signed LEB128. */
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }
  /** Unsigned LEB128. */
  unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }
  take(count: number): Uint8Array {
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  text(): string {
    return new TextDecoder().decode(this.take(this.unsigned()));
  }
  vector<T>(read: () => T): T[] {
    return Array.from({ length: this.unsigned() }, read);
  }
}

const Section = {
  type: 1,
  import: 2,
  function: 3,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  code: 10,
  data: 11,
};
const I32_CONST = 0x41;
const I64_CONST = 0x42;

/** A constant expression: `i32.const` or `i64.const`, and `end`. */
function constant(cursor: Cursor): bigint {
  const opcode = cursor.byte();
  if (opcode !== I32_CONST && opcode !== I64_CONST)
    throw new Error('an initial value is no integer constant');
  const value = cursor.signed();
  cursor.byte();
  return value;
}

function functionBody(cursor: Cursor, signature: Signature): WasmFunction {
  const size = cursor.unsigned();
  const end = cursor.at + size;
  let nrLocals = 0;
  for (let groups = cursor.unsigned(); groups > 0; groups--) {
    nrLocals += cursor.unsigned();
    cursor.byte();
  }
  return { ...signature, nrLocals, body: cursor.take(end - cursor.at) };
}

export function readWasm(bytes: Uint8Array): WasmProgram {
  const types: Signature[] = [];
  const imports: { name: string; signature: Signature }[] = [];
  const signatures: Signature[] = [];
  const functions: WasmFunction[] = [];
  const globals: bigint[] = [];
  const exports = new Map<string, number>();
  const data: { offset: number; bytes: Uint8Array }[] = [];
  let memoryPages = 0;
  let start: number | undefined;
  const file = new Cursor(bytes);
  file.take(8);
  while (!file.isAtEnd) {
    const id = file.byte();
    const cursor = new Cursor(file.take(file.unsigned()));
    switch (id) {
      case Section.type:
        cursor.vector(() => {
          cursor.byte();
          const nrParams = cursor.vector(() => cursor.byte()).length;
          types.push({ nrParams, nrResults: cursor.vector(() => cursor.byte()).length });
        });
        break;
      case Section.import:
        cursor.vector(() => {
          const name = `${cursor.text()}.${cursor.text()}`;
          if (cursor.byte() !== 0) throw new Error(`the import ${name} is no function`);
          imports.push({ name, signature: types[cursor.unsigned()]! });
        });
        break;
      case Section.function:
        cursor.vector(() => signatures.push(types[cursor.unsigned()]!));
        break;
      case Section.memory:
        cursor.vector(() => {
          const hasMaximum = cursor.byte() & 1;
          memoryPages = cursor.unsigned();
          if (hasMaximum) cursor.unsigned();
        });
        break;
      case Section.global:
        cursor.vector(() => {
          cursor.take(2);
          globals.push(constant(cursor));
        });
        break;
      case Section.export:
        cursor.vector(() => {
          const name = cursor.text();
          const kind = cursor.byte();
          const index = cursor.unsigned();
          if (kind === 0) exports.set(name, index);
        });
        break;
      case Section.start:
        start = cursor.unsigned();
        break;
      case Section.code:
        cursor.vector(() => functions.push(functionBody(cursor, signatures[functions.length]!)));
        break;
      case Section.data:
        cursor.vector(() => {
          if (cursor.unsigned() !== 0) throw new Error('a data segment is not active');
          const offset = Number(constant(cursor));
          data.push({ offset, bytes: cursor.take(cursor.unsigned()) });
        });
        break;
    }
  }
  return { types, imports, functions, globals, memoryPages, exports, data, start };
}
