/**
 * The engine's WebAssembly modules, compiled once for all machines of the process. The build left them in dist/: NAME.wasm, and
 * NAME.code with what V8 makes of it, so that the interpreter is as fast at a machine's first instruction as later.
 */
import type { EngineModules } from '../cpu/engine.ts';
import { warmUpInterpreter } from '../cpu/interpreter/warm-up.ts';
import { crc32 } from '../platform/node/checksum.ts';
import { readAsset, readAssetParts } from '../platform/node/files.ts';
import { compileFully, machineCodeOf, moduleWith, prepareCompilers } from '../platform/node/wasm-compiler.ts';

/** NAME.code begins with the length of the module that the code belongs to and its CRC-32, u32 each. */
const HEAD_BYTES = 8;
const headOf = (module: Uint8Array): Uint8Array =>
  new Uint8Array(Uint32Array.of(module.length, crc32(module)).buffer);
/** @param head the first bytes of NAME.code, or all of it */
export const isCodeOf = (head: Uint8Array, module: Uint8Array): boolean =>
  headOf(module).every((byte, i) => byte === head[i]);

let modules: EngineModules | undefined;

/** Whoever knows that a machine will be needed asks early: where V8 has to optimise, it does so while files are read. */
export function engineModules(): EngineModules {
  if (modules) return modules;
  prepareCompilers();
  const compiled = { runtime: compiledModule('runtime'), interpreter: compiledModule('interpreter') };
  modules = {
    runtime: compiled.runtime ?? new WebAssembly.Module(readAsset('runtime.wasm')),
    interpreter: compiled.interpreter ?? new WebAssembly.Module(readAsset('interpreter.wasm')),
  };
  if (!compiled.interpreter) warmUpInterpreter(modules.interpreter);
  return modules;
}

function compiledModule(name: string): WebAssembly.Module | undefined {
  const [head, code] = readAssetParts(`${name}.code`, HEAD_BYTES) ?? [];
  if (!head || !code) return undefined;
  const bytes = readAsset(`${name}.wasm`);
  return isCodeOf(head, bytes) ? moduleWith(code, bytes) : undefined;
}

/** What NAME.code has for a module; undefined where V8 does not give it. */
export function compiledCode(bytes: Uint8Array): Uint8Array | undefined {
  prepareCompilers();
  const code = machineCodeOf(compileFully(bytes));
  if (!code) return undefined;
  const file = new Uint8Array(HEAD_BYTES + code.length);
  file.set(headOf(bytes));
  file.set(code, HEAD_BYTES);
  return file;
}
