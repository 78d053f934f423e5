/**
 * CoreMark as a program of the benchmark, from the user's copy of its sources: 2 KiB performance run. Its rules ask for ten seconds at
 * least, which are about so many iterations for QEMU.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COREMARK_SUITE, type Program } from './program-list.ts';

const SOURCES = ['core_list_join.c', 'core_main.c', 'core_matrix.c', 'core_state.c', 'core_util.c'];
const PORT = fileURLToPath(new URL('./programs/coremark/', import.meta.url));

/** @throws Error when the folder is not that of CoreMark */
export function coremarkProgram(folder: string): Program {
  const missing = [...SOURCES, 'coremark.h'].find(name => !existsSync(join(folder, name)));
  if (missing !== undefined) throw new Error(`--coremark: there is no ${missing} in ${folder}`);
  return {
    suite: COREMARK_SUITE.name,
    name: 'coremark',
    about: 'CoreMark, 2 KiB performance run (gcc -O2)',
    source: 'core_portme',
    count: 70_000,
    foreign: {
      files: SOURCES.map(name => resolve(folder, name)),
      flags: ['-I', PORT, '-I', resolve(folder), '-Dmain=coremark_main'],
    },
  };
}
