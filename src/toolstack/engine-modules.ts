/** The engine's WebAssembly modules, compiled once for all machines of the process. */
import type { EngineModules } from '../cpu/engine.ts';
import { warmUpInterpreter } from '../cpu/interpreter/warm-up.ts';
import { readAsset } from '../platform/node/files.ts';

let modules: EngineModules | undefined;

/** Whoever knows that a machine will be needed asks early: V8 then optimises while files are read. */
export function engineModules(): EngineModules {
  if (modules) return modules;
  modules = {
    runtime: new WebAssembly.Module(readAsset('runtime.wasm')),
    interpreter: new WebAssembly.Module(readAsset('interpreter.wasm')),
  };
  warmUpInterpreter(modules.interpreter);
  return modules;
}
