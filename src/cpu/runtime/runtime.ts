/**
 * The runtime module (dist/runtime.wasm, from assembly/): page walks, exceptions, control transfers and all else
 * of the processor that is not a plain instruction. An instance has no state of its own: any worker's instance over
 * the same machine memory can serve any vCPU. So it makes no difference that a part of it is an instance of another module
 * (rare-functions.ts).
 */
import type { MachineMemory } from '../../machine/memory.ts';
import { holdLateModule, lateModule } from '../wasm/late-module.ts';
import { RARE_FUNCTIONS } from './rare-functions.ts';
import type { RuntimeExports, RuntimeImports } from './signatures.ts';

export const RUNTIME_ASSET = 'runtime.wasm';

/** For modules that call it. */
export const importsOf = (runtime: RuntimeExports): WebAssembly.ModuleImports =>
  runtime as unknown as WebAssembly.ModuleImports;

/** Instantiate the compiled module over machine memory, and the other one when a function of it is asked for. */
export function createRuntime(
  module: WebAssembly.Module,
  memory: MachineMemory,
  host: RuntimeImports,
): RuntimeExports {
  const imports = { env: { memory: memory.wasm }, host: { ...host } };
  holdLateModule('rare-runtime');
  let rare: WebAssembly.Exports | undefined;
  const rareFunctions = new Proxy(Object.create(null), {
    get(_, name) {
      if (typeof name !== 'string' || !RARE_FUNCTIONS.has(name)) return undefined;
      rare ??= new WebAssembly.Instance(lateModule('rare-runtime', module), imports).exports;
      return rare[name];
    },
  });
  const { exports } = new WebAssembly.Instance(module, imports);
  // Copied so, it keeps the shape that V8 is fast with, which `Object.assign` would not.
  return { __proto__: rareFunctions, ...exports } as unknown as RuntimeExports;
}
