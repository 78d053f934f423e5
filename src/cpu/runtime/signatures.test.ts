import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readAsset } from '../../platform/node/files.ts';
import { RUNTIME_ASSET } from './runtime.ts';
import { runtimeExports, runtimeImports, type Signature, type ValueType } from './signatures.ts';

interface FunctionTypes {
  exports: Map<string, Signature>;
  imports: Map<string, Signature>;
}

/** Types of the imported and exported functions, from the binary (WebAssembly core, section 5.5). */
function functionTypes(binary: Uint8Array): FunctionTypes {
  let at = 8;
  const byte = () => binary[at++]!;
  const unsigned = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const next = byte();
      value += (next & 127) * 2 ** shift;
      if (next < 128) return value;
    }
  };
  const text = () => {
    const length = unsigned();
    at += length;
    return new TextDecoder().decode(binary.subarray(at - length, at));
  };
  const valueType = (code: number) =>
    ({ 127: 'i32', 126: 'i64', 125: 'f32', 124: 'f64', 123: 'v128' })[code] as ValueType;
  const values = () => Array.from({ length: unsigned() }, () => valueType(byte()));
  const types: Signature[] = [];
  const functions: Signature[] = [];
  const found: FunctionTypes = { exports: new Map(), imports: new Map() };
  const limits = () => {
    const flags = byte();
    unsigned();
    if (flags & 1) unsigned();
  };
  const sections: Record<number, () => void> = {
    1: () => {
      byte();
      const params = values();
      types.push({ params, result: values()[0] ?? null });
    },
    2: () => {
      const module = text();
      const name = text();
      if (byte() === 0) {
        const type = types[unsigned()]!;
        functions.push(type);
        found.imports.set(`${module}.${name}`, type);
      } else limits();
    },
    3: () => functions.push(types[unsigned()]!),
    7: () => {
      const name = text();
      const kind = byte();
      const index = unsigned();
      if (kind === 0) found.exports.set(name, functions[index]!);
    },
  };
  while (at < binary.length) {
    const id = byte();
    const end = unsigned() + at;
    const read = sections[id];
    if (read) for (let count = unsigned(); count > 0; count--) read();
    at = end;
  }
  return found;
}

test('the table of signatures is what the module has', () => {
  const real = functionTypes(readAsset(RUNTIME_ASSET));
  for (const [name, type] of functionTypes(readAsset('rare-runtime.wasm')).exports)
    real.exports.set(name, type);
  const listed = Object.entries(runtimeExports).map(([name, { params, result }]) => [
    name,
    { params: [...params], result },
  ]);
  // The floating-point part has a table of its own.
  const index = readFileSync(new URL('assembly/index.ts', import.meta.url), 'utf8');
  const named = new Set(index.match(/\w+/g));
  const found = [...real.exports].filter(([name]) => name in runtimeExports || named.has(name));
  assert.deepEqual(Object.fromEntries(found), Object.fromEntries(listed));
  const imports = Object.entries(runtimeImports).map(([name, { params, result }]) => [
    `host.${name}`,
    { params: [...params], result },
  ]);
  assert.deepEqual(Object.fromEntries(real.imports), Object.fromEntries(imports));
});
