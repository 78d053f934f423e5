/**
 * The end of a process whose work is done, whatever V8's threads are doing.
 *
 * Node waits for them, and now and then they wait for the main thread, which has come to its end: the process stands still for ever
 * (nodejs/node issues 54918 and 64274). Nothing in a program can end them. What takes the process's place can: here a shell that has nothing
 * to do but to return the exit code.
 *
 * Of what Node does at its end, two things are of use to others. Pipes are given back as they came, for who has the other descriptors of them
 * does not expect that reads and writes fail instead of waiting; where that does not succeed, the process ends as Node would have it. Terminals
 * are given back by who has changed them (terminal.ts).
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { Socket } from 'node:net';
import { isatty } from 'node:tty';
import { isMainThread } from 'node:worker_threads';

const SHELL = '/bin/sh';
const STREAMS = [0, 1, 2] as const;
const CODE_MASK = 0xff;

/** Whether reads and writes of a descriptor wait; undefined where the system does not tell (proc(5)). */
function waits(fd: number): boolean | undefined {
  try {
    const [, octal] = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
    return octal === undefined ? undefined : (Number.parseInt(octal, 8) & constants.O_NONBLOCK) === 0;
  } catch {
    return undefined;
  }
}

/** As the process got them: this module is loaded before its streams are used. */
const waitedAtFirst = STREAMS.map(waits);

interface Handle {
  setBlocking?(isBlocking: boolean): number;
}

/** Let reads and writes of a descriptor wait again. Node has a way for streams alone, and one that was closed is none any more. */
function letWait(fd: 0 | 1 | 2): void {
  const stream = [process.stdin, process.stdout, process.stderr][fd] as unknown as {
    _handle?: Handle | null;
  };
  const handle = stream._handle ?? (new Socket({ fd }) as unknown as { _handle?: Handle | null })._handle;
  handle?.setBlocking?.(true);
}

/** @returns whether all is as it was */
function giveBackStreams(): boolean {
  return STREAMS.every(fd => {
    // Of a terminal the process has opened a descriptor of its own.
    if (isatty(fd)) return true;
    const before = waitedAtFirst[fd];
    if (before === undefined) return false;
    if (before && waits(fd) === false) letWait(fd);
    return waits(fd) === before;
  });
}

function becomeShell(code: number): void {
  try {
    if (!isMainThread || !process.execve || !giveBackStreams()) return;
    accessSync(SHELL, constants.X_OK);
    flushCompileCache?.();
    process.execve(SHELL, [SHELL, '-c', `exit ${code & CODE_MASK}`], {});
  } catch {
    // Then it ends as any other.
  }
}

/** End the process now, with this exit code. Exit listeners still run. */
export function endProcess(code: number): never {
  // After all others: none runs after it.
  process.once('exit', becomeShell);
  process.exit(code);
}
