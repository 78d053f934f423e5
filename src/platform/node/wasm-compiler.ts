/**
 * V8's WebAssembly compilers, and what can be asked of them: when they work, and the machine code that they have made, so that it
 * can be kept.
 *
 * The latter is for Node 24, whose V8 gives it to its own tests. Others make the code again each time.
 */
import { setFlagsFromString } from 'node:v8';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { FLAGS, STACK_CHECKS } from '../../../bin/v8-flags.js';

/** Shared by all threads of the process that start later. */
const IS_OURS = 'domus.runs-no-other-modules';
let isOurs = false;
/** To be called before a thread is started. */
export function tellThreads(): void {
  if (isOurs) setEnvironmentData(IS_OURS, true);
}

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
  for (const flag of FLAGS) setFlagsFromString(flag);
  natives = findNatives();
}

/**
 * To be called before that, where the process runs no WebAssembly but ours. Otherwise only modules that are made whole by `compileFully`
 * go without stack checks, so that those of others keep theirs.
 */
export function runNoOtherModules(): void {
  isOurs = true;
  setFlagsFromString(`--no-${STACK_CHECKS}`);
}
function withoutStackChecks<T>(work: () => T): T {
  if (isOurs || getEnvironmentData(IS_OURS) === true) return work();
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
  const isWhole = code.byteLength === code.buffer.byteLength && code.buffer instanceof ArrayBuffer;
  const { buffer } = isWhole ? code : code.slice();
  return deserialize && withoutStackChecks(() => deserialize(buffer as ArrayBuffer, bytes));
}
