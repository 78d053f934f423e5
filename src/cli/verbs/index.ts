/** All verbs, in the order of the help. */
import type { Verb } from '../verb.ts';
import {
  blockAttach,
  blockClone,
  blockCoalesce,
  blockDetach,
  blockList,
  blockResize,
  blockSnapshot,
} from './blocks.ts';
import { cache } from './cache.ts';
import { clone } from './clone.ts';
import { console } from './console.ts';
import { cp } from './cp.ts';
import { create } from './create.ts';
import { daemon } from './daemon.ts';
import { destroy } from './destroy.ts';
import { doctor } from './doctor.ts';
import { exec } from './exec.ts';
import { dmesg, events, info } from './host.ts';
import { domid, domname, uptime } from './ids.ts';
import { image } from './image.ts';
import { pause, reboot, rename, shutdown, sysrq, unpause } from './lifecycle.ts';
import { list } from './list.ts';
import { logs } from './logs.ts';
import { memAuto } from './mem-auto.ts';
import { memMax, memSet } from './memory.ts';
import { networkList, networkSet, switchHeal, switchList, switchPartition } from './networks.ts';
import { restore } from './restore.ts';
import { run } from './run.ts';
import { save } from './save.ts';
import { schedCredit } from './sched-credit.ts';
import { sharing } from './sharing.ts';
import { snapshot } from './snapshot.ts';
import { top } from './top.ts';
import { vcpuList, vcpuPin, vcpuSet } from './vcpus.ts';
import { version } from './version.ts';
import { vhd } from './vhd.ts';
import { wait } from './wait.ts';
import { web } from './web.ts';

export const VERBS: readonly Verb[] = [
  ...[run, create, exec, cp, logs, list, console, wait, destroy],
  ...[pause, unpause, shutdown, reboot, rename, sysrq],
  ...[vcpuList, vcpuSet, vcpuPin, schedCredit, memSet, memMax, memAuto],
  ...[blockList, blockAttach, blockDetach, blockSnapshot, blockClone, blockCoalesce, blockResize],
  ...[networkList, networkSet, switchList, switchPartition, switchHeal],
  ...[info, top, sharing, web, uptime, domid, domname, events, dmesg],
  ...[save, restore, snapshot, clone],
  ...[image, vhd, doctor, cache, version, daemon],
];
