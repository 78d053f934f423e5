/** Whether processes run that have left something behind with their number on it. */
import { readFileSync } from 'node:fs';

/**
 * One that has ended does not run, even when nobody has waited for it: in a container there may be nobody who would.
 * @param start of the process that is meant, as `startOf` had it: numbers are used again, for threads as well
 */
export function isAlive(pid: number, start?: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EPERM') return false;
  }
  const facts = factsOf(pid);
  if (!facts) return true;
  // While other threads of it are there, they may be in the middle of a write.
  const isZombie = facts.state === 'Z' && facts.nrThreads <= 1;
  return !isZombie && (start === undefined || start === facts.start);
}

/** When a process was started, in units of its system; undefined where that does not tell. */
export const startOf = (pid: number): string | undefined => factsOf(pid)?.start;

/** Linux alone tells. Source: proc(5). */
function factsOf(pid: number): { state: string; nrThreads: number; start: string } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field, the name, may hold anything; behind it follow the third, the state, and others.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, start] = [fields[0], fields[19]];
    return state && start ? { state, nrThreads: Number(fields[17]), start } : undefined;
  } catch {
    return undefined;
  }
}
