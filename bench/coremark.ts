/** Builds CoreMark from the user's copy of its sources, for the guest and native. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { COMMON, FREESTANDING, type GuestPrograms, linkGuest, run, source } from './guest-programs.ts';
import type { Workload } from './workload-list.ts';

const SOURCES = ['core_list_join.c', 'core_main.c', 'core_matrix.c', 'core_state.c', 'core_util.c'];

export function buildCoremark(folder: string, coremark: string): GuestPrograms & { workload: Workload } {
  const missing = [...SOURCES, 'coremark.h'].find(name => !existsSync(join(coremark, name)));
  if (missing !== undefined) throw new Error(`--coremark: there is no ${missing} in ${coremark}`);
  const files = [
    ...SOURCES.map(name => resolve(coremark, name)),
    source('core_portme.c'),
    source('workloads.c'),
  ];
  // Other people's sources are compiled as they are, warnings and all.
  const flags = [
    ...COMMON.filter(flag => !flag.startsWith('-W')),
    ...FREESTANDING,
    '-w',
    '-DWITH_COREMARK',
    '-Dmain=coremark_main',
  ];
  const objects = files.map((file, i) => {
    const object = join(folder, `coremark-${i}.o`);
    run('gcc', [...flags, '-I', source('.'), '-I', resolve(coremark), '-c', '-o', object, file]);
    return object;
  });
  const native = join(folder, 'coremark-native');
  run('gcc', [...COMMON, '-o', native, source('native.c'), ...objects]);
  return {
    guest: linkGuest(folder, 'coremark.elf', [source('guest.c'), ...objects]),
    native,
    workload: { name: 'coremark', about: 'CoreMark, 2 KiB performance run (gcc -O2)', count: 1500 },
  };
}
