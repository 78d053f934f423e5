/** All verbs, in the order of the help. */
import type { Verb } from '../verb.ts';
import { cache } from './cache.ts';
import { console } from './console.ts';
import { cp } from './cp.ts';
import { create } from './create.ts';
import { daemon } from './daemon.ts';
import { destroy } from './destroy.ts';
import { doctor } from './doctor.ts';
import { exec } from './exec.ts';
import { image } from './image.ts';
import { list } from './list.ts';
import { logs } from './logs.ts';
import { restore } from './restore.ts';
import { run } from './run.ts';
import { save } from './save.ts';
import { snapshot } from './snapshot.ts';
import { version } from './version.ts';
import { vhd } from './vhd.ts';
import { wait } from './wait.ts';

export const VERBS: readonly Verb[] = [
  ...[run, create, exec, cp, logs, list, console, wait, destroy],
  ...[save, restore, snapshot],
  ...[image, vhd, doctor, cache, version, daemon],
];
