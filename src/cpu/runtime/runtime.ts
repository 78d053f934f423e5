/**
 * The runtime module (dist/runtime.wasm, from assembly/): page walks, exceptions, control transfers and all else
 * of the processor that is not a plain instruction. An instance has no state of its own: any worker's instance over
 * the same machine memory can serve any vCPU.
 */
import type { MachineMemory } from '../../machine/memory.ts';
import type { RuntimeExports, RuntimeImports } from './signatures.ts';

export const RUNTIME_ASSET = 'runtime.wasm';

/** For modules that call it. They are as many as are written in each machine, and are not copied for that. */
export const importsOf = (runtime: RuntimeExports): WebAssembly.ModuleImports =>
  runtime as unknown as WebAssembly.ModuleImports;

/** Instantiate the compiled module over machine memory. */
export function createRuntime(
  module: WebAssembly.Module,
  memory: MachineMemory,
  host: RuntimeImports,
): RuntimeExports {
  const instance = new WebAssembly.Instance(module, {
    env: { memory: memory.wasm },
    host: { ...host },
  });
  return instance.exports as unknown as RuntimeExports;
}
