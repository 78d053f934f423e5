/**
 * V8's WebAssembly compilers, and what can be asked of them: when they work, and the machine code that they have made, so that it
 * can be kept.
 *
 * The latter is for Node 24, whose V8 gives it to its own tests. Others make the code again each time.
 */
import { setFlagsFromString } from 'node:v8';

const FLAGS = [
  // Modules are compiled when they are made, by the thread that makes them and V8's own. Otherwise each function is compiled when it
  // is called first, by the thread that calls it.
  '--no-wasm-lazy-compilation',
  // Which way branches usually go is written in our modules.
  '--experimental-wasm-branch-hinting',
  // What V8's second compiler makes is kept, so it pays sooner (docs/design/0020).
  '--wasm-tiering-budget=4000000',
];
const NATIVES = '--allow-natives-syntax';

interface Natives {
  serialize(module: WebAssembly.Module): ArrayBuffer;
  deserialize(code: ArrayBuffer, module: Uint8Array): WebAssembly.Module | undefined;
  isOptimised(exported: unknown): boolean;
}
let natives: Natives | undefined;
let isPrepared = false;

/**
 * To be called before the process makes its first module: code that was made under other flags is not taken. It is for the whole
 * process.
 */
export function prepareCompilers(): void {
  if (isPrepared) return;
  isPrepared = true;
  for (const flag of [...FLAGS, NATIVES]) setFlagsFromString(flag);
  natives = findNatives();
}

function findNatives(): Natives | undefined {
  try {
    return {
      serialize: new Function('module', 'return %SerializeWasmModule(module)') as Natives['serialize'],
      deserialize: new Function(
        'code',
        'module',
        'return %DeserializeWasmModule(code, module)',
      ) as Natives['deserialize'],
      isOptimised: new Function('f', 'return %IsTurboFanFunction(f)') as Natives['isOptimised'],
    };
  } catch {
    return undefined;
  }
}

/** A module whose functions have all been through V8's second compiler: seconds of work, for what lasts. */
export function compileFully(bytes: Uint8Array): WebAssembly.Module {
  setFlagsFromString('--no-liftoff');
  try {
    return new WebAssembly.Module(bytes as BufferSource);
  } finally {
    setFlagsFromString('--liftoff');
  }
}

/** How many functions V8's second compiler has got to; 0 where that cannot be found out. */
export function nrOptimised(exported: readonly unknown[]): number {
  const { isOptimised } = natives ?? {};
  return isOptimised ? exported.filter(isOptimised).length : 0;
}

/** The machine code of a module. Some of its functions must be optimised: of others there is nothing to keep. */
export function machineCodeOf(module: WebAssembly.Module): Uint8Array | undefined {
  return natives && new Uint8Array(natives.serialize(module));
}

/** A module with the machine code that was kept; undefined when that is another V8's, or for another processor. */
export function moduleWith(code: Uint8Array, bytes: Uint8Array): WebAssembly.Module | undefined {
  return natives?.deserialize(code.slice().buffer as ArrayBuffer, bytes);
}
