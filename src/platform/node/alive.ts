/** Whether processes run that have left something behind with their number on it. */
import { readFileSync } from 'node:fs';

/** One that has ended does not run, even when nobody has waited for it: in a container there may be nobody who would. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM';
  }
  return !isZombie(pid);
}

/** Linux alone tells. While other threads of it are there, they may be in the middle of a write. */
function isZombie(pid: number): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field, the name, may hold anything; behind it follow the third, the state, and others: proc(5).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' && Number(fields[17]) <= 1;
  } catch {
    return false;
  }
}
