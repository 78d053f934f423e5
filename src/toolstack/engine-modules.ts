/**
 * The engine's WebAssembly modules, compiled once for all machines of the process. The build left them in dist/: NAME.wasm, and
 * NAME.code with what V8 makes of it, so that the interpreter is as fast at a machine's first instruction as later.
 */
import type { EngineModules } from '../cpu/engine.ts';
import { warmUpInterpreter } from '../cpu/interpreter/warm-up.ts';
import { readAsset, readAssetParts } from '../platform/node/files.ts';
import { sha256 } from '../platform/node/native-codecs.ts';
import { compileFully, machineCodeOf, moduleWith, prepareCompilers } from '../platform/node/wasm-compiler.ts';

/** NAME.code begins with the digest of the module that the code belongs to. */
const DIGEST_BYTES = 32;

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
  const [digest, code] = readAssetParts(`${name}.code`, DIGEST_BYTES) ?? [];
  if (!digest || !code) return undefined;
  const bytes = readAsset(`${name}.wasm`);
  const isItsOwn = sha256(bytes).every((byte, i) => byte === digest[i]);
  return isItsOwn ? moduleWith(code, bytes) : undefined;
}

/** What NAME.code has for a module; undefined where V8 does not give it. */
export function compiledCode(bytes: Uint8Array): Uint8Array | undefined {
  prepareCompilers();
  const code = machineCodeOf(compileFully(bytes));
  if (!code) return undefined;
  const file = new Uint8Array(DIGEST_BYTES + code.length);
  file.set(sha256(bytes));
  file.set(code, DIGEST_BYTES);
  return file;
}
