/**
 * WebAssembly modules that the build left in dist/: NAME.wasm, and NAME.code with what V8 makes of it, so that its functions are as fast
 * when they are called first as later.
 */
import { crc32 } from './checksum.ts';
import { type AssetParts, type HeldAsset, holdAsset, readAsset, readAssetParts } from './files.ts';
import { compileFully, machineCodeOf, moduleWith, prepareCompilers } from './wasm-compiler.ts';

/** NAME.code begins with the length of the module that the code belongs to and its CRC-32, u32 each. */
const HEAD_BYTES = 8;
const headOf = (module: Uint8Array): Uint8Array =>
  new Uint8Array(Uint32Array.of(module.length, crc32(module)).buffer);
/** @param head the first bytes of NAME.code, or all of it */
export const isCodeOf = (head: Uint8Array, module: Uint8Array): boolean =>
  headOf(module).every((byte, i) => byte === head[i]);

export interface AssetModule {
  readonly module: WebAssembly.Module;
  /** It has the machine code that the build left. */
  readonly isCompiled: boolean;
}

export const assetModule = (name: string): AssetModule =>
  moduleOf(readAsset(`${name}.wasm`), readAssetParts(`${name}.code`, HEAD_BYTES));

/** One that may be needed later, as it is now. */
export class HeldModule {
  readonly #name: string;
  readonly #module: HeldAsset | undefined;
  readonly #code: HeldAsset | undefined;

  constructor(name: string) {
    this.#name = name;
    this.#module = holdAsset(`${name}.wasm`);
    this.#code = holdAsset(`${name}.code`);
  }

  /** @throws Error when the build left none */
  read(): Uint8Array<ArrayBuffer> {
    return this.#module?.read() ?? readAsset(`${this.#name}.wasm`);
  }
  compile(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
    return moduleOf(bytes, this.#code?.parts(HEAD_BYTES)).module;
  }
}

function moduleOf(bytes: Uint8Array<ArrayBuffer>, parts: AssetParts | undefined): AssetModule {
  prepareCompilers();
  const [head, code] = parts ?? [];
  const compiled = head && code && isCodeOf(head, bytes) ? moduleWith(code, bytes) : undefined;
  return { module: compiled ?? new WebAssembly.Module(bytes), isCompiled: compiled !== undefined };
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
