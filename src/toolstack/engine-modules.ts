/** The engine's WebAssembly modules, compiled once for all machines of the process. */
import type { EngineModules } from '../cpu/engine.ts';
import { warmUpInterpreter } from '../cpu/interpreter/warm-up.ts';
import { assetModule } from '../platform/node/asset-modules.ts';

let modules: EngineModules | undefined;

/** Whoever knows that a machine will be needed asks early: where V8 has to optimise, it does so while files are read. */
export function engineModules(): EngineModules {
  if (modules) return modules;
  const { module: runtime } = assetModule('runtime');
  const { module: interpreter, isCompiled } = assetModule('interpreter');
  modules = { runtime, interpreter };
  if (!isCompiled) warmUpInterpreter(interpreter);
  return modules;
}
