/** Has V8 compile the modules in dist/ to the end, and keeps what comes out: see src/platform/node/asset-modules.ts. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { compiledCode, isCodeOf } from '../../src/platform/node/asset-modules.ts';
import { writeAnew } from './write-anew.ts';

/** @returns names of the files that were written */
export function compileModules(dist: string, force: boolean): string[] {
  return ['runtime', 'rare-runtime', 'interpreter', 'rare-forms'].flatMap(name => {
    const bytes = new Uint8Array(readFileSync(join(dist, `${name}.wasm`)));
    const path = join(dist, `${name}.code`);
    if (!force && existsSync(path) && isCodeOf(readFileSync(path), bytes)) return [];
    const code = compiledCode(bytes);
    if (code) writeAnew(path, code);
    else rmSync(path, { force: true });
    return code ? [`${name}.code`] : [];
  });
}
