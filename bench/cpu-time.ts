/**
 * Processor time of a process and its children so far, by thread, in milliseconds. On a machine that others use too it says more
 * than the wall clock. Source: Linux, Documentation/scheduler/sched-stats.rst.
 */
import { readdirSync, readFileSync } from 'node:fs';

export type CpuTimes = ReadonlyMap<number, number>;

/** Empty where there is no /proc, or the process has gone. */
export function cpuTimes(pid: number, times = new Map<number, number>()): CpuTimes {
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const folder = `/proc/${pid}/task/${task}`;
      times.set(Number(task), Number(readFileSync(`${folder}/schedstat`, 'utf8').split(' ')[0]) / 1e6);
      for (const child of readFileSync(`${folder}/children`, 'utf8').split(' ')) {
        if (child !== '') cpuTimes(Number(child), times);
      }
    }
  } catch {
    // A thread may end while we look.
  }
  return times;
}

/** What threads that live at the end have used since the beginning; undefined when nothing is known. */
export function cpuBetween(begin: CpuTimes | undefined, end: CpuTimes | undefined): number | undefined {
  if (!begin || !end || begin.size === 0 || end.size === 0) return undefined;
  return [...end].reduce((sum, [task, ms]) => sum + ms - (begin.get(task) ?? 0), 0);
}
