/** V8's WebAssembly compilers, and what can be asked of them. */
import { setFlagsFromString } from 'node:v8';

/**
 * From now on a module is compiled when it is made, by the thread that makes it and V8's own. Otherwise each function is
 * compiled when it is called first, by the thread that calls it. This is for the whole process: modules that were made before
 * stay as they are.
 */
export function compileAhead(): void {
  setFlagsFromString('--no-wasm-lazy-compilation');
}
