/**
 * V8's WebAssembly compilers, and what can be asked of them: when they work, and the machine code that they have made, so that it
 * can be kept.
 *
 * The latter is for Node 24, whose V8 gives it to its own tests. Others make the code again each time.
 */
import { setFlagsFromString } from 'node:v8';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';

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
/**
 * Functions and loops begin with a look at whether the stack overflows, or somebody wants the thread. Our modules cannot overflow it, for
 * no function of theirs calls itself, even by way of others (recursion.test.ts), and a thread leaves them after a slice. Without those
 * looks the interpreter is an eighth faster.
 */
const STACK_CHECKS = 'wasm-stack-checks';
/** Shared by all threads of the process that start later. */
const IS_OURS = 'domus.runs-no-other-modules';

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

/**
 * To be called before that, where the process runs no WebAssembly but ours. Otherwise only modules that are made whole by `compileFully`
 * go without stack checks, so that those of others keep theirs.
 */
export function runNoOtherModules(): void {
  setEnvironmentData(IS_OURS, true);
  setFlagsFromString(`--no-${STACK_CHECKS}`);
}
function withoutStackChecks<T>(work: () => T): T {
  if (getEnvironmentData(IS_OURS) === true) return work();
  setFlagsFromString(`--no-${STACK_CHECKS}`);
  try {
    return work();
  } finally {
    setFlagsFromString(`--${STACK_CHECKS}`);
  }
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
    return withoutStackChecks(() => new WebAssembly.Module(bytes as BufferSource));
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
  const { serialize } = natives ?? {};
  return serialize && withoutStackChecks(() => new Uint8Array(serialize(module)));
}

/** A module with the machine code that was kept; undefined when that is another V8's, or for another processor. */
export function moduleWith(code: Uint8Array, bytes: Uint8Array): WebAssembly.Module | undefined {
  const { deserialize } = natives ?? {};
  return deserialize && withoutStackChecks(() => deserialize(code.slice().buffer as ArrayBuffer, bytes));
}
