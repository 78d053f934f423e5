import { rmSync, writeFileSync } from 'node:fs';

/** Write a file in the place of another one, which whoever has it open keeps (src/cpu/wasm/late-module.ts). */
export function writeAnew(path: string, contents: Uint8Array): void {
  rmSync(path, { force: true });
  writeFileSync(path, contents);
}
