import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAsset } from '../../platform/node/files.ts';
import { RARE_FUNCTIONS } from './rare-functions.ts';
import { RUNTIME_ASSET } from './runtime.ts';
import { RUNTIME_SIGNATURES } from './signatures-all.ts';
import { createTestMachine } from './test-machine.ts';

const moduleOf = (name: string) => new WebAssembly.Module(readAsset(name));
const exportsOf = (name: string) =>
  WebAssembly.Module.exports(moduleOf(name)).flatMap(entry =>
    entry.kind === 'function' ? [entry.name] : [],
  );

test('each function is in one of the two modules', () => {
  const rare = exportsOf('rare-runtime.wasm');
  assert.deepEqual(rare.sort(), [...RARE_FUNCTIONS].sort());
  assert.deepEqual([...rare, ...exportsOf(RUNTIME_ASSET)].sort(), Object.keys(RUNTIME_SIGNATURES).sort());
});

test('the interpreter needs none of the rare ones until a rare form comes', () => {
  const imports = WebAssembly.Module.imports(moduleOf('interpreter.wasm')).map(({ name }) => name);
  assert.ok(imports.includes('lookup'));
  assert.deepEqual(
    imports.filter(name => RARE_FUNCTIONS.has(name)),
    [],
  );
});

test('no function that is there from the beginning takes or gives a vector', () => {
  const withVectors = Object.entries(RUNTIME_SIGNATURES).filter(([, { params, result }]) =>
    [...params, result].includes('v128'),
  );
  assert.ok(withVectors.length > 0);
  for (const [name] of withVectors) assert.ok(RARE_FUNCTIONS.has(name), name);
});

test('a rare function works on the same machine', () => {
  const { vcpu, runtime } = createTestMachine();
  const { fincstp } = runtime as unknown as Record<string, (cpu: number) => void>;
  const before = vcpu.fsw;
  fincstp?.(vcpu.address);
  assert.equal(vcpu.fsw, (before & ~(7 << 11)) | ((before + (1 << 11)) & (7 << 11)));
  assert.equal((runtime as unknown as Record<string, unknown>).then, undefined);
});
