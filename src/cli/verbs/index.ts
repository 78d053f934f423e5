/** All verbs, in the order of the help. */
import type { Verb } from '../verb.ts';
import { cache } from './cache.ts';
import { doctor } from './doctor.ts';
import { run } from './run.ts';
import { version } from './version.ts';
import { vhd } from './vhd.ts';

export const VERBS: readonly Verb[] = [run, vhd, doctor, cache, version];
